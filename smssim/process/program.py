"""How a program of ours runs from its first line to its exit code.

Knows asyncio. Must not know what a node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.errors import ExitCode
from smssim.process import logs, signals, streams
from smssim.settings import LogSettings

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3


def run(
    main: Callable[[asyncio.Event], Awaitable[int]],
    log: LogSettings,
    last_act: Callable[[], None] = lambda: None,
    limits: Limits = LIMITS,
) -> int:
    """Runs a node with this log; its exit code.

    The first SIGINT, SIGTERM or SIGHUP sets the event, the second ends the process at once, but for its last act.
    SIGHUP is never the second, for a terminal that is closed sends several; where it was ignored (nohup), it still is.
    """
    signals.take()
    streams.mend()
    logs.set_up(log)
    _keep_memory(limits)
    return asyncio.run(_run(main, last_act))


def _keep_memory(limits: Limits) -> None:
    """Spares the hot path what costs it a tenth of its time: page faults and visits to objects that never die.

    glibc gives freed arrays of some hundred KiB back to the kernel, which then has to clear the same pages for the
    next frame; and garbage collections visit all that was imported, and the tasks of a thousand senders.
    """
    gc.freeze()
    gc.set_threshold(limits.gc_objects)
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, limits.heap_free_bytes_max)
        mallopt(_M_MMAP_THRESHOLD, limits.heap_array_bytes_max)


async def _run(main: Callable[[asyncio.Event], Awaitable[int]], last_act: Callable[[], None]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False

    def interrupted(number: signal.Signals) -> None:  # in the thread of the signals
        nonlocal asked
        if asked and number != signal.SIGHUP:
            last_act()
            os._exit(ExitCode.INTERRUPTED)  # nothing may delay it, a blocked peer least of all
        asked = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
            loop.call_soon_threadsafe(stop.set)

    signals.handle(interrupted)
    try:
        return int(await main(stop))
    finally:
        signals.ignore()
