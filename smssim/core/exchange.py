"""What the nodes tell each other, as plain values: the wire carries them, the core makes and takes them.

Knows columns and numbers. Must not know why something is said, or how it travels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smssim.core.lanes import Finished
from smssim.core.model import Attempts, Ids, Outcomes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch as it arrives: columns of shape (n,), all at one attempt."""

    ids: Ids
    attempt: int
    queued_s: NDArray[np.float32]  # since each was queued
    elapsed_s: float  # since the run started


@dataclass(frozen=True, slots=True)
class Settlements:
    """Outcomes on record at the monitor: columns of shape (n,)."""

    ids: Ids
    outcomes: Outcomes
    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Request:
    """What a sender tells the producer; a heartbeat if nothing. See producer.proto."""

    credit: int = 0
    idle_lanes: int | None = None  # none: as last said
    received: int = 0
    settlements: Settlements | None = None
    handed_back: Ids | None = None
    leaving: bool = False
    held: int | None = None  # messages that no lane has started


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The producer's last word on a run, and its book."""

    complete: bool
    sent: int
    failed: int
    redelivered: int = 0  # messages handed out again because a lease was lost


@dataclass(frozen=True, slots=True)
class Report:
    """What a sender tells the monitor."""

    sequence: int
    finished: Finished
    in_flight: int
    held: int
    elapsed_s: float | None = None
    goodbye: bool = False
    end: RunEnd | None = None  # with goodbye, if the run is over
    cut_off: bool = False  # from the producer


@dataclass(frozen=True, slots=True)
class Answer:
    """What the monitor answers to a report."""

    accepted: int
    duplicates: int
    overruled_ids: Ids
    overruled_outcomes: Outcomes
    wait_s: float
    end: RunEnd | None = None  # the producer's last word, for those who have lost it
