"""Faults: what a scenario makes go wrong, and when.

Holds values. Must not know how a fault is carried out: `smssim run` does it to processes, the twin in virtual time.
Must stay cheap to import, because `settings` checks faults with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smssim.core.model import AttemptModel  # loads numpy, which settings with faults do not need

PRODUCER: Final = "producer"
MONITOR: Final = "monitor"


class FaultKind(StrEnum):
    """The kinds of faults."""

    KILL = "kill"  # SIGKILL; started again after `for_s`
    PAUSE = "pause"  # SIGSTOP, and SIGCONT after `for_s`
    SLOW = "slow"  # a sender's attempts that start then take `factor` times as long
    FAIL = "fail"  # a sender's attempts that start then fail with probability `share`


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are in seconds, from when the first message was delivered."""

    at_s: float
    kind: FaultKind
    target: str  # the name of a sender (all of its copies), PRODUCER or MONITOR
    for_s: float | None = None  # None: until the end of the run
    factor: float = 1.0  # only with SLOW
    share: float = 0.0  # only with FAIL

    @property
    def until_s(self) -> float:
        """When the fault is over; infinity if it lasts until the end of the run."""
        return float("inf") if self.for_s is None else self.at_s + self.for_s

    def __str__(self) -> str:
        """Return the fault as `smssim sender --fault` reads it, if it is one of a sender's attempts."""
        effects = {FaultKind.SLOW: repr(self.factor), FaultKind.FAIL: repr(self.share)}
        lasts = "" if self.for_s is None else f",for={self.for_s!r}"
        return f"at={self.at_s!r},{self.kind}={effects.get(self.kind, self.target)}{lasts}"


def model_at(model: AttemptModel, faults: Iterable[Fault], start_s: float) -> AttemptModel:
    """Return how a sender's attempts go that start at this time.

    `faults` are those of the sender. Factors multiply; of several shares, that of the latest fault applies. The cap on
    the time of an attempt applies to the slowed time.
    """
    for fault in sorted(faults, key=lambda one: one.at_s):
        if fault.at_s <= start_s < fault.until_s:
            if fault.kind is FaultKind.SLOW:
                model = replace(model, mean_s=fault.factor * model.mean_s, std_s=fault.factor * model.std_s)
            elif fault.kind is FaultKind.FAIL:
                model = replace(model, fail=fault.share)
    return model


def slowdown(faults: Iterable[Fault], start_s: float) -> float:
    """Return how many times as long as usual a sender's attempts take that start at this time."""
    slow = [fault for fault in faults if fault.kind is FaultKind.SLOW and fault.at_s <= start_s < fault.until_s]
    return math.prod((fault.factor for fault in slow), start=1.0)


def slowdown_max(faults: Iterable[Fault]) -> float:
    """Return how many times as long as usual a sender's attempts take at most, at any time; at least 1."""
    faults = tuple(faults)
    return max([1.0, *(slowdown(faults, edge_s) for edge_s in changes_s(faults))])


def changes_s(faults: Iterable[Fault]) -> list[float]:
    """Return the times at which `model_at` may change, ascending and without infinity."""
    changing = [fault for fault in faults if fault.kind in (FaultKind.SLOW, FaultKind.FAIL)]
    edges = {edge for fault in changing for edge in (fault.at_s, fault.until_s)}
    return sorted(edge for edge in edges if edge < float("inf"))
