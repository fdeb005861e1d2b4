"""Warnings about files with a key or a token of nodes that other users of this machine can read.

Knows the settings that name them. Must stay cheap to import: `smssim run` loads it.
"""

from __future__ import annotations

from smssim.process import secret_files
from smssim.settings import AccessSettings


def warnings(settings: AccessSettings) -> list[str]:
    """Return a warning for each such file that these settings name."""
    return secret_files.warnings(_named(settings))


def warn(settings: AccessSettings) -> None:
    """Log the warnings."""
    secret_files.warn(_named(settings))


def _named(settings: AccessSettings) -> tuple[tuple[str, str | None], ...]:
    return ("--tls-key", settings.tls_key), ("--token-file", settings.token_file)
