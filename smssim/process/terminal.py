"""The streams of this process as people use them: lines to stdout, lines beside the log, the size of the screen.

Knows stdout, stderr and logging. Must not know what is written.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Final

from smssim.process import logs, streams

DUMB: Final = ("", "dumb", "unknown")  # terminals that can't move a cursor


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


def write_beside_log(*texts: str) -> None:
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
