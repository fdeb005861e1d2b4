"""Warnings about files with a key or a token that other users of this machine can read.

Knows files and settings. Must stay cheap to import: `smssim run` loads it.
"""

from __future__ import annotations

import logging
import shlex
import stat
from pathlib import Path

from smssim.process.logs import ROOT
from smssim.settings import AccessSettings


def warnings(settings: AccessSettings) -> list[str]:
    """Return a warning for each such file that these settings name."""
    return [
        f"{flag}: {name} is readable by other users of this machine: run chmod 600 {shlex.quote(name)}"
        for flag, name in (("--tls-key", settings.tls_key), ("--token-file", settings.token_file))
        if name is not None and _is_public(name)
    ]


def warn(settings: AccessSettings) -> None:
    """Log the warnings."""
    for warning in warnings(settings):
        logging.getLogger(ROOT).warning("%s", warning)


def _is_public(name: str) -> bool:
    """Return whether this is a regular file that users other than its owner can read. A pipe counts as private."""
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):  # reported when the file is read
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
