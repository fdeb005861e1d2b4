"""A journal keeps what was committed, whatever happens, and refuses other files with an error of one line."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from smssim.errors import ExitCode, JournalError, NotSavedError
from smssim.journal.sqlite import FORMAT, KINDS, Journal

INSTRUCTIONS_MAX: Final = 2000  # far more than opening a journal, committing and closing it takes


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a.journal")


def pieces(path: str, kind: str = "monitor") -> dict[str, bytes]:
    journal = Journal(path, kind)
    journal.close()
    return journal.pieces


def written(path: str, **kept: bytes) -> None:
    """Write a monitor's journal with these pieces and close it."""
    journal = Journal(path, "monitor")
    journal.commit({**kept})
    journal.close()


def alter(path: str, *statements: str) -> None:
    """Change a journal's file behind its back."""
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def refusal(path: str, kind: str = "monitor") -> str:
    with pytest.raises(JournalError) as caught:
        Journal(path, kind)
    assert caught.value.exit_code == ExitCode.USAGE
    line = str(caught.value)
    assert line.startswith(f"journal {path}: ")
    assert line.isprintable()
    return line.removeprefix(f"journal {path}: ")


# -- commits survive


def test_a_journal_that_is_opened_again_has_what_was_committed(path: str) -> None:
    journal = Journal(path, "monitor")
    assert journal.pieces == {}
    journal.commit({"a": b"1", "b/1": bytes(100_000), "empty": b""})
    journal.commit({"a": b"2", "b/1": None, "never": None})
    journal.close()
    assert pieces(path) == {"a": b"2", "empty": b""}


def test_a_commit_survives_a_process_that_is_killed_right_after_it(path: str) -> None:
    program = (
        "import os, signal, sys\nfrom smssim.journal.sqlite import Journal\njournal = Journal(sys.argv[1], 'monitor')\n"
        "for i in range(20):\n    journal.commit({str(i): bytes(1000 * i), 'last': b'%d' % i})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=False)
    assert os.path.getsize(path + "-wal") > 0
    assert pieces(path) == {"last": b"19", **{str(i): bytes(1000 * i) for i in range(20)}}


def test_a_torn_last_write_loses_whole_commits_and_nothing_else(path: str, tmp_path: Path) -> None:
    """After a power loss, the end of the log may be missing on disk."""
    journal = Journal(path, "monitor")
    for i in range(10):
        journal.commit({"a": b"%d" % i, "b": b"%d" % i * 10_000})
    for lost in (1, 100, 5000, 20_000, 90_000):
        copy = str(tmp_path / f"{lost}.journal")
        for end in ("", "-wal"):
            shutil.copy(path + end, copy + end)
        os.truncate(copy + "-wal", os.path.getsize(copy + "-wal") - lost)
        left = pieces(copy)
        assert left["b"] == left["a"] * 10_000
        assert int(left["a"]) in ([8] if lost <= 5000 else range(9))
    journal.close()


def test_a_process_killed_at_any_moment_leaves_a_journal_that_can_be_used(tmp_path: Path) -> None:
    """Kill processes that use a new or an old file, each one instruction of SQLite later than the one before."""
    written(str(tmp_path / "old.journal"), n=b"0")
    for name in ("old", "new"):
        kill_at_each_moment(str(tmp_path / f"{name}.journal"))


def kill_at_each_moment(path: str) -> None:
    moment, killed = 0, True
    while killed and moment < INSTRUCTIONS_MAX:
        moment += 1
        before = int(pieces(path).get("n", b"0"))
        if not (child := os.fork()):
            die_at(moment)
            journal = Journal(path, "monitor")
            journal.commit({"n": b"%d" % (before + 1)})
            journal.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        assert int(pieces(path).get("n", b"0")) in ((before, before + 1) if killed else (before + 1,))
    assert 100 < moment < INSTRUCTIONS_MAX


def die_at(moment: int) -> None:
    """Arrange that this process kills itself at this instruction of SQLite, counted from now on."""
    connect, left = sqlite3.connect, iter(range(moment - 1))

    def step() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def connected(*args: Any, **kwargs: Any) -> Any:
        database = connect(*args, **kwargs)
        database.set_progress_handler(step, 1)
        return database

    sqlite3.connect = connected


# -- the journal's files


def test_pieces_of_1_kib_take_little_more_on_disk(path: str) -> None:
    """Most pieces have this size: they hold the outcomes of 4,096 messages."""
    journal = Journal(path, "monitor")
    before = os.path.getsize(path + "-wal")
    journal.commit({f"ledger/open/{number}": bytes(1024) for number in range(1000)})
    written = os.path.getsize(path + "-wal") - before
    journal.close()
    assert 1000 * 1024 < written < 1.3 * 1000 * 1024


def crashed(path: str, copy: str, *ends: str, size: int = 100) -> None:
    """Copy files of an open journal with 20 commits of this size, as they are after a crash."""
    journal = Journal(path, "monitor")
    for i in range(20):
        journal.commit({"a": b"%d" % i, "b": bytes(size)})
    for end in ends:
        shutil.copy(path + end, copy + end)
    journal.close()


def test_only_its_user_can_read_a_journal(path: str) -> None:
    """It contains session ids. Opening a journal that has another mode changes the mode."""
    before = os.umask(0)
    try:
        journal = Journal(path, "monitor")
        modes = [stat.S_IMODE(os.stat(path + end).st_mode) for end in ("", "-wal")]
        journal.close()
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]
    copy = path + ".copy"
    crashed(path, copy, "", "-wal")
    for end in ("", "-wal"):
        os.chmod(copy + end, 0o644)
    journal = Journal(copy, "monitor")
    assert [stat.S_IMODE(os.stat(copy + end).st_mode) for end in ("", "-wal")] == [0o600, 0o600]
    journal.close()


def test_an_orderly_close_leaves_one_file(path: str, tmp_path: Path) -> None:
    crashed(path, path + ".copy", "", "-wal")
    assert pieces(path + ".copy")["a"] == b"19"
    assert sorted(os.listdir(tmp_path)) == ["a.journal", "a.journal.copy"]


def test_a_journal_that_has_lost_its_log_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    """All commits may be in the log, or some may have been moved into the main file."""
    for size in (100, 1_000_000):
        copy = str(tmp_path / f"{size}.moved.journal")
        crashed(str(tmp_path / f"{size}.journal"), copy, "", size=size)
        before = Path(copy).read_bytes()
        assert refusal(copy).startswith(f"its log {copy}-wal is missing: restore the log, or delete the journal")
        assert Path(copy).read_bytes() == before


def test_a_log_that_has_lost_its_journal_is_refused_and_left_as_it_was(path: str) -> None:
    copy = path + ".copy"
    crashed(path, copy, "-wal")
    for instead in (None, b""):
        if instead is not None:
            Path(copy).write_bytes(instead)
        assert refusal(copy).startswith(f"the file is missing or empty, but its log {copy}-wal exists: restore")
        assert os.path.getsize(copy + "-wal") > 0
        assert not os.path.exists(copy) or os.path.getsize(copy) == 0


# -- files that are refused


def damage(name: str) -> Callable[[Path], None]:
    def middle(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 64] = bytes(range(64))
        file.write_bytes(data)

    def bit(file: Path) -> None:
        data = bytearray(file.read_bytes())
        at = data.index(b"xxxx") + 5000  # in the middle of a piece, where SQLite has nothing to check
        data[at] ^= 1
        file.write_bytes(data)

    def half(file: Path) -> None:
        os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)

    def header(file: Path) -> None:
        os.truncate(file, 60)

    def no_table(file: Path) -> None:
        alter(str(file), "DROP TABLE pieces")

    return {"middle": middle, "bit": bit, "half": half, "header": header, "no table": no_table}[name]


def test_a_damaged_journal_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    for how in ("middle", "bit", "half", "header", "no table"):
        path = str(tmp_path / f"{how}.journal")
        written(path, **{f"piece{i}": b"x" * 20_000 for i in range(20)})
        damage(how)(Path(path))
        before = Path(path).read_bytes()
        assert refusal(path).startswith("the file is damaged ("), how
        assert Path(path).read_bytes() == before, how


OTHERS: Final = {  # expected error, by the pragma that makes it another kind of file
    f"user_version = {FORMAT + 1}": "format 3 needs a newer smssim; this version reads format 2",
    "user_version = 1": "format 1 needs an older smssim; this version reads format 2: finish the run",
    f"application_id = {KINDS['producer']}": "got the journal of a producer; expected that of a monitor",
    "application_id = 77": "a database of another program: choose another file",
}


def test_a_journal_of_another_kind_or_format_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    for number, (pragma, said) in enumerate(OTHERS.items()):
        path = str(tmp_path / f"{number}.journal")
        written(path, a=b"1")
        alter(path, f"PRAGMA {pragma}")
        before = Path(path).read_bytes()
        assert said in refusal(path)
        assert Path(path).read_bytes() == before


def test_a_path_that_is_not_a_journal_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("dear diary", encoding="utf-8")
    assert refusal(str(text)) == "not a journal of smssim: choose another file"
    assert text.read_text(encoding="utf-8") == "dear diary"
    assert refusal(str(tmp_path)) == "not a regular file"
    assert refusal(str(tmp_path / "no" / "a.journal")) == f"the directory {tmp_path / 'no'} does not exist"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(str(tmp_path / "pipe")) == "not a regular file"
    assert sorted(os.listdir(tmp_path)) == ["pipe", "text"]


def test_an_empty_file_becomes_a_journal(path: str) -> None:
    Path(path).touch()
    written(path, a=b"1")
    assert pieces(path) == {"a": b"1"}


def test_a_journal_that_is_in_use_is_refused_until_it_is_closed(path: str) -> None:
    journal = Journal(path, "monitor")
    journal.commit({"a": b"1"})
    opening = (
        "from smssim.core.limits import Limits; from smssim.journal.sqlite import Journal; "
        f"Journal({path!r}, 'monitor', Limits(journal_in_use_wait_s=0.01))"
    )
    other = subprocess.run([sys.executable, "-c", opening], capture_output=True, text=True, check=False)
    assert re.search(
        "JournalError: journal .*: in use by another process: stop that process, or choose another file$",
        other.stderr.strip(),
    )
    journal.commit({"a": b"2"})
    journal.close()
    assert pieces(path) == {"a": b"2"}


def test_a_read_only_journal_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, a=b"1")
    os.chmod(path, 0o444)
    if os.geteuid() == 0:  # root may write to any file that is not on a read-only file system
        monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert refusal(path) == "the file is read-only"


def test_a_journal_that_can_not_be_created_is_refused() -> None:
    assert "can't be written" in refusal("/proc/a.journal")


# -- a file that was removed


def test_a_journal_whose_file_was_removed_refuses_commits(path: str) -> None:
    """Its commits would be lost, whether or not there is another file at its path by now."""
    journal = Journal(path, "monitor")
    journal.commit({"a": b"1"})
    os.rename(path, path + ".aside")
    for instead in (None, b"", b"something else"):
        if instead is not None:
            Path(path).write_bytes(instead)
        with pytest.raises(NotSavedError, match=f"journal {path}: the file was removed or replaced"):
            journal.commit({"a": b"2"})
    journal.close()


# -- a full disk


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Return a function that limits the size of files; to SQLite, that is a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_a_commit_fails_as_a_whole_and_earlier_ones_stay(
    path: str, small_disk: Callable[[int], None]
) -> None:
    journal = Journal(path, "monitor")
    journal.commit({"a": b"1", "b": b"1"})
    small_disk(os.path.getsize(path + "-wal") + 100_000)
    with pytest.raises(NotSavedError, match=f"journal {path}: can't be written: the disk may be full") as caught:
        journal.commit({"a": b"2", "big": bytes(200_000)})
    assert caught.value.exit_code == ExitCode.INCOMPLETE
    journal.close()
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert pieces(path) == {"a": b"1", "b": b"1"}
