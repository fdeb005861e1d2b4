"""Whole separate processes, followed and measured: what they say, their CPU time, their peak memory.

One thread, no waiting without a bound, and no process left behind, whatever happens. Needs Linux: other systems don't
let one process read the CPU clock of another. Knows nodes by their command lines only.
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from smssim.errors import ExitCode, SmssimError
from smssim.launch.cluster import NodeSettings, command, end_with_parent

LISTEN_WITHIN_S: Final = 30.0
END_WITHIN_S: Final = 20.0  # after the first node of a run has ended, the others
POLL_S: Final = 0.05  # how often ends and interruptions are looked for
TAIL_LINES: Final = 5  # of the log of a node that failed
READ_BYTES: Final = 65_536

_LISTENING: Final = re.compile(r"listening on (\S+)$")


class BenchError(SmssimError):
    """A run of the bench did not end as it should."""


class InterruptedBenchError(SmssimError):
    """The user has stopped the bench."""

    exit_code = ExitCode.INCOMPLETE


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used in its life."""

    code: int  # its exit code, negative if a signal ended it
    cpu_s: float
    peak_bytes: int  # of resident memory; at least what this process had when it started it


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a process has written."""

    process: Process
    text: str
    at: float  # monotonic clock, when it was read
    is_log: bool  # on stderr


class Process:
    """A process that was started."""

    def __init__(self, name: str, words: list[str]) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SMSSIM_")}
        self.name = name
        self.log: deque[str] = deque(maxlen=TAIL_LINES)
        self.usage: Usage | None = None  # once it has ended
        self.open_pipes = 2  # that it may still write to
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then ends the others.
        self.child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - this process has one thread
        )

    @property
    def ended(self) -> bool:
        """Whether it has ended and all that it wrote was read."""
        return self.usage is not None and not self.open_pipes

    def cpu_s(self) -> float:
        """CPU seconds used so far, by all its threads."""
        return _cpu_s(self.child.pid) if self.usage is None else self.usage.cpu_s

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        if self.usage is None:
            os.kill(self.child.pid, number)  # not yet waited for, so the number is still its own

    def reap(self, wait: bool = False) -> None:
        """Notes its usage if it has ended."""
        if self.usage is None:
            pid, status, used = os.wait4(self.child.pid, 0 if wait else os.WNOHANG)
            if pid:
                self.child.returncode = os.waitstatus_to_exitcode(status)
                self.usage = Usage(self.child.returncode, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss)

    def story(self) -> str:
        """How it ended, with the end of its log."""
        code = 0 if self.usage is None else self.usage.code
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}" + "".join(f"\n    {line}" for line in self.log)


class Fleet:
    """Processes that are started, followed and ended together."""

    def __init__(self, poll: Callable[[], None]) -> None:
        """`poll` is called many times a second; what it raises ends the fleet."""
        self.processes: list[Process] = []
        self._poll = poll
        self._pipes = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}  # of a line that is not yet whole, by file descriptor
        self._unread: list[Line] = []  # read while something else was waited for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends every process that is left, at once."""
        self.kill()
        for process in self.processes:
            process.reap(wait=True)
            for pipe in (process.child.stdout, process.child.stderr):
                if pipe is not None:
                    pipe.close()
        self._pipes.close()

    def kill(self) -> None:
        """Ends every process that is left, without waiting for it."""
        for process in self.processes:
            process.signal(signal.SIGKILL)

    def start(self, name: str, words: list[str]) -> Process:
        """Starts a process."""
        self._poll()
        process = Process(name, words)
        self.processes.append(process)
        for pipe, is_log in ((process.child.stdout, False), (process.child.stderr, True)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._pipes.register(pipe, selectors.EVENT_READ, (process, is_log))
        return process

    def node(self, kind: str, settings: NodeSettings, name: str = "") -> Process:
        """Starts a node."""
        return self.start(name or kind, command(kind, settings))

    def address(self, process: Process) -> str:
        """Where a node listens, once it does; raises BenchError."""
        until = time.monotonic() + LISTEN_WITHIN_S
        seen: list[Line] = []
        while time.monotonic() < until and process.usage is None:
            new = list(self.lines())
            seen += new
            for line in new:
                if line.process is process and (found := _LISTENING.search(line.text)):
                    self._unread = seen
                    return found[1]
        raise BenchError(f"{process.name} does not listen" if process.usage is None else process.story())

    def lines(self) -> Iterator[Line]:
        """What the processes have written, after a short wait for it; raises BenchError if one has ended badly."""
        self._poll()
        unread, self._unread = self._unread, []
        yield from unread
        for key, _ in self._pipes.select(POLL_S):
            process, is_log = key.data
            yield from self._read(key.fd, process, is_log)
        for process in self.processes:
            process.reap()
            if process.usage is not None and process.usage.code:
                self._read_log(process)
                raise BenchError(process.story())

    def watch(self, time_s: float) -> float:
        """Lets some time pass, and says how much it was; raises BenchError."""
        began_at = time.monotonic()
        while (passed_s := time.monotonic() - began_at) < time_s:
            deque(self.lines(), maxlen=0)
        return passed_s

    def until_ended(self, processes: list[Process]) -> Iterator[Line]:
        """What is written until these have ended; raises BenchError if some outlive the first one for long."""
        until = float("inf")
        while left := [process.name for process in processes if not process.ended]:
            if time.monotonic() > until:
                raise BenchError(f"the run is over, but not for {', '.join(left)}")
            yield from self.lines()
            if until == float("inf") and len(left) < len(processes):
                until = time.monotonic() + END_WITHIN_S

    def _read(self, fd: int, process: Process, is_log: bool) -> Iterator[Line]:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._pipes.unregister(fd)
            process.open_pipes -= 1
            return
        at = time.monotonic()
        *whole, self._rest[fd] = (self._rest.get(fd, b"") + data).split(b"\n")
        for raw in whole:
            text = raw.decode(errors="replace")
            if is_log:
                process.log.append(text)
            yield Line(process, text, at, is_log)

    def _read_log(self, process: Process) -> None:
        """Reads the rest of the log of a process that has ended."""
        for key in list(self._pipes.get_map().values()):
            if key.data == (process, True):
                deque(self._read(key.fd, process, True), maxlen=0)


def _cpu_s(pid: int) -> float:
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


_libc: Final = ctypes.CDLL(None)
