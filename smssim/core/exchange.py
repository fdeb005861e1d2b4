"""What the nodes send to each other, as plain values: the core creates and applies them, the wire encodes them.

Knows columns and numbers. Must not know why a value is sent, or how it is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smssim.core.lanes import Finished
from smssim.core.model import Attempts, Ids, Outcomes, RunFacts


@dataclass(frozen=True, slots=True)
class RunOffer:
    """The run that a producer offers to a sender."""

    run: RunFacts
    monitor: str  # its addresses, separated by commas
    text: str = ""  # of all messages; empty if each has a text of its own


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch as a sender receives it: columns of shape (n,), all for the same attempt."""

    ids: Ids
    attempt: int
    queued_s: NDArray[np.float32]  # since each message was queued
    elapsed_s: float  # since the start of the run


@dataclass(frozen=True, slots=True)
class Settlements:
    """Outcomes on record at the monitor: columns of shape (n,)."""

    ids: Ids
    outcomes: Outcomes
    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Request:
    """A sender's request to the producer; a heartbeat if it is empty. See producer.proto."""

    credit: int = 0
    idle_lanes: int | None = None  # None: as last declared
    received: int = 0
    settlements: Settlements | None = None
    handed_back: Ids | None = None
    leaving: bool = False
    held: int | None = None  # messages that no lane has started


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, with the producer's totals."""

    complete: bool
    sent: int
    failed: int
    redelivered: int = 0  # messages delivered again because a lease was lost


@dataclass(frozen=True, slots=True)
class Report:
    """A sender's report to the monitor."""

    sequence: int
    finished: Finished
    in_flight: int
    held: int
    elapsed_s: float | None = None
    goodbye: bool = False
    end: RunEnd | None = None  # with a goodbye, if the run is over
    cut_off: bool = False  # whether the producer is unreachable


@dataclass(frozen=True, slots=True)
class Answer:
    """The monitor's answer to a report."""

    accepted: int
    duplicates: int
    overruled_ids: Ids
    overruled_outcomes: Outcomes
    wait_s: float
    end: RunEnd | None = None  # if the run is complete: for senders that lost the producer
