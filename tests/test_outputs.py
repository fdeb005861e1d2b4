"""The outputs of a node: opened all or none, called for what they want, with one history per run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from view_support import ended, of_run, snapshot

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.history import History
from smssim.core.lanes import Finished
from smssim.core.ledger import Ledger
from smssim.core.model import Outcome, RunFacts
from smssim.core.snapshot import Snapshot
from smssim.errors import UsageError
from smssim.outputs import opening
from smssim.outputs.opening import Outputs, check_outputs, ends_slowly, open_outputs
from smssim.outputs.protocol import Output
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings, WatchSettings

LOG = node_log("monitor")
RUN = RunFacts("7d3f1a52-94a3-4b8e-9c53-8a3f1e0a6d11", 7, 2, 1)
FILES = ("csv", "summary_json", "record", "failed")


def monitor(directory: Path, *files: str, **more: object) -> MonitorSettings:
    """Return the settings of a monitor that writes these files."""
    return MonitorSettings(json=True, **{name: str(directory / name) for name in files}, **more)  # type: ignore[arg-type]


class Noted(Output):
    """An output that records its calls."""

    def __init__(self, name: str = "", log: object = None, resumes: bool = False, limits: object = None) -> None:
        self.calls: list[str] = []
        self.histories: list[History] = []
        self.is_whole = True

    def open(self) -> None:
        self.calls.append("open")

    def moment(self, snapshot: Snapshot, history: History) -> None:
        self.calls.append("moment")
        self.histories.append(history)

    def outcomes(self, *_: object) -> None:
        self.calls.append("outcomes")

    def event(self, event: Event) -> None:
        self.calls.append("event")

    def dropped(self, run_id: str) -> None:
        self.calls.append(f"dropped {run_id}")

    def end(self, snapshot: Snapshot, history: History) -> None:
        self.calls.append("end")
        self.histories.append(history)

    async def list_messages(self, run: RunFacts, ledger: Ledger) -> None:
        self.calls.append("list_messages")

    async def ready(self) -> None:
        self.calls.append("ready")

    async def close(self) -> bool:
        self.calls.append("close")
        return self.is_whole


class Wanting(Noted):
    """An output that wants outcomes."""

    wants_outcomes = True


class Refusing(Noted):
    """An output that passes its check and then can't be opened."""

    def open(self) -> None:
        raise UsageError("no")


# -- opening


def test_a_refused_start_leaves_every_file_unchanged(tmp_path: Path) -> None:
    for refused in FILES:
        directory = tmp_path / refused
        directory.mkdir()
        for name in FILES:
            if name == refused:
                (directory / name).mkdir()
            elif name not in ("record", "csv"):  # these two don't exist yet
                (directory / name).write_text("precious")
        before = sorted(directory.iterdir())
        settings = monitor(directory, *FILES)
        with pytest.raises(UsageError, match=f"--{refused.replace('_', '-')}: got"):
            check_outputs(settings, LOG, resumes=False)
        with pytest.raises(UsageError, match=f"--{refused.replace('_', '-')}: got"):
            asyncio.run(open_outputs(settings, LOG))
        assert sorted(directory.iterdir()) == before
        assert all(path.read_text() == "precious" for path in before if path.is_file())


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "failed").write_text("of the run before")
    check_outputs(monitor(tmp_path, *FILES), LOG, resumes=False)
    assert [path.name for path in tmp_path.iterdir()] == ["failed"]
    assert (tmp_path / "failed").read_text() == "of the run before"


def test_the_check_of_a_run_that_may_continue_accepts_an_existing_record(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"PAR1")
    check_outputs(monitor(tmp_path, "record"), LOG, resumes=True)
    with pytest.raises(UsageError, match="--record"):
        check_outputs(monitor(tmp_path, "record"), LOG, resumes=False)


def test_opening_empties_files_of_an_earlier_run_but_keeps_the_csv_of_one_that_continues(tmp_path: Path) -> None:
    for resumes, csv in ((False, ""), (True, "a row\n")):
        for name in ("csv", "summary_json", "failed"):
            (tmp_path / name).write_text("a row\n")
        outputs = asyncio.run(open_outputs(monitor(tmp_path, "csv", "summary_json", "failed"), LOG, resumes))
        assert (tmp_path / "csv").read_text().startswith(csv or "run_id,")
        assert (tmp_path / "summary_json").read_text() == (tmp_path / "failed").read_text() == ""
        assert asyncio.run(outputs.close())


def test_if_an_output_cannot_be_opened_those_before_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Noted] = []

    def make(kind: type[Noted]) -> Noted:
        made.append(kind())
        return made[-1]

    kinds = {"csv": Noted, "summary_json": Refusing}
    openers = {name: lambda *_, kind=kind: make(kind) for name, kind in kinds.items()}
    monkeypatch.setattr(opening, "_BY_SETTING", openers)
    with pytest.raises(UsageError, match="no"):
        asyncio.run(open_outputs(monitor(tmp_path, *kinds), LOG))
    assert made[0].calls == ["open", "close"]


def test_a_node_with_files_that_list_messages_may_end_slowly(tmp_path: Path) -> None:
    for name, is_slow in (("csv", False), ("summary_json", False), ("record", True), ("failed", True)):
        assert ends_slowly(monitor(tmp_path, name), LOG) == is_slow
    assert not list(tmp_path.iterdir())


def test_a_watcher_has_only_the_display_of_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = asyncio.run(open_outputs(WatchSettings(json=True), LOG))
    outputs.moment(snapshot())
    assert capsys.readouterr().out.startswith('{"run_id": ')


# -- calls


def test_each_output_is_called_in_order_for_every_event() -> None:
    first, second = Noted(), Wanting()
    outputs = Outputs([first, second])

    async def play() -> bool:
        await outputs.ready()
        outputs.moment(snapshot())
        outputs.event(Event(1.0, Kind.STOPPING, "the run is being stopped"))
        outputs.end(ended(), Course())
        await outputs.list_messages(RUN, Ledger(2))
        return await outputs.close()

    assert asyncio.run(play())
    assert first.calls == second.calls == ["ready", "moment", "event", "end", "list_messages", "close"]


def test_outcomes_go_only_to_outputs_that_want_them() -> None:
    one, other = Noted(), Wanting()
    column = np.ones(1, np.uint8)
    finished = Finished(np.zeros(1, np.int64), column, column * np.uint8(Outcome.SENT), *[np.ones(1, np.float32)] * 2)
    Outputs([one, other]).outcomes(RUN, "some", finished, np.ones(1, bool), 1.0)
    assert (one.calls, other.calls) == ([], ["outcomes"])


def test_all_outputs_are_closed_and_one_incomplete_output_makes_the_result_false() -> None:
    one, other = Noted(), Noted()
    one.is_whole = False
    assert not asyncio.run(Outputs([one, other]).close())
    assert one.calls == other.calls == ["close"]


# -- the history of each run


def test_all_outputs_share_the_history_of_a_run_from_its_first_moment_to_its_last() -> None:
    one, other = Noted(), Noted()
    outputs = Outputs([one, other])
    for second in range(3):
        for run_id in ("a", "b"):
            outputs.moment(of_run(run_id, snapshot(), elapsed_s=float(second)))
    outputs.end(of_run("a", ended(), elapsed_s=3.0), Course())
    of_a, of_b, *_ = one.histories
    assert one.histories == other.histories == [of_a, of_b] * 3 + [of_a]
    assert (len(of_a), len(of_b)) == (4, 3)
    course = of_a.samples()
    assert (course.elapsed_s[-1], course.sent[-1]) == (3.0, ended().figures.sent)


def test_a_run_that_returns_after_its_end_has_a_new_history() -> None:
    one = Noted()
    outputs = Outputs([one])
    outputs.end(of_run("a", ended(), elapsed_s=3.0), Course())
    outputs.moment(of_run("a", snapshot(), elapsed_s=1.0))
    first, second = one.histories
    assert first is not second
    assert len(second) == 1


def test_the_history_of_a_dropped_run_is_not_kept() -> None:
    one = Noted()
    outputs = Outputs([one])
    outputs.moment(of_run("stays", snapshot(), elapsed_s=0.0))
    outputs.moment(of_run("goes", snapshot(), elapsed_s=0.0))
    outputs.dropped("goes")
    assert one.calls == ["moment", "moment", "dropped goes"]
    assert list(outputs._histories) == ["stays"]
