"""What happened to a run over time, in bounded memory: its history, its senders by time, and its stalls.

Fed with snapshots, by a monitor and by a watcher alike. Knows snapshots. Must not know how anything is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet
from smssim.core.heat import Heat, Key, keys
from smssim.core.history import History
from smssim.core.limits import EVENT_TEXT_BYTES_MAX, LIMITS, Limits
from smssim.core.pieces import Changes, Pieces, pack, put_under, unpack, within
from smssim.core.progress import Figures
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause, Stall

NAMED_MAX: Final = 3  # senders in one event that are named
_VERBS: Final[Mapping[Kind, tuple[str, str]]] = {  # of one sender, of several
    Kind.JOINED: ("joined", "joined"),
    Kind.LOST: ("was lost", "were lost"),
    Kind.BACK: ("is back", "are back"),
    Kind.LEFT: ("left", "left"),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time of a run, in seconds since its start."""

    from_s: float
    to_s: float | None  # None: it lasts


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which nothing moved."""

    span: Span
    stall: Stall  # as it was seen last


class Course:
    """The course of one run so far."""

    PIECE: Final = "entries"  # the name of the piece that holds what is neither history nor heat

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.history = History(limits)
        self.heat = Heat(limits)
        self.spells: list[Spell] = []  # the latest ones
        self.gaps: list[Span] = []  # in which nobody watched; the latest ones
        self.noticed: list[Event] = []  # senders that joined, were lost, came back or left early; the latest ones
        self._limits = limits
        self._states: dict[Key, State] | None = None  # of the senders, at the last moment; None before the first one
        self._gap_from_s: float | None = None  # when the gap began that ends with the next moment
        self._changed = False  # whether anything but the history and the heat has, since `changes`

    def note(self, snapshot: Snapshot) -> None:
        """Add a moment."""
        figures = snapshot.figures
        self._end_gap(figures.elapsed_s)
        self.history.add(figures)
        self.heat.add(figures.elapsed_s, snapshot.fleet.rows)
        self._note_stall(snapshot.stall, figures.elapsed_s)
        self._note_senders(snapshot.fleet, figures, snapshot.events)

    def next_at(self, now: float, figures: Figures) -> float:
        """Return when the next moment is to be noted: often in a short run, and rarely if there are many senders."""
        limits = self._limits
        usual_s = min(limits.beat_max_s, max(limits.beat_min_s, limits.beat_share * figures.elapsed_s))
        return now + max(usual_s, limits.beat_s_per_sender * figures.senders_seen)

    def interrupt(self) -> None:
        """Record that nobody watches the run, from the last moment until the next one."""
        self._gap_from_s = self.history.last_s

    def _end_gap(self, elapsed_s: float) -> None:
        if self._gap_from_s is not None and elapsed_s - self._gap_from_s > self._limits.gap_min_s:
            self._keep(self.gaps, Span(self._gap_from_s, elapsed_s))
        self._gap_from_s = None

    def _note_stall(self, stall: Stall | None, elapsed_s: float) -> None:
        last = self.spells[-1] if self.spells and self.spells[-1].span.to_s is None else None
        if last is not None and stall is not None and last.stall.cause == stall.cause:
            self.spells[-1] = replace(last, stall=stall)
            return
        if last is not None:
            self.spells[-1] = replace(last, span=Span(last.span.from_s, elapsed_s))
            self._changed = True
        if stall is not None:
            from_s = max(0.0, elapsed_s - stall.quiet_s) if last is None else elapsed_s
            self._keep(self.spells, Spell(Span(from_s, None), stall))

    def _note_senders(self, fleet: Fleet, figures: Figures, announced: Iterable[Event]) -> None:
        """Note which senders joined, were lost, came back, or left before the end of the run."""
        before, states = self._states, {key: row.state for key, row in zip(keys(fleet.rows), fleet.rows, strict=True)}
        self._states = states
        if before is None or before == states:
            return
        started = {event.target for event in announced if event.kind is Kind.JOINED}
        changed: dict[Kind, list[str]] = {}
        for key, state in states.items():
            kind = _change(before.get(key), state, figures.complete)
            if kind is Kind.JOINED:
                at_start = figures.elapsed_s < self._limits.start_s
                if at_start or key[0] in started or fleet.others.senders:  # with others, it may have been one of them
                    continue
            if kind is not None:
                changed.setdefault(kind, []).append(key[0])
        for kind, names in changed.items():
            self._keep(self.noticed, Event(figures.elapsed_s, kind, _says(names, kind), figures.run_id, names[0]))

    def _keep(self, some: list[Any], one: Any) -> None:
        some.append(one)
        del some[: -self._limits.course_entries_max]
        self._changed = True

    # -- saved and restored

    def changes(self) -> Changes:
        """Return the changes since the last call. The senders by time are not saved."""
        changed, self._changed = self._changed, False
        changes = put_under("history", self.history.changes())
        if changed:
            spells = [{"span": asdict(one.span), "stall": asdict(one.stall)} for one in self.spells]
            gaps, noticed = [asdict(one) for one in self.gaps], [asdict(one) for one in self.noticed]
            changes[self.PIECE] = pack({"spells": spells, "gaps": gaps, "noticed": noticed})
        return changes

    def erased(self) -> Changes:
        """Return changes that delete everything that was saved."""
        return dict.fromkeys([*put_under("history", self.history.erased()), self.PIECE])

    def restore(self, pieces: Pieces) -> None:
        """Restore a saved course into a new one; raises DAMAGE. Then nobody watches it until the next moment."""
        self.history.restore(within("history", pieces))
        if self.PIECE in pieces:
            saved = unpack(pieces[self.PIECE])[0]
            for one in saved["spells"]:
                stall = Stall(**{**one["stall"], "cause": Cause(one["stall"]["cause"])})
                self.spells.append(Spell(Span(**one["span"]), stall))
            self.gaps += [Span(**one) for one in saved["gaps"]]
            self.noticed += [Event(**{**one, "kind": Kind(one["kind"])}) for one in saved["noticed"]]
        self.interrupt()


def _change(before: State | None, now: State, is_complete: bool) -> Kind | None:
    """Return the event that a change of a sender's state means; None if it means none."""
    if before == now or is_complete:
        return None
    if before is None:
        return Kind.JOINED
    if now is State.LOST:
        return Kind.LOST
    if before is State.LOST and now is not State.LEFT:
        return Kind.BACK
    return Kind.LEFT if now is State.LEFT else None


def _says(names: Sequence[str], kind: Kind) -> str:
    """Return an event of these senders as text."""
    verb = _VERBS[kind][len(names) > 1]
    if len(names) == 1:
        return f"{names[0]} {verb}"
    more = len(names) - NAMED_MAX
    named = ", ".join(names[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")
    says = f"{len(names):,} senders {verb}"
    return f"{says}: {named}" if len(f"{says}: {named}".encode()) <= EVENT_TEXT_BYTES_MAX else says
