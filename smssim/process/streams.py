"""stdout and stderr that never raise: not with a closed terminal, a full disk, or a reader that has exited.

A run must not fail because its output fails. Knows file descriptors. Must not know what is written.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Final

_NO_READER: Final = (errno.EPIPE, errno.EIO)  # as with `| head`; a closed terminal


class _Outlet(io.RawIOBase):
    """A file descriptor to write to. After the first error, everything written is discarded."""

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self.is_told = False  # whether `news_of_loss` has returned the error
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write or discard the data. Never raises."""
        while self.error is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process has made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)


_outlets: Final[dict[str, _Outlet]] = {}  # by the name of the stream


def repair() -> None:
    """Replace stdout and stderr with streams that never raise. Output to one that was closed at the start is discarded.

    Names are UTF-8, but a terminal may use another encoding: characters that it can't show are escaped.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:  # closed: the next file opened would get its number
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed; its number is /dev/null now
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
        if isinstance(stream, io.TextIOWrapper) and name not in _outlets:
            _outlets[name] = _Outlet(stream.fileno())
            replacement = io.TextIOWrapper(
                io.BufferedWriter(_outlets[name]),  # type: ignore[type-var]  # typeshed expects a readable stream
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, replacement)


def news_of_loss() -> str | None:
    """Return why writing to stdout failed, but only the first time; None if all is written.

    Also None if the reader has closed its end, because then nothing is lost.
    """
    outlet = _outlets.get("stdout")
    if outlet is None or outlet.error is None or outlet.is_told:
        return None
    outlet.is_told = True
    return _reason(outlet.error)


def has_lost() -> bool:
    """Return whether output was lost: writing to stdout failed although its reader had not left."""
    outlet = _outlets.get("stdout")
    return outlet is not None and outlet.error is not None and _reason(outlet.error) is not None


def _reason(error: OSError) -> str | None:
    return None if error.errno in _NO_READER else os.strerror(error.errno or 0).lower()
