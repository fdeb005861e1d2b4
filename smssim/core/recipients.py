"""Whom a run reaches: how many messages failed because nobody can deliver them, and when the others were sent.

Knows outcomes that count. Must not know senders, or how anything is shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smssim.core.lanes import Finished
from smssim.core.model import Outcome, RunFacts
from smssim.core.progress import Milestones
from smssim.core.reach import Reach, Reachable


class Recipients:
    """The unreachable messages of a run, and its milestones without them; only for runs that have a share of them."""

    def __init__(self, run: RunFacts) -> None:
        self.unreachable = 0  # messages that failed and that nobody can deliver
        self.reached_s: dict[int, float] = {}  # by percent of the reachable messages: when they were sent
        self._reach = Reach(run.seed, run.unreachable)
        self._reachable = Reachable(run.seed, run.unreachable, run.total)

    def add(self, counted: Finished, sent: int, elapsed_s: float) -> None:
        """Add outcomes that count; `sent`: the messages that have been sent, including these.

        This takes time in proportion to the messages of the run so far, divided by all calls.
        """
        failed = counted.ids[counted.outcomes == Outcome.FAILED]
        if len(failed):
            self.unreachable += int(np.count_nonzero(self._reach.missing(failed.astype(np.uint64))))
        for percent in Milestones.PERCENTS[len(self.reached_s) :]:
            if not self._is_reached(percent, sent):
                break
            self.reached_s[percent] = elapsed_s

    def _is_reached(self, percent: int, sent: int) -> bool:
        """Return whether `sent` messages are this percentage of those that can be reached, rounded up."""
        most = 100 * sent // percent  # if more messages can be reached, the percentage is not
        return sent > 0 and self._reachable.is_known(most) and self._reachable.count <= most

    def delay(self, time_s: float) -> None:
        """Add this time to each milestone, because the run started so much earlier."""
        self.reached_s = {percent: reached_s + time_s for percent, reached_s in self.reached_s.items()}

    # -- saved and restored

    def saved(self) -> dict[str, Any]:
        """Return the state, for JSON."""
        return {
            "unreachable": self.unreachable,
            "reached_s": list(self.reached_s.values()),
            "looked_at": self._reachable.looked_at,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Restore saved state into new recipients; raises DAMAGE."""
        self.unreachable = saved["unreachable"]
        self.reached_s = dict(zip(Milestones.PERCENTS, saved["reached_s"], strict=False))
        self._reachable.looked_at = tuple(saved["looked_at"])
