"""How long the parts of a whole run may take at its end, in one frozen value that is passed in.

Knows numbers alone. Those that nodes themselves keep to are `core.limits`, which these have to agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import COPIES_MAX, LIMITS


@dataclass(frozen=True, kw_only=True)
class LaunchLimits:
    """Times are in seconds; raises ValueError where nodes would be ended that do as they should."""

    left_over_s: float = 5.0  # how long a node may outlive what it was there for ...
    others_s: float = 2.0  # ... and the others, their monitor
    last_figures_s: float = 3.0  # how long the last figures may take to be shown
    last_report_s: float = 1.0  # how long senders may take to report when the run can't be completed any more
    files_s: float = 600.0  # how long a monitor may take to write the files that are wanted of it
    drain_s: float = 20.0  # how long senders may take to finish what they have: more than they give themselves
    reap_s: float = 0.002  # how often an exit code is looked for, where somebody waits for it
    line_bytes_max: int = 1 << 20  # a longer line comes in pieces
    records_max: int = 10_000  # kept of what a process says of itself: more than there may be copies of a sender

    def __post_init__(self) -> None:
        """Checks them against the times that nodes keep to; raises ValueError."""
        if self.drain_s <= LIMITS.drain_max_s:
            raise ValueError("these limits contradict each other: senders finish before they are ended")
        if self.records_max < COPIES_MAX:
            raise ValueError("these limits contradict each other: each copy of a sender is heard")


LAUNCH_LIMITS: Final = LaunchLimits()
