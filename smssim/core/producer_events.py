"""What a producer's decisions ask its shell to do, and what they let a log say.

Knows plain values. Must not know why an event comes, nor what is done about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smssim.core.exchange import RunEnd
from smssim.core.model import SenderFacts
from smssim.core.producer_stream import ProducerStream
from smssim.core.queue import Batch

# ---- What the shell is to do


@dataclass(frozen=True, slots=True)
class Write:
    """Write to the stream, until `ProducerRun.response` has nothing more for it."""

    stream: ProducerStream


@dataclass(frozen=True, slots=True)
class Close:
    """Close the stream: `stream.ended` says why. What it held is queued again."""

    stream: ProducerStream


@dataclass(frozen=True, slots=True)
class Save:
    """Save `ProducerRun.changes`, then call `ProducerRun.saved`."""


# ---- What a log may say


@dataclass(frozen=True, slots=True)
class Joined:
    """A sender has opened a stream."""

    sender: SenderFacts


@dataclass(frozen=True, slots=True)
class Left:
    """A stream is closed."""

    stream: ProducerStream
    leased: int  # messages of it to hand out again


@dataclass(frozen=True, slots=True)
class Alone:
    """No sender is there any more, or, where `for_s` is not 0, still."""

    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The run ends because no sender is there."""

    alone_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The first message is handed out."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A sender is handed messages."""

    stream: ProducerStream
    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Draining:
    """The run ends when these messages are settled, or after some time."""

    leased: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Announced:
    """The end is saved: senders get it from now on."""

    end: RunEnd
    lingers: bool  # until the producer is stopped


Event = Write | Close | Save | Joined | Left | Alone | GaveUp | Started | Leased | Draining | Announced
