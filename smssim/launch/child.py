"""A child process: started so that it can't outlive this one, and followed by whoever has the time to.

`smssim run` follows its nodes on asyncio's loop, `smssim bench` in its one thread, tests in a thread for each child:
they differ in who waits, and share all else. So nothing here starts a thread, and nothing waits but `wait`, `kill` and
`read_lines`. asyncio's own child processes would not do: a line beyond 64 KiB raises, `send_signal` may take the exit
code away from the thread that waits for it, and nothing tells what a process has used.

Knows processes, pipes and ready records. Must not know nodes.
"""

from __future__ import annotations

import ctypes
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
from smssim.settings import TOKEN_VARIABLE

READ_BYTES: Final = 65_536  # at a time: what a pipe holds
LOG_TAIL_LINES: Final = 5

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl: Final = getattr(ctypes.CDLL(None), "prctl", None)  # looked up here: little is safe in a child before it runs


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a process has written."""

    text: str
    is_log: bool  # on stderr


@dataclass(frozen=True, slots=True)
class Record:
    """A ready record that a process has written."""

    event: str
    facts: ready.Facts
    at: float  # monotonic clock, when it was read


@dataclass(frozen=True, slots=True)
class Usage:
    """How a process ended, and what it has used in its life."""

    code: int  # its exit code, negative if a signal ended it
    cpu_s: float
    peak_bytes: int  # of resident memory, on Linux; at least what this process had when it started it


class Splitter:
    """Splits what comes from a pipe into lines, and lines that are too long into pieces."""

    def __init__(self, limits: LaunchLimits = LAUNCH_LIMITS) -> None:
        self._line_bytes_max = limits.line_bytes_max
        self._rest = b""  # of a line that is not yet whole

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are whole now; at the end, for which the data is empty, the rest."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) >= self._line_bytes_max):
            whole.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in whole]


class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal reaches its parent alone.

    On Linux the kernel kills it when the thread that made it ends: make it in the main thread. Of this process's
    variables it gets none of smssim's but those that are given. `signal`, `reap` and `wait` may be called in any
    thread; all else in the thread that reads.
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
        """`stdout`: as of `subprocess.Popen`, PIPE, DEVNULL or None, which is that of this process. Raises OSError."""
        self.name = name
        self._limits = limits
        self.log: deque[str] = deque(maxlen=LOG_TAIL_LINES)  # the end of what it wrote to stderr
        self.records: list[Record] = []
        self.usage: Usage | None = None  # once it has ended and somebody has looked
        self._reaping = threading.Lock()
        reading, writing = os.pipe()
        self._record_pipe = open(reading, "rb", buffering=0)  # noqa: SIM115 - open for as long as it is followed
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=_environment(token) | dict(variables or {}) | {ready.VARIABLE: str(writing)},
                pass_fds=(writing,),
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, looked up before
            )
        except BaseException:
            self._record_pipe.close()
            raise
        finally:
            os.close(writing)
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._log_descriptor = self._process.stderr.fileno()
        # Those that may still bring something. Each stays open until `close`, so that its number is nobody else's.
        self._open = {pipe.fileno(): Splitter(limits) for pipe in self._pipes}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def _pipes(self) -> list[IO[bytes]]:
        pipes = (self._record_pipe, self._process.stdout, self._process.stderr)
        return [pipe for pipe in pipes if pipe is not None]

    # -- what it writes

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for with `poll` or the like before `read`; one that is at its end is no longer among them."""
        return tuple(self._open)

    def read(self, descriptor: int) -> list[Line]:
        """Take in what there is at a descriptor; return the lines that are whole. Records are noted. Never blocks."""
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
        """Return the first record of this event that was read so far."""
        return next((record for record in self.records if record.event == event), None)

    def _note(self, texts: list[str]) -> None:
        at = time.monotonic()
        for text in texts:
            parsed = ready.parse(text)
            if parsed is not None and len(self.records) < self._limits.records_max:
                self.records.append(Record(*parsed, at))

    # -- how it ends

    @property
    def code(self) -> int | None:
        """Its exit code, negative if a signal ended it; None while it runs or nobody has looked."""
        return None if self.usage is None else self.usage.code

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and all that it wrote was read."""
        return self.usage is not None and not self._open

    def reap(self) -> bool:
        """Note how it ended and what it has used, if it has ended; return whether it has. Never blocks."""
        with self._reaping:
            if self.usage is None:
                pid, status, used = os.wait4(self.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    self._process.returncode = code  # or it would be waited for once more
                    self.usage = Usage(code, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss)
        return self.usage is not None

    def wait(self, within_s: float = float("inf")) -> bool:
        """Wait until it has ended; return whether it has within this time."""
        until = time.monotonic() + within_s
        while not self.reap():
            if time.monotonic() >= until:
                return False
            time.sleep(self._limits.reap_s)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with self._reaping:
            if self.usage is None:
                os.kill(self.pid, number)  # nobody has waited for it, so the number is still its own

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Close this end of its pipes; nothing more is read."""
        self._open.clear()
        for pipe in self._pipes:
            pipe.close()

    def ending(self) -> str:
        """Return how it ended, in words."""
        code = self.code or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}"


def read_lines(children: Iterable[Child], within_s: float) -> Iterator[tuple[Child, Line]]:
    """Yield what these have written, after waiting for it, or for a record or an end, for at most this long."""
    owners = {descriptor: child for child in children for descriptor in child.descriptors}
    pipes = select.poll()
    for descriptor in owners:
        pipes.register(descriptor, select.POLLIN)
    for descriptor, _ in pipes.poll(1000 * within_s):
        for line in owners[descriptor].read(descriptor):
            yield owners[descriptor], line


def _environment(token: str | None) -> dict[str, str]:
    """Return this process's variables without smssim's, but with the token where there is one."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SMSSIM_")}
    return others | ({TOKEN_VARIABLE: token} if token else {})


def _end_with_parent() -> None:
    """In a child before it runs, on Linux: have the kernel kill it when this process dies, even of a SIGKILL."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
