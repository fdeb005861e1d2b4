"""`--report` leaves a whole report of the latest run that has ended, or none, also if writing fails or is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from nodes_support import Stage, codes, play, until
from report_support import Parsed, course, data_of, result
from view_support import OTHER, of_run

from smssim.core.history import History
from smssim.errors import ExitCode, UsageError
from smssim.outputs import atomic
from smssim.outputs.opening import Outputs, check_outputs, open_outputs, wants_course
from smssim.outputs.report.file import ReportFile
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings, PlanSettings, ProducerSettings
from smssim.settings.senders import parse_sender

LOG = node_log("monitor")


def report_file(path: Path) -> ReportFile:
    return ReportFile(MonitorSettings(report=str(path)), LOG)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# ---- Files that are written as a whole


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(str(path), b"new")
    assert (path.read_text(), names(tmp_path)) == ("old", ["a"])


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom smssim.outputs import atomic\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"atomic.write({str(path)!r}, b'new' * 100_000)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left_over,) = set(names(tmp_path)) - {"a"}
    assert left_over.endswith(atomic.SUFFIX)


def test_a_replaced_file_keeps_its_mode_and_a_link_to_it(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    atomic.write(str(link), b"new")
    assert link.is_symlink()
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)


def test_a_mode_is_set_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        atomic.write(str(tmp_path / "a"), b"", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads it
        atomic.write(str(pipe), b"x")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    content = b"x" * 200_000
    while True:
        try:
            atomic.write(str(pipe), content)
        except OSError:  # the reader has not opened it yet
            continue
        break
    reader.join()
    assert got == [content]
    assert pipe.is_fifo()


def test_devices_are_written_to(tmp_path: Path) -> None:
    atomic.check("--report", "/dev/null")
    atomic.write("/dev/null", b"x")
    atomic.remove("/dev/null")
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == []


# ---- Refused before the run


def test_a_path_that_cannot_be_written_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "none" / "r.html", "no such file or directory"),
        (tmp_path / "file" / "r.html", "not a directory"),
        (tmp_path / ("x" * 300), "file name too long"),
    ):
        with pytest.raises(UsageError, match=rf"^--report: got .*; expected a file that can be written.*\({reason}\)$"):
            check_outputs(MonitorSettings(report=str(path)), LOG, resumes=False)
    assert names(tmp_path) == ["file"]


def test_a_check_leaves_an_earlier_report_and_a_start_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("of an earlier run")
    settings = MonitorSettings(report=str(path), json=True)
    check_outputs(settings, LOG, resumes=False)
    assert path.read_text() == "of an earlier run"
    outputs = asyncio.run(open_outputs(settings, LOG))
    assert names(tmp_path) == []
    assert asyncio.run(outputs.close())
    assert wants_course(settings)


def test_a_report_and_another_output_cannot_have_the_same_file(tmp_path: Path) -> None:
    path = str(tmp_path / "r")
    with pytest.raises(UsageError, match=r"--report: got .*; expected a different file from --csv"):
        MonitorSettings(csv=path, report=path)
    with pytest.raises(UsageError, match=r"--report: got .*; expected a different file from --csv"):
        PlanSettings(ProducerSettings(), (parse_sender("mean=1"),), csv=path, report=path)


# ---- The report of a run


def test_a_run_that_ends_has_a_report_whose_data_is_its_summary(tmp_path: Path) -> None:
    last, path = result(), tmp_path / "r.html"
    outputs = Outputs([report_file(path)])
    outputs.noted(last, course(last))
    assert names(tmp_path) == []
    outputs.end(last, course(last))
    assert asyncio.run(outputs.close())
    assert data_of(path.read_bytes())["runs"][0]["progress"] == json.loads(json.dumps(last.as_dict()))
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_a_run_with_one_moment_has_a_report(tmp_path: Path) -> None:
    last, path = result(), tmp_path / "r.html"
    outputs = Outputs([report_file(path)])
    outputs.end(last, course(last, points=0))
    assert asyncio.run(outputs.close())
    assert "5,000 = 4,500 sent" in Parsed(path.read_bytes()).text


def test_the_report_is_that_of_the_latest_run(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    outputs = Outputs([report_file(path)])
    for last in (result(), of_run(OTHER, result())):
        outputs.end(last, course(last))
    assert asyncio.run(outputs.close())
    (only,) = data_of(path.read_bytes())["runs"]
    assert only["progress"]["run_id"] == OTHER


def test_a_run_that_is_dropped_has_no_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, last = report_file(tmp_path / "r.html"), result()
    file.open()
    file.noted(last, course(last))
    file.dropped(last.figures.run_id)
    file.end(last, History())
    with caplog.at_level(logging.INFO):
        assert asyncio.run(file.close())
    assert names(tmp_path) == []
    assert "--report: no run has ended, so there is no report" in caplog.text


def test_a_report_that_cannot_be_written_makes_the_result_incomplete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    outputs, last = Outputs([report_file(directory / "r.html")]), result()
    directory.rmdir()
    outputs.end(last, course(last))
    assert not asyncio.run(outputs.close())
    assert f"--report: run {last.figures.run_id} was not written: No such file or directory" in caplog.text


def test_live_runs_have_reports(tmp_path: Path) -> None:
    for count, senders in ((300, 2), (0, 1)):
        path, summary = tmp_path / f"{count}.html", tmp_path / f"{count}.json"

        async def scene(count: int = count, senders: int = senders, path: Path = path, summary: Path = summary) -> None:
            async with Stage() as stage:
                monitor = await stage.monitor(
                    report=str(path),
                    summary_json=str(summary),
                    history=str(tmp_path / "kept"),
                    title="live",
                    interval_s=60.0,
                )
                producer = await stage.producer(count, monitor=monitor.address)
                those = [stage.sender(producer.address, f"sender-{i}") for i in range(senders)]
                assert await codes(monitor, producer, *those) == [0] * (2 + senders)

        play(scene())
        page = path.read_bytes()
        (document,) = data_of(page)["runs"]
        assert document["progress"] == json.loads(summary.read_text())
        assert document["title"] == "live"
        assert f"{count} = " in Parsed(page).text
        (kept,) = (tmp_path / "kept").glob(f"*{document['progress']['run_id']}.json")
        assert json.loads(kept.read_text()) == document


def test_a_run_that_is_interrupted_has_a_report(tmp_path: Path) -> None:
    path = tmp_path / "r.html"

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(report=str(path))
            producer = await stage.producer(50, monitor=monitor.address)
            stage.sender(producer.address, mean_s=60.0, distribution="fixed", concurrency=5)
            await until(lambda: producer.backlog.leased)
            await until(lambda: monitor.node.runs.followed)
            monitor.stop.set()
            assert await monitor.code() == ExitCode.INCOMPLETE

    play(scene())
    (document,) = data_of(path.read_bytes())["runs"]
    assert document["verdict"]["code"] == "incomplete"
    assert document["progress"]["final"]
    assert "not complete" in Parsed(path.read_bytes()).text


def test_a_monitor_that_is_stopped_before_a_run_leaves_no_report(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(report=str(tmp_path / "r.html"))
            monitor.stop.set()
            await monitor.code()

    play(scene())
    assert names(tmp_path) == []


# ---- The report of a plan


def test_a_plan_has_a_report_with_its_course_and_the_command_to_repeat_it(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    words = [
        "plan",
        "--count=200",
        "--sender=mean=0.05,concurrency=4,fail=0.1",
        "--goal=t50<1m",
        f"--report={path}",
        "--json",
    ]
    ended = subprocess.run([sys.executable, "-m", "smssim", *words], capture_output=True, text=True, check=True)
    (document,) = data_of(path.read_bytes())["runs"]
    assert document["forecast"] == json.loads(ended.stdout)
    columns = ("sent", "sent_low", "sent_high", "failed", "failed_low", "failed_high")
    assert {len(document["plan"][name]) for name in columns} == {len(document["plan"]["times_s"])} == {201}
    assert all(
        low <= high for low, high in zip(document["plan"]["sent_low"], document["plan"]["sent_high"], strict=True)
    )
    seeds = document["forecast"]["seeds"]
    assert document["command"].endswith(f"--json --seed 1 --seeds {seeds}")
    assert document["command"].startswith("smssim plan --count=200")
    again = subprocess.run(
        [sys.executable, "-m", "smssim", *words, "--seed=1", f"--seeds={seeds}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == ended.stdout


def test_a_plan_whose_report_cannot_be_written_is_refused_before_it_plays(tmp_path: Path) -> None:
    words = ["plan", f"--report={tmp_path}"]
    ended = subprocess.run([sys.executable, "-m", "smssim", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.USAGE
    assert ended.stderr.startswith("smssim plan: --report: got ")
    assert len(ended.stderr.splitlines()) == 1
