"""A log as an engine keeps it: conditional appends, reads that may be out of date, and a purge of its beginning.

The one primitive on which ownership, fencing and durability rest is the conditional append: an entry is appended only
if the caller names the entry that is last. Knows sequences and bytes. Must not know what an entry means, or an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from smssim.errors import SmssimError


class UnclearError(SmssimError):
    """The engine did not answer clearly: whether it carries out the request, now or later, is unknown. Repeat it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log."""

    sequence: int  # 1 or more; grows with each entry, not always by 1
    data: bytes


class LogStore(Protocol):
    """One log in an engine. All calls but `write` may be repeated at any time."""

    async def write(self, data: bytes, after: int) -> int | None:
        """Append an entry if the last one has the sequence `after` (0: the log is empty), and return its sequence.

        Returns None if another entry is the last one, which may be an earlier copy of this one. An entry is durable
        once its sequence is returned. Raises UnclearError: then it may be appended now, later or never.
        """

    async def read(self, after: int) -> Entry | None:
        """Return the first entry with a sequence above `after`; None if there is none, as far as the engine knows.

        May be out of date. Raises UnclearError.
        """

    async def last(self) -> Entry | None:
        """Return the last entry; None if the log is empty. May be out of date. Raises UnclearError."""

    async def purge(self, before: int) -> None:
        """Delete the entries with a sequence below `before`; the last entry always stays. Raises UnclearError."""
