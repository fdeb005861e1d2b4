"""Coroutines of the core in simulated time: they await nothing but `Pending`, and continue when it ends.

Whoever ends a `Pending` does so in an event of the process that waits for it. So a coroutine stops with its process,
and is delayed while that is paused.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from simulation.clock import Clock, Process

Result = TypeVar("Result")


class Pending(Generic[Result]):
    """Something that ends later, with a result or an error. Its first end counts, later ones are ignored."""

    def __init__(self) -> None:
        self._is_over = False
        self._error: Exception | None = None
        self._result: Result | None = None
        self._then: Callable[[], None] | None = None

    def end(self, result: Result) -> None:
        """End with a result."""
        self._end(result, None)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._end(None, error)

    def _end(self, result: Result | None, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over, self._result, self._error = True, result, error
        if self._then is not None:
            self._then()

    def __await__(self) -> Generator[Pending[Any], None, Result]:
        """Wait for the end."""
        if not self._is_over:
            yield self
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set by `end`

    def then(self, happen: Callable[[], None]) -> None:
        """Call this at the end."""
        self._then = happen


class Driven(Generic[Result]):
    """A coroutine that runs until it is over or cancelled. An error that it raises ends the simulation."""

    def __init__(
        self, coroutine: Coroutine[Pending[Any], None, Result], done: Callable[[Result], None] | None = None
    ) -> None:
        """Run the coroutine until it has to wait; `done` is called with its result."""
        self.is_over = False
        self._coroutine = coroutine
        self._done = done
        self._is_running = False
        self._step()

    def _step(self) -> None:
        if self.is_over:
            return
        self._is_running = True
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration as end:
            was_cancelled, self.is_over = self.is_over, True
            if self._done is not None and not was_cancelled:
                self._done(end.value)
        else:
            waits_for.then(self._step)
        finally:
            self._is_running = False
        if self.is_over:
            self._coroutine.close()

    def cancel(self) -> None:
        """Stop the coroutine where it waits, or will wait next, for good."""
        self.is_over = True
        if not self._is_running:
            self._coroutine.close()


async def sleep(clock: Clock, process: Process, time_s: float) -> None:
    """Wait for some time."""
    pending = Pending[None]()
    clock.after(time_s, process, partial(pending.end, None))
    await pending
