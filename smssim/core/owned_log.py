"""The port through which a node keeps its state: a log with one owner.

Two classes implement it: an SQLite journal, whose owner is the process that has locked the file, and a replicated log
on an engine, which any of several nodes may take. Knows changes and pieces. Must not know files or engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from smssim.core.pieces import Changes, Pieces
from smssim.errors import SmssimError


class Appended(Enum):
    """What became of an append."""

    OK = auto()  # it is durable, and this node owned the log at that moment
    FENCED = auto()  # another node has taken the log: nothing more can be appended, and nothing may be acknowledged
    UNKNOWN = auto()  # the engine did not answer: append the same again until the result is known


@dataclass(frozen=True, slots=True)
class Taken:
    """What a node found when it took a log."""

    pieces: Pieces  # the state that is on record; empty for a new log
    previous: str = ""  # the node that owned it before; empty if there was none, or if only one node can
    away_s: float = 0.0  # for how long nobody has appended a record, as far as this node has seen


class OwnedLog(Protocol):
    """The state of one node in one run, which survives the node."""

    name: str  # what it is, for errors, such as "journal alert.db"
    why: str  # why the last result is UNKNOWN, in a few words
    about: str  # what this owner says about its run, for nodes that stand by

    async def take(self) -> Taken | None:
        """Become the owner and return what is on record; None if another node became the owner at the same time.

        From then on, no append of an earlier owner succeeds. Raises UnclearError: take it again.
        """

    async def append(self, changes: Changes) -> Appended:
        """Append all of these changes or none.

        After UNKNOWN, call it again with the same changes until it returns something else. Raises NotSavedError if
        nothing more can be saved.
        """

    async def trim(self) -> Appended:
        """Shorten the log if it is long. After UNKNOWN, call it again."""

    async def leave(self, ended: tuple[int, str] | None = None) -> Appended:
        """Record that the owner leaves. After UNKNOWN, call it again.

        `ended`: the exit code and the reason, if the run is over; otherwise another node may take the log at once.
        """

    async def close(self) -> None:
        """Release the log; nothing is appended any more."""

    def damaged(self, error: Exception) -> SmssimError:
        """Return the error that says that the state on record can't be restored."""
