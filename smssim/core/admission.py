"""Which calls a server accepts: bounds on all calls, on calls of other services and on calls without a request so far.

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
    """Bounds on the calls that are open at the same time."""

    calls_max: int  # of every kind
    silent_max: int  # of these, without a request so far
    aside_max: int  # of these, long-lived calls of other services


class Admission(Generic[Call]):
    """The open calls.

    Silent calls can't keep others out: one too many replaces the oldest silent call, because an honest caller sends its
    request at once. Calls of other services can't either, because only a few of them may be open.
    """

    def __init__(self, bounds: CallBounds) -> None:
        self._bounds = bounds
        self._open: dict[Call, bool] = {}  # whether each is a long-lived call of another service
        self._aside = 0
        self._silent: dict[Call, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, call: Call, aside: bool = False) -> Call | None:
        """Admit a call without a request so far, and return the silent call that must end for it, if any.

        Raises LaterError if too many calls are open.
        """
        if len(self._open) >= self._bounds.calls_max:
            raise LaterError(f"all {self._bounds.calls_max:,} streams are in use")
        if aside and self._aside >= self._bounds.aside_max:
            raise LaterError(f"all {self._bounds.aside_max:,} streams of other services are in use")
        self._open[call] = aside
        self._aside += aside
        self._silent[call] = None
        if len(self._silent) <= self._bounds.silent_max:
            return None
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        return oldest

    def requested(self, call: Call) -> None:
        """Record that the first request of this call has arrived."""
        self._silent.pop(call, None)

    def leave(self, call: Call) -> None:
        """Remove a call that has ended; do nothing if it was not admitted."""
        self._silent.pop(call, None)
        self._aside -= self._open.pop(call, False)
