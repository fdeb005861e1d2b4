"""Simulated time: what happens when, to whom, and what happened last."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from random import Random

TRACE_MAX = 4000


class Process:
    """Something that can be killed and paused. What happens to it while it is paused happens when it goes on."""

    name = "process"

    def __init__(self) -> None:
        self.alive = True
        self.paused = False
        self.pauses_over = 0
        self.paused_s = 0.0  # in all pauses that are over
        self.missed: deque[Callable[[], None]] = deque()
        self.pauses: list[tuple[float, float]] = []  # from when to when


class Clock:
    """Events in order of time, all luck, and the memory of both."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.events = 0
        self.struck: Counter[str] = Counter()
        self.trace: deque[tuple[float, str, str, tuple[object, ...]]] = deque(maxlen=TRACE_MAX)
        self._heap: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, delay_s: float, process: Process | None, happen: Callable[[], None]) -> None:
        """Something will happen to a process, unless it is dead by then."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._numbers), process, happen))

    def step(self) -> bool:
        """Lets the next thing happen; whether there was one."""
        if not self._heap:
            return False
        self.now, _, process, happen = heapq.heappop(self._heap)
        self.events += 1
        if process is None or (process.alive and not process.paused):
            happen()
        elif process.alive:
            process.missed.append(happen)
        return True

    def pause(self, process: Process, time_s: float) -> None:
        """Stops a process for some time."""
        self.strike("node paused", process.name)
        process.paused = True
        process.pauses.append((self.now, self.now + time_s))
        self.after(time_s, None, lambda: self._go_on(process, time_s))

    def _go_on(self, process: Process, paused_s: float) -> None:
        self.note(process.name, "goes on")
        process.paused = False
        process.pauses_over += 1
        process.paused_s += paused_s
        while process.missed and process.alive and not process.paused:
            process.missed.popleft()()

    def luck(self, chance: float) -> bool:
        """True with this chance."""
        return chance > 0 and self.random.random() < chance

    def strike(self, fault: str, whom: str = "") -> None:
        """A fault strikes: counted and remembered."""
        self.struck[fault] += 1
        self.note(whom or "fate", fault)

    def note(self, who: str, what: str, *args: object) -> None:
        """Remembers what happens, in the words of `%`."""
        self.trace.append((self.now, who, what, args))

    def story(self, last: int = 60) -> str:
        """What happened last, a line each."""
        lines = list(self.trace)[-last:]
        return "\n".join(
            f"{at - 1000:9.4f}  {who:<12} {what % args if args else what}" for at, who, what, args in lines
        )
