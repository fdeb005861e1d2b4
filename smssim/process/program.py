"""Running a node: its signals, streams and log, its asyncio loop, and its exit code.

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
    """Run a node with this log and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP sets the event that `main` gets. The second one calls `last_act` and ends the
    process at once. SIGHUP never counts as the second one, because a closing terminal sends several. If SIGHUP was
    ignored at the start (nohup), it stays ignored.
    """
    signals.take()
    streams.repair()
    logs.set_up(log)
    _keep_memory(limits)
    return asyncio.run(_run(main, last_act))


def _keep_memory(limits: Limits) -> None:
    """Avoid page faults and garbage collections, which would cost the hot path a tenth of its time.

    glibc returns freed arrays of a few hundred KiB to the kernel, which then clears the same pages again for the next
    frame. Garbage collections visit everything that was imported, and the tasks of a thousand senders.
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

    def interrupted(number: signal.Signals) -> None:  # in the signal thread
        nonlocal asked
        if asked and number != signal.SIGHUP:
            last_act()
            os._exit(ExitCode.INTERRUPTED)  # without cleanup: nothing may delay it, such as a blocked peer
        asked = True
        with contextlib.suppress(RuntimeError):  # the loop is closed because the node has ended already
            loop.call_soon_threadsafe(stop.set)

    signals.handle(interrupted)
    try:
        return int(await main(stop))
    finally:
        signals.ignore()
