#!/usr/bin/env python3
"""Shows how often the bands of the forecast during a run hold the true time: `scripts/calibrate_expected.py`.

Plays many simulated runs with the twin, or other ones with the real core (`--core`), and asks for a forecast after 25%,
50% and 75% of the time until 95% are sent, and until the run is complete. 80% of the bands should hold the true time.
Moments after which a sender joins, fails, returns or changes its speed are counted apart: nobody can foresee that.

Width is the median width of the bands, and error the median distance of the median from the true time, both as shares
of the time left. The constants of smssim/core/expected.py were tuned with `--runs 300` and `--first 100000 --runs 200
--count-max 4000`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv/bin/python"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if TYPE_CHECKING:
    from expected_support import Moment

MARKS: Final = (95, 100)  # whose times the moments are shares of
SHARES: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Judged:
    """One mark of one forecast."""

    group: str
    mark: int
    off: int  # -1: it came before the band, 1: after it, 0: inside
    width: float  # of the band, as a share of the time left; infinite if its end is unknown
    error: float  # of the median, likewise


def judged(moment: Moment) -> Iterator[Judged | str]:
    """Yield what became of the forecasts of a moment: a sentence for a mark that was never reached."""
    from smssim.core.expected import expected
    from smssim.core.fleet import Others

    found = expected(moment.samples, moment.figures, moment.rows, Others(), moment.scenario.max_attempts)
    if found is None:
        yield "too early"
        return
    asked, now_s = f"{moment.asked[1]:.0%} of t{moment.asked[0]}", moment.figures.elapsed_s
    for mark, band in found.items():
        true_s = moment.reached_s[mark]
        if true_s is None:
            said = "never" if band.median_s is None else "perhaps never" if band.high_s is None else "surely"
            yield f"never reached, and forecast as {said}"
            continue
        low_s, median_s, high_s = (math.inf if t is None else t for t in (band.low_s, band.median_s, band.high_s))
        off = -1 if true_s < low_s else 1 if true_s > high_s else 0
        left_s = max(1e-9, true_s - now_s)
        groups = [asked if moment.is_calm else f"{asked}, then changed"]
        if moment.is_calm and moment.asked == (95, 0.5):
            groups.append(f"{asked}: {moment.kind}")
        for group in groups:
            width = math.inf if high_s == math.inf else (high_s - low_s) / left_s
            yield Judged(group, mark, off, width, (median_s - true_s) / left_s)


def run(wanted: tuple[int, int, bool]) -> list[Judged | str]:
    """Play the run of a seed and judge its forecasts. `wanted`: seed, messages at most, and whether the core plays."""
    seed, count_max, by_core = wanted
    asked = [(mark, share) for mark in MARKS for share in SHARES]
    if by_core:
        import expected_oracle

        some = expected_oracle.moments(seed, asked)
    else:
        import expected_support

        some = expected_support.moments(seed, count_max, asked)
    return [one for moment in some for one in judged(moment)]


def main() -> int:
    """Play the runs, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--count-max", type=int, default=200_000, help="messages of a run, at most")
    parser.add_argument("--core", action="store_true", help="play scenarios of the oracle with the real core")
    parser.add_argument("--jobs", type=int, default=1)
    wanted = parser.parse_args()
    table: dict[tuple[str, int], list[Judged]] = defaultdict(list)
    others: Counter[str] = Counter()
    seeds = range(wanted.first, wanted.first + wanted.runs)
    with ProcessPoolExecutor(wanted.jobs) as pool:
        for found in pool.map(run, [(seed, wanted.count_max, wanted.core) for seed in seeds], chunksize=8):
            for one in found:
                if isinstance(one, str):
                    others[one] += 1
                else:
                    table[one.group, one.mark].append(one)
    heads = ("mark", "asked", "inside", "before", "after", "width", "error")
    print(f"{'asked after':32}" + "".join(f"{head:>8}" for head in heads))
    for (group, mark), some in sorted(table.items()):
        shares = (sum(one.off == off for one in some) / len(some) for off in (0, -1, 1))
        middle = median(one.width for one in some), median(abs(one.error) for one in some)
        print(f"{group:32}{mark:8}{len(some):8}" + "".join(f"{share:8.1%}" for share in (*shares, *middle)))
    print("".join(f"{count:6} {what}\n" for what, count in sorted(others.items())), end="")
    return 0


if __name__ == "__main__":
    if VENV.exists() and Path(sys.prefix) != VENV.parent.parent:
        os.execv(VENV, [str(VENV), *sys.argv])
    sys.exit(main())
