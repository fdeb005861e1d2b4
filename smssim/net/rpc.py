"""Servers, channels, and what gRPC's errors mean for a node.

Knows grpc.aio. Must not know what is said over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from smssim.errors import (
    LaterError,
    NotSavedError,
    PeerError,
    SmssimError,
    TooLargeError,
    UsageError,
    VersionError,
)
from smssim.net import descriptors
from smssim.net.access import HEADER, Access
from smssim.net.bounds import Bounds
from smssim.process.logs import Log
from smssim.settings import split_address

STREAMS_OF_ONE_MAX: Final = 12_000  # calls on one connection; a client with more waits
KEEPALIVE_MS: Final = 10_000  # a peer whose machine is gone is noticed in about twice that
HANDSHAKE_MS: Final = 10_000  # how long a connection may say nothing
IDLE_MS: Final = 120_000  # how long it may be open without a call: far longer than a sender waits between reports

_SERVER_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # or two servers would bind one port without an error
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", STREAMS_OF_ONE_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_connection_idle_ms", IDLE_MS),
)
_CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
)

_STATUS_OF: Final[tuple[tuple[type[SmssimError], grpc.StatusCode], ...]] = (  # the most particular error first
    (VersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (LaterError, grpc.StatusCode.UNAVAILABLE),
    (PeerError, grpc.StatusCode.INVALID_ARGUMENT),
)

Message = TypeVar("Message")

_watching: Final[set[asyncio.Task[None]]] = set()  # of each server that serves: asyncio itself keeps no task


class _Codec(aio.ServerInterceptor):
    """Hands on bytes that are no message of the method as None, to be refused by `readable`.

    Left to itself, grpc logs a stack trace for them. Health checks and reflection get an empty message instead.
    A response may be bytes, already encoded.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        if handler is None:  # no such method
            return None
        ours = handler_call_details.method.startswith("/smssim.")

        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None if ours else handler.request_deserializer(b"")

        def write(response: Any) -> bytes:
            encoded: bytes = response if isinstance(response, bytes) else handler.response_serializer(response)
            return encoded

        return handler._replace(request_deserializer=read, response_serializer=write)


class _TokenInterceptor(aio.ServerInterceptor):
    """Turns away who does not show the token, but for health checks. Once a call: a stream shows it when it opens."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._refusal: Any = grpc.stream_stream_rpc_method_handler(self._refuse)  # serves calls of every kind

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        headers = handler_call_details.invocation_metadata or ()
        shown = next((value for name, value in headers if name == HEADER), None)
        if handler_call_details.method.startswith("/grpc.health.") or self._access.admits(shown):
            return await continuation(handler_call_details)
        return self._refusal

    async def _refuse(self, requests: object, context: aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "missing or wrong token")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's tells more than that a peer left in the midst of what was written to it.

    gRPC itself says nothing of that where it knows already that the peer has left; where the write fails before it
    knows, it logs a stack trace. The node sees the stream end and says who left.
    """
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def _is_readable(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's tells more than that a response is not protobuf: the node itself says that."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not DecodeError


def server(access: Access) -> aio.Server:
    """A server, not yet bound, whose methods get None for a request that is not protobuf."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    doors = [_TokenInterceptor(access)] if access.token else []
    connections = ("grpc.max_allowed_incoming_connections", descriptors.connections_max(descriptors.raise_limit()))
    return aio.server(options=(*_SERVER_OPTIONS, connections), interceptors=[*doors, Bounds(), _Codec()])


def decoded(message: Message | None, what: str = "request") -> Message:
    """The message; raises PeerError if its bytes were none of the method's."""
    if message is None:
        raise PeerError(f"the bytes of the {what} are not the message that this method takes")
    return message


@contextlib.contextmanager
def naming(peer: str) -> Iterator[None]:
    """Names the peer in a PeerError that is raised: what it sent can't be used."""
    try:
        yield
    except PeerError as error:
        raise PeerError(f"{peer} breaks the protocol: {error}") from error


async def start(serving: aio.Server, access: Access, listen: str, services: Sequence[str], log: Log) -> str:
    """Binds and starts a server, with health checks and reflection; the address that it listens on.

    Until it is stopped, the log says when no more connections are taken.

    Raises UsageError if the address can't be had.
    """
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, serving)
    for service in ("", *services):
        await status.set(service, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), serving)
    host, _ = split_address("--listen", listen)
    try:
        credentials = access.of_server()
        port = serving.add_secure_port(listen, credentials) if credentials else serving.add_insecure_port(listen)
    except RuntimeError as error:
        await serving.stop(None)  # left as it is, it would complain when it is collected
        raise UsageError(f"--listen: got {listen!r}, which is in use or not an address of this machine") from error
    await serving.start()
    watching = asyncio.create_task(descriptors.watch(serving, log))
    _watching.add(watching)
    watching.add_done_callback(_watching.discard)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def channel(address: str, access: Access) -> aio.Channel:
    """A channel to a peer; connects when it is used, and again when that is lost. Raises UsageError.

    A response that is not protobuf arrives as None, to be refused by `readable`.
    """
    logging.getLogger("grpc._common").addFilter(_is_readable)
    credentials = access.of_client(address)
    if credentials is None:
        return aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    return aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)


@contextlib.asynccontextmanager
async def answering(context: aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Ends the call with the right status where a peer's fault is raised, or the disk's, which may pass."""
    try:
        yield
    except NotSavedError as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    except PeerError as error:
        code = next(code for kind, code in _STATUS_OF if isinstance(error, kind))
        await context.abort(code, str(error))
