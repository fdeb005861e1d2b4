"""Events of a producer's run: what its shell must do, and what a log may show.

Knows plain values. Must not know why an event occurs or how it is handled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smssim.core.exchange import RunEnd
from smssim.core.model import SenderFacts
from smssim.core.producer_stream import ProducerStream
from smssim.core.queue import Batch

# ---- What the shell must do


@dataclass(frozen=True, slots=True)
class Write:
    """Write to the stream until `ProducerRun.response` returns None for it."""

    stream: ProducerStream


@dataclass(frozen=True, slots=True)
class Close:
    """Close the stream; `stream.ended` is the reason. Its leased messages are queued again."""

    stream: ProducerStream


@dataclass(frozen=True, slots=True)
class Save:
    """Save `ProducerRun.changes`, then call `ProducerRun.saved`."""


# ---- What a log may show


@dataclass(frozen=True, slots=True)
class Joined:
    """A sender opened a stream."""

    sender: SenderFacts


@dataclass(frozen=True, slots=True)
class Left:
    """A stream was closed."""

    stream: ProducerStream
    leased: int  # its messages, which are redelivered


@dataclass(frozen=True, slots=True)
class NoSender:
    """The last sender left (`for_s` is 0), or there has been no sender for `for_s` seconds."""

    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The run ends because there has been no sender for `alone_s` seconds."""

    alone_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The first messages are delivered."""


@dataclass(frozen=True, slots=True)
class Leased:
    """Messages were leased to a sender."""

    stream: ProducerStream
    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Draining:
    """The run ends when the leased messages are settled, or after `within_s` seconds."""

    leased: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Announced:
    """The end is saved, and senders receive it from now on."""

    end: RunEnd
    lingers: bool  # whether the producer stays for late senders until it is stopped


Event = Write | Close | Save | Joined | Left | NoSender | GaveUp | Started | Leased | Draining | Announced
