"""Child processes and their ready records: what a parent receives, how they end, and what they must not disturb."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from nodes_support import Stage, play
from processes_support import Nodes

from smssim.launch.child import Child, Line, Splitter, read_lines
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.process import ready

DEADLINE_S = 60.0
ANNOUNCE = "from smssim.process import ready; ready.take(); "


@contextmanager
def started(code: str, *before: str, **variables: str) -> Iterator[Child]:
    """Run a small program, and kill it at the end."""
    child = Child("it", [*before, sys.executable, "-c", code], variables=variables)
    try:
        yield child
    finally:
        child.kill()
        child.close()


def to_the_end(child: Child) -> list[Line]:
    """Return everything that a child writes; fail if it does not end."""
    until = time.monotonic() + DEADLINE_S
    written = []
    while child.descriptors:
        assert time.monotonic() < until
        written += [line for _, line in read_lines([child], 1.0)]
    assert child.wait(DEADLINE_S)
    return written


def until_record(child: Child, event: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while child.record(event) is None:
        assert time.monotonic() < until
        assert child.descriptors
        list(read_lines([child], 1.0))


# -- output


def test_lines_arrive_whole_however_they_are_split_and_the_rest_arrives_at_the_end() -> None:
    splitter = Splitter()
    fed = [splitter.feed(data) for data in (b"a", b"b\nc\n\nd", b"\xff\n", b"e", b"")]
    assert fed == [[], ["ab", "c", ""], ["d\ufffd"], [], ["e"]]
    assert splitter.feed(b"") == []


def test_a_line_that_is_too_long_arrives_in_pieces() -> None:
    splitter = Splitter(LaunchLimits(line_bytes_max=4))
    assert [splitter.feed(data) for data in (b"abc", b"de", b"fg\n", b"")] == [[], ["abcde"], ["fg"], []]


def test_long_lines_on_both_streams_arrive_whole() -> None:
    """They are longer than 64 KiB, the length at which asyncio's readers raise an error."""
    with started("import sys; [print('x' * 300_000, file=f) for f in (sys.stdout, sys.stderr)]") as child:
        written = to_the_end(child)
    assert sorted((len(line.text), line.is_log) for line in written) == [(300_000, False), (300_000, True)]
    assert LAUNCH_LIMITS.line_bytes_max > 300_000


def test_streams_are_separate_and_the_last_log_lines_are_kept() -> None:
    code = "import sys; [print(i, file=sys.stderr) for i in range(9)]; print('out', end='')"
    with started(code) as child:
        written = to_the_end(child)
    assert [line.text for line in written if not line.is_log] == ["out"]
    assert [line.text for line in written if line.is_log] == [str(i) for i in range(9)]
    assert list(child.log) == ["4", "5", "6", "7", "8"]


# -- the end


def test_the_resource_usage_of_a_process_is_known_at_its_end() -> None:
    with started("x = bytearray(200_000_000); sum(range(10**6)); raise SystemExit(7)") as child:
        to_the_end(child)
    assert child.usage is not None
    assert (child.code, child.usage.code, child.ending()) == (7, 7, "it exited with code 7")
    assert child.usage.peak_bytes > 200_000_000
    assert child.usage.cpu_s > 0


def test_a_killed_process_receives_no_more_signals() -> None:
    with started(ANNOUNCE + "import time; ready.announce('here'); time.sleep(600)") as child:
        until_record(child, "here")
        assert not child.wait(0.0)
        child.kill()
        assert (child.code, child.ending()) == (-SIGKILL, "it was terminated by SIGKILL")
        child.signal(SIGTERM)  # its id may belong to another process by now


def test_a_process_is_killed_when_its_parent_is() -> None:
    code = (
        "import sys, time\n"
        "from smssim.launch.child import Child\n"
        "child = Child('it', [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with started(code) as parent:
        lines = (line.text for _ in iter(int, 1) for _, line in read_lines([parent], 1.0))
        pid = int(next(lines))
        parent.kill()
        until = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < until
            time.sleep(0.01)  # no event announces it


def test_processes_start_safely_while_grpc_is_busy_in_this_one() -> None:
    """With gRPC's own fork handlers, a signal ends some of them before they run."""

    def start_many() -> list[int | None]:
        codes = []
        for _ in range(50):
            child = Child("it", ["true"])
            child.wait()
            child.close()
            codes.append(child.code)
        return codes

    async def scene() -> list[int | None]:
        async with Stage() as stage:
            monitor = await stage.monitor(json=True)
            producer = await stage.producer(10**6, monitor=monitor.address)
            stage.sender(producer.address)
            return await asyncio.to_thread(start_many)

    assert set(play(scene())) == {0}


def test_starting_a_missing_command_leaves_no_descriptor_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Child("it", ["/nowhere/at/all"])
    assert set(os.listdir("/proc/self/fd")) <= before  # other tests may have left some that are closed only now


def test_a_process_inherits_no_smssim_variables_except_those_given_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_SENDER_FAIL", "7")
    monkeypatch.setenv("SMSSIM_TOKEN", "of another run")
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k[:7] == 'SMSSIM_' and k[-2:] != 'FD'))"
    child = Child("it", [sys.executable, "-c", code], token="secret-1001", variables={"SMSSIM_RUN_COUNT": "5"})
    try:
        assert [line.text for line in to_the_end(child)] == [
            "[('SMSSIM_RUN_COUNT', '5'), ('SMSSIM_TOKEN', 'secret-1001')]"
        ]
    finally:
        child.close()


# -- ready records


def test_records_arrive_in_order_with_their_facts_and_times() -> None:
    began_at = time.monotonic()
    code = "ready.announce('ready', address='a\\n\\udcff'); ready.announce('x', last=True); ready.announce('late')"
    with started(ANNOUNCE + code) as child:
        assert to_the_end(child) == []
    assert [(record.event, record.facts) for record in child.records] == [
        ("ready", {"address": "a\n\udcff"}),
        ("x", {}),
    ]
    assert all(began_at < record.at < time.monotonic() for record in child.records)


def test_a_program_takes_the_descriptor_and_variable_and_no_child_inherits_them() -> None:
    code = (
        "import os, subprocess, sys\n"
        "number = int(os.environ['SMSSIM_READY_FD'])\n"
        "os.fstat(number)\n"
        "from smssim.process import ready\n"
        "ready.take()\n"
        "look = 'import os, sys; print(os.environ.get(sys.argv[1]), os.path.exists(sys.argv[2]))'\n"
        "place = f'/proc/self/fd/{number}'\n"
        "subprocess.run([sys.executable, '-c', look, 'SMSSIM_READY_FD', place], close_fds=False, check=True)\n"
        "ready.announce('ready', last=True)\n"
        "print(os.path.exists(place))\n"
    )
    with started(code) as child:
        assert [line.text for line in to_the_end(child)] == ["None False", "False"]
    assert child.record("ready") is not None


@pytest.mark.parametrize("given", [None, "", "x", "1", "3", "99", "-4", "4.0", "9" * 30])
def test_without_a_pipe_no_record_is_written(given: str | None) -> None:
    """If the variable names something else, that stays untouched: here a file is open as 3."""
    code = (
        "import os\n"
        "file = os.open(os.devnull, os.O_RDWR)\n"
        "assert file == 3\n"
        "from smssim.process import ready\n"
        "ready.take(); ready.announce('ready'); ready.announce('x', last=True)\n"
        "os.fstat(1); os.fstat(file)\n"
        "assert 'SMSSIM_READY_FD' not in os.environ\n"
    )
    variables = os.environ | ({} if given is None else {ready.VARIABLE: given})
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("fault", ["closed", "full"])
def test_a_closed_or_full_pipe_is_abandoned_silently(fault: str) -> None:
    code = (
        ANNOUNCE
        + "[ready.announce('ready', text='x' * 1000) for _ in range(1000)]; assert ready._pipe.descriptor is None"
    )
    reading, writing = os.pipe()
    if fault == "closed":
        os.close(reading)
    variables = os.environ | {ready.VARIABLE: str(writing)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=variables, pass_fds=(writing,), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    os.close(writing)
    if fault == "full":
        with open(reading, encoding="utf-8") as pipe:
            read = [ready.parse(line) for line in pipe]
        assert 10 < len(read) < 1000
        assert all(record is not None for record in read)  # none of them is torn


@pytest.mark.parametrize("line", ["", "{", "7", "[]", "null", '{"address": 1}', "listening on 127.0.0.1:1"])
def test_a_malformed_record_is_ignored(line: str) -> None:
    assert ready.parse(line) is None


def test_the_number_of_records_is_bounded() -> None:
    code = (
        "import os\nwith open(int(os.environ['SMSSIM_READY_FD']), 'w') as f: f.write('{\"event\": \"x\"}\\n' * 10_001)"
    )
    with started(code) as child:
        to_the_end(child)
    assert len(child.records) == LAUNCH_LIMITS.records_max == 10_000


def test_a_command_does_not_report_the_variable_as_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "smssim", "producer", "--count=x"],
        env=os.environ | {ready.VARIABLE: str(writing)},
        pass_fds=(writing,),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert ready.VARIABLE not in done.stderr
    assert "--count: got x" in done.stderr


def test_nodes_that_log_nothing_still_send_their_records() -> None:
    """At the log level `error` no line is written, so a parent can't depend on log lines."""
    with Nodes() as nodes:
        monitor = nodes.monitor("--log-level=error", "--metrics-port=0")
        assert monitor.record("metrics")["url"].startswith("http://127.0.0.1:")
        producer = nodes.producer(monitor, 20, "--log-level=error")
        sender = nodes.sender(producer, "one", "--mean=0.01", "--copies=2", "--log-level=error")
        assert (sender.code(), producer.code(), monitor.code()) == (0, 0, 0)
        said = [node.record("ready") for node in (monitor, producer)]
        assert [facts.pop("address").split(":")[0] for facts in said] == ["127.0.0.1"] * 2
        run_id = said[1].pop("run_id")
        assert said[0] == {"kind": "monitor", "resumed": False}
        of_run = {"seed": 7, "total": 20, "max_attempts": 1, "unreachable": 0.0, "segments": 1}
        assert said[1] == {"kind": "producer", "resumed": False, "elapsed_s": None, **of_run}
        assert producer.record("started") == {}
        assert sender.record("joined")["run_id"] == run_id == monitor.figures()[-1]["run_id"]
        assert sender.record("joined")["name"] in ("one-1", "one-2")
        assert sender.err + producer.err + monitor.err == []
