"""Standing by: when a node takes a log that another node owns.

Judges what it sees at the end of the log. A wrong judgement costs a takeover, never a count, because taking a log is
safe at any time. Knows the ends of one log and the time that it is given. Must not know how a log is read or taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_record import Kind
from smssim.core.replicated_log import Tail
from smssim.errors import ExitCode


class Move(Enum):
    """What a standby does next."""

    WAIT = auto()  # look again after `Limits.poll_s`
    TAKE = auto()
    LEAVE = auto()  # the run is over


@dataclass(frozen=True, slots=True)
class Step:
    """What a standby does next, and what it logs."""

    move: Move
    notice: str = ""  # one line for people


class Standby:
    """One node that stands by for one log."""

    def __init__(self, run: str, here: str = "", limits: Limits = LIMITS) -> None:
        """`run`: its name. `here`: the name of this node."""
        self.owner = ""  # of the log; empty if no node owns it
        self.ended: Tail | None = None  # once the run is over
        self._run = run
        self._here = here
        self._limits = limits
        self._tail: Tail | None = None
        self._was_owned = False  # whether this node has seen the log grow
        self._written_at: float | None = None  # when its last record was written, by this node's clock
        self._seen_at: float | None = None  # when it was last seen, if nothing has failed since
        self._silent_s = 0.0  # how long it was seen unchanged
        self._noticed_at = 0.0

    def saw(self, tail: Tail | None, now: float) -> Step:
        """Return what to do after the end of the log was read. `tail` is None if the log is empty."""
        before, self._tail = self._tail, tail
        if tail is None:
            self.owner = ""
            return Step(Move.TAKE, f"Taking run {self._run}: it is new")
        if before != tail:
            self._was_owned |= before is not None and before.kind is not Kind.ENDED
            self._written_at, self._silent_s = self._time_of(tail, before, now), 0.0
        elif self._seen_at is not None:
            self._silent_s += now - self._seen_at
        self._seen_at = now
        if tail.kind is Kind.ENDED and (self._was_owned or tail.code != ExitCode.INCOMPLETE):
            self.ended = tail
            return Step(Move.LEAVE, f"Run {self._run} is over: {tail.reason}")
        if tail.kind in (Kind.ENDED, Kind.RELEASED):
            self.owner = ""
            return Step(Move.TAKE, f"Taking over run {self._run}: {tail.owner} has left it")
        if self._silent_s >= self._limits.takeover_after_s:
            return Step(Move.TAKE, f"No sign of {tail.owner} for {self._silent_s:.1f} s: taking over run {self._run}")
        return Step(Move.WAIT, self._notice(tail, before, now))

    def missed(self) -> None:
        """Record that the end of the log could not be read. Such times don't count as silence of the owner."""
        self._seen_at = None

    def beaten(self) -> None:
        """Record that another node has appended a record at the same time, so that the log was not taken."""
        self.owner = ""  # the next notice names it

    def away_s(self, now: float) -> float:
        """Return for how long no record was written, as far as this node can tell."""
        return 0.0 if self._written_at is None else now - self._written_at

    def _time_of(self, tail: Tail, before: Tail | None, now: float) -> float:
        """Return when the last record was written, by this node's clock.

        The owner's durations tell how long after the record before, which matters if nothing could be read meanwhile.
        """
        if before is None or self._written_at is None or tail.epoch != before.epoch:
            return now
        return min(now, self._written_at + max(0.0, tail.owned_s - before.owned_s))

    def _notice(self, tail: Tail, before: Tail | None, now: float) -> str:
        """Return who owns the log, if that is news or has not been said for a while; otherwise an empty string."""
        is_news = before is None or tail.epoch != before.epoch or not self.owner
        self.owner = tail.owner
        if not is_news and now - self._noticed_at < self._limits.repeat_standby_s:
            return ""
        self._noticed_at = now
        owner = f"an earlier node at {tail.owner}" if tail.owner == self._here else tail.owner
        return f"Standing by: {owner} has owned run {self._run} for {tail.owned_s:.0f} s"
