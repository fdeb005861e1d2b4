"""Ready records: a node's address and progress for the process that started it, which need not parse the log.

The parent makes a pipe, passes its write end to the child and names that descriptor in `SMSSIM_READY_FD`. The child
writes one JSON object per line:

| event | written by | when | facts |
|---|---|---|---|
| `metrics` | any node | it serves its metrics, before `ready` | `url` |
| `web` | monitor, watch | it serves its page, before `ready` (not with an engine) | `url`; `says`: a log line |
| `ready` | monitor | it serves | `kind`, `address`, `resumed` |
| `ready` | producer | it serves | the same; the fields of `RunFacts` of its run; `elapsed_s` |
| `started` | producer | it has delivered the first message, unless it did so before a restart | |
| `joined` | sender, each copy | it has joined a run | `name`, `run_id` |
| `received` | sender, each copy | it has received the first messages of a run | `name` |

With an engine, `ready` has only `kind` and `address`, because the node may stand by. `resumed` is whether the node
resumes from its journal. `elapsed_s` is the second of the run, without the time during which no producer ran; null if
the run has not started. A monitor closes the pipe after `ready`, a producer after `started`, other nodes when they
exit. Without the variable, nothing is written. A descriptor that is closed or not a pipe is ignored; a pipe that is
full or has no reader is closed. Parent and child have the same version: this is not an interface for other programs.

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
    """The write end of the pipe, if the parent passed one. Process-wide, like the variable."""

    descriptor: int | None = None


_pipe: Final = _Pipe()


def take() -> None:
    """Remove the variable and keep the descriptor, so that no child of this process inherits them. Call it early."""
    given = os.environ.pop(VARIABLE, "")
    if given.isascii() and given.isdigit() and len(given) < 10 and _is_pipe(int(given)):
        descriptor = int(given)
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)  # a parent that does not read must not block the node
        _pipe.descriptor = descriptor


def _is_pipe(descriptor: int) -> bool:
    """Return whether this is the write end of a pipe and not a standard stream."""
    try:
        is_fifo = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return descriptor > 2 and is_fifo and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False


def announce(event: str, *, last: bool = False, **facts: Any) -> None:
    """Write a record if the parent wants them; with `last`, then close the pipe. Never raises OSError, never blocks."""
    if _pipe.descriptor is None:
        return
    line = json.dumps({"event": event, **facts}) + "\n"
    try:
        os.write(_pipe.descriptor, line.encode())  # at most PIPE_BUF bytes: written as a whole or not at all
    except OSError:
        last = True  # stop, because a gap would mislead the parent
    if last:
        with contextlib.suppress(OSError):
            os.close(_pipe.descriptor)
        _pipe.descriptor = None


def parse(line: str) -> tuple[str, Facts] | None:
    """Return the event and the facts of a record; None if the line is not a record."""
    try:
        facts = json.loads(line)
        return str(facts.pop("event")), facts
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
