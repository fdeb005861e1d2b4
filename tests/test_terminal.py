"""Whole runs on a real pseudo-terminal: what the screen shows during a run and after it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nodes_support import free_address
from processes_support import Nodes
from pyarrow import parquet
from view_support import Terminal

from smssim.outputs.terminal.sender_table import TIMES

SHORT = ("--count=400", "--seed=7", "--interval=0.1", "--sender=mean=0.02,concurrency=4,name=brisk")  # to be watched
LONG = ("--count=1e6", *SHORT[1:])
SHORTEST = ("--count=100", *SHORT[1:])  # for tests that check only the end


def the_end(terminal: Terminal) -> str:
    text = "\n".join(terminal.all_lines())
    return text[text.index("run ") :] if "run " in text else text


def bars(terminal: Terminal) -> list[str]:
    """Return what was written after the progress bar, each time that it was painted."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.raw.decode())
    return [re.sub(" +", " ", one) for one in re.findall(r"[━─] +([0-9.<>]+%.*?) *\r\n", text)]


@pytest.mark.parametrize("columns", [80, 160])
def test_the_view_of_a_run_is_painted_in_place_and_replaced_by_the_summary(columns: int) -> None:
    with Terminal("run", *SHORT, columns=columns, lines=50) as terminal:
        terminal.until(lambda: terminal.shows("━") and terminal.shows("sending"), "the view")
        lines = [line for line in terminal.lines() if line]
        assert max(map(len, lines)) <= columns
        assert sum(line.startswith("run ") for line in lines) == 1
        assert any(re.match(r"brisk +4 +20 ms +10% +sending", line) for line in lines)
        assert re.match(r"\d\d:\d\d:\d\d run: Starting a monitor, a producer and 1 sender", lines[0])
        assert terminal.code() == 0
        text = "\n".join(terminal.all_lines())
        assert "━" not in text
        assert re.search(r"run \S+: complete after .*\n(.*\n)+  conservation  400 = ", text)
        assert "green" in terminal.colours()


def test_all_copies_of_a_sender_are_one_row_in_the_view_and_in_the_summary() -> None:
    """There are more of them than the monitor sends rows."""
    senders = ("--sender=name=beta,mean=0.5,copies=120", "--sender=name=alpha,mean=0.05")
    with Terminal("run", "--count=900", "--interval=0.1", *senders, columns=100) as terminal:
        rows = ("alpha ", f"beta {TIMES}120 ")
        terminal.until(
            lambda: all(any(line.startswith(row) for line in terminal.lines()) for row in rows), "all copies, and alpha"
        )
        table = [line.split()[0] for line in terminal.lines() if re.match("alpha|beta|[0-9]+ more", line)]
        assert table == ["alpha", "beta"]
        assert terminal.code() == 0
        (sums,) = (line.split() for line in terminal.all_lines() if line.startswith("  beta"))
        (alpha,) = (line.split() for line in terminal.all_lines() if line.startswith("  alpha"))
        assert sums[1] == f"{TIMES}120"
        assert "left" in sums
        sent = (int(one[one.index("left") + 1]) for one in (sums, alpha))
        assert terminal.shows(f"conservation  900 = {sum(sent)} sent")


def test_the_last_frame_of_a_run_shows_its_end() -> None:
    with Terminal("run", *SHORTEST) as terminal:
        assert terminal.code() == 0
        assert any(one.endswith(" left") for one in bars(terminal))
        assert bars(terminal)[-1] == "100%"


def test_the_last_frame_of_an_interrupted_run_shows_no_time_left() -> None:
    with Terminal("run", *LONG) as terminal:
        terminal.until(lambda: terminal.shows("about"), "an estimate")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.code() == 3
        assert bars(terminal)[-1].endswith("% not complete")


def test_a_watcher_that_is_stopped_leaves_a_view_without_an_estimate() -> None:
    with Nodes() as nodes:
        monitor = nodes.monitor()
        nodes.sender(nodes.producer(monitor, 100_000), "some", "--mean=0.02", "--concurrency=4")
        with Terminal("watch", monitor.address(), "--interval=0.1") as terminal:
            terminal.until(lambda: terminal.shows("about"), "an estimate")
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.code() == 3
            assert re.fullmatch(r"[0-9.<]+%", bars(terminal)[-1])
            assert terminal.shows("Stopped before the run ended")


def test_a_lingering_monitor_shows_the_end_of_each_run() -> None:
    words = ("monitor", "--listen=127.0.0.1:0", "--interval=0.1", "--linger")
    with Nodes() as nodes, Terminal(*words, lines=60) as terminal:
        there = terminal.address()
        for count in (300, 200):
            producer = nodes.start("producer", "--listen=127.0.0.1:0", f"--monitor={there}", f"--count={count}")
            nodes.sender(producer, "only", "--mean=0.02", "--concurrency=4")
            terminal.until(lambda count=count: terminal.shows(f"conservation  {count} = "), "the end")  # type: ignore[misc]
            assert bars(terminal)[-1] == "100%"
            assert not terminal.shows("━")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.code() == 0


def test_with_no_color_the_view_has_no_colours() -> None:
    with Terminal("run", *SHORT, NO_COLOR="1") as terminal:
        terminal.until(lambda: terminal.shows("━"), "the view")
        assert terminal.code() == 0
        assert terminal.colours() == {"default"}
        assert b"\x1b[3" not in terminal.raw.replace(b"\x1b[3A", b"")


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_dumb_terminal_gets_plain_lines(kind: str) -> None:
    with Terminal("run", *SHORTEST, TERM=kind) as terminal:
        assert terminal.code() == 0
        assert b"\x1b" not in terminal.raw
        assert terminal.shows("avg time")
        assert terminal.shows("conservation")


def test_the_logs_of_all_nodes_appear_above_the_view() -> None:
    with Terminal("run", "--count=150", *SHORT[1:], "--log-level=debug", columns=100, lines=30) as terminal:
        terminal.until(lambda: terminal.shows("sending"), "the view")
        assert terminal.code() == 0
        lines = terminal.all_lines()
        assert any(" brisk: Report " in line for line in lines)
        assert not any("━" in line or line.startswith("in flight") for line in lines)


def test_json_on_a_terminal_is_json() -> None:
    with Terminal("run", *SHORTEST, "--json", columns=2000) as terminal:
        assert terminal.code() == 0
        assert b"\x1b" not in terminal.raw
        objects = [json.loads(line) for line in terminal.all_lines() if line.startswith("{")]
        assert objects[-1]["final"]


def test_a_resized_view_is_not_painted_twice() -> None:
    with Terminal("run", "--count=1500", *SHORT[1:], columns=100, lines=30) as terminal:
        terminal.until(lambda: terminal.shows("sending"), "the view")
        for columns, lines in ((60, 30), (120, 40)):
            terminal.resize(columns, lines)
            mark = len(terminal.raw)
            terminal.until(lambda mark=mark: terminal.raw.count(b"waiting", mark) > 2, "the view in another size")  # type: ignore[misc]
            shown = [line for line in terminal.lines() if line]
            assert sum(line.startswith("in flight") for line in shown) == 1
            assert max(map(len, shown)) <= columns
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.code() == 3
        assert terminal.shows("NOT COMPLETE")


def assert_whole(directory: Path) -> None:
    """Check the files of a run that its terminal ended: they are readable and have all that was counted.

    A monitor records reports until it exits, so its record may have more messages than its last figures and its list of
    undelivered messages fewer.
    """
    last = json.loads((directory / "summary.json").read_text())
    done = last["sent"] + last["failed"]
    assert 0 < done < last["total"]
    assert done <= parquet.read_table(directory / "outcomes.parquet").num_rows < last["total"]
    listed = len((directory / "failed.csv").read_text().splitlines()) - 1
    assert 0 < listed <= last["total"] - last["sent"]


def files_in(directory: Path) -> list[str]:
    names = ("--summary-json=summary.json", "--record=outcomes.parquet", "--failed=failed.csv")
    return [name.replace("=", f"={directory}/") for name in names]


def test_closing_the_terminal_of_a_run_ends_it_in_order_and_completes_its_files(tmp_path: Path) -> None:
    with Terminal("run", *LONG, *files_in(tmp_path)) as terminal:
        terminal.until(lambda: terminal.shows("sending"), "the view")
        terminal.hang_up()
        assert terminal.code() == 3
        assert_whole(tmp_path)


def test_closing_the_terminal_of_a_monitor_ends_it_in_order_and_completes_its_files(tmp_path: Path) -> None:
    with Nodes() as nodes:
        files = files_in(tmp_path)
        with Terminal("monitor", "--listen=127.0.0.1:0", "--interval=0.1", *files, columns=100) as terminal:
            address = terminal.address()
            producer = nodes.start("producer", "--listen=127.0.0.1:0", f"--monitor={address}", "--count=100_000")
            nodes.sender(producer, "only", "--mean=0.02", "--concurrency=4")
            terminal.until(lambda: terminal.shows("sending"), "the view")
            terminal.hang_up()
            assert terminal.code() == 3
        assert_whole(tmp_path)


def test_a_monitor_under_nohup_keeps_counting_when_its_terminal_is_closed(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    with Nodes() as nodes:
        ignoring = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
        words = ("--listen=127.0.0.1:0", "--interval=0.1", f"--summary-json={summary}")
        try:
            terminal = Terminal("monitor", *words)
        finally:
            signal.signal(signal.SIGHUP, ignoring)
        with terminal:
            address = terminal.address()
            producer = nodes.start("producer", "--listen=127.0.0.1:0", f"--monitor={address}", "--count=300")
            sender = nodes.sender(producer, "only", "--mean=0.02", "--concurrency=4")
            terminal.until(lambda: terminal.shows("sending"), "the view")
            terminal.hang_up()
            assert (terminal.code(), producer.code(), sender.code()) == (0, 0, 0)
    assert json.loads(summary.read_text())["complete"]


def test_the_view_of_a_stopping_run_shows_no_time_left() -> None:
    with Terminal("run", *LONG[:-1], "--sender=mean=2,distribution=fixed,concurrency=4", columns=100) as terminal:
        terminal.until(lambda: terminal.shows("sending"), "the view")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until(lambda: any(re.search(r"%\s+stopping$", line) for line in terminal.lines()), "that it stops")
        assert not any(re.search(r"about .* left$", line) for line in terminal.lines())
        assert terminal.code() == 3


def test_log_lines_of_a_monitor_appear_above_its_view() -> None:
    """The monitor's log and view share a terminal."""
    with Nodes() as nodes, Terminal("monitor", "--listen=127.0.0.1:0", "--interval=0.1") as terminal:
        address = terminal.address()
        producer = nodes.start("producer", "--listen=127.0.0.1:0", f"--monitor={address}", "--count=400")
        sender = nodes.sender(producer, "only", "--mean=0.02", "--concurrency=4")
        terminal.until(lambda: terminal.shows("sending"), "the view")
        lines = terminal.lines()
        logged = [i for i, line in enumerate(lines) if re.match(r"\d\d:\d\d:\d\d monitor: ", line)]
        painted = next(i for i, line in enumerate(lines) if "━" in line or "─" in line)
        assert len(logged) == 3
        assert max(logged) < painted
        assert terminal.code() == 0
        assert (producer.code(), sender.code()) == (0, 0)
        assert sum("monitor: Run" in line for line in terminal.all_lines()) == 1


def test_watchers_follow_a_run_to_its_end_and_exit_with_its_code() -> None:
    with Nodes() as nodes:
        monitor = nodes.monitor("--threshold=failed<1%")
        there = monitor.address()
        watcher = nodes.start("watch", there, "--json", "--interval=0.1")
        producer = nodes.producer(monitor, 300)
        with Terminal("watch", there, "--interval=0.1") as terminal:
            terminal.until(lambda: terminal.shows("Connected to"), "the monitor")
            watcher.says("Connected to monitor")
            nodes.sender(producer, "some", "--mean=0.02", "--concurrency=4", "--fail=0.5")
            terminal.until(lambda: terminal.shows("sending"), "the view")
            assert terminal.code() == 5
            assert terminal.shows("MISSED  failed<1%")
        assert (monitor.code(), watcher.code(), producer.code()) == (5, 5, 0)
        assert watcher.figures()[-1] == monitor.figures()[-1]
        monitor.says("Threshold missed: failed<1%")


def test_a_watcher_ends_when_its_output_has_no_reader() -> None:
    with Nodes() as nodes:
        monitor = nodes.monitor()
        producer = nodes.producer(monitor, 100_000)
        nodes.sender(producer, "slow", "--mean=10")
        words = [sys.executable, "-m", "smssim", "watch", monitor.address(), "--json", "--interval=0.1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as watcher:
            assert watcher.stdout is not None
            assert json.loads(watcher.stdout.readline())["total"] == 100_000
            watcher.stdout.close()
            assert watcher.wait(60) == 3
        assert monitor.figures()


def test_a_watcher_waits_for_a_monitor_that_starts_later() -> None:
    with Nodes() as nodes:
        there = free_address()
        watcher = nodes.start("watch", there, "--json", "--interval=0.1")
        watcher.says("Waiting for monitor")
        monitor = nodes.start("monitor", f"--listen={there}", "--json", "--interval=0.1")
        watcher.says("Connected to monitor")
        monitor.signal(signal.SIGTERM)
        assert (monitor.code(), watcher.code()) == (3, 3)


def test_a_run_passes_its_thresholds_and_files_to_its_monitor(tmp_path: Path) -> None:
    with Nodes() as nodes:
        files = (f"--csv={tmp_path / 'figures.csv'}", f"--summary-json={tmp_path / 'summary.json'}")
        run = nodes.start("run", *SHORTEST, "--threshold=failed<90%", "--threshold", "t50<1ms", *files)
        assert run.code() == 5
        assert any(re.search(r"passed  failed<90%", line) for line in run.out)
        assert any(re.search(r"MISSED  t50<1ms", line) for line in run.out)
        summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
        assert [one["passed"] for one in summary["thresholds"]] == [True, False]
        assert 0 < summary["reached_s"]["50"] <= summary["reached_s"]["80"] <= summary["elapsed_s"]
        assert summary["sender_rows"][0]["sent"] == summary["sent"]
        rows = (tmp_path / "figures.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) > 2
        assert rows[-1].endswith(",true,true,0,0.0")


@pytest.mark.parametrize("command", ["run", "monitor"])
@pytest.mark.parametrize("flag", ["--csv", "--summary-json", "--record", "--failed"])
def test_an_unwritable_file_is_refused_before_the_start(command: str, flag: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "smssim", command, f"{flag}={tmp_path}/missing/file"]
    words += ["--listen=127.0.0.1:0"] * (command == "monitor")
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    expected = "a file that (does not exist yet and )?can be written"
    assert re.fullmatch(rf"smssim {command}: {flag}: got \S+; expected {expected} \(.*\)\n", done.stderr)
