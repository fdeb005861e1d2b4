"""Which calls a server takes: how many at a time, how many of other services, how many that have not said anything.

Knows calls as keys. Must not know gRPC, or what a call is about.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from smssim.errors import LaterError

Call = TypeVar("Call", bound=Hashable)


@dataclass(frozen=True, slots=True)
class CallBounds:
    """How many calls may be open at a time."""

    calls_max: int  # of every kind
    silent_max: int  # of them, whose first request has not come
    aside_max: int  # of them, that last and belong to other services


class Admission(Generic[Call]):
    """The calls that are open.

    Silent calls can't keep others out: one too many takes the place of the oldest, for an honest caller says at once
    what it wants. Calls of other services can't either, since they may be no more than a few.
    """

    def __init__(self, bounds: CallBounds) -> None:
        self._bounds = bounds
        self._open: dict[Call, bool] = {}  # and whether it counts as one of the other services
        self._aside = 0
        self._silent: dict[Call, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, call: Call, aside: bool = False) -> Call | None:
        """Takes in a call that has not said anything; the one that has to end for it, if any. Raises LaterError."""
        if len(self._open) >= self._bounds.calls_max:
            raise LaterError(f"all {self._bounds.calls_max:,} streams are taken")
        if aside and self._aside >= self._bounds.aside_max:
            raise LaterError(f"all {self._bounds.aside_max:,} streams of other services are taken")
        self._open[call] = aside
        self._aside += aside
        self._silent[call] = None
        if len(self._silent) <= self._bounds.silent_max:
            return None
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        return oldest

    def spoke(self, call: Call) -> None:
        """The first request of this call has come."""
        self._silent.pop(call, None)

    def leave(self, call: Call) -> None:
        """This call is over, if it was ever taken in."""
        self._silent.pop(call, None)
        self._aside -= self._open.pop(call, False)
