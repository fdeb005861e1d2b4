"""What an output is: a place where a run's progress or its outcomes are written.

Knows what can be written. Must not know which outputs there are, or who calls them. `opening` makes those that a node's
settings ask for. Two things that nodes show are no outputs: metrics (`metrics`), which senders and producers have too
and which are read off a node when a scraper asks, and the messages of `--verbose` (`terminal.each`), which only a
sender knows.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from smssim.core.event import Event
from smssim.core.history import History
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.model import RunFacts
from smssim.core.snapshot import Snapshot


class Output:
    """One output. Each method here does nothing; an output implements those that it has a use for.

    The order of calls is `check`, `open`, then the others for any number of runs, then `close`. Making an output opens
    nothing.
    """

    wants_outcomes: ClassVar[bool] = False  # whether `outcomes` is to be called: it is not free
    ends_slowly: ClassVar[bool] = False  # whether it writes so much after the end of a run that its node ends late

    def check(self) -> None:
        """Raises UsageError where the output can't be written; leaves everything as it was."""

    def open(self) -> None:
        """Opens what is written to; raises UsageError."""

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """A moment of a run, one an interval. `history` has it already."""

    def outcomes(self, run: RunFacts, sender: str, finished: Finished, counts: NDArray[np.bool_], at_s: float) -> None:
        """Outcomes of one report, at `at_s` seconds of the run. `counts`, shape (n,): those that enter the figures."""

    def event(self, event: Event) -> None:
        """Something that has happened."""

    def dropped(self, run_id: str) -> None:
        """A run of which moments were shown is followed no longer: nothing of it was counted."""

    def end(self, snapshot: Snapshot, history: History) -> None:
        """The last figures of a run, with its summary."""

    async def list_messages(self, run: RunFacts, ledger: Ledger) -> None:
        """What became of each message of a run that has ended. It may take long: others have to get their turns."""

    async def ready(self) -> None:
        """Waits until the output can take more outcomes, so that reports come no faster than they are written."""

    async def close(self) -> bool:
        """Closes what is open, if anything; whether all was written."""
        return True
