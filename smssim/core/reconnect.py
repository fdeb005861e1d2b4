"""Waiting for a lost peer: backoff with jitter, notices for the log, and when to give up.

A node waits without limit for a peer that was never connected, because nodes start in any order. It gives up on a peer
that was connected before (`met`) after `give_up_s` without an answer. Knows one peer by its name, how calls to it
failed, and the time and the random numbers that it is given. Must not know gRPC, sleep, or write a log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from smssim.core.limits import LIMITS, Limits
from smssim.errors import GoneError, RefusedError

Uniform = Callable[[float, float], float]  # draws a number between two bounds, like `random.uniform`


class Kind(Enum):
    """What a failed call means."""

    MAY_PASS = auto()  # the peer may return soon
    UNEXPLAINED = auto()  # the transport lost the reason; another call may reveal it
    REFUSED = auto()  # the peer answered, and another call would get the same answer
    UNUSABLE = auto()  # no connection is possible with the settings of the two nodes


@dataclass(frozen=True, slots=True)
class Loss:
    """A failed call, and the reason in a few words."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Log the notice unless it is empty, wait, then call again."""

    wait_s: float
    notice: str = ""  # one line for people


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not call again."""

    error: GoneError | RefusedError


class Reconnector:
    """Decides how one node waits for one peer."""

    def __init__(
        self, peer: str, give_up_s: float, uniform: Uniform, limits: Limits = LIMITS, *, met: bool = False
    ) -> None:
        """`peer`: its name in notices and errors. `met`: whether the give-up timeout applies from the start."""
        self.peer = peer
        self.give_up_s = give_up_s
        self.met = met
        self.returns = 0  # how often it was lost and reconnected
        self._uniform = uniform
        self._limits = limits
        self._lost_at: float | None = None  # when calls began to fail after its last answer
        self._noticed_at = 0.0
        self._reasons_asked = 0  # in a row
        self._backoff_s = limits.backoff_min_s

    def found(self, now: float) -> str:
        """Record that the peer answered, and return a notice for the log; empty if that is no news."""
        notice = "" if self.met else f"Connected to {self.peer}"
        if self.met and self._lost_at is not None:
            self.returns += 1
            notice = f"Reconnected to {self.peer} after {now - self._lost_at:.1f} s"
        self.met = True
        self._lost_at = None
        self._backoff_s = self._limits.backoff_min_s
        return notice

    def lost(self, loss: Loss, now: float) -> Retry | Stop:
        """Return what to do after a failed call."""
        if loss.kind is Kind.UNEXPLAINED and not self.met and self._reasons_asked < self._limits.reasons_asked_max:
            self._reasons_asked += 1
            return Retry(self._limits.backoff_min_s)
        self._reasons_asked = 0
        if loss.kind is Kind.REFUSED:
            return Stop(RefusedError(f"{self.peer} refused: {loss.reason}"))
        if loss.kind is Kind.UNUSABLE:
            return Stop(RefusedError(f"{self.peer}: {loss.reason}"))
        is_first = self._lost_at is None
        lost_at = self._lost_at = now if self._lost_at is None else self._lost_at
        away_s = now - lost_at
        give_up_at = lost_at + self.give_up_s if self.met else math.inf
        if now >= give_up_at:
            return Stop(GoneError(f"{self.peer} has been unreachable for {away_s:.0f} s"))
        wait_s = min(self._backoff_s * self._uniform(self._limits.backoff_share_min, 1.0), give_up_at - now)
        self._backoff_s = min(2 * self._backoff_s, self._limits.backoff_max_s)
        return Retry(wait_s, self._notice(loss, is_first, away_s, now))

    def bound(self, now: float, give_up_s: float = math.inf) -> None:
        """Apply the give-up timeout from now on, even if the peer was never connected, and cap it at `give_up_s`."""
        self.give_up_s = min(self.give_up_s, give_up_s)
        if not self.met:
            self.met = True
            self._lost_at = None if self._lost_at is None else now

    def _notice(self, loss: Loss, is_first: bool, away_s: float, now: float) -> str:
        """Return a notice for the first loss, and later a reminder every `Limits.repeat_notice_s`; otherwise empty."""
        if not is_first and now - self._noticed_at < self._limits.repeat_notice_s:
            return ""
        self._noticed_at = now
        if not is_first:
            return f"Still waiting for {self.peer} after {away_s:.0f} s ({loss.reason})"
        return f"Lost {self.peer}: retrying" if self.met else f"Waiting for {self.peer} ({loss.reason})"
