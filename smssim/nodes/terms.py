"""The terms of a node: each lasts from when the node owns its run until the run ends or another node takes over.

Knows when terms begin and end. Must not know what a node does in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from smssim.errors import FencedError
from smssim.journal.group_commit import GroupCommit
from smssim.nodes.keeping import Keeping, Ownership
from smssim.outputs import metrics
from smssim.outputs.metrics import Metric
from smssim.process.logs import Log


class Term(Protocol):
    """A node while it owns its run."""

    saving: GroupCommit

    async def begin(self) -> None:
        """Save that the term has begun. Until then, no call is answered. Raises NotSavedError."""

    async def serve(self, stop: asyncio.Event) -> int:
        """Serve to the end of the run, or until stopped, and return the exit code. Raises NotSavedError."""

    @property
    def ended(self) -> tuple[int, str] | None:
        """The exit code and the reason if the run is over; None if another node may continue it. Assumes `serve`."""

    def abandon(self, reason: str) -> None:
        """Send all peers to other nodes."""

    def metrics(self) -> list[Metric]:
        """Return the metrics at this moment."""


T = TypeVar("T", bound=Term)


class Terms(Generic[T]):
    """One term after the other."""

    def __init__(self, keeping: Keeping, make: Callable[[Ownership], Awaitable[T]], log: Log) -> None:
        self.current: T | None = None
        self._keeping = keeping
        self._make = make
        self._log = log

    def answering(self) -> T:
        """Return the current term, to answer a call; raises LaterError if this node stands by."""
        if self.current is None:
            raise self._keeping.stands_by()
        return self.current

    def metrics(self) -> list[Metric]:
        """Return the metrics at this moment."""
        of_owner = metrics.of_owner(self.current is not None) if self._keeping.is_shared else []
        return of_owner + ([] if self.current is None else self.current.metrics())

    async def begin(self, address: str, stop: asyncio.Event) -> bool:
        """Begin a term as soon as no other node owns the run; return False if the node must leave instead."""
        own = await self._keeping.own(address, stop)
        if own is None:
            return False
        term: T | None = None
        try:
            term = await self._make(own)
            await term.begin()
        except BaseException:
            await (own.close() if term is None else term.saving.close())
            raise
        self.current = term
        return True

    async def serve(self, address: str, stop: asyncio.Event) -> int:
        """Serve the run while this node owns it, else stand by, and return the exit code.

        Raises UsageError, NotSavedError, GoneError or DamagedLogError.
        """
        while True:
            try:
                if self.current is None and not await self.begin(address, stop):
                    return self._keeping.exit_code
                assert self.current is not None
                return await self._serve(self.current, stop)
            except FencedError as error:
                self._log.warning("%s: standing by", error)
                await self.close()
                self.current = None

    async def _serve(self, term: T, stop: asyncio.Event) -> int:
        try:
            code = await term.serve(stop)
            has_left = await term.saving.leave(term.ended)
        except FencedError:
            term.abandon("another node has taken over the run")
            raise
        if term.ended is None and self._keeping.is_shared:
            self._log.info("Left the run to another node" if has_left else "Left the run, which could not be recorded")
            term.abandon("this node leaves the run to another one")
        return code

    async def close(self) -> None:
        """Close the log of the current term, if there is one."""
        if self.current is not None:
            await self.current.saving.close()
