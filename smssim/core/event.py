"""Events of a run that people should see: each has a time and a line of text.

Holds values. Must not know where events are noticed or how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of events."""

    STOPPING = "stopping"  # the run is being stopped: the remaining messages are not sent


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    at_s: float  # since the start of the run
    kind: Kind
    text: str  # one line for people
    run_id: str = ""  # empty if the event concerns every run that is shown
