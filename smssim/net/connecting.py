"""Connections of a sender: one to each address, and a stream to a producer that has offered its run.

Knows gRPC and the wire. Must not know what is exchanged on the stream after that.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc import aio

from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.errors import PeerError
from smssim.net import rpc, wire
from smssim.net.access import Access
from smssim.v1 import producer_pb2, producer_pb2_grpc

Stream = aio.StreamStreamCall[producer_pb2.FetchMessageRequest, producer_pb2.FetchMessageResponse]


class Channels:
    """One connection to each address, shared by all copies of a sender."""

    def __init__(self, access: Access, limits: Limits = LIMITS) -> None:
        self.access = access
        self._limits = limits
        self._channels: dict[str, aio.Channel] = {}

    def to(self, address: str) -> aio.Channel:
        """Return the connection to this address; raises UsageError if the token must not be sent there."""
        if address not in self._channels:
            self._channels[address] = rpc.channel(address, self.access, self._limits)
        return self._channels[address]

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            await channel.close()


async def open_stream(
    channels: Channels, address: str, sender: Any, limits: Limits = LIMITS
) -> tuple[Stream, RunFacts, str]:
    """Open a stream and return it, with the producer's run and the address of its monitor.

    Raises AioRpcError, PeerError or UsageError.
    """
    stub = producer_pb2_grpc.ProducerServiceStub(channels.to(address))
    stream = stub.FetchMessage(metadata=channels.access.metadata)
    try:
        hello = producer_pb2.Hello(protocol=wire.PROTOCOL, sender=sender)
        async with asyncio.timeout(limits.offer_timeout_s):
            await stream.write(producer_pb2.FetchMessageRequest(hello=hello))
            response = await stream.read()
        with rpc.naming(f"producer {address}"):
            if not isinstance(response, producer_pb2.FetchMessageResponse) or not response.HasField("offer"):
                raise PeerError("its first response is not a run offer")
            run, monitor = wire.offer_from_proto(response.offer)
    except asyncio.InvalidStateError:  # the call was over before the write; its status holds the reason
        stream.cancel()
        raise aio.AioRpcError(
            await stream.code(), aio.Metadata(), aio.Metadata(), details=await stream.details()
        ) from None
    except TimeoutError:
        stream.cancel()
        late = f"no run offered within {limits.offer_timeout_s:g} s"
        raise aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, aio.Metadata(), aio.Metadata(), late) from None
    except BaseException:
        stream.cancel()
        raise
    return stream, run, monitor
