"""How long the parts of a whole run may take at its end, in one frozen value that is passed in.

Knows numbers alone. Those that nodes themselves keep to are `core.limits`, which these have to agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import COPIES_MAX, LIMITS, Rules, check_rules


@dataclass(frozen=True, kw_only=True)
class LaunchLimits:
    """Times are in seconds. Raises ValueError where they contradict each other or the limits of nodes."""

    left_over_s: float = 5.0  # how long a node may outlive its purpose: more than a monitor's last figures take ...
    others_s: float = 2.0  # ... and how much longer the others may take than their monitor
    view_s: float = 3.0  # how long the view may take to show the last figures
    last_report_s: float = 1.0  # how long senders may take to report when the run can't be completed any more
    files_s: float = 600.0  # how long a monitor may take to write the files that are wanted of it
    drain_s: float = 20.0  # how long senders may take to finish what they have: more than they give themselves
    reap_s: float = 0.002  # how often an exit code is looked for, where somebody waits for it
    line_bytes_max: int = 1 << 20  # a longer line comes in pieces
    records_max: int = 10_000  # kept of what a process says of itself: more than there may be copies of a sender

    def __post_init__(self) -> None:
        """Checks each rule; raises ValueError."""
        check_rules(self.rules())

    def rules(self) -> Rules:
        """Return what has to be true of them and of the limits of nodes together: whether it is, and in words."""
        return (
            (self.left_over_s <= self.files_s, "a monitor that writes files has no less time than one that does not"),
            (self.last_report_s <= self.drain_s, "senders that only report take no longer than those that also finish"),
            (self.view_s > LIMITS.last_figures_s, "the view has more time than a monitor gives it to read"),
            (self.drain_s > LIMITS.drain_max_s, "senders finish before they are killed"),
            (self.records_max >= COPIES_MAX, "a record of each copy of a sender is kept"),
        )


LAUNCH_LIMITS: Final = LaunchLimits()
