"""What smssim relies on in gRPC that no documentation promises: texts, names of its insides, and habits.

An upgrade of grpcio breaks this file or none. tests/test_grpc_quirks.py makes gRPC show each of these again, and says
what to read through for a version other than `WRITTEN_FOR`. Knows gRPC, its errors and its logs. Must not know what is
said over a connection, or what a node does about an error.
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
    """Hands on bytes that are no message of the method as None, to be refused by the method itself.

    Left to itself, gRPC logs a stack trace for them and answers UNKNOWN. Methods whose names do not begin with `ours`,
    as health checks and reflection, get an empty message instead. A response may be bytes, already encoded.
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


# ---- What it logs


def quiet_server() -> None:
    """Keep from the log that a peer left while something was written to it.

    gRPC itself says nothing of that where it knows already that the peer has left; where the write fails before it
    knows, it logs a stack trace. The node sees the stream end and says who left.
    """
    logging.getLogger(SERVER_LOGGER).addFilter(is_news_of_server)


def quiet_client() -> None:
    """Keep from the log that a response is not protobuf, for which gRPC hands on None: the node says so itself."""
    logging.getLogger(CLIENT_LOGGER).addFilter(is_news_of_client)


def is_news_of_server(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's says more than that a write has failed. The class is in its compiled part."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def is_news_of_client(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's says more than that bytes are not protobuf."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not DecodeError


# ---- Errors of calls

# What a write raises once its call has ended: reading from the call says why it has.
WRITE_AFTER_END: Final = (asyncio.InvalidStateError, aio.UsageError)


def is_unexplained(code: grpc.StatusCode) -> bool:
    """Whether gRPC has lost why a call ended, for a write met its end; another call may bring the reason."""
    return code == grpc.StatusCode.INTERNAL


def cause(details: str) -> str:
    """Return the last of the causes in the details of an UNAVAILABLE call: "... last error: UNKNOWN: ...: cause"."""
    return details.rpartition(": ")[2].rstrip("]")


# ---- Handshakes


class Handshake(Enum):
    """How a handshake failed."""

    NOT_TLS = auto()  # the peer does not speak TLS
    OTHER_HOST = auto()  # its certificate is for another one
    EXPIRED = auto()
    NOT_YET_VALID = auto()
    OTHER_AUTHORITY = auto()  # signed its certificate
    FAILED = auto()  # in another way
    CLOSED = auto()  # by the peer, or right after it; gRPC does not say why: a probe may


_TEXTS: Final = (  # first those that say more; gRPC passes on what its TLS library writes
    ("WRONG_VERSION_NUMBER", Handshake.NOT_TLS),
    ("Hostname Verification Check failed", Handshake.OTHER_HOST),
    ("expired", Handshake.EXPIRED),
    ("certificate is not yet valid", Handshake.NOT_YET_VALID),
    ("certificate", Handshake.OTHER_AUTHORITY),
    ("Tls handshake failed", Handshake.FAILED),
)


def handshake(details: str) -> Handshake | None:
    """Return how the handshake failed of which these are the details; None where it was not that."""
    if "Socket closed" in details and "Handshake" not in details:
        return Handshake.CLOSED
    if "Tls handshake failed" not in details and "verification" not in details:
        return None
    return next((kind for text, kind in _TEXTS if text in details), None)


class Probed(Enum):
    """What a peer does with a connection over TLS."""

    ACCEPTS = auto()
    REFUSES = auto()  # the certificate that was shown, or that none was


async def probe(
    host: str, port: int, pair: tuple[str, str] | None, within_s: float, *, to_the_end: bool
) -> Probed | None:
    """Ask a peer that closes connections for its reason, in a handshake that trusts everybody and says nothing.

    `pair`: files with the certificate to show, and its key. `to_the_end`: whether to wait for what comes after the
    handshake, where a peer that speaks TLS 1.3 looks at the certificate. Returns None where nobody tells.
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
