"""A simulated disk: a log of commits. A crash loses the commit in progress, tears it, or leaves it whole."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from functools import partial

from simulation.clock import Clock, Process
from simulation.driving import Pending
from simulation.records import Commit, Records, Writing
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.errors import NotSavedError, SmssimError

_HEAD = 8  # length and checksum


class Disk:
    """The storage that outlives a process. One commit is in progress at a time."""

    def __init__(self, clock: Clock, commit_s: float, slow: float, records: Records) -> None:
        self.records = records
        self._commits = 0  # complete ones on the disk
        self._clock = clock
        self._commit_s = commit_s
        self._slow = slow
        self._log = bytearray()
        self._under_way: tuple[bytes, Commit] | None = None
        self._power_cut: Callable[[], None] | None = None

    def cut_power_in_next_commit(self, crash: Callable[[], None]) -> None:
        """Call `crash` in the middle of the next commit."""
        self._power_cut = crash

    def commit(self, process: Process, changes: Changes, commit: Commit, done: Callable[[], None]) -> None:
        """Write changes; call `done` when they are on disk, if the process is alive then."""
        assert self._under_way is None
        body = pickle.dumps(changes, protocol=5)
        record = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
        self._under_way = record, commit
        time_s = self._commit_s * self._clock.random.uniform(0.5, 1.5)
        if self._clock.luck(self._slow):
            self._clock.strike("commit slow", process.name)
            time_s += self._clock.random.uniform(0.5, 3.0)
        self._clock.after(time_s, process, lambda: self._written(done))
        crash, self._power_cut = self._power_cut, None
        if crash is not None:
            self._clock.after(time_s * self._clock.random.random(), process, crash)

    def _written(self, done: Callable[[], None]) -> None:
        assert self._under_way is not None
        self._keep(*self._under_way)
        self._under_way = None
        done()

    def _keep(self, record: bytes, commit: Commit) -> None:
        self._log += record
        self._commits += 1
        self.records.put(commit)

    def crash(self) -> None:
        """End the process's use of the disk: all, a part or nothing of the commit in progress is on disk."""
        under_way, self._under_way = self._under_way, None
        self._power_cut = None
        if under_way is None:
            return
        record, commit = under_way
        dice = self._clock.random.random()
        if dice < 0.3:
            self._clock.strike("commit lost")
        elif dice < 0.6:
            self._clock.strike("commit torn")
            self._log += record[: self._clock.random.randrange(1, len(record))]
        else:
            self._clock.strike("commit unacknowledged")
            self._keep(record, commit)

    def pieces(self) -> dict[str, bytes]:
        """Return what a new process reads: the result of all whole commits. Cuts off a torn one."""
        pieces: dict[str, bytes] = {}
        at = commits = 0
        while at + _HEAD <= len(self._log):
            length = int.from_bytes(self._log[at : at + 4], "big")
            body = bytes(self._log[at + _HEAD : at + _HEAD + length])
            if len(body) < length or zlib.crc32(body) != int.from_bytes(self._log[at + 4 : at + _HEAD], "big"):
                break
            for name, piece in pickle.loads(body).items():
                if piece is None:
                    pieces.pop(name, None)
                else:
                    pieces[name] = piece
            at += _HEAD + length
            commits += 1
        assert commits == self._commits
        del self._log[at:]
        return pieces


class DiskLog:
    """A disk as an `OwnedLog`. Its owner is the process that runs."""

    name = "disk"
    why = about = ""

    def __init__(self, disk: Disk, process: Process, writing: Writing) -> None:
        self._disk, self._process, self._writing = disk, process, writing

    async def take(self) -> Taken:
        """Return what is on the disk."""
        self._writing.commit = self._disk.records.last
        return Taken(self._disk.pieces())

    async def append(self, changes: Changes) -> Appended:
        """Write changes, and return when they are on the disk."""
        assert self._writing.commit is not None
        pending = Pending[Appended]()
        self._disk.commit(self._process, changes, self._writing.commit, partial(pending.end, Appended.OK))
        return await pending

    async def trim(self) -> Appended:
        """Do nothing."""
        return Appended.OK

    async def leave(self, ended: tuple[int, str] | None = None) -> Appended:
        """Do nothing: no other node waits for the disk."""
        return Appended.OK

    async def close(self) -> None:
        """Do nothing."""

    def damaged(self, error: Exception) -> SmssimError:
        """Return the error about pieces that can't be restored."""
        return NotSavedError(str(error))
