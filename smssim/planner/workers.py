"""Processes that play seeds side by side, one per core.

They are forked, because they then have everything that is already imported and computed, and start in milliseconds. No
worker outlives this process. Knows processes and pipes. Must not know what a play contains, or how many are needed.
"""

from __future__ import annotations

import gc
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Self

from smssim.errors import SmssimError
from smssim.plan.scale import Scale
from smssim.plan.scenario import START_S, Scenario
from smssim.plan.seeds import Play, play
from smssim.process.parent import end_with_parent

Task = tuple[Scenario, int, Scale]
PlayOne = Callable[[Scenario, int, Scale], Play]


def play_one(scenario: Scenario, seed: int, scale: Scale) -> Play:
    """Play a scenario with one seed."""
    return play(scenario, seed, scale, START_S)


@dataclass(eq=False)
class _Worker:
    process: ForkProcess
    pipe: Connection


class Workers:
    """The processes, as a context manager. Start it while no thread holds a lock: a fork copies locks."""

    def __init__(self, number: int, play_one: PlayOne = play_one) -> None:
        self._number = number
        self._play_one = play_one
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        gc.freeze()  # so that collections in the workers leave the pages alone that all of them share
        for _ in range(self._number):
            self._workers.append(self._started())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for worker in self._workers:
            worker.pipe.close()
            worker.process.join()
        self._workers.clear()

    def kill(self) -> None:
        """End all workers at once. May be called in any thread."""
        for worker in self._workers:
            worker.process.kill()

    def plays(
        self, scenario: Scenario, seeds: Sequence[int], scale: Scale, told: Callable[[], None] = lambda: None
    ) -> list[Play]:
        """Play a scenario with each of these seeds, and return the plays in their order.

        `told` is called after each play. Raises SmssimError if a worker dies.
        """
        found: dict[int, Play] = {}
        for at, one in self._finished(scenario, seeds, scale):
            found[at] = one
            told()
        return [found[at] for at in range(len(seeds))]

    def _finished(self, scenario: Scenario, seeds: Sequence[int], scale: Scale) -> Iterator[tuple[int, Play]]:
        """Yield plays as they finish, each with the place of its seed."""
        waiting = list(enumerate(seeds))[::-1]
        idle, busy = list(self._workers), dict[Connection, tuple[int, _Worker]]()
        while waiting or busy:
            while waiting and idle:
                at, seed = waiting.pop()
                worker = idle.pop()
                busy[worker.pipe] = at, worker
                _send(worker, (scenario, seed, scale))
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                at, worker = busy.pop(pipe)
                idle.append(worker)
                yield at, _received(worker)

    def _started(self) -> _Worker:
        ours, theirs = get_context("fork").Pipe()
        others = [ours, *(worker.pipe for worker in self._workers)]
        process = get_context("fork").Process(
            target=_work, args=(theirs, others, self._play_one, os.getpid()), daemon=True
        )
        with warnings.catch_warnings():
            # From Python 3.12 on, a fork beside a thread is warned of. The only other thread waits for signals.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _send(worker: _Worker, task: Task) -> None:
    try:
        worker.pipe.send(task)
    except OSError as error:
        raise _died(worker) from error


def _received(worker: _Worker) -> Play:
    try:
        answer: Play | str = worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise _died(worker) from error
    if isinstance(answer, str):
        raise RuntimeError(f"in a process that plays seeds:\n{answer}")
    return answer


def _died(worker: _Worker) -> SmssimError:
    worker.process.join()
    code = worker.process.exitcode or 0
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return SmssimError(f"a process that plays seeds has died ({how}); is there enough memory?")


def _work(pipe: Connection, others: Sequence[Connection], play_one: PlayOne, parent: int) -> None:
    """Play what comes through the pipe, until it is closed."""
    end_with_parent()
    for other in others:
        other.close()
    if os.getppid() != parent:  # it has ended before
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which ends its workers
    with suppress(EOFError, OSError):
        while True:
            scenario, seed, scale = pipe.recv()
            try:
                answer: Play | str = play_one(scenario, seed, scale)
            except Exception:  # noqa: BLE001 - the parent raises it
                answer = traceback.format_exc()
            pipe.send(answer)
