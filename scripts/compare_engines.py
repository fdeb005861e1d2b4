#!/usr/bin/env python3
"""Compares the cost of a message in the twin, in a bare heap, in SimPy and in Ciw: `scripts/compare_engines.py`.

All of them play the same messages with the same times on equal lanes, one attempt each: from a backlog, and released at
a rate. Exits with code 1 unless their finish times are those of the heap: each one to a nanosecond, and of the twin,
which gives recorded times, the median to 0.3%. SimPy and Ciw are general and do far more than this; the twin is not.
Installs them into a temporary directory if they are missing.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv/bin/python"
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from smssim.core.model import AttemptModel
    from smssim.plan.scenario import Scenario

LIBRARIES: Final = ("simpy==4.1.2", "ciw==3.2.7", "networkx", "tqdm")  # the last two are needed by Ciw
SEED: Final = 7
MEAN_S: Final = 0.5
RATE_SHARE: Final = 0.9  # of what the lanes can send
NEAR_S: Final = 1e-9
TWIN_NEAR: Final = 0.003


@dataclass(frozen=True)
class Work:
    """What every engine plays."""

    count: int
    lanes: int
    rate_per_s: float | None  # None: all messages wait from the start

    def times_s(self) -> list[float]:
        """Return how long each message takes."""
        import numpy as np

        from smssim.core.fate import Fates

        durations_s, _ = Fates(SEED, 1, model()).draw(np.arange(self.count, dtype=np.uint64), 1)
        times_s: list[float] = durations_s.tolist()
        return times_s

    def scenario(self) -> Scenario:
        """Return it as a scenario."""
        from smssim.plan.scenario import PlannedSender, Scenario

        return Scenario(self.count, (PlannedSender("sender", model(), self.lanes),), rate_per_s=self.rate_per_s)


def model() -> AttemptModel:
    """Return how attempts go."""
    from smssim.core.model import AttemptModel

    return AttemptModel(MEAN_S, 0.3 * MEAN_S, "gamma")


class WrongError(Exception):
    """An engine has other finish times than the heap."""


# ---- The engines: each returns the CPU seconds that it takes


def heap(work: Work, times_s: list[float]) -> tuple[float, list[float]]:
    """Play the work with nothing but a heap; also return the finish times, ascending."""
    began = time.process_time()
    free, rate_per_s = [0.0] * work.lanes, work.rate_per_s
    done_s = []
    for number, time_s in enumerate(times_s):
        start_s = free[0] if rate_per_s is None else max(free[0], number / rate_per_s)
        done_s.append(start_s + time_s)
        heapq.heapreplace(free, start_s + time_s)
    cost_s = time.process_time() - began
    return cost_s, sorted(done_s)


def twin(work: Work, _times_s: list[float], expected_s: list[float]) -> float:
    """Play the work with the twin, which draws the times itself. The times that it gives include the report lag."""
    from smssim.plan.twin.twin import Twin

    scenario = work.scenario()
    began = time.process_time()
    played = Twin(scenario, SEED)
    course = played.play()
    cost_s = time.process_time() - began
    half = -(-work.count // 2)
    heap_s, recorded_s = expected_s[half - 1], course.reached_s(half)
    twin_s = math.nan if recorded_s is None else recorded_s - played.members[0].lag_s
    if not abs(twin_s - heap_s) <= TWIN_NEAR * heap_s:
        raise WrongError(f"the twin reaches 50% at {twin_s} s, the heap at {heap_s} s")
    return cost_s


def simpy(work: Work, times_s: list[float], expected_s: list[float]) -> float:
    """Play the work with SimPy in its cheapest style: each lane is a process that takes the next message."""
    library = import_module("simpy")
    began = time.process_time()
    environment = library.Environment()
    messages, done_s = iter(enumerate(times_s)), []
    rate_per_s = work.rate_per_s

    def lane() -> Iterator[Any]:
        for number, time_s in messages:
            wait_s = 0.0 if rate_per_s is None else max(0.0, number / rate_per_s - environment.now)
            yield environment.timeout(wait_s + time_s)
            done_s.append(environment.now)

    for _ in range(work.lanes):
        environment.process(lane())
    environment.run()
    cost_s = time.process_time() - began
    check("SimPy", done_s, expected_s)
    return cost_s


def ciw(work: Work, times_s: list[float], expected_s: list[float]) -> float:
    """Play the work with Ciw: one node with as many servers as there are lanes."""
    library = import_module("ciw")
    between_s = 0.0 if work.rate_per_s is None else 1 / work.rate_per_s
    arrivals = [0.0, *[between_s] * (work.count - 1), math.inf]
    began = time.process_time()
    network = library.create_network(
        arrival_distributions=[library.dists.Sequential(arrivals)],
        service_distributions=[library.dists.Sequential(times_s)],
        number_of_servers=[work.lanes],
    )
    simulation = library.Simulation(network)
    simulation.simulate_until_max_customers(work.count, method="Finish")
    cost_s = time.process_time() - began
    check("Ciw", sorted(record.service_end_date for record in simulation.get_all_records()), expected_s)
    return cost_s


def check(engine: str, done_s: list[float], expected_s: list[float]) -> None:
    """Raise WrongError unless these are the expected finish times."""
    if len(done_s) != len(expected_s):
        raise WrongError(f"{engine} finishes {len(done_s):,} of {len(expected_s):,} messages")
    worst_s = max(abs(done - expected) for done, expected in zip(done_s, expected_s, strict=True))
    if worst_s > NEAR_S:
        raise WrongError(f"a finish time of {engine} is {worst_s} s from that of the heap")


# ---- The comparison

Engine = Callable[[Work, list[float], list[float]], float]
ENGINES: Final[dict[str, Engine]] = {"twin": twin, "SimPy": simpy, "Ciw": ciw}


def costs(work: Work, rounds: int, ciw_most: int) -> dict[str, float]:
    """Return the CPU microseconds per message of each engine: the median of all rounds. Raises WrongError."""
    times_s = work.times_s()
    _, expected_s = heap(work, times_s)
    taken: dict[str, list[float]] = {"heap": [heap(work, times_s)[0] for _ in range(rounds)]}
    for name, engine in ENGINES.items():
        if name != "Ciw" or work.count <= ciw_most:
            taken[name] = [engine(work, times_s, expected_s) for _ in range(rounds)]
    return {name: statistics.median(some) / work.count * 1e6 for name, some in taken.items()}


def show(work: Work, cost_us: dict[str, float]) -> None:
    """Print a row: the cost in each engine, and how many times that of the twin it is."""
    where = "backlog" if work.rate_per_s is None else f"rate, {RATE_SHARE:.0%}"
    cells = [f"{cost_us['twin']:8.3f}"]
    for name in ("heap", "SimPy", "Ciw"):
        cost = cost_us.get(name)
        times = "" if cost is None else f"({cost / cost_us['twin']:.3g}x)"
        cells.append(" " * 17 if cost is None else f"{cost:8.3f} {times:>8}")
    print(f"{where:<10} {work.count:>10,}  {'  '.join(cells)}", flush=True)


def install(folder: str) -> None:
    """Make SimPy and Ciw importable; raises CalledProcessError if they can't be installed."""
    if find_spec("simpy") is None or find_spec("ciw") is None:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *LIBRARIES]
        subprocess.run(words, check=True, capture_output=True)
        sys.path.append(folder)


def main() -> int:
    """Compare the engines and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    counts = [1000, 10_000, 100_000, 1_000_000]
    parser.add_argument(
        "--counts", type=int, nargs="+", default=counts, metavar="N", help="messages (a thousand to a million)"
    )
    parser.add_argument("--lanes", type=int, default=100, metavar="N", help="number of lanes (100)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each cost (5)")
    parser.add_argument("--ciw-most", type=int, default=10_000, metavar="N", help="messages that Ciw plays (10,000)")
    given = parser.parse_args()
    capacity_per_s = given.lanes / MEAN_S
    with tempfile.TemporaryDirectory() as folder:
        try:
            install(folder)
        except subprocess.CalledProcessError:
            print("install SimPy and Ciw: pip install simpy ciw", file=sys.stderr)
            return 1
        print(f"{given.lanes} lanes, CPU microseconds per message (and times the twin), median of {given.rounds}")
        print(f"{'':<10} {'messages':>10}  {'twin':>8}  {'heap':>17}  {'SimPy':>17}  {'Ciw':>17}")
        for rate_per_s in (None, RATE_SHARE * capacity_per_s):
            for count in given.counts:
                work = Work(count, given.lanes, rate_per_s)
                try:
                    show(work, costs(work, given.rounds, given.ciw_most))
                except WrongError as error:
                    print(f"{work}: {error}", file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    if VENV.exists() and Path(sys.prefix) != VENV.parent.parent:
        os.execv(VENV, [str(VENV), *sys.argv])
    sys.exit(main())
