"""A process that does not outlive its parent. Knows one system call of Linux; elsewhere it does nothing."""

from __future__ import annotations

import ctypes
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl: Final = getattr(ctypes.CDLL(None), "prctl", None)  # looked up here: little is safe in a child before exec


def end_with_parent() -> None:
    """Make the kernel kill this child when the thread that started it ends, however. Call it in the child."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
