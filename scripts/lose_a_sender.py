#!/usr/bin/env python3
"""Kills a sender that holds millions of messages and measures the effect on the others: `scripts/lose_a_sender.py`.

Runs real nodes: a monitor, a producer, 500 senders of 10 lanes of 0.1 s, and one sender that holds millions of messages
and is killed. Prints how many messages per second the other senders finish before and after. Exits with code 1 if the
rate after is below 90% of the rate before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv/bin/python"
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from smssim.bench.process_group import ProcessGroup
    from smssim.launch.child import Child

LANES, MEAN_S = 10, 0.1  # of each other sender
HOLDS_S = 1e6  # time per message at the sender that is killed
RAMP_S = 5.0  # until the cost of opening hundreds of streams at once is worked off
WITHIN_S = 120.0  # until all senders have joined and hold messages
RATIO_MIN = 0.9


class Watched:
    """A monitor, and the figures that it writes."""

    def __init__(self, group: ProcessGroup, monitor: Child) -> None:
        self._group, self._monitor = group, monitor

    def figures(self) -> Iterator[dict[str, Any]]:
        """Yield each JSON object that the monitor writes from now on."""
        while True:
            for child, line in self._group.lines():
                if child is self._monitor and not line.is_log:
                    yield json.loads(line.text)

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until `holds` is true of the figures. Raises TimeoutError."""
        within = time.monotonic() + WITHIN_S
        for figures in self.figures():
            if holds(figures):
                return
            if time.monotonic() > within:
                raise TimeoutError(f"not reached within {WITHIN_S:g} s: {figures}")

    def rate(self, time_s: float) -> float:
        """Return the messages finished per second during about the next `time_s` seconds."""
        seen = self.figures()
        first = last = next(seen)
        while last["elapsed_s"] - first["elapsed_s"] < time_s:
            last = next(seen)
        return (done(last) - done(first)) / float(last["elapsed_s"] - first["elapsed_s"])


def done(figures: dict[str, Any]) -> int:
    """Return the number of messages with a final outcome."""
    return int(figures["sent"] + figures["failed"])


def lose(held: int, copies: int, time_s: float) -> tuple[float, float]:
    """Return the messages per second before and after the loss of a sender that holds `held` messages."""
    from smssim.bench.process_group import ProcessGroup
    from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

    enough = round(copies * LANES / MEAN_S * 4 * time_s)
    with ProcessGroup(lambda: None) as group:
        monitor = group.node("monitor", MonitorSettings(interval_s=0.25, listen=FREE_ADDRESS, json=True))
        settings = ProducerSettings(seed=1, count=held + enough, listen=FREE_ADDRESS, monitor=group.address(monitor))
        producer = group.node("producer", settings)
        watched, address = Watched(group, monitor), group.address(producer)
        with ProcessGroup(lambda: None) as doomed:  # leaving it kills the sender
            large = SenderSettings(HOLDS_S, distribution="fixed", concurrency=held, name="large", producer=address)
            doomed.node("sender", large)
            watched.until(lambda figures: figures["in_flight"] >= held)
            small = SenderSettings(MEAN_S, concurrency=LANES, copies=copies, name="small", producer=address)
            group.node("sender", small)
            watched.until(lambda figures: figures["senders"] == 1 + copies)
            watched.rate(RAMP_S)
            before = watched.rate(time_s)
        return before, watched.rate(time_s)


def main() -> int:
    """Run the measurements and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [1_000_000, 2_000_000, 9_000_000]
    parser.add_argument(
        "--held",
        type=int,
        nargs="+",
        default=sizes,
        metavar="N",
        help="messages that the killed sender holds (1, 2 and 9 million)",
    )
    parser.add_argument("--copies", type=int, default=500, metavar="N", help="number of other senders (500)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of each measurement (10)")
    given = parser.parse_args()
    ratios = []
    print(f"{'held':>10}  {'before':>8}  {'after':>8}  ratio")
    for held in given.held:
        before, after = lose(held, given.copies, given.seconds)
        ratios.append(after / before)
        print(f"{held:10,}  {before:6,.0f}/s  {after:6,.0f}/s  {ratios[-1]:5.2f}", flush=True)
    return 0 if min(ratios) >= RATIO_MIN else 1


if __name__ == "__main__":
    if VENV.exists() and Path(sys.prefix) != VENV.parent.parent:
        os.execv(VENV, [str(VENV), *sys.argv])
    sys.exit(main())
