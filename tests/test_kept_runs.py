"""`--history` keeps whole runs, the newest ones, whatever is killed or damaged; `smssim history` lists them."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes_support import Stage, codes, play, until
from report_support import Parsed, course, data_of, renamed, result, run
from view_support import RUN_ID

from smssim.errors import ExitCode, UsageError
from smssim.outputs import atomic
from smssim.outputs.kept import command
from smssim.outputs.kept.directory import INDEX, LEFT_OVER_S, Kept
from smssim.outputs.kept.keeper import Keeper
from smssim.outputs.kept.page import kept_report, runs_page
from smssim.outputs.opening import Outputs, check_outputs
from smssim.outputs.report import command as reporting
from smssim.process.logs import node_log
from smssim.settings import HistorySettings, MonitorSettings, ReportSettings

LOG = node_log("monitor")
MANY = 10**9


def run_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000001"


def document(number: int, minute: int | None = None, title: str = "a drill") -> dict[str, Any]:
    """Return the document of a run that began at this minute."""
    minute = number if minute is None else minute
    last = result()
    last = replace(last, figures=replace(last.figures, run_id=run_id(number)))
    return run(last, title, began=f"2026-11-29T{minute // 60:02d}:{minute % 60:02d}:00Z")


def keep(directory: Path, *documents: dict[str, Any], runs_max: int = 200, bytes_max: int = MANY) -> None:
    for one in documents:
        Kept(str(directory)).keep(one, runs_max, bytes_max)


def kept(directory: Path) -> list[str]:
    """Return the ids of the listed runs."""
    return [entry.run_id for entry in Kept(str(directory)).entries() if entry.row is not None]


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != INDEX)


def history(directory: Path, capsys: pytest.CaptureFixture[str], **more: Any) -> tuple[list[str], list[str]]:
    """Return the lines of `smssim history` on stdout and stderr."""
    assert command.serve(HistorySettings(directory=str(directory), **more)) == 0
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# ---- What is kept


def test_a_run_is_kept_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "runs"
    with umask(0):
        keep(directory, document(1, 62))
    assert files(directory) == [f"20261129T010200Z-{run_id(1)}.json"]
    path = directory / files(directory)[0]
    assert json.loads(path.read_text()) == document(1, 62)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (directory, path, directory / INDEX)]
    assert modes == [0o700, 0o600, 0o600]


def test_the_newest_runs_are_kept_however_they_arrive(tmp_path: Path) -> None:
    keep(tmp_path, *(document(number) for number in (3, 1, 5, 2, 4)), runs_max=3)
    assert kept(tmp_path) == [run_id(5), run_id(4), run_id(3)]


def test_no_more_is_kept_than_there_is_room_for_but_always_the_newest(tmp_path: Path) -> None:
    size = len(json.dumps(document(1), separators=(",", ":"))) + 1
    keep(tmp_path, *(document(number) for number in range(1, 5)), bytes_max=2 * size)
    assert kept(tmp_path) == [run_id(4), run_id(3)]
    keep(tmp_path, document(5), bytes_max=10)
    assert kept(tmp_path) == [run_id(5)]


def test_a_run_that_ends_again_replaces_its_own_file(tmp_path: Path) -> None:
    keep(tmp_path, document(1), document(2))
    again = document(1, minute=1, title="resumed")
    keep(tmp_path, {**again, "began": "2026-11-29T00:01:07Z"})
    assert files(tmp_path) == [f"20261129T000107Z-{run_id(1)}.json", f"20261129T000200Z-{run_id(2)}.json"]
    assert Kept(str(tmp_path)).find(run_id(1))["title"] == "resumed"


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "20261129T000000Z-x.json.bak", "other.json", ".hidden"):
        (tmp_path / name).write_text("mine")
    (tmp_path / f"20261129T000000Z-{run_id(9)}.json").symlink_to("/etc/passwd")
    keep(tmp_path, *(document(number) for number in range(1, 4)), runs_max=1)
    assert {"notes.txt", "20261129T000000Z-x.json.bak", "other.json", ".hidden"} <= set(files(tmp_path))
    assert kept(tmp_path) == [run_id(3)]


def test_a_process_that_is_killed_while_it_keeps_a_run_leaves_whole_runs_only(tmp_path: Path) -> None:
    keep(tmp_path, document(1))
    script = (
        "import json, os, signal, sys\nfrom pathlib import Path\nfrom smssim.outputs.kept.directory import Kept\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Kept({str(tmp_path)!r}).keep(json.load(sys.stdin), 200, 10**9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], input=json.dumps(document(2)), text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert kept(tmp_path) == [run_id(1)]
    (left_over,) = tmp_path.glob(f".*{atomic.SUFFIX}")
    keep(tmp_path, document(3))
    assert left_over.exists()  # another monitor may be writing it
    long_ago = left_over.stat().st_mtime - LEFT_OVER_S - 1
    os.utime(left_over, (long_ago, long_ago))
    keep(tmp_path, document(4))
    assert not left_over.exists()
    assert kept(tmp_path) == [run_id(4), run_id(3), run_id(1)]


def keep_many(directory: Path, numbers: range) -> None:
    keep(directory, *(document(number) for number in numbers), runs_max=10)


def test_several_processes_keep_runs_in_one_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    keepers = [context.Process(target=keep_many, args=(tmp_path, range(start, 45, 3))) for start in range(3)]
    for keeper in keepers:
        keeper.start()
    for keeper in keepers:
        keeper.join()
    assert [keeper.exitcode for keeper in keepers] == [0, 0, 0]
    keep(tmp_path, document(45), runs_max=10)
    assert kept(tmp_path) == [run_id(number) for number in range(45, 35, -1)]
    assert not list(tmp_path.glob(f".*{atomic.SUFFIX}"))


# ---- The output


def test_a_directory_that_cannot_be_written_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, reason in ((tmp_path / "file", "not a directory"), (tmp_path / "file" / "runs", "not a directory")):
        with pytest.raises(UsageError) as caught:
            check_outputs(MonitorSettings(history=str(path)), LOG, resumes=False)
        assert str(caught.value).startswith("--history: got ")
        assert str(caught.value).endswith(
            f"expected a directory that can be written, created if it does not exist ({reason})"
        )
    check_outputs(MonitorSettings(history=str(tmp_path / "new" / "runs")), LOG, resumes=False)
    assert files(tmp_path) == ["file"]


def test_the_settings_say_how_many_runs_are_kept_and_how_much(tmp_path: Path) -> None:
    made = MonitorSettings(history=str(tmp_path), history_runs=2, history_size=1)
    for number in range(1, 5):
        outputs = Outputs([Keeper(made, LOG)])
        last = replace(result(), figures=replace(result().figures, run_id=run_id(number)))
        outputs.end(last, course(last))
        assert asyncio.run(outputs.close())
    assert len(kept(tmp_path)) == 2


def test_a_run_that_is_stopped_and_resumed_is_kept_once(tmp_path: Path) -> None:
    directory, journal = tmp_path / "kept", tmp_path / "journal"

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(history=str(directory), journal=str(journal))
            producer = await stage.producer(200, monitor=monitor.address, linger=True)
            sender = stage.sender(producer.address, mean_s=0.05, concurrency=5, linger=True)
            await until(lambda: producer.book()[0])
            monitor.stop.set()
            assert await monitor.code() == ExitCode.INCOMPLETE
            (first,) = Kept(str(directory)).entries()
            assert first.row is not None
            assert first.row["verdict"]["code"] == "incomplete"
            sender.stop.set()
            await sender.code()

    play(scene())
    (entry,) = Kept(str(directory)).entries()

    async def again() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(history=str(directory), journal=str(journal))
            monitor.stop.set()
            await monitor.code()

    play(again())
    (only,) = Kept(str(directory)).entries()
    assert only.run_id == entry.run_id


def test_each_run_of_a_lingering_monitor_is_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(history=str(tmp_path), linger=True)
            for _ in range(2):
                producer = await stage.producer(20, monitor=monitor.address)
                assert await codes(producer, stage.sender(producer.address)) == [0, 0]
            await until(lambda: len(files(tmp_path)) == 2)
            monitor.stop.set()
            assert await monitor.code() == 0

    play(scene())
    assert len(kept(tmp_path)) == 2


# ---- The list and its index


def test_the_list_has_the_newest_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, document(1, title="first"), document(2, title="second\x1b[31m"))
    lines, errors = history(tmp_path, capsys)
    assert lines[0].split() == ["run", "began", "(UTC)", "title", "messages", "sent", "failed", "time", "verdict"]
    assert lines[1].startswith("00000002  2026-11-29 00:02:00  second\\x1b[31m")
    assert lines[2].endswith("5,000  4,500     500  20.0 s  Complete after 20.0 s: the producer and the monitor agree")
    assert (len(lines), errors) == (3, [])


def test_the_list_as_json_has_an_object_per_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, document(1), document(2))
    lines, _ = history(tmp_path, capsys, json=True)
    first, second = map(json.loads, lines)
    assert (first["run_id"], second["run_id"]) == (run_id(2), run_id(1))
    assert first == {
        "run_id": run_id(2),
        "began": "2026-11-29T00:02:00Z",
        "title": "a drill",
        "total": 5000,
        "sent": 4500,
        "failed": 500,
        "elapsed_s": 20.0,
        "complete": True,
        "verdict": {"code": "complete", "text": "Complete after 20.0 s: the producer and the monitor agree"},
    }


def test_an_empty_or_missing_directory_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(tmp_path, capsys) == ([f"{tmp_path}: no run is kept here"], [])
    assert history(tmp_path, capsys, json=True) == ([], [])
    assert files(tmp_path) == []
    with pytest.raises(
        UsageError, match=r"^DIR: got .*; expected a directory in which --history has kept runs \(no such"
    ):
        command.serve(HistorySettings(directory=str(tmp_path / "none")))


def test_the_directory_has_two_names() -> None:
    assert HistorySettings(directory="a").where == HistorySettings(history="a").where == "a"
    assert HistorySettings(directory="a", history="a").where == "a"
    with pytest.raises(UsageError, match=r"^DIR is required$"):
        HistorySettings()
    with pytest.raises(UsageError, match=r"^--history: got b; expected a, as DIR$"):
        HistorySettings(directory="a", history="b")


def test_ids_are_as_long_as_it_takes_to_tell_them_apart() -> None:
    assert command.id_length([]) == command.id_length([RUN_ID]) == command.id_length(["a", "b"]) == 8
    assert command.id_length([run_id(1), run_id(2)]) == 8
    assert command.id_length(["abcdefgh-1x", "abcdefgh-2x"]) == 10


def test_a_damaged_file_is_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, document(1), document(2), document(3), document(4))
    damaged = {run_id(1): b"", run_id(2): b'{"version": 1', run_id(3): json.dumps(document(4)).encode()}
    for one, content in damaged.items():
        (path,) = tmp_path.glob(f"*{one}.json")
        path.write_bytes(content)
    for _ in range(2):
        lines, errors = history(tmp_path, capsys)
        assert (len(lines), len(errors)) == (2, 3)
        assert lines[1].startswith("00000004")
        assert all(error.startswith("smssim history: ") for error in errors)
        assert [one in error for one, error in zip(reversed(damaged), errors, strict=True)] == [True] * 3
    assert Parsed(runs_page(str(tmp_path)).encode()).text.endswith(
        "Not listed: 3 damaged files. Back to the run in progress"
    )


def test_the_index_is_only_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, *(document(number) for number in range(1, 4)))
    index, expected = tmp_path / INDEX, Kept(str(tmp_path)).entries()
    content = index.read_bytes()
    for damage in (
        b"",
        b"{}",
        b"[1]",
        b'{"version":1,"files":[{}]}',
        content[:-9],
        content.replace(b"drill", b"\xff"),
        None,
    ):
        if damage is None:
            index.unlink()
        else:
            index.write_bytes(damage)
        assert Kept(str(tmp_path)).entries() == expected
        assert index.read_bytes() == content

    def read(*_: object) -> Any:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(Kept, "_document", read)
    assert Kept(str(tmp_path)).entries() == expected


def test_a_file_that_changes_or_vanishes_is_noticed(tmp_path: Path) -> None:
    keep(tmp_path, document(1), document(2))
    (path,) = tmp_path.glob(f"*{run_id(1)}.json")
    path.write_text(json.dumps(document(1, title="changed")))
    (tmp_path / files(tmp_path)[1]).unlink()
    (entry,) = Kept(str(tmp_path)).entries()
    assert entry.row is not None
    assert entry.row["title"] == "changed"


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    ).map(lambda value: json.dumps({"version": 1, "files": [value]}).encode())
)
def test_any_index_gives_the_same_list(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.getbasetemp() / "kept"
    if not directory.exists():
        keep(directory, document(1))
    (directory / INDEX).write_bytes(content)
    assert kept(directory) == [run_id(1)]


# ---- A run by its id


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    keep(tmp_path, document(0x98765432, 1), document(0x12345678, 2))
    some = Kept(str(tmp_path))
    for prefix in ("1", "12345678", run_id(0x12345678).upper()):
        assert some.find(prefix)["progress"]["run_id"] == run_id(0x12345678)
    for prefix in ("", "3", "../", "*"):
        with pytest.raises(LookupError, match=r"^no run in .* has an ID that begins with"):
            some.find(prefix)
    keep(tmp_path, document(0x1234ABCD, 3))
    with pytest.raises(LookupError, match=r"^1234 is the beginning of several IDs: 1234abcd-"):
        some.find("1234")


def test_a_report_compares_kept_runs_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, output, summary = tmp_path / "runs", tmp_path / "r.html", tmp_path / "s.json"
    keep(directory, document(1), document(2))
    summary.write_text(json.dumps(result().as_dict()))
    file = str(directory / files(directory)[0])
    made = ReportSettings(runs=("00000002", file, str(summary)), output=str(output), history=str(directory))
    assert reporting.serve(made) == 0
    ids = [one["progress"]["run_id"] for one in data_of(output.read_bytes())["runs"]]
    assert ids == [run_id(2), run_id(1), RUN_ID]
    assert capsys.readouterr().out.startswith(f"{output}: 3 runs compared, ")
    with pytest.raises(UsageError, match=r"^RUN: no run in .* has an ID that begins with 7$"):
        reporting.serve(replace(made, runs=("7",)))


# ---- Pages


def test_the_page_of_runs_has_links_and_no_scripts(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"'
    last = renamed(result(), hostile)
    keep(tmp_path, document(1), run(replace(last, figures=replace(last.figures, run_id=run_id(2))), hostile))
    page = Parsed(runs_page(str(tmp_path)).encode())
    assert [a["href"] for name, a in page.elements if name == "a"] == [f"/runs/{run_id(2)}", f"/runs/{run_id(1)}", "/"]
    assert not {"script", "style", "img"} & {name for name, _ in page.elements}
    assert hostile in page.text
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "No run is kept yet" in runs_page(str(empty))


def test_a_kept_run_has_a_report(tmp_path: Path) -> None:
    keep(tmp_path, document(1))
    assert data_of(kept_report(str(tmp_path), run_id(1)))["runs"] == [document(1)]
    with pytest.raises(LookupError):
        kept_report(str(tmp_path), run_id(2))


def test_the_list_loads_neither_numpy_nor_grpc(tmp_path: Path) -> None:
    keep(tmp_path, document(1))
    script = (
        "import sys\nfrom smssim.cli import main\nsys.argv[1:] = ['history', sys.argv[1]]\n"
        "try:\n    main()\nfinally:\n    assert not {'numpy', 'grpc', 'rich', 'pydantic'} & sys.modules.keys()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1].startswith("00000001")
