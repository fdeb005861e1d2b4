"""This process: its signals, its streams, and the one way in which a node runs to its end.

Knows asyncio. Must not know what a node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import io
import logging
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from smssim import logs, signals, streams
from smssim.errors import ExitCode
from smssim.settings import LogSettings

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
GC_OBJECTS: Final = 20_000  # made and not freed since the last garbage collection
DUMB: Final = ("", "dumb", "unknown")  # terminals that can't move a cursor


def run(
    main: Callable[[asyncio.Event], Awaitable[int]], log: LogSettings, last_act: Callable[[], None] = lambda: None
) -> int:
    """Runs a node with this log; its exit code.

    The first SIGINT, SIGTERM or SIGHUP sets the event, the second ends the process at once, but for its last act.
    SIGHUP is never the second, for a terminal that is closed sends several; where it was ignored (nohup), it still is.
    """
    signals.take()
    streams.mend()
    logs.set_up(log)
    _keep_memory()
    return asyncio.run(_run(main, last_act))


def _keep_memory() -> None:
    """Spares the hot path what costs it a tenth of its time: page faults and visits to objects that never die.

    glibc gives freed arrays of some hundred KiB back to the kernel, which then has to clear the same pages for the
    next frame; and garbage collections visit all that was imported, and the tasks of a thousand senders.
    """
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def say(*texts: str) -> None:
    """Writes lines to stdout. Once nobody takes them any more, they go nowhere and the node goes on."""
    write("".join(f"{text}\n" for text in texts))


def write(text: str) -> None:
    """Writes text to stdout as it is; otherwise like `say`."""
    sys.stdout.write(text)
    sys.stdout.flush()
    reason = streams.news_of_loss()
    if reason is not None:
        logging.getLogger(logs.ROOT).error("stdout can't be written: %s; nothing more goes there", reason)


def complain(*texts: str) -> None:
    """Writes lines to where the log goes, whoever reads them."""
    handlers = (one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler))
    stream = next((one.stream for one in handlers), sys.stderr)
    with contextlib.suppress(OSError):
        stream.write("".join(f"{text}\n" for text in texts))
        stream.flush()


def has_reader() -> bool:
    """Whether somebody may still read stdout: False once the other end of a pipe is closed."""
    ends = select.poll()
    try:
        ends.register(sys.stdout.fileno(), 0)  # what is asked for is only what is always told: that it is broken
    except (OSError, ValueError):
        return True
    return not ends.poll(0)


def screen_size() -> tuple[int, int] | None:
    """Characters in a line and lines of the terminal that stdout is; None if it is none, or does not know."""
    with contextlib.suppress(OSError, ValueError):
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return (columns, lines) if columns and lines else None
    return None


def screen_width() -> int | None:
    """How many characters fit into a line of the terminal that stdout is; None if it is none."""
    size = screen_size()
    return None if size is None else size[0]


def is_screen() -> bool:
    """Whether stdout is a terminal on which a cursor can be moved and any character be shown."""
    able = os.environ.get("TERM", "") not in DUMB
    return able and screen_size() is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


@contextlib.contextmanager
def log_to(write: Callable[[str], None]) -> Iterator[None]:
    """Sends the log through `write`, if it would go to a terminal otherwise."""
    turned = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
    ]
    before = [handler.setStream(_Written(write)) for handler in turned]
    try:
        yield
    finally:
        for handler, stream in zip(turned, before, strict=True):
            handler.setStream(stream)


class _Written(io.TextIOBase):
    """A stream that is a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)


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


async def first_of(*awaitables: Awaitable[object], timeout_s: float | None = None) -> None:
    """Waits until one of these is over or the time is up; ends the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forever(awaitable: Awaitable[object]) -> None:
    """Never returns, but raises what the awaitable raises."""
    await awaitable
    await asyncio.Event().wait()


class Alarm:
    """Wakes its one waiter at a time, or earlier when it is rung."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes the waiter now, or spares it its next wait."""
        self._event.set()

    async def wait(self, until: float) -> None:
        """Waits until the loop's clock shows `until`, or until it is rung."""
        if not self._event.is_set():
            loop = asyncio.get_running_loop()
            timer = loop.call_at(until, self._event.set) if until < float("inf") else None
            try:
                await self._event.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        self._event.clear()
