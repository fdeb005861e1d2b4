"""Files that are written as a whole: a reader sees the old content or the new one, never a part of it.

Knows files. Must not know what they hold. Must stay cheap to import.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from smssim.errors import bad_file

SUFFIX: Final = ".part"  # of the files beside the final ones, while they are written
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write(path: str, content: bytes, mode: int | None = None) -> None:
    """Write a file as a whole; raises OSError. Follows symbolic links. Pipes and devices are just written to.

    `mode`: of the file; None for that of the file that is replaced, or the usual one of new files.
    """
    if _is_special(path):
        _write_to(path, content)
        return
    there = Path(os.path.realpath(path))
    if mode is None and there.exists():
        mode = stat.S_IMODE(there.stat().st_mode)
    beside = beside_of(there)
    try:
        with open(os.open(beside, _NEW, 0o666 if mode is None else mode), "wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # whatever the umask is
        beside.replace(there)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def beside_of(path: Path) -> Path:
    """Return the path at which this process writes a file before it has its final name. No one else uses it."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}{SUFFIX}")


def check(flag: str, path: str) -> None:
    """Raise UsageError unless the file can be written as a whole. Changes nothing on disk."""
    try:
        if Path(path).is_fifo():  # closing one signals the end of the data to its reader
            return
        if _is_special(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            return
        there = Path(os.path.realpath(path))
        if there.is_dir():
            raise IsADirectoryError(21, os.strerror(21))
        beside = beside_of(there)
        os.close(os.open(beside, _NEW, 0o600))
        beside.unlink()
    except (OSError, ValueError) as error:
        raise bad_file(
            flag, path, "a file that can be written, in a directory where files can be created", error
        ) from error


def remove(path: str) -> None:
    """Remove a regular file, so that it is not mistaken for a new one; raises OSError. Leaves pipes and devices."""
    if not _is_special(path):
        Path(os.path.realpath(path)).unlink(missing_ok=True)


def _is_special(path: str) -> bool:
    """Return whether this is a pipe or a device, which can't be replaced. `/dev/stdout` may be one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_to(path: str, content: bytes) -> None:
    """Write to a pipe or a device. Fails at once if nobody reads the pipe."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:
        file.write(content)
