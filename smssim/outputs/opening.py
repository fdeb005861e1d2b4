"""The outputs of a node: creates the ones that its settings ask for, and checks, opens and closes them.

To add an output, write a module, a setting, and a function here with a line in `_BY_SETTING`. Must not know reports,
or when something is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.course import Course
from smssim.core.event import Event
from smssim.core.history import History
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.snapshot import Snapshot
from smssim.outputs.protocol import Output
from smssim.outputs.terminal.display import display
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings

if TYPE_CHECKING:
    from smssim.net.access import Access  # it loads gRPC


# Each function imports its output: a node needs few of them, and starts sooner without the others.


def _record(value: str, log: Log, resumes: bool, limits: Limits) -> Output:
    from smssim.outputs.record import Recorder

    return Recorder(value, log, resumes, limits)


def _csv(value: str, log: Log, resumes: bool, limits: Limits) -> Output:
    from smssim.outputs.files import CsvFile

    return CsvFile(value, log, resumes, limits)


def _summary_json(value: str, log: Log, resumes: bool, limits: Limits) -> Output:
    from smssim.outputs.files import SummaryFile

    return SummaryFile(value, log, resumes, limits)


def _failed(value: str, log: Log, resumes: bool, limits: Limits) -> Output:
    from smssim.outputs.undelivered import UndeliveredList

    return UndeliveredList(value, log, resumes, limits)


def _web(settings: MonitorSettings | WatchSettings, log: Log, limits: Limits) -> Output:
    from smssim.web.page import Page

    return Page(settings, log, limits)


def _history(settings: MonitorSettings | WatchSettings, log: Log, limits: Limits) -> Output:
    from smssim.outputs.kept.keeper import Keeper

    return Keeper(settings, log, limits)


def _report(settings: MonitorSettings | WatchSettings, log: Log, limits: Limits) -> Output:
    from smssim.outputs.report.file import ReportFile

    return ReportFile(settings, log, limits)


# Outputs by the setting that asks for them, in the order in which they are opened and written. The arguments are the
# value of the setting, the log, whether the run resumes after a restart, and the limits.
_BY_SETTING: Final[dict[str, Callable[[str, Log, bool, Limits], Output]]] = {
    "record": _record,
    "csv": _csv,
    "summary_json": _summary_json,
    "failed": _failed,
}

# The same for outputs that show the course of runs. The arguments are the settings, the log and the limits.
_OF_COURSE: Final[dict[str, Callable[[MonitorSettings | WatchSettings, Log, Limits], Output]]] = {
    "web": _web,
    "history": _history,
    "report": _report,  # last: opening it removes an old report, which has to stay if another output can't be opened
}


def check_outputs(settings: MonitorSettings, log: Log, resumes: bool) -> None:
    """Raise UsageError if an output can't be written. Changes nothing on disk.

    `resumes`: whether the run may be one that resumes after a restart.
    """
    for output in _beside_stdout(settings, log, resumes, LIMITS):
        output.check()


def wants_course(settings: MonitorSettings | WatchSettings) -> bool:
    """Return whether an output that these settings ask for shows the course of runs."""
    return any(getattr(settings, name, None) is not None for name in _OF_COURSE)


def ends_slowly(settings: MonitorSettings, log: Log) -> bool:
    """Return whether a node with these settings may keep writing for long after the end of a run."""
    return any(output.ends_slowly for output in _beside_stdout(settings, log, resumes=False, limits=LIMITS))


async def open_outputs(
    settings: MonitorSettings | WatchSettings,
    log: Log,
    resumes: bool = False,
    limits: Limits = LIMITS,
    access: Access | None = None,
) -> Outputs:
    """Open the outputs that these settings ask for. Raises UsageError, and then leaves none of them open.

    `resumes`: whether the run resumes after a restart, so that files keep their contents. `access`: what the node
    requires of its peers.
    """
    shown = display(settings.json, settings.interval_s, several_runs=getattr(settings, "linger", False))
    made = [shown, *_beside_stdout(settings, log, resumes, limits)]
    outputs = Outputs(made, limits)
    for output in made:
        output.access = access
        output.check()
    try:
        for output in made:
            output.open()
    except BaseException:
        await outputs.close()
        raise
    return outputs


def _beside_stdout(settings: MonitorSettings | WatchSettings, log: Log, resumes: bool, limits: Limits) -> list[Output]:
    """Return the outputs that the settings ask for, without the one on stdout, which always exists."""
    values = {name: getattr(settings, name, None) for name in _BY_SETTING}
    made = [_BY_SETTING[name](value, log, resumes, limits) for name, value in values.items() if value is not None]
    asked = [name for name in _OF_COURSE if getattr(settings, name, None) is not None]
    return [*made, *(_OF_COURSE[name](settings, log, limits) for name in asked)]


class Outputs:
    """All outputs of one node, and the history of each run that they show. Each call goes to every output, in order."""

    def __init__(self, outputs: Sequence[Output] = (), limits: Limits = LIMITS) -> None:
        self._outputs = outputs
        self._limits = limits
        self._histories: dict[str, History] = {}  # by run id, of the runs in progress

    def moment(self, snapshot: Snapshot) -> None:
        """See Output."""
        history = self._add(snapshot)
        for output in self._outputs:
            output.moment(snapshot, history)

    def noted(self, snapshot: Snapshot, course: Course) -> None:
        """See Output. Goes only to the outputs with `wants_course`."""
        for output in self._outputs:
            if output.wants_course:
                output.noted(snapshot, course)

    def outcomes(self, run: RunFacts, sender: str, finished: Finished, counts: NDArray[np.bool_], at_s: float) -> None:
        """See Output. Goes only to the outputs with `wants_outcomes`."""
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

    def end(self, snapshot: Snapshot, course: Course) -> None:
        """See Output."""
        self.noted(snapshot, course)
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
        """Add a moment to the history of its run and return the history."""
        run_id = snapshot.figures.run_id
        if run_id not in self._histories:
            self._histories[run_id] = History(self._limits)
        self._histories[run_id].add(snapshot.figures)
        return self._histories[run_id]
