"""Waiting for a lost peer: which of its addresses is next, backoff with jitter, notices, and when to give up.

A peer has one address or several, of which one answers. After a loss, the next address is tried almost at once. Once a
whole round of them has failed, the node backs off. With a single address, each failure is a round.

A node waits without limit for a peer that was never connected, because nodes start in any order. It gives up on a peer
that was connected before (`met`) after `give_up_s` without an answer at any address. A refusal ends the waiting,
because the one that serves has decided and the others will not serve. An address that is of no use, because of its
certificate or because something else listens there, does not: the node tries the others, and ends once no address is of
use. Knows one peer by its name and addresses, how calls to it failed, and the time and the random numbers that it is
given. Must not know gRPC, sleep, or write a log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.errors import GoneError, RefusedError

Uniform = Callable[[float, float], float]  # draws a number between two bounds, like `random.uniform`


class Kind(Enum):
    """What a failed call means."""

    MAY_PASS = auto()  # the peer may return soon
    UNEXPLAINED = auto()  # the transport lost the reason; another call may reveal it
    REFUSED = auto()  # the peer answered, and another call would get the same answer
    FOREIGN = auto()  # something else listens at this address
    UNUSABLE = auto()  # no connection to this address is possible with the settings of the two nodes


_OF_NO_USE: Final = (Kind.FOREIGN, Kind.UNUSABLE)


@dataclass(frozen=True, slots=True)
class Loss:
    """A failed call, and the reason in a few words."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Log the notice unless it is empty, wait, then call again, at `Reconnector.address`."""

    wait_s: float
    notice: str = ""  # one line for people


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not call again."""

    error: GoneError | RefusedError


class Reconnector:
    """Decides how one node waits for one peer, and which of its addresses to call."""

    def __init__(
        self,
        peer: str,
        give_up_s: float,
        uniform: Uniform,
        limits: Limits = LIMITS,
        *,
        addresses: Sequence[str] = ("",),
        met: bool = False,
    ) -> None:
        """Begin with the first of the addresses.

        `peer`: its name in notices and errors, which an address follows unless it is empty. `met`: whether the give-up
        timeout applies from the start.
        """
        self.give_up_s = give_up_s
        self.met = met
        self.returns = 0  # how often it was lost and reconnected
        self._kind = peer
        self._addresses = tuple(addresses)
        self._current = 0  # its index
        self._met_at = set(self._addresses if met else ())
        self._uniform = uniform
        self._limits = limits
        self._lost_at: float | None = None  # when calls began to fail after its last answer
        self._failures = 0  # since then
        self._reasons: dict[str, str] = {}  # the last one since then, by address
        self._of_no_use: dict[str, str] = {}  # addresses that have turned out to be of no use since then, and why
        self._noticed_at = 0.0
        self._reasons_asked = 0  # in a row
        self._backoff_s = limits.backoff_min_s

    @property
    def address(self) -> str:
        """The address to call."""
        return self._addresses[self._current]

    @property
    def peer(self) -> str:
        """The name of the peer at the address to call."""
        return self._named(self.address)

    @property
    def has_met(self) -> bool:
        """Whether the peer has answered at the address to call, or the give-up timeout applies though it has not."""
        return self.address in self._met_at

    def found(self, now: float) -> str:
        """Record that the peer answered, and return a notice for the log; empty if that is no news."""
        notice = "" if self.met else f"Connected to {self.peer}"
        if self.met and self._lost_at is not None:
            self.returns += 1
            notice = f"Reconnected to {self.peer} after {now - self._lost_at:.1f} s"
        self.met = True
        self._met_at.add(self.address)
        self._lost_at = None
        self._failures = 0
        self._reasons.clear()
        self._of_no_use.clear()
        self._backoff_s = self._limits.backoff_min_s
        return notice

    def lost(self, loss: Loss, now: float) -> Retry | Stop:
        """Return what to do after a failed call. If it is to call again, `address` may now be another one."""
        if loss.kind is Kind.UNEXPLAINED and not self.met and self._reasons_asked < self._limits.reasons_asked_max:
            self._reasons_asked += 1
            return Retry(self._limits.backoff_min_s)
        self._reasons_asked = 0
        if loss.kind is Kind.REFUSED:
            return Stop(RefusedError(f"{self.peer} refused: {loss.reason}"))
        self._reasons[self.address] = loss.reason
        is_news = self._note_use(loss)
        if len(self._of_no_use) == len(self._addresses):
            return Stop(RefusedError("; ".join(self._of_no_use.values())))
        lost_at = self._lost_at = now if self._lost_at is None else self._lost_at
        away_s = now - lost_at
        give_up_at = lost_at + self.give_up_s if self.met else math.inf
        if now >= give_up_at:
            return Stop(GoneError(f"{self._everyone} has been unreachable for {away_s:.0f} s ({self._every_reason})"))
        self._failures += 1
        wait_s = min(self._back_off() * self._uniform(self._limits.backoff_share_min, 1.0), give_up_at - now)
        lost = self.peer
        self._current = (self._current + 1) % len(self._addresses)
        return Retry(wait_s, self._notice(lost, loss.reason if is_news else "", away_s, now))

    def retry(self, loss: Loss, now: float) -> Retry:
        """Return the wait before the next call, after a failed one; raise the error of a Stop if `lost` returns one."""
        step = self.lost(loss, now)
        if isinstance(step, Stop):
            raise step.error
        return step

    def bound(self, now: float, give_up_s: float = math.inf) -> None:
        """Apply the give-up timeout from now on, even if the peer was never connected, and cap it at `give_up_s`."""
        self.give_up_s = min(self.give_up_s, give_up_s)
        if not self.met:
            self.met = True
            self._met_at.update(self._addresses)
            self._lost_at = None if self._lost_at is None else now

    def _back_off(self) -> float:
        """Return the longest wait after this failure, in seconds; short within a round, growing from round to round."""
        if self._failures % len(self._addresses):
            return self._limits.backoff_min_s
        backoff_s = self._backoff_s
        self._backoff_s = min(2 * backoff_s, self._limits.backoff_max_s)
        return backoff_s

    def _note_use(self, loss: Loss) -> bool:
        """Record whether the current address is of use; return whether it has turned out just now that it is not."""
        if loss.kind not in _OF_NO_USE:
            self._of_no_use.pop(self.address, None)
            return False
        is_news = self.address not in self._of_no_use
        verb = " refused" if loss.kind is Kind.FOREIGN else ""
        self._of_no_use[self.address] = f"{self.peer}{verb}: {loss.reason}"
        return is_news

    def _notice(self, lost: str, of_no_use: str, away_s: float, now: float) -> str:
        """Return a notice about a loss or the first failed round, and later a reminder every `Limits.repeat_notice_s`.

        Returns an empty text otherwise. `lost`: the peer at the address that failed. `of_no_use`: why that has turned
        out to be of no use, otherwise empty.
        """
        is_single = len(self._addresses) == 1
        if self._failures == 1 and self.met:
            notice = f"Lost {lost}: retrying" if is_single else f"Lost {lost}: trying {self.address}"
        elif self._failures == len(self._addresses):
            notice = f"Waiting for {self._everyone} ({self._every_reason})"
        elif of_no_use:
            notice = f"Can't use {lost} ({of_no_use}): trying {self.address}"
        elif self._failures > 1 and now - self._noticed_at >= self._limits.repeat_notice_s:
            notice = f"Still waiting for {self._everyone} after {away_s:.0f} s ({self._every_reason})"
        else:
            notice = ""
        if notice or self._failures == 1:
            self._noticed_at = now
        return notice

    def _named(self, addresses: str) -> str:
        return f"{self._kind} {addresses}" if addresses else self._kind

    @property
    def _everyone(self) -> str:
        """The name of the peer, with all its addresses."""
        *others, last = self._addresses
        return self._named(f"{', '.join(others)} or {last}" if others else last)

    @property
    def _every_reason(self) -> str:
        """The last reason at each address that has failed, or one reason if all are equal."""
        if len(set(self._reasons.values())) == 1:
            return next(iter(self._reasons.values()))
        return "; ".join(f"{address}: {reason}" for address, reason in sorted(self._reasons.items()))
