"""Events of a run that people should see: each has a time and a line of text.

Holds values, and the events of one run. Must not know where events are noticed or how they are shown.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from smssim.core.limits import EVENTS_MAX
from smssim.core.pieces import Changes, Pieces, pack, unpack
from smssim.errors import TooLargeError


class Kind(StrEnum):
    """The kinds of events."""

    KILLED = "killed"  # a node was killed
    RESTARTED = "restarted"  # a killed node was started again
    PAUSED = "paused"  # a node was paused
    RESUMED = "resumed"  # a paused node continues
    SLOWED = "slowed"  # the attempts of a sender take longer from now on
    FAILING = "failing"  # the attempts of a sender fail with another probability from now on
    RECOVERED = "recovered"  # the attempts of a sender are no longer slowed, or fail as usual again
    JOINED = "joined"  # a sender was started during the run
    TAKEN_OVER = "taken over"  # a standby has taken over from a producer or a monitor
    LOST = "lost"  # the reports of a sender have stopped
    BACK = "back"  # they have returned
    LEFT = "left"  # a sender has left before the end of the run
    STOPPING = "stopping"  # the run is being stopped: the remaining messages are not sent; never sent to another node


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Events with the same values are the same event."""

    at_s: float  # since the start of the run
    kind: Kind
    text: str  # one line for people
    run_id: str = ""  # empty if the event concerns every run that is shown
    target: str = ""  # name of the node that it happened to

    def as_dict(self) -> dict[str, Any]:
        """Return the event for JSON."""
        return {"at_s": self.at_s, "kind": str(self.kind), "target": self.target, "text": self.text}


def takeover(target: str, previous: str, away_s: float, at_s: float, run_id: str) -> Event:
    """Return the event that a standby has taken over.

    `target`: "producer" or "monitor". `previous`: the owner before. `away_s`: for how long nothing was saved.
    """
    return Event(at_s, Kind.TAKEN_OVER, f"{target} taken over from {previous} after {away_s:.1f} s", run_id, target)


class Events:
    """The events of one run, at most `EVENTS_MAX`."""

    PIECE: Final = "all"  # the name of the piece that holds them

    def __init__(self, run_id: str) -> None:
        self.all: tuple[Event, ...] = ()  # in order of time
        self._run_id = run_id
        self._changed = False  # since `changes`

    def add(self, event: Event) -> bool:
        """Add an event, and return whether it is new. Raises TooLargeError if there is no room."""
        if event in self.all:
            return False
        if len(self.all) >= EVENTS_MAX:
            raise TooLargeError(f"more than {EVENTS_MAX:,} events in one run")
        at = bisect_right(self.all, event.at_s, key=lambda one: one.at_s)
        self.all = (*self.all[:at], event, *self.all[at:])
        self._changed = True
        return True

    def changes(self) -> Changes:
        """Return the changes since the last call."""
        changed, self._changed = self._changed, False
        return {self.PIECE: pack({"events": [one.as_dict() for one in self.all]})} if changed else {}

    def restore(self, pieces: Pieces) -> None:
        """Restore saved events, if any; raises DAMAGE."""
        saved = unpack(pieces[self.PIECE])[0]["events"] if self.PIECE in pieces else []
        self.all = tuple(Event(**{**one, "kind": Kind(one["kind"]), "run_id": self._run_id}) for one in saved)
