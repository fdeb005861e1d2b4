#!/usr/bin/env python3
"""Simulates the whole system under faults: `scripts/simulate.py --seeds 10000`. To replay one seed: `--seed 17`.

Shows how often each fault occurred and which seeds failed, and exits with code 1 if any did. `--bugs` searches for each
planted bug (tests/simulation/bugs.py), shows how many simulations that took, and exits with code 1 if one is not found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv/bin/python"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
SHOW_EVERY_S = 2.0


def play(seed: int) -> tuple[int, str, dict[str, int]]:
    """Simulate a seed. Return the seed, its failure (empty if none), and how often each fault and ending occurred."""
    from simulation.world import SimulationError, simulate

    try:
        shown = simulate(seed)
    except SimulationError as error:
        return seed, str(error), {}
    return seed, "", {**shown.struck, f"run ended with {int(shown.exit_code)}": 1}


def play_one(seed: int) -> int:
    """Simulate a seed, print what happened, and return the exit code."""
    _, failure, struck = play(seed)
    print(failure or f"seed {seed}: passed")
    if not failure:
        print("".join(f"{count:9,}  {what}\n" for what, count in sorted(struck.items()) if count), end="")
    return 1 if failure else 0


def play_many(first: int, count: int, jobs: int) -> int:
    """Simulate many seeds and return the exit code."""
    struck: Counter[str] = Counter()
    failed: list[int] = []
    said_at = began = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for played, (seed, failure, some) in enumerate(pool.map(play, range(first, first + count), chunksize=8), 1):
            struck.update(some)
            if failure:
                failed.append(seed)
                print(failure.partition("\n")[0], flush=True)
            if time.monotonic() - said_at >= SHOW_EVERY_S:
                said_at = time.monotonic()
                per_s = played / (said_at - began)
                print(f"{played:,} of {count:,}, {per_s:.0f} per second, {len(failed)} failed", file=sys.stderr)
    print("".join(f"{times:9,}  {what}\n" for what, times in sorted(struck.items())), end="")
    print(f"{count:,} seeds from {first}, {len(failed)} failed" + "".join(f" {seed}" for seed in failed[:20]))
    return 1 if failed else 0


def find_bugs() -> int:
    """Search for each planted bug and return the exit code."""
    from simulation.bugs import BUGS
    from simulation.engine_bugs import ENGINE_BUGS, LOG_BUGS
    from simulation.hunt import hunt, hunt_log

    missed = 0
    for bug, faults in (BUGS | ENGINE_BUGS).items():
        began = time.monotonic()
        found = hunt(bug, *faults)
        missed += found is None
        outcome = "NOT FOUND" if found is None else f"found in simulation {found.played:,}: {found.failure}"
        print(f"{time.monotonic() - began:5.1f} s  {bug.__name__}: {outcome}", flush=True)
    for bug, loses in LOG_BUGS.items():
        seed = hunt_log(bug, loses=loses)
        missed += seed is None
        print(f"{bug.__name__}, a log by itself: {'NOT FOUND' if seed is None else f'found with seed {seed}'}")
    return 1 if missed else 0


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="number of seeds to simulate (1000)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="first seed (0)")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="simulate only this seed, and print the last events if it fails"
    )
    parser.add_argument("--bugs", action="store_true", help="search for each planted bug")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="number of processes (one per core)"
    )
    given = parser.parse_args()
    if given.bugs:
        return find_bugs()
    return play_one(given.seed) if given.seed is not None else play_many(given.first, given.seeds, given.jobs)


if __name__ == "__main__":
    if VENV.exists() and Path(sys.prefix) != VENV.parent.parent:
        os.execv(VENV, [str(VENV), *sys.argv])
    sys.exit(main())
