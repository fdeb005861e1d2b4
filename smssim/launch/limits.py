"""Limits of `smssim run`, in one frozen value that is passed in.

Knows only numbers. They must agree with the limits of the nodes, which are in `core.limits`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from smssim.core.limits import COPIES_MAX, LIMITS, Rules, check_rules


@dataclass(frozen=True, kw_only=True)
class LaunchLimits:
    """Times in seconds, and bounds. Raises ValueError if they contradict each other or the limits of the nodes."""

    left_over_s: float = 5.0  # how long a node may take to end when it is not needed: covers a monitor's last figures
    others_s: float = 2.0  # how much longer than the monitor the other nodes may run
    view_s: float = 3.0  # how long the view may take to show the last figures
    last_report_s: float = 1.0  # how long senders may take to report if the run can't be completed
    files_s: float = 600.0  # how long a monitor may take to write its files
    drain_s: float = 20.0  # how long senders may take to finish their messages: more than their own limit
    reap_s: float = 0.002  # interval of checks for an exit code while waiting for it
    line_bytes_max: int = 1 << 20  # a longer line is split into pieces
    records_max: int = 10_000  # kept of one process: more than a sender can have copies

    def __post_init__(self) -> None:
        """Raise ValueError if a rule is broken."""
        check_rules(self.rules())

    def rules(self) -> Rules:
        """Return the rules that these limits and those of the nodes must obey: whether each holds, and what it says."""
        return (
            (
                self.left_over_s <= self.files_s,
                "a monitor that writes files has at least as much time as one that does not",
            ),
            (
                self.last_report_s <= self.drain_s,
                "senders that only report have at most as much time as those that also finish",
            ),
            (
                self.view_s > LIMITS.last_figures_s,
                "the view has more time than the monitor waits for it to read the last figures",
            ),
            (self.drain_s > LIMITS.drain_max_s, "senders have enough time to finish before they are killed"),
            (self.records_max >= COPIES_MAX, "the records of all copies of a sender are kept"),
        )


LAUNCH_LIMITS: Final = LaunchLimits()

# Of the view in this process: it is to be back before a run ends that is nearly complete when its monitor is restarted.
VIEW_LIMITS: Final = replace(LIMITS, backoff_max_s=0.2)
