"""A child process that can't outlive this process, with its output, its ready records and its resource usage.

`smssim run` follows its nodes on an asyncio loop, `smssim bench` in its only thread, tests in a thread per child. So
that all of them can use it, nothing here starts a thread, and only `wait`, `kill` and `read_lines` wait. The child
processes of asyncio are not sufficient: a line longer than 64 KiB raises, `send_signal` may take the exit code from the
thread that waits for it, and they do not report CPU time and memory.

Knows processes, pipes and ready records. Must not know nodes.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.process import ready
from smssim.process.parent import end_with_parent
from smssim.settings import TOKEN_VARIABLE

READ_BYTES: Final = 65_536  # per read: the capacity of a pipe
LOG_TAIL_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a process has written."""

    text: str
    is_log: bool  # whether it is from stderr


@dataclass(frozen=True, slots=True)
class Record:
    """A ready record that a process has written."""

    event: str
    facts: ready.Facts
    at: float  # when it was read, on the monotonic clock


@dataclass(frozen=True, slots=True)
class Usage:
    """The exit code and the total resource usage of a process."""

    code: int  # its exit code, negative if a signal ended it
    cpu_s: float
    peak_bytes: int  # of resident memory, on Linux; includes the memory of this process at the fork


class Splitter:
    """Splits the bytes from a pipe into lines, and lines that are too long into pieces."""

    def __init__(self, limits: LaunchLimits = LAUNCH_LIMITS) -> None:
        self._line_bytes_max = limits.line_bytes_max
        self._rest = b""  # the start of an incomplete line

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are now complete. Empty data means the end: then return the rest, too."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) >= self._line_bytes_max):
            whole.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in whole]


class Child:
    """A process in its own session, so that Ctrl-C in the terminal reaches only its parent.

    On Linux, the kernel kills it when the thread that started it ends: start it in the main thread. It inherits the
    environment variables of this process except those of smssim; it gets only the given ones. `signal`, `reap` and
    `wait` may be called in any thread, everything else in the thread that reads.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        token: str | None = None,
        variables: Mapping[str, str] | None = None,
        stdout: int | None = subprocess.PIPE,
        limits: LaunchLimits = LAUNCH_LIMITS,
    ) -> None:
        """Start the process. Raises OSError. `stdout`: PIPE, DEVNULL or None (inherited), as for `subprocess.Popen`."""
        self.name = name
        self._limits = limits
        self.log: deque[str] = deque(maxlen=LOG_TAIL_LINES)  # the last lines that it wrote to stderr
        self.records: list[Record] = []
        self.usage: Usage | None = None  # set by `reap` after it has ended
        self._reaping = threading.Lock()
        reading, writing = os.pipe()
        self._record_pipe = open(reading, "rb", buffering=0)  # noqa: SIM115 - see `close`
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=_environment(token) | dict(variables or {}) | {ready.VARIABLE: str(writing)},
                pass_fds=(writing,),
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, looked up beforehand
            )
        except BaseException:
            self._record_pipe.close()
            raise
        finally:
            os.close(writing)
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._log_descriptor = self._process.stderr.fileno()
        # The pipes that are not at their end. All stay open until `close`, so that their numbers are not reused.
        self._open = {pipe.fileno(): Splitter(limits) for pipe in self._pipes}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def _pipes(self) -> list[IO[bytes]]:
        pipes = (self._record_pipe, self._process.stdout, self._process.stderr)
        return [pipe for pipe in pipes if pipe is not None]

    # -- its output

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors of the pipes that are not at their end, to wait for with `poll` before `read`."""
        return tuple(self._open)

    def read(self, descriptor: int) -> list[Line]:
        """Read from a descriptor; return the lines that are now complete, or store the records. Never blocks."""
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return []
        texts = self._open[descriptor].feed(data)
        if not data:
            del self._open[descriptor]
        if descriptor == self._record_pipe.fileno():
            self._note(texts)
            return []
        is_log = descriptor == self._log_descriptor
        if is_log:
            self.log.extend(texts)
        return [Line(text, is_log) for text in texts]

    def record(self, event: str) -> Record | None:
        """Return the first record of this event; None if none was read yet."""
        return next((record for record in self.records if record.event == event), None)

    def _note(self, texts: list[str]) -> None:
        at = time.monotonic()
        for text in texts:
            parsed = ready.parse(text)
            if parsed is not None and len(self.records) < self._limits.records_max:
                self.records.append(Record(*parsed, at))

    # -- its end

    @property
    def code(self) -> int | None:
        """The exit code, negative if a signal ended it; None before `reap` has returned True."""
        return None if self.usage is None else self.usage.code

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and all its output was read."""
        return self.usage is not None and not self._open

    def reap(self) -> bool:
        """Return whether it has ended, and if so, store its exit code and usage. Never blocks."""
        with self._reaping:
            if self.usage is None:
                pid, status, used = os.wait4(self.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    self._process.returncode = code  # otherwise Popen would wait for it again
                    self.usage = Usage(code, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss)
        return self.usage is not None

    def wait(self, within_s: float = float("inf")) -> bool:
        """Wait until it has ended, for at most this time; return whether it has."""
        until = time.monotonic() + within_s
        while not self.reap():
            if time.monotonic() >= until:
                return False
            time.sleep(self._limits.reap_s)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal if it still runs."""
        with self._reaping:
            if self.usage is None:
                os.kill(self.pid, number)  # not reaped yet, so the PID is still its own

    def kill(self) -> None:
        """Kill it if it still runs, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Close this end of its pipes. No more is read."""
        self._open.clear()
        for pipe in self._pipes:
            pipe.close()

    def ending(self) -> str:
        """Return how it ended, in words."""
        code = self.code or 0
        how = f"was terminated by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        return f"{self.name} {how}"


def read_lines(children: Iterable[Child], within_s: float) -> Iterator[tuple[Child, Line]]:
    """Yield the new lines of these children. Wait for lines, a record or an end, for at most this long."""
    owners = {descriptor: child for child in children for descriptor in child.descriptors}
    pipes = select.poll()
    for descriptor in owners:
        pipes.register(descriptor, select.POLLIN)
    for descriptor, _ in pipes.poll(1000 * within_s):
        for line in owners[descriptor].read(descriptor):
            yield owners[descriptor], line


def _environment(token: str | None) -> dict[str, str]:
    """Return this process's environment without the variables of smssim, but with the token if there is one."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SMSSIM_")}
    return others | ({TOKEN_VARIABLE: token} if token else {})
