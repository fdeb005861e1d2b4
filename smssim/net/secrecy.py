"""Files with a secret, a key or a token, that other users of this machine can read: the log warns of them.

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
    """What to say of each such file that these settings name."""
    return [
        f"{flag}: {name} can be read by other users of this machine; chmod 600 {shlex.quote(name)}"
        for flag, name in (("--tls-key", settings.tls_key), ("--token-file", settings.token_file))
        if name is not None and _is_public(name)
    ]


def warn(settings: AccessSettings) -> None:
    """Logs what is to be said."""
    for warning in warnings(settings):
        logging.getLogger(ROOT).warning("%s", warning)


def _is_public(name: str) -> bool:
    """Whether others than its owner can read this file; a pipe is nobody else's."""
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):  # for those who read it to say
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
