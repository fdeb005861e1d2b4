"""Terminal output: lines on stdout, lines next to the log, and the size of the screen.

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


def print_lines(*texts: str) -> None:
    """Write lines to stdout. Once stdout fails, they are discarded and the node continues."""
    write("".join(f"{text}\n" for text in texts))


def write(text: str) -> None:
    """Write text to stdout unchanged; otherwise like `print_lines`."""
    sys.stdout.write(text)
    sys.stdout.flush()
    reason = streams.news_of_loss()
    if reason is not None:
        logging.getLogger(logs.ROOT).error("Can't write to stdout: %s; discarding further output", reason)


def write_beside_log(*texts: str) -> None:
    """Write lines to where the log goes, as they are."""
    handlers = (one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler))
    stream = next((one.stream for one in handlers), sys.stderr)
    with contextlib.suppress(OSError):
        stream.write("".join(f"{text}\n" for text in texts))
        stream.flush()


def has_reader() -> bool:
    """Return whether stdout may still have a reader: False if the other end of a pipe is closed."""
    ends = select.poll()
    try:
        ends.register(sys.stdout.fileno(), 0)  # no events: errors are always reported
    except (OSError, ValueError):
        return True
    return not ends.poll(0)


def screen_size() -> tuple[int, int] | None:
    """Return the columns and lines of the terminal; None if stdout is not a terminal or its size is unknown."""
    with contextlib.suppress(OSError, ValueError):
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return (columns, lines) if columns and lines else None
    return None


def screen_width() -> int | None:
    """Return the columns of the terminal; None as for `screen_size`."""
    size = screen_size()
    return None if size is None else size[0]


def is_screen() -> bool:
    """Return whether stdout is a terminal that can move the cursor and show any character."""
    able = os.environ.get("TERM", "") not in DUMB
    return able and screen_size() is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


@contextlib.contextmanager
def log_to(write: Callable[[str], None]) -> Iterator[None]:
    """Redirect the log to `write` during the block if it goes to a terminal."""
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
    """A text stream that passes everything written to a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)
