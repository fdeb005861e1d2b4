"""The undocumented behaviour of gRPC that smssim relies on, reproduced with gRPC itself on loopback.

Written for the version in `WRITTEN_FOR`. For a newer one: pin it in constraints.txt, run this file, fix
smssim/net/grpc_quirks.py where a test fails, and set `WRITTEN_FOR`. Then check by hand what no test can show: whether
gRPC now has a documented way to do one of these things (a status for a failed handshake, a public class for a failed
write), and whether tests/conftest.py and tests/nodes_support.py still need the exceptions that they make for gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import trustme
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from nodes_support import Proxy, play, serving, until

from smssim.net import grpc_quirks
from smssim.net.grpc_quirks import Handshake, Probed, handshake, probe
from smssim.v1 import run_pb2

ANY: Final = "/a.Service/Method"
WITHIN_S: Final = 20.0
GARBAGE: Final = b"\xff\xff"


class Method(grpc.GenericRpcHandler):
    """A service in which every method has this handler."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler


@asynccontextmanager
async def answering(
    handler: Any, credentials: grpc.ServerCredentials | None = None, interceptors: Any = ()
) -> AsyncIterator[str]:
    """Serve every method with this handler; yield the address."""
    server = aio.server(interceptors=list(interceptors))
    server.add_generic_rpc_handlers((Method(handler),))
    async with serving(server, credentials) as address:
        yield address


class Records(logging.Handler):
    """A log handler that keeps the records."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """Collect what gRPC logs to this logger inside the block, without the filters of the logger."""
    logger, handler = logging.getLogger(name), Records(logging.WARNING)
    filters, logger.filters = logger.filters, []
    logger.addHandler(handler)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)
        logger.filters = filters


def unary(answer: Any, **codec: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(answer, **codec)


async def empty(request: Any, context: Any) -> bytes:
    return b""


async def failed(channel: aio.Channel) -> aio.AioRpcError:
    """Make a call that can't be answered, and return its error."""
    async with channel:
        ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ANY)
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(b"", timeout=WITHIN_S)
        return caught.value


def test_the_pinned_grpc_is_the_version_that_these_tests_were_written_for() -> None:
    pinned = (Path(__file__).parent.parent / "constraints.txt").read_text()
    assert f"\ngrpcio=={grpc_quirks.WRITTEN_FOR}\n" in pinned, "see the docstring of this file"


# -- handlers and messages


def test_the_handler_of_a_method_can_be_changed() -> None:
    handler = unary(empty)
    assert grpc_quirks.changed(handler, request_streaming=True).request_streaming
    assert grpc_quirks.changed(handler, request_streaming=True).unary_unary is empty
    assert not handler.request_streaming


def test_malformed_bytes_cause_a_stack_trace_without_the_codec_and_become_none_with_it() -> None:
    got: list[Any] = []

    async def note(request: Any, context: Any) -> bytes:
        got.append(request)
        return b"encoded already"

    handler = unary(
        note, request_deserializer=run_pb2.Run.FromString, response_serializer=run_pb2.Run.SerializeToString
    )

    async def asked(*interceptors: aio.ServerInterceptor) -> StatusCode:
        async with answering(handler, interceptors=interceptors) as address, aio.insecure_channel(address) as channel:
            ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ANY)
            call = ask(GARBAGE)
            return await call.code()

    with logged(grpc_quirks.SERVER_LOGGER) as records:
        assert play(asked()) == StatusCode.UNKNOWN
        assert [record.exc_info is not None for record in records] == [True]
        assert got == []
        assert play(asked(grpc_quirks.Codec("/a."))) == StatusCode.OK
        assert play(asked(grpc_quirks.Codec("/another."))) == StatusCode.OK
        assert got == [None, run_pb2.Run()]
        assert len(records) == 1


# -- logging


def test_a_client_logs_a_response_that_is_not_protobuf_and_returns_none() -> None:
    async def answer(request: Any, context: Any) -> bytes:
        return GARBAGE

    async def scene() -> Any:
        async with answering(unary(answer)) as address, aio.insecure_channel(address) as channel:
            ask: Any = channel.unary_unary(ANY, response_deserializer=run_pb2.Run.FromString)
            return await ask(b"")

    with logged(grpc_quirks.CLIENT_LOGGER) as records:
        assert play(scene()) is None
    assert [record.exc_info[0] for record in records if record.exc_info] == [DecodeError]
    assert not any(grpc_quirks.is_news_of_client(record) for record in records)
    assert grpc_quirks.is_news_of_client(logging.makeLogRecord({"msg": "something else"}))


def test_a_server_logs_a_stack_trace_if_a_peer_leaves_during_a_write() -> None:
    """It does so only if the write fails before gRPC knows that the peer has left.

    On a busy machine it may never happen, so the filter is also tested with a record made here.
    """

    async def flood(requests: Any, context: Any) -> None:
        while True:
            await context.write(bytes(1 << 20))

    async def scene(records: list[logging.LogRecord]) -> None:
        async with (
            answering(grpc.stream_stream_rpc_method_handler(flood)) as address,
            aio.insecure_channel(address) as channel,
        ):
            stream: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(ANY)
            until_s = time.monotonic() + WITHIN_S
            while not records and time.monotonic() < until_s:
                call = stream()
                try:
                    async with asyncio.timeout(WITHIN_S):
                        await call.read()
                except TimeoutError:
                    break
                finally:
                    call.cancel()
                await until(call.done)

    with logged(grpc_quirks.SERVER_LOGGER) as records:
        play(scene(records))
    assert {record.exc_info[0] for record in records if record.exc_info} <= {cygrpc.ExecuteBatchError}
    lost = (cygrpc.ExecuteBatchError, cygrpc.ExecuteBatchError("a write"), None)
    for record in (*records, logging.makeLogRecord({"exc_info": lost})):
        assert not grpc_quirks.is_news_of_server(record)
    assert grpc_quirks.is_news_of_server(logging.makeLogRecord({"exc_info": (ValueError, ValueError(), None)}))


# -- errors of calls


async def refuse(requests: Any, context: Any) -> None:
    await context.abort(StatusCode.UNAVAILABLE, "full")


def test_a_write_as_its_call_ends_loses_the_reason_and_a_later_write_raises_no_rpc_error() -> None:
    async def scene() -> set[StatusCode]:
        met: set[StatusCode] = set()
        async with (
            answering(grpc.stream_stream_rpc_method_handler(refuse)) as address,
            aio.insecure_channel(address) as channel,
        ):
            stream: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(ANY)
            while StatusCode.INTERNAL not in met:
                call = stream()
                try:
                    while True:
                        await call.write(b"x")
                except aio.AioRpcError as error:
                    met.add(error.code())
                except grpc_quirks.WRITE_AFTER_END:
                    pass
            call = stream()
            assert await call.code() == StatusCode.UNAVAILABLE
            assert await call.details() == "full"
            with pytest.raises(grpc_quirks.WRITE_AFTER_END):
                await call.write(b"x")
        return met

    met = play(scene())
    assert {code for code in met if grpc_quirks.is_unexplained(code)} == {StatusCode.INTERNAL}
    assert not grpc_quirks.is_unexplained(StatusCode.UNAVAILABLE)


def test_the_root_cause_is_at_the_end_of_the_details() -> None:
    async def scene() -> aio.AioRpcError:
        return await failed(aio.insecure_channel("127.0.0.1:1"))

    error = play(scene())
    assert error.code() == StatusCode.UNAVAILABLE
    assert re.match("Connection refused", grpc_quirks.cause(error.details() or ""))
    assert handshake(error.details() or "") is None
    assert grpc_quirks.cause("full") == "full"


# -- handshakes


class Authority:
    """A certificate authority: its certificate, and keys with certificates that it has signed."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def pair(self, host: str = "127.0.0.1", **dates: Any) -> tuple[bytes, bytes]:
        """Return a key and its certificate."""
        made = self._ca.issue_cert(host, **dates)
        return made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes()


# -- connections


def test_a_connection_whose_peer_is_paused_is_closed_soon_with_a_ping_timeout() -> None:
    """Without one, that takes a minute."""

    async def scene() -> aio.AioRpcError:
        async with answering(unary(empty)) as address:
            proxy = await Proxy.start(address)
            keepalive = [("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 100)]
            async with aio.insecure_channel(
                proxy.address, options=[*keepalive, grpc_quirks.ping_timeout(100)]
            ) as channel:
                ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ANY)
                await ask(b"", timeout=WITHIN_S)
                proxy.stall()
                with pytest.raises(aio.AioRpcError) as caught:
                    await ask(b"", timeout=WITHIN_S)
            await proxy.close()
            return caught.value

    lost = play(scene())
    assert (lost.code(), "timeout" in (lost.details() or "")) == (StatusCode.UNAVAILABLE, True)


def test_a_call_to_an_address_that_never_answers_ends_with_the_attempt_to_connect() -> None:
    async def scene() -> aio.AioRpcError:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            return await failed(aio.insecure_channel(address, options=[("grpc.min_reconnect_backoff_ms", 100)]))

    assert play(scene()).code() == StatusCode.UNAVAILABLE


DAY: Final = timedelta(days=1)


def test_a_failed_handshake_has_a_reason() -> None:
    ours, theirs, now = Authority(), Authority(), datetime.now(UTC)
    trusting = grpc.ssl_channel_credentials(ours.pem)
    cases = {
        Handshake.NOT_TLS: None,
        Handshake.OTHER_HOST: ours.pair("elsewhere.example"),
        Handshake.EXPIRED: ours.pair(not_after=now - DAY),
        Handshake.NOT_YET_VALID: ours.pair(not_before=now + DAY),
        Handshake.OTHER_AUTHORITY: theirs.pair(),
    }

    async def scene(pair: tuple[bytes, bytes] | None) -> str:
        credentials = None if pair is None else grpc.ssl_server_credentials([pair])
        async with answering(unary(empty), credentials) as address:
            return (await failed(aio.secure_channel(address, trusting))).details() or ""

    said = {kind: play(scene(pair)) for kind, pair in cases.items()}
    assert {kind: handshake(details) for kind, details in said.items()} == {kind: kind for kind in cases}, said
    assert handshake("Tls handshake failed (TSI_PROTOCOL_FAILURE): something new") is Handshake.FAILED


def test_a_probe_finds_out_why_a_peer_closes_connections(tmp_path: Path) -> None:
    ours, theirs = Authority(), Authority()
    key, certificate = theirs.pair()
    for name, content in (("key", key), ("certificate", certificate)):
        (tmp_path / name).write_bytes(content)
    shown = str(tmp_path / "certificate"), str(tmp_path / "key")
    open_to_all = grpc.ssl_server_credentials([ours.pair()])
    mutual = grpc.ssl_server_credentials([ours.pair()], ours.pem, require_client_auth=True)

    async def scene(credentials: grpc.ServerCredentials, channel: Any, pair: Any, to_the_end: bool) -> Any:
        async with answering(unary(empty), credentials) as address:
            host, _, port = address.rpartition(":")
            closed = handshake((await failed(channel(address))).details() or "")
            return closed, await probe(host, int(port), pair, WITHIN_S, to_the_end=to_the_end)

    def secure(*own: bytes) -> Any:
        return lambda address: aio.secure_channel(address, grpc.ssl_channel_credentials(ours.pem, *own))

    assert play(scene(open_to_all, aio.insecure_channel, None, False)) == (Handshake.CLOSED, Probed.ACCEPTS)
    assert play(scene(mutual, aio.insecure_channel, None, False)) == (Handshake.CLOSED, Probed.ACCEPTS)
    assert play(scene(mutual, secure(), None, True)) == (Handshake.CLOSED, Probed.REFUSES)
    assert play(scene(mutual, secure(key, certificate), shown, True)) == (Handshake.CLOSED, Probed.REFUSES)


def test_a_probe_of_a_missing_peer_or_one_without_tls_returns_none() -> None:
    async def scene() -> tuple[Probed | None, Probed | None]:
        async with answering(unary(empty)) as address:
            plain = await probe("127.0.0.1", int(address.rpartition(":")[2]), None, WITHIN_S, to_the_end=True)
        return plain, await probe("127.0.0.1", 1, None, WITHIN_S, to_the_end=True)

    assert play(scene()) == (None, None)
