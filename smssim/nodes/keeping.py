"""Where a node keeps its state, and how it becomes the owner of a run.

The state is kept nowhere, in a journal, or in a log on an engine. Any node of the same kind may take such a log, so
this one stands by until it is needed. Carries out what `Standby` decides. Must not know what the state means.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_store import UnclearError
from smssim.core.owned_log import OwnedLog, Taken
from smssim.core.pieces import DAMAGE
from smssim.core.reconnect import Kind, Loss, Reconnector
from smssim.core.replicated_log import ReplicatedLog
from smssim.core.standby import Move, Standby
from smssim.errors import ExitCode, LaterError
from smssim.journal.sqlite_log import SqliteLog
from smssim.net.reconnecting import STANDS_BY
from smssim.process import waiting
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, ProducerSettings, split_address

if TYPE_CHECKING:
    from smssim.engine.credentials import Credentials
    from smssim.engine.nats_store import NatsStore


@dataclass(frozen=True, slots=True)
class Ownership:
    """A node's right to write the state of a run, until another node takes it."""

    log: OwnedLog | None  # None: the state is not kept
    taken: Taken
    engine: Reconnector | None = None  # waits for the engine, if there is one

    @property
    def resumes(self) -> bool:
        """Whether there is a state to continue from."""
        return bool(self.taken.pieces)

    async def close(self) -> None:
        """Give the log up."""
        if self.log is not None:
            await self.log.close()

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Turn the errors of damaged pieces that the block raises into one about the log."""
        try:
            yield
        except DAMAGE as error:
            if self.log is None:
                raise
            raise self.log.damaged(error) from error


class Keeping:
    """Where a node of one kind keeps its state."""

    def __init__(
        self,
        settings: ProducerSettings | MonitorSettings,
        kind: str,
        log: Log,
        limits: Limits = LIMITS,
        check_about: Callable[[str], None] = lambda about: None,
    ) -> None:
        """`check_about` raises UsageError if this node could not continue the run of which an owner says this."""
        self.is_shared = settings.engine is not None
        self.exit_code = ExitCode.INCOMPLETE  # of a node that never owned the run
        self._settings = settings
        self._kind = kind
        self._log = log
        self._limits = limits
        self._check_about = check_about
        self._clock = asyncio.get_running_loop().time
        self._standby = Standby(settings.run_name or "", limits=limits)
        self._credentials: Credentials | None = None  # for the engine
        self._store: NatsStore | None = None

    async def check(self) -> None:
        """Read the credentials for the engine, if there is one. Raises UsageError."""
        if self.is_shared:
            from smssim.engine.opening import load  # imported late: only nodes with an engine need it

            self._credentials = await load(self._settings)

    def stands_by(self) -> LaterError:
        """Return the error of a call that this node can't answer, because it does not own the run."""
        owner = f"{self._standby.owner} owns" if self._standby.owner else "no node owns"
        return LaterError(f"{STANDS_BY}{owner} run {self._settings.run_name}")

    async def own(self, address: str, stop: asyncio.Event) -> Ownership | None:
        """Return the ownership of the run as soon as no other node has it. Assumes `check`.

        Returns None if the node must leave, with `exit_code`: it was stopped, or the run is over. `address`: this
        node's, which names it. Raises UsageError, GoneError or DamagedLogError.
        """
        if not self.is_shared:
            return await self._own_alone()
        owning = asyncio.create_task(self._own_shared(address))
        try:
            await waiting.first_of(asyncio.wait([owning]), stop.wait())
            if owning.done():
                return owning.result()
            self._log.info("Stopped while standing by")
            return None
        finally:
            owning.cancel()
            await asyncio.wait([owning])  # before the store is closed

    async def close(self) -> None:
        """Leave the engine."""
        if self._store is not None:
            await self._store.close()

    async def _own_alone(self) -> Ownership:
        journal = self._settings.journal
        if journal is None:
            return Ownership(None, Taken({}))
        log = SqliteLog(journal, self._kind, self._limits)
        return Ownership(log, await log.take())

    async def _own_shared(self, address: str) -> Ownership | None:
        """Stand by until the log can be taken."""
        store = self._store = self._store or await self._open()
        engine = store.reconnector
        name = f"run {self._settings.run_name}"
        here = _node_name(address)
        log = ReplicatedLog(store, name, here, lambda: str(uuid.uuid4()), self._clock, self._limits)
        standby = self._standby = Standby(self._settings.run_name or "", here, self._limits)
        while True:
            wait_s = self._limits.poll_s
            try:
                tail = await log.tail()
                if tail is not None and tail.about:
                    self._check_about(tail.about)
                step = standby.saw(tail, self._clock())
                self._say(engine.found(self._clock()))
                self._say(step.notice)
                if step.move is Move.LEAVE and standby.ended is not None:
                    self.exit_code = ExitCode(standby.ended.code)
                    return None
                if step.move is Move.TAKE:
                    if (taken := await self._take(log, engine)) is not None:
                        return Ownership(log, replace(taken, away_s=standby.away_s(self._clock())), engine)
                    standby.beaten()
            except UnclearError as error:
                standby.missed()
                wait_s = self._wait_s(engine, error)
            await asyncio.sleep(wait_s)

    async def _take(self, log: ReplicatedLog, engine: Reconnector) -> Taken | None:
        """Take the log; None if another node was faster. Raises GoneError or DamagedLogError."""
        while True:
            try:
                taken = await log.take()
            except UnclearError as error:
                await asyncio.sleep(self._wait_s(engine, error))
            else:
                self._say(engine.found(self._clock()))
                return taken

    async def _open(self) -> NatsStore:
        """Connect to the engine, and wait for it if it is away. Raises UsageError."""
        least, give_up_s = 2 * self._limits.cut_off_after_s, self._settings.give_up_s
        if give_up_s < least:
            self._log.warning(
                "--give-up of %g s is short: the loss of one server of the engine can take 10 s; use at least %g s",
                *(give_up_s, least),
            )
        from smssim.engine.opening import open_store

        assert self._credentials is not None
        return await open_store(self._settings, self._credentials, self._kind, self._log, self._limits)

    def _wait_s(self, engine: Reconnector, error: UnclearError) -> float:
        """Return the wait before the engine is called again; raises GoneError if it has been away for too long."""
        retry = engine.retry(Loss(Kind.MAY_PASS, str(error)), self._clock())
        self._say(retry.notice)
        return retry.wait_s

    def _say(self, notice: str) -> None:
        if notice:
            self._log.info("%s", notice)


def _node_name(address: str) -> str:
    """Return how other nodes call this one: its address, with the name of the machine if it listens on all."""
    host, port = split_address("--listen", address)
    return f"{socket.gethostname()}:{port}" if host in ("0.0.0.0", "::") else address
