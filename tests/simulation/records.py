"""What is on record of a kind of node: its commits, and which of them the disk or the engine really has.

The books of a node follow it: a commit tells them when it is on record, and the books of the next owner begin with what
is on record when it takes the log. Knows nothing of what the classes under test believe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from smssim.core.pieces import Changes


@dataclass(eq=False)
class Commit:
    """One commit of an owner."""

    pieces: dict[str, bytes]  # all that are on record once it is
    contents: Any  # how much of the owner's books it contains
    recorded: Callable[[], None]  # tells the books that it is on record


@dataclass(eq=False)
class Records:
    """All commits of one kind of node, and the last one that is on record."""

    keeps_all: bool = False  # in `begun`
    last: Commit | None = None
    begun: list[Commit] = field(default_factory=list)

    def begin(self, before: Commit | None, changes: Changes, contents: Any, recorded: Callable[[], None]) -> Commit:
        """Return a new commit, which follows another one of the same owner or of the one before."""
        pieces = {} if before is None else dict(before.pieces)
        for name, piece in changes.items():
            if piece is None:
                pieces.pop(name, None)
            else:
                pieces[name] = piece
        commit = Commit(pieces, contents, recorded)
        if self.keeps_all:
            self.begun.append(commit)
        return commit

    def put(self, commit: Commit) -> None:
        """Record that a commit is complete on the disk or in the engine."""
        if commit is not self.last:
            self.last = commit
            commit.recorded()

    @property
    def pieces(self) -> dict[str, bytes]:
        """What the next owner must find."""
        return {} if self.last is None else self.last.pieces


@dataclass(eq=False)
class Writing:
    """What one owner is writing now: shared by its saver, which begins commits, and by its disk or store."""

    commit: Commit | None = None  # the last one that was begun
    crash: Callable[[], None] | None = None  # called after a part, but not the last one, of ...
    crash_in: str = ""  # ... a record of this kind
