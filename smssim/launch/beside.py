"""The plan of a run, made beside the live run and announced to its monitor.

It takes at most about a second of CPU time, unless the fewest plays take longer, in a thread with a low priority, so
that the run is not slowed. A failure is one warning in the log, and nothing else. Knows threads and CPU time. Must not
know how a scenario is played, or what a plan is compared with.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from smssim.core.planned import PlannedCourse
from smssim.process.logs import Log
from smssim.process.ready import Facts
from smssim.settings import RunSettings

if TYPE_CHECKING:
    from smssim.plan.scenario import Scenario

CPU_S: Final = 1.0  # of the thread, at most, unless the fewest plays take longer
PLAYS_MAX: Final = 20
PLAYS_MIN: Final = 3
END_S: Final = 1.0  # how long to wait for the end of a play that is no longer wanted: it takes a part of that
NICE: Final = 10  # of the thread: behind every node, but it gets on, because it may hold the interpreter's lock

T = TypeVar("T")


async def plan_beside(settings: RunSettings, producer: Facts, monitor: str, log: Log) -> None:
    """Make the plan of a run and announce it to the monitor at this address, unless the settings forbid it.

    `producer`: the facts of its ready record. A run that continues from a journal has no plan, because it has been away
    for an unknown time. Cancel this when the run ends.
    """
    if settings.no_plan or not settings.producer.count:
        return
    if producer["resumed"]:
        log.debug("No plan: the run continues from a journal")
        return

    def work(is_wanted: Callable[[], bool]) -> tuple[PlannedCourse | None, float]:
        importlib.import_module("smssim.net.announcing")  # here, because importing gRPC takes long
        return make_plan(settings.planned(), producer["seed"], is_wanted), time.thread_time()

    try:
        plan, cpu_s = await _in_thread(work)
        if plan is not None:
            log.debug("Planned the run with %d plays in %.2f s of CPU time", plan.seeds, cpu_s)
            await _announce(settings, producer["run_id"], plan, monitor, log)
    except Exception as error:  # noqa: BLE001 - nothing here may harm the run
        log.warning("No plan of this run: %s: %s", type(error).__name__, error)


async def _announce(settings: RunSettings, run_id: str, plan: PlannedCourse, monitor: str, log: Log) -> None:
    from smssim.net import access  # imported late: the thread has loaded them
    from smssim.net.announcing import announce_plan

    its = settings.monitor
    await announce_plan(monitor, access.load(its, warns=False), run_id, plan, log, its.give_up_s)


def make_plan(scenario: Scenario, seed: int, is_wanted: Callable[[], bool] = lambda: True) -> PlannedCourse | None:
    """Play a scenario with this seed and the following ones as long as there is time, and return the outline.

    Returns None once it is no longer wanted. The CPU time of this thread counts, from its start.
    """
    from smssim.plan.outline import outline, outline_scale  # imported late: in the thread, and only for a plan
    from smssim.plan.scenario import START_S
    from smssim.plan.seeds import Play, play, seeds_from

    scale, seeds, took_s = outline_scale(scenario), seeds_from(seed, PLAYS_MAX), 0.0
    plays: list[Play] = []
    while is_wanted():
        began_s = time.thread_time()
        if len(plays) >= (PLAYS_MIN if began_s + took_s > CPU_S else PLAYS_MAX):
            return outline(scenario, plays, scale)
        plays.append(play(scenario, seeds[len(plays)], scale, START_S))
        took_s = time.thread_time() - began_s
    return None


async def _in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Return what `work` returns in a thread with a low priority; its argument says whether that is still wanted.

    When this is cancelled, it waits for a short time for the thread, which would disturb the end of the process.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    result.add_done_callback(asyncio.Future.exception)  # so that asyncio does not print a failure after cancellation
    is_cancelled = threading.Event()

    def settle(value: T | None, error: BaseException | None) -> None:
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        _lower_priority()
        value, error = None, None
        try:
            value = work(lambda: not is_cancelled.is_set())
        except BaseException as raised:  # noqa: BLE001 - it is raised in the thread that waits
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="plan", daemon=True).start()
    try:
        await asyncio.wait([result])  # leaves the future alone when this is cancelled
        return result.result()
    finally:
        is_cancelled.set()
        await asyncio.wait([result], timeout=END_S)


def _lower_priority() -> None:
    """Lower the priority of this thread, if the system has priorities of threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICE))
