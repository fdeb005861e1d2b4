"""Undocumented behaviour of gRPC that smssim relies on: error texts, internal names and habits.

If an upgrade of grpcio breaks anything, it breaks this file. tests/test_grpc_quirks.py makes gRPC show each behaviour
again, and says what to check for a version other than `WRITTEN_FOR`. Knows gRPC, its errors and its logs. Must not know
what is sent over a connection, or what a node does about an error.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

WRITTEN_FOR: Final = "1.85.1"  # of grpcio, as in constraints.txt

SERVER_LOGGER: Final = "grpc._cython.cygrpc"
CLIENT_LOGGER: Final = "grpc._common"

# ---- Handlers and messages


def changed(handler: Any, **fields: Any) -> Any:
    """Return the handler of a method with other fields; gRPC's handlers are named tuples."""
    return handler._replace(**fields)


class Codec(aio.ServerInterceptor):
    """Turns a request that can't be decoded into None, so that the method itself can refuse it.

    Without this class, gRPC logs a stack trace and answers UNKNOWN. Methods whose names do not begin with `ours`, such
    as health checks and reflection, get an empty message instead. A response may also be bytes that are already
    encoded.
    """

    def __init__(self, ours: str) -> None:
        self._ours = ours

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `aio.ServerInterceptor`."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:  # no such method
            return None
        ours = handler_call_details.method.startswith(self._ours)

        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None if ours else handler.request_deserializer(b"")

        def write(response: Any) -> bytes:
            encoded: bytes = response if isinstance(response, bytes) else handler.response_serializer(response)
            return encoded

        return changed(handler, request_deserializer=read, response_serializer=write)


# ---- Logs


def quiet_server() -> None:
    """Suppress gRPC's stack traces about peers that disconnect during a write.

    gRPC logs one only if the write fails before gRPC has noticed the loss of the connection. The node itself sees the
    end of the stream and logs who left.
    """
    logging.getLogger(SERVER_LOGGER).addFilter(is_news_of_server)


def quiet_client() -> None:
    """Suppress gRPC's stack traces about malformed responses. gRPC returns None for them, and the node reports it."""
    logging.getLogger(CLIENT_LOGGER).addFilter(is_news_of_client)


def is_news_of_server(record: logging.LogRecord) -> bool:
    """Return whether a log record of gRPC reports anything but a failed write. That class is in its compiled part."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def is_news_of_client(record: logging.LogRecord) -> bool:
    """Return whether a log record of gRPC reports anything but malformed bytes."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not DecodeError


# ---- Errors of calls

# What a write raises once its call has ended. A read from the call raises the reason.
WRITE_AFTER_END: Final = (asyncio.InvalidStateError, aio.UsageError)


def is_unexplained(code: grpc.StatusCode) -> bool:
    """Return whether gRPC lost the reason for a call's end because a write failed first. Another call may get it."""
    return code == grpc.StatusCode.INTERNAL


def cause(details: str) -> str:
    """Return the last cause in the details of an UNAVAILABLE call: "... last error: UNKNOWN: ...: cause"."""
    return details.rpartition(": ")[2].rstrip("]")


# ---- Connections


def ping_timeout(after_ms: int) -> tuple[str, int]:
    """Return the option of a channel that closes a connection whose ping is not answered for this long.

    Without it, gRPC waits at least a minute for the answer, whatever `grpc.keepalive_timeout_ms` says, if the peer's
    machine still acknowledges the bytes, as that of a paused process does.
    """
    return "grpc.http2.ping_timeout_ms", after_ms


# ---- Handshakes


class Handshake(Enum):
    """How a handshake failed."""

    NOT_TLS = auto()  # the peer does not use TLS
    OTHER_HOST = auto()  # its certificate is for another host
    EXPIRED = auto()
    NOT_YET_VALID = auto()
    OTHER_AUTHORITY = auto()  # its certificate is signed by another CA
    FAILED = auto()  # in another way
    CLOSED = auto()  # the peer closed the connection during or right after it; only a `probe` may find out why


_TEXTS: Final = (  # the most specific first; gRPC passes on the texts of its TLS library
    ("WRONG_VERSION_NUMBER", Handshake.NOT_TLS),
    ("Hostname Verification Check failed", Handshake.OTHER_HOST),
    ("expired", Handshake.EXPIRED),
    ("certificate is not yet valid", Handshake.NOT_YET_VALID),
    ("certificate", Handshake.OTHER_AUTHORITY),
    ("Tls handshake failed", Handshake.FAILED),
)


def handshake(details: str) -> Handshake | None:
    """Return how a handshake failed, given the details of the call; None if that is not why the call failed."""
    if "Socket closed" in details and "Handshake" not in details:
        return Handshake.CLOSED
    if "Tls handshake failed" not in details and "verification" not in details:
        return None
    return next((kind for text, kind in _TEXTS if text in details), None)


class Probed(Enum):
    """What a peer does with a connection over TLS."""

    ACCEPTS = auto()
    REFUSES = auto()  # because of the client's certificate, or because it has shown none


async def probe(
    host: str, port: int, pair: tuple[str, str] | None, within_s: float, *, to_the_end: bool
) -> Probed | None:
    """Find out why a peer closes connections, with a handshake that accepts any certificate and sends no data.

    `pair`: files with the certificate to present, and its key. `to_the_end`: whether to wait for the peer's first bytes
    after the handshake, because with TLS 1.3 it checks the client's certificate only then. Returns None if the reason
    remains unknown.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(*pair)
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            try:
                return Probed.ACCEPTS if not to_the_end or await reader.read(1) else Probed.REFUSES
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return Probed.REFUSES if "ALERT" in str(error.reason) else None
    except (OSError, TimeoutError):
        return None
