"""The outputs of a node: makes those that its settings ask for, checks, opens and closes them.

A further output is a module of its own, a setting, and a line in `_BY_SETTING`. Must not know reports, or when
something is to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.event import Event
from smssim.core.history import History
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.snapshot import Snapshot
from smssim.outputs.files import CsvFile, SummaryFile
from smssim.outputs.protocol import Output
from smssim.outputs.record import Recorder
from smssim.outputs.terminal.display import display
from smssim.outputs.undelivered import UndeliveredList
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings

# By the setting that asks for it, in the order in which they are opened and written. Made from its value, the log,
# whether the run goes on after a restart, and the limits.
_BY_SETTING: Final[dict[str, Callable[[str, Log, bool, Limits], Output]]] = {
    "record": Recorder,
    "csv": CsvFile,
    "summary_json": SummaryFile,
    "failed": UndeliveredList,
}


def check_outputs(settings: MonitorSettings, log: Log, goes_on: bool) -> None:
    """Raises UsageError where an output can't be written; leaves everything as it was.

    `goes_on`: the run may be one that goes on after a restart.
    """
    for output in _beside_stdout(settings, log, goes_on, LIMITS):
        output.check()


def ends_slowly(settings: MonitorSettings, log: Log) -> bool:
    """Whether a node with these settings may write for long after the end of a run."""
    return any(output.ends_slowly for output in _beside_stdout(settings, log, goes_on=False, limits=LIMITS))


async def open_outputs(
    settings: MonitorSettings | WatchSettings, log: Log, goes_on: bool = False, limits: Limits = LIMITS
) -> Outputs:
    """Opens the outputs that these settings ask for; raises UsageError, then none of them is open.

    `goes_on`: the run goes on after a restart, so that files keep what they have.
    """
    shown = display(settings.json, settings.interval_s, several_runs=getattr(settings, "linger", False))
    made = [shown, *_beside_stdout(settings, log, goes_on, limits)]
    outputs = Outputs(made, limits)
    for output in made:
        output.check()
    try:
        for output in made:
            output.open()
    except BaseException:
        await outputs.close()
        raise
    return outputs


def _beside_stdout(settings: MonitorSettings | WatchSettings, log: Log, goes_on: bool, limits: Limits) -> list[Output]:
    """Make the outputs that the settings ask for, but for the one on stdout, which is always there."""
    values = {name: getattr(settings, name, None) for name in _BY_SETTING}
    return [_BY_SETTING[name](value, log, goes_on, limits) for name, value in values.items() if value is not None]


class Outputs:
    """All outputs of one node, and the history of each run that they show. Each call goes to all, in order."""

    def __init__(self, outputs: Sequence[Output] = (), limits: Limits = LIMITS) -> None:
        self._outputs = outputs
        self._limits = limits
        self._histories: dict[str, History] = {}  # by the id of a run that goes on

    def moment(self, snapshot: Snapshot) -> None:
        """See Output."""
        history = self._add(snapshot)
        for output in self._outputs:
            output.moment(snapshot, history)

    def outcomes(self, run: RunFacts, sender: str, finished: Finished, counts: NDArray[np.bool_], at_s: float) -> None:
        """See Output; goes to those that want outcomes."""
        for output in self._outputs:
            if output.wants_outcomes:
                output.outcomes(run, sender, finished, counts, at_s)

    def event(self, event: Event) -> None:
        """See Output."""
        for output in self._outputs:
            output.event(event)

    def dropped(self, run_id: str) -> None:
        """See Output."""
        self._histories.pop(run_id, None)
        for output in self._outputs:
            output.dropped(run_id)

    def end(self, snapshot: Snapshot) -> None:
        """See Output."""
        history = self._add(snapshot)
        del self._histories[snapshot.figures.run_id]
        for output in self._outputs:
            output.end(snapshot, history)

    async def list_messages(self, run: RunFacts, ledger: Ledger) -> None:
        """See Output."""
        for output in self._outputs:
            await output.list_messages(run, ledger)

    async def ready(self) -> None:
        """See Output."""
        for output in self._outputs:
            await output.ready()

    async def close(self) -> bool:
        """See Output."""
        are_whole = [await output.close() for output in self._outputs]
        return all(are_whole)

    def _add(self, snapshot: Snapshot) -> History:
        """Adds a moment to the history of its run and returns that."""
        run_id = snapshot.figures.run_id
        if run_id not in self._histories:
            self._histories[run_id] = History(self._limits)
        self._histories[run_id].add(snapshot.figures)
        return self._histories[run_id]
