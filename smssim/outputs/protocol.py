"""The interface of an output: a place where a run's progress or its outcomes are written.

Knows what can be written. Must not know which outputs exist or what calls them: `opening` creates the ones that a
node's settings ask for. Two things that nodes show are not outputs. Metrics (`metrics`) exist on senders and producers
too and are read when a scraper asks. The messages of `--verbose` (`terminal.each`) are known only to a sender.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from smssim.core.course import Course
from smssim.core.event import Event
from smssim.core.history import History
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.model import RunFacts
from smssim.core.snapshot import Snapshot

if TYPE_CHECKING:
    from smssim.net.access import Access  # it loads gRPC


class Output:
    """One output. The methods here do nothing; an output overrides the ones that it needs.

    The order of calls is `check`, `open`, then the others for any number of runs, then `close`. Creating an output
    opens nothing.
    """

    wants_outcomes: ClassVar[bool] = False  # whether `outcomes` is called, which costs time
    wants_course: ClassVar[bool] = False  # whether `noted` is called
    ends_slowly: ClassVar[bool] = False  # whether writing after the end of a run may delay the node's exit

    access: Access | None = None  # what the node requires of its peers; set before `open`

    def check(self) -> None:
        """Raise UsageError if the output can't be written. Changes nothing on disk."""

    def open(self) -> None:
        """Open the output for writing. Raises UsageError."""

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """Show a moment of a run; called once per interval. `history` already includes the moment."""

    def noted(self, snapshot: Snapshot, course: Course) -> None:
        """Take a moment of a run and its course, which already includes it. The course changes as the run goes on.

        Called only with `wants_course`: about once per second or more often, and right before `end`.
        """

    def outcomes(self, run: RunFacts, sender: str, finished: Finished, counts: NDArray[np.bool_], at_s: float) -> None:
        """Write the outcomes of one report.

        `counts`, shape (n,): which of them enter the figures. `at_s`: seconds since the start of the run.
        """

    def event(self, event: Event) -> None:
        """Show an event."""

    def dropped(self, run_id: str) -> None:
        """Forget a run whose moments were shown; nothing of it was counted, and it is no longer followed."""

    def end(self, snapshot: Snapshot, history: History) -> None:
        """Show the last figures of a run, with its summary."""

    async def list_messages(self, run: RunFacts, ledger: Ledger) -> None:
        """Write the final state of each message of an ended run. This may take long, and must yield to other tasks."""

    async def ready(self) -> None:
        """Wait until the output can accept more outcomes, so that they arrive no faster than they are written."""

    async def close(self) -> bool:
        """Close the output if it is open. Return whether everything was written."""
        return True
