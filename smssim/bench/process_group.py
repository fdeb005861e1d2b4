"""Groups of separate processes that are started, followed, measured and ended together.

Uses one thread, bounds every wait, and never leaves a process behind. Needs Linux, because other systems don't let a
process read the CPU clock of another. Knows nodes only by their command lines and ready records.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from smssim.errors import ExitCode, SmssimError
from smssim.launch.child import Child, Line, read_lines
from smssim.launch.node import NodeSettings, command


@dataclass(frozen=True, kw_only=True)
class GroupLimits:
    """Times in seconds."""

    ready_s: float = 30.0  # until a node is ready
    others_s: float = 20.0  # from the end of a run's first node to the end of its last
    poll_s: float = 0.05  # between checks for ended processes and interruptions


GROUP_LIMITS: Final = GroupLimits()


class BenchError(SmssimError):
    """A run of the bench failed."""


class InterruptedBenchError(SmssimError):
    """The user stopped the bench."""

    exit_code = ExitCode.INCOMPLETE


class ProcessGroup:
    """Processes that are started, followed and ended together."""

    def __init__(self, poll: Callable[[], None], limits: GroupLimits = GROUP_LIMITS) -> None:
        """Create an empty group. `poll` is called many times per second; an exception from it ends the group."""
        self.children: list[Child] = []
        self._poll = poll
        self._limits = limits
        self._unread: list[tuple[Child, Line]] = []  # lines that were read while `address` waited, for `lines`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill every remaining process and wait for its end."""
        self.kill()
        for child in self.children:
            child.wait()
            child.close()

    def kill(self) -> None:
        """Kill every remaining process without waiting for its end."""
        for child in self.children:
            child.signal(signal.SIGKILL)

    def start(self, name: str, words: Sequence[str]) -> Child:
        """Start a process."""
        self._poll()
        self.children.append(Child(name, words))
        return self.children[-1]

    def node(self, kind: str, settings: NodeSettings, name: str = "") -> Child:
        """Start a node that logs only warnings and errors."""
        return self.start(name or kind, command(kind, replace(settings, log_level="warning")))

    def address(self, node: Child) -> str:
        """Wait until a node listens and return its address. Raises BenchError."""
        until = time.monotonic() + self._limits.ready_s
        seen: list[tuple[Child, Line]] = []
        while (record := node.record("ready")) is None:
            if node.code is not None:
                raise BenchError(_story(node))
            if time.monotonic() > until:
                raise BenchError(f"{node.name} is not ready")
            seen += self.lines()
        self._unread = [*seen, *self._unread]
        return str(record.facts["address"])

    def lines(self) -> Iterator[tuple[Child, Line]]:
        """Wait briefly and yield the lines that the processes have written. Raises BenchError if one has failed."""
        self._poll()
        unread, self._unread = self._unread, []
        yield from unread
        yield from read_lines(self.children, self._limits.poll_s)
        for child in self.children:
            if child.reap() and child.code:
                deque(read_lines([child], 0.0), maxlen=0)  # the rest of its log
                raise BenchError(_story(child))

    def run_for(self, time_s: float) -> float:
        """Let the processes run for some time. Return the time that passed, in seconds. Raises BenchError."""
        began_at = time.monotonic()
        while (passed_s := time.monotonic() - began_at) < time_s:
            deque(self.lines(), maxlen=0)
        return passed_s

    def until_ended(self, children: Sequence[Child]) -> Iterator[tuple[Child, Line]]:
        """Yield the lines that are written until these children have ended.

        Raises BenchError if some are still running `others_s` after the first one ended.
        """
        until = float("inf")
        while left := [child.name for child in children if not child.has_ended]:
            if time.monotonic() > until:
                raise BenchError(f"still running after the end of the run: {', '.join(left)}")
            yield from self.lines()
            if until == float("inf") and len(left) < len(children):
                until = time.monotonic() + self._limits.others_s


def cpu_s(child: Child) -> float:
    """Return the CPU seconds that all threads of a process have used so far. Raises OSError."""
    if child.usage is not None:
        return child.usage.cpu_s
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(child.pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def _story(child: Child) -> str:
    """Return how a process ended, with the end of its log."""
    return child.ending() + "".join(f"\n    {line}" for line in child.log)


_libc: Final = ctypes.CDLL(None)
