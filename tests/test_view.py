"""The live view on screens of all sizes, the summary, plain lines, and the files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import select
from dataclasses import replace
from pathlib import Path

import pyte
import pytest
from view_support import OTHER, RUN_ID, Screen, ended, figures, of_run, row, snapshot

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, Others
from smssim.core.folding import FoldedRow
from smssim.core.history import History
from smssim.core.progress import Figures
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause, Stall
from smssim.errors import ExitCode, UsageError
from smssim.outputs.files import CsvFile, SummaryFile, check_writable
from smssim.outputs.opening import Outputs
from smssim.outputs.protocol import Output
from smssim.outputs.terminal import summary
from smssim.outputs.terminal.display import JsonLines, Rows
from smssim.outputs.terminal.live import Live
from smssim.outputs.terminal.painter import Painter
from smssim.outputs.terminal.screen import BARS, RunView, several_runs, sparkline
from smssim.outputs.terminal.sender_table import sender_table
from smssim.process.logs import node_log

LEASES = Stall(Cause.LEASES_LOST, 12.0, senders=3, messages=1234)
LOG = node_log("monitor")


class View(RunView):
    """One run on the screen, with its history."""

    def __init__(self, first: Snapshot) -> None:
        self.history = History()
        self.history.add(first.figures)
        super().__init__(first, self.history)

    def then(self, later: Snapshot) -> None:
        self.history.add(later.figures)
        self.update(later, self.history)


def view(**more: object) -> View:
    run = View(snapshot(elapsed_s=11.3, sent=1700, **more))  # type: ignore[arg-type]
    run.then(snapshot(**more))  # type: ignore[arg-type]
    return run


def drawn(run: RunView, width: int, height: int) -> list[str]:
    return [line.plain for line in run.lines(width, height)]


def shown(output: Output, *snapshots: Snapshot) -> bool:
    """Write moments, and ends, which have a summary, to an output; return whether all was written."""
    outputs = Outputs([output])
    output.check()
    output.open()
    for one in snapshots:
        if one.summary is None:
            outputs.moment(one)
        else:
            outputs.end(one, Course())
    return asyncio.run(outputs.close())


# -- the live view


def test_the_view_fits_every_screen() -> None:
    for senders in (0, 1, 4, 100):
        run = view(senders=senders, others=Others(sending=900, sent=5), stall=LEASES)
        for width in (20, 40, 60, 79, 80, 81, 100, 120, 160, 300):
            for height in (1, 3, 8, 12, 13, 23, 50, 200):
                lines = run.lines(width, height)
                assert 0 < len(lines) <= height, (senders, width, height)
                assert max(line.cell_len for line in lines) <= width, (senders, width, height)


def test_a_screen_of_80_by_24_shows_everything_important() -> None:
    text = "\n".join(drawn(view(senders=100, others=Others(sending=900, lost=3), stall=LEASES), 80, 23))
    for words in (
        "run 3f2a9c1e",
        "5,000 messages",
        "43.8%",
        "about",
        "2,100",
        "in flight",
        "123 ms",
        "480/s",
        "overall",
    ):
        assert words in text
    for words in (
        "Nothing finished for 12.0 s: 1,234 messages are leased to 3 lost senders",
        "sender1 ",
        "average",
        "990 more senders: 987 sending",
    ):
        assert words in text
    assert "…" not in text


def test_at_80_columns_no_text_is_cut_in_the_view_of_a_large_stalled_run() -> None:
    others = Others(sending=1200, waiting=300, lost=400, left=96, sent=1_234_567, failed=123_456, recent_rate_per_s=1e5)
    for cause in Cause:
        stall = Stall(cause, 725.0, senders=1_234, messages=123_456, time_s=30.0)
        text = drawn(view(senders=10, others=others, stall=stall, total=10**9), 80, 23)
        assert "…" not in "\n".join(text), cause
        more = "1,996 more senders: 1,200 sending, 300 waiting, 400 lost, 96 left"
        assert any(line.startswith(more) for line in text), cause


def test_with_many_senders_the_lost_and_the_fast_ones_have_a_row() -> None:
    rows = [row(f"slow-{i}") for i in range(50)] + [row("lost", State.LOST), row("fast", concurrency=99)]
    few = Fleet(tuple(rows)).limited(3)
    assert {one.name for one in few.rows} == {"slow-0", "lost", "fast"}
    assert (few.others.senders, few.others.sent) == (49, 49 * 500)


def test_columns_keep_their_places_while_numbers_grow() -> None:
    for width in (80, 160):
        run, places = View(snapshot(sent=0, elapsed_s=0.0)), set()
        for step in range(12):
            run.then(snapshot(sent=400 * step, elapsed_s=step + 1.0, recent_rate_per_s=480.0 + 50 * step))
            lines = drawn(run, width, 23)
            second = [line.index(word) for line, word in zip(lines[3:5], ("average", "average sent"), strict=True)]
            places.add((len(lines), *second, lines[3].index("now")))
            heads = lines[8]
            assert heads.split()[0] == "sender"
            assert all(line.index("sending") + 7 == heads.index("state") + 5 for line in lines[9:])
        assert len(places) == 1, width


def test_a_column_never_gets_narrower() -> None:
    table = sender_table()
    few, many = (FoldedRow.of("a", [replace(row("a"), sent=sent)]) for sent in (500, 10**6))
    wide = table.lines([many], 160)
    assert wide[0] != sender_table().lines([few], 160)[0]
    assert table.lines([few], 160)[0] == wide[0]


def test_the_length_of_the_bar_is_the_share_of_messages_done() -> None:
    for done, cells in ((0, 0), (2500, 0.5), (5000, 1)):
        bar = drawn(View(snapshot(sent=done, failed=0)), 100, 23)[1]
        assert bar.count("━") == pytest.approx(cells * (bar.count("━") + bar.count("─")), abs=1)


def test_the_sparkline_shows_the_history_of_the_rate() -> None:
    stories: list[tuple[list[float], int, str]] = [
        ([], 5, ""),
        ([0, 0], 5, "▁▁"),
        ([1, 2, 4], 5, "▃▅█"),
        ([100, 1, 2, 4], 3, "▃▅█"),
        ([4], 0, ""),
    ]
    for rates, width, line in stories:
        assert sparkline(rates, width) == line
        assert set(line) <= set(BARS)


def test_several_runs_share_the_screen() -> None:
    runs = [view() for _ in range(20)]
    lines = [line.plain for line in several_runs(runs, 80, 11)]
    assert len(lines) == 11
    assert sum("5,000 messages" in line for line in lines) == 5
    assert lines[-1] == "and 15 more runs"


# -- painted on a terminal


class Painted(Screen):
    """A screen with a painter."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__(columns, lines)
        self.size: tuple[int, int] | None = (columns, lines)
        self.painter = Painter(lambda text: self.feed(text.replace("\n", "\r\n").encode()), lambda: self.size)

    def paint(self, *lines: str) -> None:
        self.painter.paint([(line, len(line)) for line in lines])


def test_each_painting_replaces_the_one_before() -> None:
    screen = Painted()
    screen.paint("one", "two", "three")
    screen.paint("1", "2")
    assert screen.all_lines()[:4] == ["1", "2", "", ""]


def test_log_lines_go_above_the_painting() -> None:
    screen = Painted(20, 6)
    for number in range(10):
        screen.paint("view", str(number))
        screen.painter.above(f"log {number}")
    assert [line for line in screen.all_lines() if line] == [*(f"log {n}" for n in range(10)), "view", "9"]


def test_lines_as_wide_as_the_screen_stay_one_line() -> None:
    screen = Painted(20, 6)
    for fill in "abc":
        screen.paint(fill * 20, fill * 20)
    assert screen.all_lines() == ["c" * 20, "c" * 20, "", "", "", ""]


def test_a_painting_that_is_too_high_is_cut_and_leaves_a_line_for_the_cursor() -> None:
    screen = Painted(20, 6)
    for _ in range(2):
        screen.paint(*"123456789")
    assert screen.all_lines() == ["1", "2", "3", "4", "5", ""]


def test_a_screen_is_repainted_after_a_change_of_size() -> None:
    for size in ((80, 24), (40, 24), (100, 30), (80, 10)):
        screen = Painted()
        screen.painter.above("log")
        screen.paint("x" * 80, "y" * 30, "z")
        screen.size = size
        screen.screen.resize(size[1], size[0])
        screen.paint("one", "two")
        assert [line for line in screen.all_lines() if line][-2:] == ["one", "two"], size


class KeepingScreen(pyte.HistoryScreen):
    """A screen that keeps what is erased from its top on, as tmux does (scroll-on-clear)."""

    def erase_in_display(self, how: int = 0, *args: object, **more: object) -> None:
        if how == 0 and (self.cursor.x, self.cursor.y) == (0, 0):
            used = [y for y, line in enumerate(self.display) if line.strip()]
            self.history.top.extend(self.buffer[y] for y in range(max(used, default=-1) + 1))
            self.buffer.clear()
        super().erase_in_display(how, *args, **more)


def test_a_terminal_that_keeps_what_is_erased_keeps_no_painting() -> None:
    screen = Painted(20, 6)
    screen.use(KeepingScreen(20, 6, history=1000, ratio=0.01))
    for number in range(8):
        screen.paint(*(f"{number} {line}" for line in range(5)))
        screen.painter.above(f"log {number}")
        if number == 4:
            screen.size = (30, 6)
            screen.screen.resize(6, 30)
    screen.paint()
    screen.painter.above("end")
    assert [line for line in screen.all_lines() if line] == [*(f"log {n}" for n in range(8)), "end"]


def test_text_and_new_lines_are_painted_at_once() -> None:
    writes: list[str] = []
    painter = Painter(writes.append, lambda: (20, 6))
    painter.paint([("old", 3)] * 3)
    painter.above("summary", [("new", 3)])
    assert len(writes) == 2
    screen = Screen(20, 6)
    screen.feed("".join(writes).replace("\n", "\r\n").encode())
    assert [line for line in screen.all_lines() if line] == ["summary", "new"]


class Filmed(Painted):
    """A screen that remembers what it showed after each write."""

    def __init__(self) -> None:
        super().__init__(80, 60)
        self.frames: list[list[str]] = []

    def write(self, text: str) -> None:
        self.feed(text.replace("\n", "\r\n").encode())
        self.frames.append(self.lines())


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Filmed:
    """Return the screen that a live view is painted on."""
    screen = Filmed()
    monkeypatch.setattr("smssim.process.terminal.write", screen.write)
    monkeypatch.setattr("smssim.process.terminal.screen_size", lambda: (80, 60))
    return screen


def test_a_live_view_leaves_the_summary_behind(screen: Filmed) -> None:
    outputs = Outputs([Live(0.0)])
    outputs.moment(snapshot())
    assert any("43.8%" in line for line in screen.all_lines())
    outputs.end(ended(), Course())
    text = "\n".join(screen.all_lines())
    assert "43.8%" not in text
    assert text.strip() == "\n".join(summary.page(ended(), 80)).strip()


def test_the_last_frame_of_the_view_shows_the_end_of_the_run(screen: Filmed) -> None:
    outputs = Outputs([Live(0.0)])
    outputs.moment(snapshot(sent=4000, elapsed_s=15.0))
    outputs.moment(snapshot(sent=4499, failed=500, elapsed_s=19.9))
    assert re.search(r"99\.9%    about 1 s left$", screen.frames[-1][1])
    assert " sending " in "\n".join(screen.frames[-1])
    outputs.end(ended(), Course())
    last, after = screen.frames[-2:]
    assert re.fullmatch(r"run 3f2a9c1e  5,000 messages  4 senders +20\.0 s", last[0])
    assert re.fullmatch(r"━+    100%", last[1])
    text = "\n".join(last)
    assert re.search(r"^in flight +0 .*\nwaiting +0 ", text, re.MULTILINE)
    assert (text.count(" left "), " sending " in text) == (4, False)
    assert "\n".join(after).strip() == "\n".join(summary.page(ended(), 80)).strip()


def test_the_last_frame_of_an_incomplete_run_says_so_and_shows_no_time_left(screen: Filmed) -> None:
    for stops in (False, True):
        outputs = Outputs([Live(0.0)])
        outputs.moment(snapshot(sent=1700, elapsed_s=11.3))
        outputs.moment(snapshot())
        if stops:
            outputs.event(Event(12.3, Kind.STOPPING, "stopping the run"))
        short = figures(complete=False, final=True, senders=0)
        outputs.end(replace(ended(exit_code=ExitCode.INCOMPLETE), figures=short), Course())
        bar = next(line for line in screen.frames[-2] if "━" in line)
        assert re.search(r"43\.8%      not complete$", bar), stops
        assert "NOT COMPLETE" in "\n".join(screen.frames[-1])


def test_the_end_of_one_of_several_runs_is_shown_beside_the_others(screen: Filmed) -> None:
    outputs = Outputs([Live(0.0)])
    outputs.moment(snapshot(sent=4499, failed=500))
    outputs.moment(of_run(OTHER, snapshot()))
    outputs.end(ended(), Course())
    last, after = ([line for line in frame if "━" in line] for frame in screen.frames[-2:])
    assert [re.findall(r"[0-9.]+%", line) for line in last] == [["100%"], ["43.8%"]]
    assert [re.findall(r"[0-9.]+%", line) for line in after] == [["43.8%"]]


def test_a_run_that_was_not_shown_before_its_end_is_not_shown_then(screen: Filmed) -> None:
    Outputs([Live(0.0)]).end(ended(), Course())
    assert not any("━" in line for frame in screen.frames for line in frame)
    assert any("complete after" in line for line in screen.lines())


def test_a_view_that_is_left_before_the_end_of_its_run_shows_no_time_left(screen: Filmed) -> None:
    outputs = Outputs([Live(0.0)])
    outputs.moment(snapshot(sent=1700, elapsed_s=11.3))
    outputs.moment(snapshot())
    assert any(line.endswith(" left") for line in screen.lines())
    asyncio.run(outputs.close())
    assert any(line.endswith("43.8%") for line in screen.lines())


EVENTS = (
    Event(5.0, Kind.KILLED, "city killed", RUN_ID, "city"),
    Event(8.0, Kind.SLOWED, "region takes 4 times as long", RUN_ID, "region"),
    Event(9.5, Kind.RESTARTED, "city restarted", RUN_ID, "city"),
)


def test_the_view_shows_the_latest_events_on_every_screen() -> None:
    for senders in (0, 4, 100):
        run = View(replace(snapshot(senders=senders, stall=LEASES), events=EVENTS))
        for width in (20, 40, 80, 160):
            for height in (1, 3, 8, 12, 13, 23, 50):
                lines = run.lines(width, height)
                assert 0 < len(lines) <= height
                assert max(line.cell_len for line in lines) <= width
        lines_80 = drawn(run, 80, 23)
        assert "   8.0 s  region takes 4 times as long" in lines_80
        assert "   9.5 s  city restarted" in lines_80
        assert not any("city killed" in line for line in lines_80)
        assert len(lines_80) <= 23


def test_without_events_the_view_has_no_room_for_them() -> None:
    run, same = View(snapshot(senders=100)), View(replace(snapshot(senders=100), events=EVENTS))
    assert len(drawn(run, 80, 23)) == len(drawn(same, 80, 23))
    rows, fewer = (sum(" sending " in line for line in drawn(one, 80, 23)) for one in (run, same))
    assert rows == 2 + fewer


def test_a_live_view_of_a_stopping_run_shows_no_time_left(screen: Filmed) -> None:
    outputs = Outputs([Live(0.0)])
    for run_id, says in (("another", "about"), (RUN_ID, "stopping"), ("", "stopping")):
        outputs.moment(snapshot(sent=1700, elapsed_s=11.3))
        outputs.moment(snapshot())
        outputs.event(Event(12.3, Kind.STOPPING, "the run is being stopped", run_id))
        assert any(says in line for line in screen.lines()), run_id
        outputs.end(ended(), Course())


# -- the summary


def test_the_summary_shows_the_result_of_a_run() -> None:
    says = (
        r"sent +4,500 +90.0%",
        r"failed +500 +10.0%",
        r"redelivered +7 ",
        r"average time +123 ms  per attempt, 120 ms per successful attempt",
        r"latency +50% +90% +99.9% +100%\n +500 ms +1.25 s +12.50 s +13.00 s",
        r"sent after +50% +80% +95% +99%\n +9.5 s +16.2 s +never +never",
        r"thresholds +MISSED +failed<5% +was 10%\n +passed +t50<1m +was 9.50 s",
        r"sender1 .* left +500 +11 +2.1%",
        r"totals +the producer and the monitor agree",
        r"conservation +5,000 = 4,500 sent \+ 500 failed \+ 0 in flight \+ 0 waiting",
    )
    for width in (80, 160):
        lines = summary.page(ended(), width)
        assert max(map(len, lines)) <= width
        assert lines[0] == "run 3f2a9c1e-0000-4000-8000-000000000001: complete after 20.0 s"
        for line in says:
            assert re.search(line, "\n".join(lines)), (line, width)


def test_the_summary_of_an_empty_run_has_dashes_for_missing_numbers() -> None:
    empty = replace(figures(0, 0, 0, 1.0), avg_time_s=None, avg_sent_time_s=None, in_flight=0, waiting=0)
    assert any(
        "-  per attempt, - per successful attempt" in line for line in summary.page(replace(ended(0), figures=empty))
    )


def test_the_summary_lists_the_events() -> None:
    lines = summary.page(replace(ended(), events=EVENTS), 80)
    at = lines.index("  events           5.0 s  city killed")
    assert lines[at + 1 : at + 4] == [
        "                   8.0 s  region takes 4 times as long",
        "                   9.5 s  city restarted",
        "",
    ]
    many = tuple(replace(EVENTS[0], at_s=float(second)) for second in range(30))
    assert any(line.endswith("and 10 more events") for line in summary.page(replace(ended(), events=many), 80))
    assert not any("events" in line for line in summary.page(ended(), 80))


# -- plain lines


def test_plain_lines_have_a_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    for several, line in ((False, "   5.0 s  city killed"), (True, "3f2a9c1e     5.0 s  city killed")):
        rows = Rows(several)
        rows.event(EVENTS[0])
        rows.event(Event(6.0, Kind.STOPPING, "stopping the run"))
        assert capsys.readouterr().out == f"{line}\n"


def test_only_the_last_json_object_has_the_events_and_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(JsonLines(), replace(snapshot(), events=EVENTS), replace(ended(), events=EVENTS))
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(first) == list(Figures.__slots__)
    assert list(last) == [*Figures.__slots__, "events", "plan_reached_s", "reached_reachable_s"]
    assert last["plan_reached_s"] is None
    assert last["events"][1] == {
        "at_s": 8.0,
        "kind": "slowed",
        "target": "region",
        "text": "region takes 4 times as long",
    }


def test_plain_lines_give_the_reason_of_a_stall_once(capsys: pytest.CaptureFixture[str]) -> None:
    busy = replace(LEASES, cause=Cause.LANES_BUSY)
    stalls = (None, LEASES, replace(LEASES, quiet_s=13.0), busy, None, LEASES)
    assert shown(Rows(), *(snapshot(stall=stall) for stall in stalls))
    said = re.findall("Nothing finished for .*: (.*)", capsys.readouterr().out)
    assert [line[:19] for line in said] == ["1,234 messages are ", "1,234 messages bein", "1,234 messages are "]


# -- files


def test_the_csv_file_has_the_json_fields_as_columns(tmp_path: Path) -> None:
    path = tmp_path / "figures.csv"
    file = CsvFile(str(path), LOG)
    file.open()
    outputs = Outputs([file])
    moments = [snapshot(avg_time_s=None), snapshot(), ended()]
    for number, moment in enumerate(moments, 1):
        if moment.summary is None:
            outputs.moment(moment)
        else:
            outputs.end(moment, Course())
        assert len(path.read_text(encoding="utf-8").splitlines()) == 1 + number
    assert asyncio.run(outputs.close())
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    for got, moment in zip(rows, moments, strict=True):
        expected = moment.figures.as_dict()
        assert list(got) == list(expected)
        for name, value in expected.items():
            text = got[name]
            assert (value if isinstance(value, str) else json.loads(text or "null")) == (value), name


@pytest.mark.parametrize("torn", ["", "half a row", "x" * 3000])
def test_a_continued_csv_file_keeps_its_complete_rows(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "figures.csv"
    for _ in range(2):
        assert shown(CsvFile(str(path), LOG, resumes=True), snapshot())
        with path.open("a", encoding="utf-8") as crash:
            crash.write(torn)
    whole = path.read_text(encoding="utf-8").removesuffix(torn).splitlines()
    assert [line.partition(",")[0] for line in whole] == ["run_id", figures().run_id, figures().run_id]


def test_a_csv_file_may_be_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    watched = select.poll()
    watched.register(reading, 0)
    check_writable("--csv", str(path))
    assert watched.poll(0) == []  # the check has not closed the pipe
    assert shown(CsvFile(str(path), LOG), snapshot())
    assert os.read(reading, 10_000).startswith(b"run_id,")
    os.close(reading)


def test_the_summary_file_has_a_line_for_each_run(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    assert shown(SummaryFile(str(path), LOG), snapshot(), ended(), snapshot(), ended(2))
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first["reached_s"] == {"50": 9.5, "80": 16.2, "95": None, "99": None}
    assert first["percentiles"]["99.9"] == 12.5
    assert (first["redelivered"], first["final"], first["exit_code"]) == (7, True, ExitCode.OK)
    assert [one["passed"] for one in first["thresholds"]] == [False, True]
    assert [one["name"] for one in second["sender_rows"]] == ["sender1", "sender2"]
    assert second["sender_rows"][0]["state"] == "left"


def test_an_unwritable_file_is_a_usage_error(tmp_path: Path) -> None:
    for path in ("/", str(tmp_path / "missing/figures.csv"), str(tmp_path), str(tmp_path / "nul\0")):
        with pytest.raises(UsageError, match=r"--csv: got .*; expected a file that can be written \(.+\)"):
            check_writable("--csv", path)
    assert not list(tmp_path.iterdir())


def test_checking_that_a_file_is_writable_does_not_change_it(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("precious")
    link.symlink_to(tmp_path / "nothing")
    for path in (there, link, tmp_path / "new"):
        check_writable("--csv", str(path))
    assert sorted(tmp_path.iterdir()) == [link, there]
    assert there.read_text() == "precious"


def test_a_full_disk_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    assert not shown(CsvFile("/dev/full", LOG), *[snapshot()] * 3)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["monitor: --csv: stopped writing to /dev/full: No space left on device"]
