"""Connections of a client: one to each address; and of a sender, a stream to a producer that has offered its run.

Knows gRPC and the wire. Must not know what is exchanged on the stream after that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

import grpc
from grpc import aio

from smssim.core.exchange import RunOffer
from smssim.core.limits import LIMITS, Limits
from smssim.errors import PeerError
from smssim.net import rpc, wire
from smssim.net.access import Access
from smssim.net.reconnecting import Peer
from smssim.v1 import producer_pb2, producer_pb2_grpc

Stream = aio.StreamStreamCall[producer_pb2.FetchMessageRequest, producer_pb2.FetchMessageResponse]


class Channels:
    """One connection to each address, shared by all copies of a sender. Leaving the context closes them."""

    def __init__(self, access: Access, limits: Limits = LIMITS) -> None:
        self.access = access
        self._limits = limits
        self._channels: dict[tuple[str, bool], aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def to(self, peer: Peer) -> aio.Channel:
        """Return the connection to the current address of a peer."""
        key = address, is_one_of_several = peer.address, peer.has_several
        if key not in self._channels:
            self._channels[key] = rpc.channel(address, self.access, self._limits, is_one_of_several=is_one_of_several)
        return self._channels[key]

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            await channel.close()


async def open_stream(
    channels: Channels, producer: Peer, sender: Any, limits: Limits = LIMITS
) -> tuple[Stream, RunOffer]:
    """Open a stream and return it, with the producer's offer. Raises AioRpcError or PeerError."""
    stub = producer_pb2_grpc.ProducerServiceStub(channels.to(producer))
    stream = stub.FetchMessage(metadata=channels.access.metadata)
    try:
        hello = producer_pb2.Hello(protocol=wire.PROTOCOL, sender=sender)
        async with asyncio.timeout(limits.offer_timeout_s):
            await stream.write(producer_pb2.FetchMessageRequest(hello=hello))
            response = await stream.read()
        with rpc.naming(producer.name):
            if not isinstance(response, producer_pb2.FetchMessageResponse) or not response.HasField("offer"):
                raise PeerError("its first response is not a run offer")
            offer = wire.offer_from_proto(response.offer)
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
    return stream, offer
