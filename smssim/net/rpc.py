"""gRPC servers and channels, and the mapping between errors and gRPC status codes.

Knows grpc.aio. Must not know what requests and responses contain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from smssim.core.limits import LIMITS, Limits
from smssim.errors import (
    LaterError,
    NotSavedError,
    OverError,
    PeerError,
    SmssimError,
    TooLargeError,
    VersionError,
    bad_value,
)
from smssim.net import descriptors, grpc_quirks
from smssim.net.access import HEADER, Access
from smssim.net.bounds import OURS, Bounds
from smssim.process.logs import Log
from smssim.settings import split_address

Options = tuple[tuple[str, int], ...]

_STATUS_OF: Final[tuple[tuple[type[SmssimError], grpc.StatusCode], ...]] = (  # the most specific error first
    (VersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (OverError, grpc.StatusCode.FAILED_PRECONDITION),
    (TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (LaterError, grpc.StatusCode.UNAVAILABLE),
    (PeerError, grpc.StatusCode.INVALID_ARGUMENT),
)

Message = TypeVar("Message")

_watching: Final[set[asyncio.Task[None]]] = set()  # one task per server: asyncio keeps no strong references


class _TokenInterceptor(aio.ServerInterceptor):
    """Rejects calls without the token, except health checks. A stream is checked once, when it opens."""

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
    """Return a server that is not bound yet, and whose methods get None for a malformed request."""
    grpc_quirks.quiet_server()
    doors = [_TokenInterceptor(access)] if access.token else []
    return aio.server(options=_server_options(limits), interceptors=[*doors, Bounds(limits), grpc_quirks.Codec(OURS)])


def _server_options(limits: Limits) -> Options:
    """Return gRPC's options for a server."""
    keepalive_ms = _ms(limits.keepalive_s)
    shortest_s = min(limits.keepalive_s, limits.failover_keepalive_s)  # between two pings of a channel
    connections_max = descriptors.connections_max(descriptors.raise_limit(limits), limits)
    return (
        ("grpc.so_reuseport", 0),  # otherwise two servers could bind the same port without an error
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            _ms(shortest_s / 2),
        ),  # so that channels' pings aren't rejected
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", limits.calls_per_connection_max),
        ("grpc.server_handshake_timeout_ms", _ms(limits.handshake_s)),
        ("grpc.max_connection_idle_ms", _ms(limits.connection_idle_s)),
        ("grpc.max_allowed_incoming_connections", connections_max),
    )


def _channel_options(limits: Limits, *, is_one_of_several: bool) -> Options:
    """Return gRPC's options for a channel."""
    keepalive_ms = _ms(limits.failover_keepalive_s if is_one_of_several else limits.keepalive_s)
    options: Options = (
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", _ms(limits.backoff_min_s)),
        ("grpc.min_reconnect_backoff_ms", _ms(limits.backoff_min_s)),
        ("grpc.max_reconnect_backoff_ms", _ms(limits.backoff_max_s)),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        ("grpc.http2.max_pings_without_data", 0),
    )
    if is_one_of_several:
        lookup_ms = _ms(limits.failover_lookup_s)
        options += grpc_quirks.ping_timeout(keepalive_ms), ("grpc.dns_ares_query_timeout", lookup_ms)
    return options


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def decoded(message: Message | None, what: str = "request") -> Message:
    """Return the message. Raise PeerError if it is None, because then its bytes could not be decoded."""
    if message is None:
        raise PeerError(f"malformed {what}: not the protobuf message of this method")
    return message


@contextlib.contextmanager
def naming(peer: str) -> Iterator[None]:
    """Add the peer's name to a PeerError that the block raises."""
    try:
        yield
    except PeerError as error:
        raise PeerError(f"{peer} breaks the protocol: {error}") from error


async def start(
    serving: aio.Server, access: Access, listen: str, services: Sequence[str], log: Log, limits: Limits = LIMITS
) -> str:
    """Start a server with health checks and reflection, and return the address that it listens on.

    Logs a warning whenever no more connections are accepted. Raises UsageError if the address is not available.
    """
    from grpc_reflection.v1alpha import reflection  # imported late: clients, which start nothing, don't need it

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
        await serving.stop(None)  # otherwise its destructor logs an error
        raise bad_value("--listen", listen, "an address of this machine that is not in use") from error
    await serving.start()
    watching = asyncio.create_task(descriptors.watch(serving, log, limits))
    _watching.add(watching)
    watching.add_done_callback(_watching.discard)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def channel(address: str, access: Access, limits: Limits = LIMITS, *, is_one_of_several: bool = False) -> aio.Channel:
    """Return a channel to a peer, which connects on first use and reconnects after a loss.

    `is_one_of_several`: whether the peer has other addresses, so that a loss must be noticed soon. A malformed response
    arrives as None, which `decoded` refuses. Raises UsageError if the token would be sent to another machine without
    TLS.
    """
    grpc_quirks.quiet_client()
    credentials = access.of_client(address)
    options = _channel_options(limits, is_one_of_several=is_one_of_several)
    if credentials is None:
        return aio.insecure_channel(address, options=options)
    return aio.secure_channel(address, credentials, options=options)


@contextlib.asynccontextmanager
async def answering(context: aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Abort the call with the matching status if the block raises PeerError or NotSavedError.

    A failed save is UNAVAILABLE, because a retry may succeed once the node has restarted.
    """
    try:
        yield
    except NotSavedError as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    except PeerError as error:
        code = next(code for kind, code in _STATUS_OF if isinstance(error, kind))
        await context.abort(code, str(error))
