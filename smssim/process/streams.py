"""stdout and stderr, writable whatever becomes of them: a closed terminal, a full disk, a reader that has left.

What counts must not end because of what is shown. Knows file descriptors. Must not know what is written.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Final

_NO_READER: Final = (errno.EPIPE, errno.EIO)  # as behind `| head`; a terminal that was closed


class _Outlet(io.RawIOBase):
    """A file descriptor to write to. From the first error on, all that is written goes nowhere."""

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self.is_told = False  # the error
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Never raises."""
        while self.error is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # somebody else has made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)


_outlets: Final[dict[str, _Outlet]] = {}  # by the name of the stream


def mend() -> None:
    """Puts streams that never raise in place of stdout and stderr; those that were closed before the start go nowhere.

    Names are UTF-8 and a terminal may not be: what it can't show is escaped.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed: whatever is opened next would be taken for it
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed; its number goes nowhere now
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as we live
        if isinstance(stream, io.TextIOWrapper) and name not in _outlets:
            _outlets[name] = _Outlet(stream.fileno())
            mended = io.TextIOWrapper(
                io.BufferedWriter(_outlets[name]),  # type: ignore[type-var]  # typeshed wants a readable one
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, mended)


def news_of_loss() -> str | None:
    """Why stdout takes no more, the first time that somebody asks; None where all is written.

    None, too, where nobody is left to read on: that is no loss.
    """
    outlet = _outlets.get("stdout")
    if outlet is None or outlet.error is None or outlet.is_told:
        return None
    outlet.is_told = True
    return _reason(outlet.error)


def has_lost() -> bool:
    """Whether stdout took no more while somebody wanted to read it."""
    outlet = _outlets.get("stdout")
    return outlet is not None and outlet.error is not None and _reason(outlet.error) is not None


def _reason(error: OSError) -> str | None:
    return None if error.errno in _NO_READER else os.strerror(error.errno or 0).lower()
