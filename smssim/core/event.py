"""Something that happens in a run and is worth a mark: at one moment, with a line for people.

Holds values. Must not know who notices events or how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What kinds of events there are."""

    STOPPING = "stopping"  # the run is being stopped: what is left is not going to be sent


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    at_s: float  # since the run started
    kind: Kind
    text: str  # one line for people
    run_id: str = ""  # empty: of every run that is shown
