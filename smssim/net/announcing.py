"""Events of a run on the wire, and how a program announces an event or the plan of a run to its monitor.

Converts and validates events; plans are in `planning`. Knows gRPC and the protobuf messages. Must not know why an event
happens, how a plan is made, or how they are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from grpc import StatusCode, aio

from smssim.core.event import Event, Kind
from smssim.core.limits import EVENT_TEXT_BYTES_MAX, LIMITS, NAME_BYTES_MAX, Limits
from smssim.core.planned import PlannedCourse
from smssim.errors import GoneError, PeerError, RefusedError, UsageError
from smssim.net.access import Access
from smssim.net.connecting import Channels
from smssim.net.planning import plan_to_proto
from smssim.net.reconnecting import Peer
from smssim.net.wire import ELAPSED_MAX_S, number, uuid_of
from smssim.process.logs import Log
from smssim.v1 import monitor_pb2, monitor_pb2_grpc

_NUMBERS: Final[dict[Kind, monitor_pb2.EventKind.ValueType]] = {
    kind: monitor_pb2.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in Kind if kind is not Kind.STOPPING
}
_KINDS: Final = {number: kind for kind, number in _NUMBERS.items()}


def event_to_proto(event: Event) -> monitor_pb2.Event:
    """Return an event as a message. Assumes that its kind is not STOPPING."""
    return monitor_pb2.Event(at_s=event.at_s, kind=_NUMBERS[event.kind], target=event.target, text=event.text)


def event_from_proto(message: monitor_pb2.Event, run_id: str) -> Event:
    """Return an event of this run; raises PeerError."""
    number("at_s", message.at_s, 0, ELAPSED_MAX_S)
    if message.kind not in _KINDS:
        raise PeerError(f"kind: got {message.kind}; expected one of {', '.join(map(str, sorted(_KINDS)))}")
    for name, text, most in (
        ("target", message.target, NAME_BYTES_MAX),
        ("text", message.text, EVENT_TEXT_BYTES_MAX),
    ):
        if not text.isprintable() or len(text.encode()) > most:
            raise PeerError(f"{name}: expected printable text of at most {most} bytes")
    if not message.text:
        raise PeerError("text: expected at least one character")
    return Event(message.at_s + 0.0, _KINDS[message.kind], message.text, run_id, message.target)


def announcement_from_proto(message: monitor_pb2.AnnounceEventRequest) -> Event:
    """Return the event that a client announces; raises PeerError."""
    return event_from_proto(message.event, uuid_of("run_id", message.run_id))


async def announce(
    addresses: str, access: Access, event: Event, log: Log, within_s: float, limits: Limits = LIMITS
) -> bool:
    """Announce an event of the run `event.run_id` to its monitor, and return whether it is on record.

    Repeats the call with the usual backoff while the monitor is away, or does not follow the run yet. If that lasts
    for `within_s`, if the monitor refuses the event, or if the token may not be sent there, logs a warning and gives
    up; without a warning if the run has ended.

    `addresses`: those of the monitor, separated by commas.
    """
    request = monitor_pb2.AnnounceEventRequest(run_id=event.run_id, event=event_to_proto(event))
    try:
        monitor = Peer("monitor", addresses, access, within_s, log, limits, met=True)
        await _repeat(monitor, access, limits, lambda stub, **how: stub.AnnounceEvent(request, **how))
    except aio.AioRpcError:
        return False
    except (GoneError, RefusedError, UsageError) as error:
        log.warning("Event not recorded: %s (%s)", event.text, error)
        return False
    return True


async def announce_plan(
    addresses: str, access: Access, run_id: str, plan: PlannedCourse, log: Log, within_s: float, limits: Limits = LIMITS
) -> None:
    """Announce the plan of a run to its monitor, and repeat that like `announce`.

    Does nothing if the run has ended. Raises GoneError if the monitor stays away for `within_s`, RefusedError if it
    refuses the plan, and UsageError if the token may not be sent there.
    """
    monitor = Peer("monitor", addresses, access, within_s, log, limits, met=True)
    request = monitor_pb2.AnnouncePlanRequest(run_id=run_id, plan=plan_to_proto(plan))
    with suppress(aio.AioRpcError):
        await _repeat(monitor, access, limits, lambda stub, **how: stub.AnnouncePlan(request, **how))


async def _repeat(monitor: Peer, access: Access, limits: Limits, call: Callable[..., Awaitable[object]]) -> None:
    """Repeat a call until the monitor answers. Raises GoneError or RefusedError; AioRpcError if the run has ended.

    `call`: its arguments are a stub and those of each method of the stub.
    """
    async with Channels(access, limits) as channels:
        while True:
            stub = monitor_pb2_grpc.MonitorServiceStub(channels.to(monitor))
            try:
                await call(stub, timeout=limits.report_timeout_s, metadata=access.metadata)
            except aio.AioRpcError as error:
                if error.code() is StatusCode.FAILED_PRECONDITION:
                    raise
                retry = monitor.reconnector.retry(await monitor.loss(error), asyncio.get_running_loop().time())
                await asyncio.sleep(retry.wait_s)  # without a notice: others log that the monitor is away
            else:
                return
