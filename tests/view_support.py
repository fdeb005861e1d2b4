"""Helpers for the tests of screens: snapshots of a run, and a terminal that remembers its screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Self

import pyte
from processes_support import UNPLANNED

from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.planned import PlannedCourse, PlannedTime
from smssim.core.progress import Figures
from smssim.core.session import State
from smssim.core.snapshot import Snapshot, Summary
from smssim.core.stall import Stall
from smssim.core.threshold import Judged, Threshold
from smssim.errors import ExitCode
from smssim.process import ready

DEADLINE_S: Final = 60.0
RUN_ID: Final = "3f2a9c1e-0000-4000-8000-000000000001"
OTHER: Final = RUN_ID.replace("1", "2")  # the id of another run


def figures(sent: int = 2100, failed: int = 90, total: int = 5000, elapsed_s: float = 12.3, **more: object) -> Figures:
    done = sent + failed
    known: dict[str, object] = {
        "run_id": RUN_ID,
        "total": total,
        "elapsed_s": elapsed_s,
        "sent": sent,
        "failed": failed,
        "retried": 0,
        "attempts": done,
        "duplicates": 0,
        "in_flight": min(42, total - done),
        "waiting": total - done - min(42, total - done),
        "avg_time_s": 0.123,
        "avg_sent_time_s": 0.12,
        "rate_per_s": done / elapsed_s if elapsed_s else 0.0,
        "recent_rate_per_s": 480.0,
        "latency_p50_s": 1.2,
        "latency_p95_s": 4.0,
        "latency_p99_s": 4.5,
        "senders": 4,
        "senders_seen": 4,
        "complete": done == total,
        "final": False,
    }
    return Figures(**{**known, **more})  # type: ignore[arg-type]


def row(name: str, state: State = State.SENDING, sent: int = 500, concurrency: int = 4) -> SenderRow:
    return SenderRow(name, 0.02, 0.02, concurrency, state, sent, 11, sent + 11, 0.0201, 41.5, 190.0, 4, 2)


def copies(name: str, number: int, *others: State) -> tuple[SenderRow, ...]:
    """Return this many copies of a sender, of which the last ones are in other states than sending."""
    states = [State.SENDING] * (number - len(others)) + list(others)
    return tuple(row(f"{name}-{i}", state, sent=500 + i) for i, state in enumerate(states, 1))


def snapshot(senders: int = 4, stall: Stall | None = None, others: Others | None = None, **more: object) -> Snapshot:
    fleet = Fleet(tuple(row(f"sender{i}") for i in range(1, senders + 1)), others or Others())
    return Snapshot(figures(**more), fleet, stall)  # type: ignore[arg-type]


def planned() -> PlannedCourse:
    """Return the plan of a run that sends 100 messages a second for ten seconds."""
    return PlannedCourse(
        times_s=(0.0, 1.0, 9.0, 10.0),
        sent=(0, 100, 900, 1000),
        sent_low=(0, 80, 880, 980),
        sent_high=(0, 120, 920, 1000),
        reached_s={
            percent: PlannedTime(percent / 10 - 0.2, percent / 10, percent / 10 + 0.2) for percent in (50, 80, 95, 99)
        },
        complete_s=PlannedTime(9.5, 10.0, 10.5),
        slack_s=0.5,
        seeds=20,
    )


def of_run(run_id: str, seen: Snapshot, **more: object) -> Snapshot:
    return replace(seen, figures=replace(seen.figures, run_id=run_id, **more))  # type: ignore[arg-type]


def idle(run_id: str) -> Snapshot:
    """Return a snapshot of a run in which nothing was counted."""
    return of_run(run_id, snapshot(sent=0, failed=0, attempts=0, in_flight=0, waiting=5000))


def ended(senders: int = 4, exit_code: ExitCode = ExitCode.OK) -> Snapshot:
    last = figures(4500, 500, elapsed_s=20.0, in_flight=0, waiting=0, final=True)
    fleet = Fleet(tuple(row(f"sender{i}", State.LEFT) for i in range(1, senders + 1)))
    summary = Summary(
        exit_code,
        "the producer and the monitor agree",
        {"50": 9.5, "80": 16.2, "95": None, "99": None},
        {"50": 0.5, "90": 1.25, "99.9": 12.5, "100": 13.0},
        7,
        (Judged(Threshold.parse("failed<5%"), 500, False), Judged(Threshold.parse("t50<1m"), 9.5, True)),
    )
    return Snapshot(last, fleet, None, summary)


class Screen:
    """A terminal that receives bytes, and the screen that they produce."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.use(pyte.HistoryScreen(columns, lines, history=1000, ratio=0.01))

    def use(self, screen: pyte.HistoryScreen) -> None:
        self.screen = screen
        self._stream = pyte.ByteStream(screen)

    def feed(self, data: bytes) -> None:
        self._stream.feed(data)

    def lines(self) -> list[str]:
        """Return the lines on the screen, without trailing blanks."""
        return [line.rstrip() for line in self.screen.display]

    def all_lines(self) -> list[str]:
        """Return the lines on the screen and those that have scrolled off at the top."""
        gone = ["".join(line[x].data for x in range(self.screen.columns)).rstrip() for line in self.screen.history.top]
        return gone + self.lines()

    def colours(self) -> set[str]:
        """Return the colours on the screen."""
        return {char.fg for line in self.screen.buffer.values() for char in line.values()}


class Terminal(Screen):
    """A command on a pseudo-terminal."""

    def __init__(self, *words: object, columns: int = 80, lines: int = 24, **variables: str) -> None:
        super().__init__(columns, lines)
        self.raw = b""
        self._hung_up = False
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("SMSSIM_", "NO_COLOR", "COLUMNS", "LINES"))}
        self._records, recording = os.pipe()
        os.set_blocking(self._records, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smssim", *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={
                **plain,
                **UNPLANNED,
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                ready.VARIABLE: str(recording),
                **variables,
            },
            pass_fds=(recording,),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - this one call makes a hang-up reach the command
        )
        os.close(slave)
        os.close(recording)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        self.code_or_kill()
        os.close(self._records)
        if not self._hung_up:
            os.close(self._master)

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed."""
        self._hung_up = True
        os.close(self._master)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Read until a condition on the screen is true; fail if the command ends first."""
        until = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < until, f"timed out waiting for {what}:\n" + "\n".join(self.all_lines())
            assert self._read(1.0), f"ended without {what}:\n" + "\n".join(self.all_lines())

    def address(self) -> str:
        """Wait until the command listens; return its address. Can be called only once."""
        found: list[ready.Facts] = []

        def is_ready() -> bool:
            with contextlib.suppress(BlockingIOError):
                records = map(ready.parse, os.read(self._records, 1 << 16).decode().splitlines())
                found.extend(record[1] for record in records if record is not None and record[0] == "ready")
            return bool(found)

        self.until(is_ready, "a ready record")
        return str(found[0]["address"])

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.all_lines())

    def code(self) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + DEADLINE_S
        while self._read(1.0):
            assert time.monotonic() < until, "still running:\n" + "\n".join(self.all_lines())
        return self.process.wait(DEADLINE_S)

    def code_or_kill(self) -> None:
        try:
            self.code()
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise

    def _read(self, within_s: float) -> bool:
        """Read new output; return False once the command has closed the terminal or it was hung up."""
        if self._hung_up:
            return False
        if not select.select([self._master], [], [], within_s)[0]:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # how Linux reports that the other side is closed
            return False
        self.raw += data
        self.feed(data)
        return bool(data)
