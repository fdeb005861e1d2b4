"""Foreign producers and monitors: if one breaks the protocol, a sender ends with one line that names it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import numpy as np
import pytest
from grpc import aio
from nodes_support import SCENE_MAX_S, Stage, encoded, serving

from smssim.errors import ExitCode
from smssim.v1 import monitor_pb2, producer_pb2, run_pb2

Response = producer_pb2.FetchMessageResponse
Answer = monitor_pb2.ReportResultResponse

GARBAGE: Final = b"\xff\xff\xff\xff"
RUN: Final = run_pb2.Run(run_id=str(uuid.uuid4()), seed=7, total=1000, max_attempts=1)
SOUND: Final = Answer(wait_s=0.02)


class ForeignProducer(grpc.GenericRpcHandler):
    """A producer that offers a run and sends one fixed response to each request with credit."""

    def __init__(self, offer: Any, response: Any) -> None:
        self._offer, self._response = offer, response

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.endswith("/FetchMessage"):
            return None
        return grpc.stream_stream_rpc_method_handler(self._fetch, producer_pb2.FetchMessageRequest.FromString)

    async def _fetch(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        await anext(aiter(requests))
        yield encoded(self._offer)
        async for request in requests:
            if request.credit:
                yield encoded(self._response)


class ForeignMonitor(grpc.GenericRpcHandler):
    """A monitor that gives every report the same answer."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.endswith("/ReportResult"):
            return None
        return grpc.unary_unary_rpc_method_handler(self._report, monitor_pb2.ReportResultRequest.FromString)

    async def _report(self, request: Any, context: Any) -> bytes:
        return encoded(self._answer)


@contextlib.asynccontextmanager
async def served(handler: grpc.GenericRpcHandler) -> AsyncIterator[str]:
    """Serve with this handler; yield the address."""
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    async with serving(server) as address:
        yield address


def batch(count: int, **wrong: Any) -> Response:
    """Return a batch of this many messages, valid except for these fields."""
    sound = {
        "message_ids": np.arange(count, dtype="<i8").tobytes(),
        "phone_numbers": bytes(12 * count),
        "text_lengths": bytes(count),
        "queued_s": bytes(4 * count),
        "attempt": 1,
    }
    return Response(batch=producer_pb2.Batch(**{**sound, **wrong}))


OFFER: Final = "offer"  # the case in which the offer itself is empty
CASES: dict[str, tuple[str, Any, str]] = {
    "no run is offered": ("producer", OFFER, "is not a run offer"),
    "bytes that are no response": ("producer", GARBAGE, "malformed response: not the protobuf message"),
    "columns that disagree": ("producer", batch(3, queued_s=b""), "queued_s: got 0 bytes"),
    "an id beyond the total": ("producer", batch(1001), "message_ids: an id is not below the total"),
    "more messages than were asked for": (
        "producer",
        batch(900),
        "a batch of 900 messages exceeds the remaining credit of 501",
    ),
    "bytes that are no answer": ("monitor", GARBAGE, "malformed response: not the protobuf message"),
    "an answer out of range": ("monitor", Answer(wait_s=-1), "wait_s: got -1"),
}


def test_a_sender_ends_with_one_line_that_names_the_peer_that_breaks_the_protocol(
    caplog: pytest.LogCaptureFixture,
) -> None:
    addresses: dict[str, str] = {}

    async def scene(at_fault: str, said: Any) -> int:
        async with Stage() as stage, served(ForeignMonitor(said if at_fault == "monitor" else SOUND)) as monitor:
            offer = Response() if said is OFFER else Response(offer=producer_pb2.RunOffer(run=RUN, monitor=monitor))
            async with served(ForeignProducer(offer, said)) as producer:
                addresses.update(producer=producer, monitor=monitor)
                return await stage.sender(producer).code()

    for case, (at_fault, said, reason) in CASES.items():
        caplog.clear()
        # Not `play`: gRPC sometimes keeps a task if both sides end a call at the same moment.
        assert asyncio.run(asyncio.wait_for(scene(at_fault, said), SCENE_MAX_S)) == ExitCode.USAGE, case
        said_here = (record for record in caplog.records if record.name.startswith("smssim"))  # not those of gRPC
        (line,) = (record.getMessage() for record in said_here if record.levelno >= logging.WARNING)
        assert f"{at_fault} {addresses[at_fault]} breaks the protocol: " in line, case
        assert reason in line, case
