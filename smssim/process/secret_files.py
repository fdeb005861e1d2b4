"""Files with certificates, keys and other secrets: reading and checking them, in errors that name the flag.

No error contains what a file holds. Knows files and TLS. Must not know what the files are used for.
"""

from __future__ import annotations

import logging
import shlex
import ssl
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from smssim.errors import UsageError, bad_value
from smssim.process.logs import ROOT

CERTIFICATE: Final = b"CERTIFICATE-----"  # how the first line of a PEM file ends
PRIVATE_KEY: Final = b"PRIVATE KEY-----"


def read(flag: str, name: str) -> bytes:
    """Return the contents of a file. Raises UsageError."""
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a valid file name"
        raise UsageError(f"{flag}: can't read {name!r}: {why}") from error


def read_pem(flag: str, name: str | None, holds: bytes) -> bytes | None:
    """Return the contents of a PEM file with a certificate or a key; None without a name. Raises UsageError."""
    if name is None:
        return None
    content = read(flag, name)
    if holds not in content:
        raise bad_value(flag, name, f"a PEM file with a {holds.decode().rstrip('-').lower()}")
    return content


def load_ca(context: ssl.SSLContext, flag: str, name: str, content: bytes) -> None:
    """Add the certificates of a CA to a TLS context. Raises UsageError."""
    try:
        context.load_verify_locations(cadata=content.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise bad_value(flag, name, "a file with a valid certificate") from error


def load_pair(context: ssl.SSLContext, prefix: str, certificate: str, key: str) -> None:
    """Add a certificate and its key to a TLS context. Raises UsageError. `prefix`: how both flags begin."""

    def no_password() -> str:
        raise bad_value(f"{prefix}-key", key, "a key without a passphrase")

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise bad_value(f"{prefix}-key", key, f"the private key of the certificate in {certificate}") from error
        raise bad_value(f"{prefix}-cert", certificate, f"a valid certificate, with its private key in {key}") from error


def warnings(named: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return a warning for each file that other users of this machine can read. `named`: flags and their files."""
    return [
        f"{flag}: {name} is readable by other users of this machine: run chmod 600 {shlex.quote(name)}"
        for flag, name in named
        if name is not None and _is_public(name)
    ]


def warn(named: Iterable[tuple[str, str | None]]) -> None:
    """Log the warnings."""
    for warning in warnings(named):
        logging.getLogger(ROOT).warning("%s", warning)


def _is_public(name: str) -> bool:
    """Return whether this is a regular file that users other than its owner can read. A pipe counts as private."""
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):  # reported when the file is read
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
