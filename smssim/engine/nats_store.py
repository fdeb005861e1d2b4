"""A log on an engine: a stream of JetStream with a single subject, to which entries are appended conditionally.

All requests go to the leader of the stream, because only an append shows whether a read is up to date. Knows
JetStream. Must not know what entries mean, or how a connection is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from nats.js import JetStreamContext, api
from nats.js.errors import APIError

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_store import Entry, UnclearError
from smssim.core.reconnect import Reconnector
from smssim.engine.connection import Connection
from smssim.errors import UsageError
from smssim.escaping import escape

Result = TypeVar("Result")

AFTER: Final = "Nats-Expected-Last-Subject-Sequence"

# Codes of errors, from errors.json of nats-server.
WRONG_LAST: Final = 10071  # another entry is the last one
UNDECIDED: Final = 10164  # an append in progress may become the last entry
NO_ENTRY: Final = 10037
NO_STREAM: Final = 10059
OTHER_STREAM: Final = 10058  # there is a stream of this name with another configuration
OVERLAP: Final = 10065  # another stream has this subject
TOO_FEW: Final = 10005  # servers for the replicas
ALONE: Final = 10074  # a server without a cluster has no replicas
NOT_ENABLED: Final = (10039, 10076)


class TooFewError(UnclearError):
    """Fewer servers run than there must be copies of a log."""


class NatsStore:
    """One log on an engine, as `LogStore` says."""

    def __init__(
        self, connection: Connection, reconnector: Reconnector, stream: str, subject: str, limits: Limits = LIMITS
    ) -> None:
        """`reconnector`: decides how long the node waits for the engine; for the caller."""
        self.reconnector = reconnector
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._limits = limits
        self._ahead: dict[int, asyncio.Task[Entry | None]] = {}  # requested entries, by the lowest sequence allowed
        self._ahead_count = 1

    async def close(self) -> None:
        """End the connection to the engine."""
        self._forget()
        await self._connection.close()

    async def write(self, data: bytes, after: int) -> int | None:
        """See LogStore."""

        async def publish(streams: JetStreamContext) -> int | None:
            try:
                done = await streams.publish(
                    self._subject,
                    data,
                    self._limits.engine_answer_s,
                    stream=self._stream,
                    headers={AFTER: str(after)},
                )
            except APIError as error:
                if error.err_code == WRONG_LAST:
                    return None
                raise
            return done.seq

        return await self._ask(publish)

    async def read(self, after: int) -> Entry | None:
        """See LogStore. Requests further entries ahead while the log is read in order."""
        if after + 1 not in self._ahead:
            self._forget()
        # An answer that was out of date, such as "no such entry", does no harm: the caller's next append fails.
        for first in range(after + 1, after + 1 + self._ahead_count):
            if first not in self._ahead:
                self._ahead[first] = asyncio.create_task(self._get(first))
                self._ahead[first].add_done_callback(_retrieve)
        try:
            entry = await self._ahead.pop(after + 1)
        except BaseException:
            self._forget()
            raise
        if entry is None:
            self._forget()
            return None
        self._ahead_count = min(2 * self._ahead_count, self._limits.engine_ahead_max)
        for first in [first for first in self._ahead if first <= entry.sequence]:  # there is a gap
            self._ahead.pop(first).cancel()
        return entry

    async def last(self) -> Entry | None:
        """See LogStore."""
        return await self._found(lambda streams: streams.get_last_msg(self._stream, self._subject))

    async def purge(self, before: int) -> None:
        """See LogStore."""
        last = await self.last()
        if last is None:
            return
        before = min(before, last.sequence)  # a log without entries would forget its last sequence
        await self._ask(lambda streams: streams.purge_stream(self._stream, seq=before, subject=self._subject))

    async def prepare(self, replicas: int) -> None:
        """Create the log if it does not exist.

        Raises UnclearError if that may succeed later, and UsageError if the log exists with another configuration.
        """
        wanted = self._config(replicas)
        try:
            try:
                info = await self._connection.ask(lambda streams: streams.stream_info(self._stream))
            except APIError as error:
                if error.err_code != NO_STREAM:
                    raise
                info = await self._create(wanted)
        except APIError as error:
            raise self._refusal(error, replicas) from error
        self._compare(wanted, info.config)
        await self._await_leader()

    async def _await_leader(self) -> None:
        """Wait until the log answers, within `Limits.engine_answer_s`: a new one has no leader for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.engine_answer_s):
                for attempt in itertools.count():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._limits.engine_ask_leader_s * 2**attempt):
                            await self.last()
                            return

    async def _create(self, wanted: api.StreamConfig) -> api.StreamInfo:
        try:
            return await self._connection.ask(lambda streams: streams.add_stream(wanted))
        except APIError as error:
            if error.err_code != OTHER_STREAM:  # another node has just created it
                raise
            return await self._connection.ask(lambda streams: streams.stream_info(self._stream))

    def _config(self, replicas: int) -> api.StreamConfig:
        return api.StreamConfig(
            name=self._stream,
            subjects=[self._subject],
            storage=api.StorageType.FILE,
            num_replicas=replicas,
            retention=api.RetentionPolicy.LIMITS,
            discard=api.DiscardPolicy.NEW,
            deny_delete=True,
            allow_direct=False,  # reads go to the leader
        )

    def _compare(self, wanted: api.StreamConfig, found: api.StreamConfig) -> None:
        if found.num_replicas != wanted.num_replicas:
            got = f"--engine-replicas: got {wanted.num_replicas}"
            raise UsageError(f"{got}; expected {found.num_replicas}, which the run has already")
        pairs = {name: (getattr(wanted, name), getattr(found, name)) for name in _COMPARED}
        pairs |= {name: (None, value) for name in _UNLIMITED if (value := getattr(found, name)) and value > 0}
        for name, (value, other) in pairs.items():
            if (value or None) != (other or None):
                what = f"--run: the stream {self._stream} of this name has {name}={_shown(other)}"
                raise UsageError(f"{what}; expected {_shown(value)}: choose another name, or delete the stream")

    def _refusal(self, error: APIError, replicas: int) -> UnclearError | UsageError:
        """Return what it means that a stream can't be read or created."""
        said = _said(error)
        if error.err_code == TOO_FEW:
            return TooFewError(f"fewer than {replicas} servers run: {said}")
        if error.err_code == ALONE:
            return UsageError(f"--engine-replicas: got {replicas}; expected 1, because the server is not in a cluster")
        if error.err_code in NOT_ENABLED:
            return UsageError("--engine: the account of this node may not use JetStream: enable it for the account")
        if error.err_code == OVERLAP:
            return UsageError(f"--run: another stream has the subject {self._subject}: choose another name")
        if error.code is not None and 400 <= error.code < 500:
            return UsageError(f"--engine: the servers refuse the stream {self._stream}: {said}")
        return UnclearError(said)

    async def _get(self, first: int) -> Entry | None:
        return await self._found(
            lambda streams: streams.get_msg(self._stream, seq=first, subject=self._subject, next=True)
        )

    async def _found(self, request: Callable[[JetStreamContext], Awaitable[api.RawStreamMsg]]) -> Entry | None:
        """Return the entry that a request yields; None if there is none."""

        async def find(streams: JetStreamContext) -> Entry | None:
            try:
                found = await request(streams)
            except APIError as error:
                if error.err_code == NO_ENTRY:
                    return None
                raise
            if found.seq is None:
                raise ValueError("an entry without a sequence")
            return Entry(found.seq, found.data or b"")

        return await self._ask(find)

    async def _ask(self, call: Callable[[JetStreamContext], Awaitable[Result]]) -> Result:
        """Return the answer to a request. Raises UnclearError."""
        try:
            return await self._connection.ask(call)
        except APIError as error:
            raise UnclearError(_said(error)) from error

    def _forget(self) -> None:
        """Drop the entries that were requested ahead."""
        for task in self._ahead.values():
            task.cancel()
        self._ahead.clear()
        self._ahead_count = 1


_COMPARED: Final = (
    "subjects",
    "storage",
    "retention",
    "discard",
    "deny_delete",
    "deny_purge",
    "allow_direct",
    "sealed",
)
_UNLIMITED: Final = ("max_age", "max_msgs", "max_bytes", "max_msgs_per_subject")


def _said(error: APIError) -> str:
    """Return what JetStream answered. Without a leader, nobody answers, which nats-py reports as a 503 without text."""
    if error.description is None:
        return "JetStream has no leader; more than half of the servers must run"
    if error.err_code == UNDECIDED:
        return "an append is not decided yet; more than half of the servers must run"
    return escape(error.description, 120)


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))


def _retrieve(task: asyncio.Task[Entry | None]) -> None:
    """Mark the error of a task as known, so that asyncio does not report it if nobody awaits the task."""
    if not task.cancelled():
        task.exception()
