"""Simulated time: events in their order, all random numbers, and a trace of what happened last."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable
from random import Random

TRACE_MAX = 4000


class Pauses:
    """The pauses of a process, and what it missed during the present one."""

    def __init__(self) -> None:
        self.now = False
        self.over = 0
        self.sum_s = 0.0  # of all pauses that are over
        self.missed: deque[tuple[Process, Callable[[], None]]] = deque()
        self.all: list[tuple[float, float]] = []  # the begin and end of each


class Process:
    """A process that can be killed and paused. Its events during a pause happen when the pause ends.

    Or a part of a process, which may end before it.
    """

    name = "process"

    def __init__(self, host: Process | None = None) -> None:
        """`host`: the process that this is a part of."""
        self.host: Process = host or self
        self.pauses: Pauses = Pauses() if host is None else host.pauses
        self.cut_until = -math.inf  # it does not reach the engine before that
        self._is_alive = True

    @property
    def alive(self) -> bool:
        """Whether neither this nor its process has ended."""
        return self._is_alive and self.host._is_alive

    @property
    def paused(self) -> bool:
        """Whether the process is paused."""
        return self.pauses.now

    def finish(self) -> None:
        """End, with all events that are still to come."""
        self._is_alive = False

    def miss(self, happen: Callable[[], None]) -> None:
        """Let an event happen at the end of the present pause."""
        self.pauses.missed.append((self, happen))


class Clock:
    """Events in order of time, all random numbers, and a trace of both."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.events = 0
        self.struck: Counter[str] = Counter()
        self.trace: deque[tuple[float, str, str, tuple[object, ...]]] = deque(maxlen=TRACE_MAX)
        self._heap: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, delay_s: float, process: Process | None, happen: Callable[[], None]) -> None:
        """Schedule an event of a process; it is dropped if the process is dead by then."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._numbers), process, happen))

    def step(self) -> bool:
        """Run the next event; return whether there was one."""
        if not self._heap:
            return False
        self.now, _, process, happen = heapq.heappop(self._heap)
        self.events += 1
        if process is None or (process.alive and not process.paused):
            happen()
        elif process.alive:
            process.miss(happen)
        return True

    def pause(self, process: Process, time_s: float) -> None:
        """Stop a process for some time."""
        self.strike("node paused", process.name)
        process.pauses.now = True
        process.pauses.all.append((self.now, self.now + time_s))
        self.after(time_s, None, lambda: self._go_on(process.host, time_s))

    def _go_on(self, process: Process, paused_s: float) -> None:
        self.note(process.name, "continues")
        pauses = process.pauses
        pauses.now = False
        pauses.over += 1
        pauses.sum_s += paused_s
        while pauses.missed and process.alive and not process.paused:
            whose, happen = pauses.missed.popleft()
            if whose.alive:
                happen()

    def luck(self, chance: float) -> bool:
        """Return True with this probability."""
        return chance > 0 and self.random.random() < chance

    def strike(self, fault: str, whom: str = "") -> None:
        """Count a fault that strikes, and add it to the trace."""
        self.struck[fault] += 1
        self.note(whom or "fate", fault)

    def note(self, who: str, what: str, *args: object) -> None:
        """Add an event to the trace; `what` is a format for `%` with these arguments."""
        self.trace.append((self.now, who, what, args))

    def story(self, last: int = 60) -> str:
        """Return the last events of the trace, one per line."""
        lines = list(self.trace)[-last:]
        return "\n".join(
            f"{at - 1000:9.4f}  {who:<12} {what % args if args else what}" for at, who, what, args in lines
        )
