"""Servers, channels, and what gRPC's errors mean for a node.

Knows grpc.aio. Must not know what is said over it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from smssim.core.limits import LIMITS, Limits
from smssim.errors import (
    LaterError,
    NotSavedError,
    PeerError,
    SmssimError,
    TooLargeError,
    UsageError,
    VersionError,
)
from smssim.net import descriptors, grpc_quirks
from smssim.net.access import HEADER, Access
from smssim.net.bounds import OURS, Bounds
from smssim.process.logs import Log
from smssim.settings import split_address

Options = tuple[tuple[str, int], ...]

_STATUS_OF: Final[tuple[tuple[type[SmssimError], grpc.StatusCode], ...]] = (  # the most particular error first
    (VersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (LaterError, grpc.StatusCode.UNAVAILABLE),
    (PeerError, grpc.StatusCode.INVALID_ARGUMENT),
)

Message = TypeVar("Message")

_watching: Final[set[asyncio.Task[None]]] = set()  # of each server that serves: asyncio itself keeps no task


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


def server(access: Access, limits: Limits = LIMITS) -> aio.Server:
    """A server, not yet bound, whose methods get None for a request that is not protobuf."""
    grpc_quirks.quiet_server()
    doors = [_TokenInterceptor(access)] if access.token else []
    return aio.server(options=_server_options(limits), interceptors=[*doors, Bounds(limits), grpc_quirks.Codec(OURS)])


def _server_options(limits: Limits) -> Options:
    """Return gRPC's options for a server."""
    keepalive_ms = _ms(limits.keepalive_s)
    connections_max = descriptors.connections_max(descriptors.raise_limit(limits), limits)
    return (
        ("grpc.so_reuseport", 0),  # or two servers would bind one port without an error
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", keepalive_ms // 2),  # or a channel's pings would be too many
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", limits.calls_per_connection_max),
        ("grpc.server_handshake_timeout_ms", _ms(limits.handshake_s)),
        ("grpc.max_connection_idle_ms", _ms(limits.connection_idle_s)),
        ("grpc.max_allowed_incoming_connections", connections_max),
    )


def _channel_options(limits: Limits) -> Options:
    """Return gRPC's options for a channel."""
    keepalive_ms = _ms(limits.keepalive_s)
    return (
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", _ms(limits.backoff_min_s)),
        ("grpc.min_reconnect_backoff_ms", _ms(limits.backoff_min_s)),
        ("grpc.max_reconnect_backoff_ms", _ms(limits.backoff_max_s)),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        ("grpc.http2.max_pings_without_data", 0),
    )


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


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


async def start(
    serving: aio.Server, access: Access, listen: str, services: Sequence[str], log: Log, limits: Limits = LIMITS
) -> str:
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
    watching = asyncio.create_task(descriptors.watch(serving, log, limits))
    _watching.add(watching)
    watching.add_done_callback(_watching.discard)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def channel(address: str, access: Access, limits: Limits = LIMITS) -> aio.Channel:
    """A channel to a peer; connects when it is used, and again when that is lost. Raises UsageError.

    A response that is not protobuf arrives as None, to be refused by `decoded`.
    """
    grpc_quirks.quiet_client()
    credentials = access.of_client(address)
    if credentials is None:
        return aio.insecure_channel(address, options=_channel_options(limits))
    return aio.secure_channel(address, credentials, options=_channel_options(limits))


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
