"""Ready records: what a node says to the process that started it, so that nobody has to read its log for that.

The parent makes a pipe, passes its writing end to the child and names that descriptor in `SMSSIM_READY_FD`. The child
writes one JSON object a line:

| event | written by | once | facts |
|---|---|---|---|
| `metrics` | any node | its metrics are served, before `ready` | `url` |
| `ready` | monitor | it serves | `kind`, `address`, `resumed` |
| `ready` | producer | it serves | the same; `run_id`, `seed`, `total`, `max_attempts` of its run |
| `started` | producer | it has handed out the first message | |
| `joined` | sender, each copy | it has joined a run | `name`, `run_id` |

`resumed` says whether it goes on with what its journal has. A monitor closes the pipe after `ready`, a producer after
`started`, others when they end. Without the variable nothing is written; a descriptor that is closed, no pipe, full or
without a reader is given up silently. Parent and child are of one version: this is no interface for other programs.

Knows file descriptors. Must not know what nodes do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from dataclasses import dataclass
from typing import Any, Final

VARIABLE: Final = "SMSSIM_READY_FD"

Facts = dict[str, Any]


@dataclass
class _Pipe:
    """The writing end, if a parent has passed one. Process-wide, as the variable is."""

    descriptor: int | None = None


_pipe: Final = _Pipe()


def take() -> None:
    """Take the descriptor out of the environment, so that no child of this process inherits either. Call it early."""
    given = os.environ.pop(VARIABLE, "")
    if given.isascii() and given.isdigit() and len(given) < 10 and _is_pipe(int(given)):
        descriptor = int(given)
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)  # a parent that does not read must not hold the node up
        _pipe.descriptor = descriptor


def _is_pipe(descriptor: int) -> bool:
    """Whether this is the writing end of a pipe, and none of the standard streams."""
    try:
        is_fifo = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return descriptor > 2 and is_fifo and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False


def announce(event: str, *, last: bool = False, **facts: Any) -> None:
    """Write a record, if a parent wants them; with `last`, close the pipe then. Never raises OSError, never blocks."""
    if _pipe.descriptor is None:
        return
    line = json.dumps({"event": event, **facts}) + "\n"
    try:
        os.write(_pipe.descriptor, line.encode())  # at most PIPE_BUF bytes: whole or not at all
    except OSError:
        last = True  # a gap would mislead
    if last:
        with contextlib.suppress(OSError):
            os.close(_pipe.descriptor)
        _pipe.descriptor = None


def parse(line: str) -> tuple[str, Facts] | None:
    """Return the event and the facts of a record; None if the line is none."""
    try:
        facts = json.loads(line)
        return str(facts.pop("event")), facts
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
