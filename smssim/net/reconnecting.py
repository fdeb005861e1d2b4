"""Waiting for a peer: carries out what a `Reconnector` decides, and translates gRPC's errors for it.

Knows gRPC's status codes, the log and the clock. Must not know when to give up, or what is exchanged with the peer.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import grpc
from grpc import aio

from smssim.core.limits import LIMITS, Limits
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry
from smssim.escaping import escape
from smssim.net import grpc_quirks
from smssim.net.access import Access
from smssim.process.logs import Log
from smssim.settings import each_address

STANDS_BY: Final = "stands by: "  # how the reason begins if another node of its kind serves the run

_REFUSALS: Final = frozenset(  # another call would get the same answer
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class Peer:
    """A peer that a node waits for, at one address or several."""

    def __init__(
        self,
        kind: str,
        addresses: str,
        access: Access,
        give_up_s: float,
        log: Log,
        limits: Limits = LIMITS,
        *,
        met: bool = False,
    ) -> None:
        """Begin with the first address; raises UsageError if the token may not be sent to one of them.

        `addresses`: separated by commas. `met`: whether the give-up timeout applies from the start.
        """
        each = each_address(addresses)
        for address in each:
            access.check_client(address)
        self.reconnector = Reconnector(kind, give_up_s, random.uniform, limits, addresses=each, met=met)
        self.has_several = len(each) > 1
        self._limits = limits
        self._access = access
        self._log = log

    @property
    def address(self) -> str:
        """The address to call."""
        return self.reconnector.address

    @property
    def name(self) -> str:
        """The name of the peer at that address."""
        return self.reconnector.peer

    def found(self) -> None:
        """Record that the peer has answered, and log it if that is news."""
        self.log_notice(self.reconnector.found(_now()))

    async def lost(self, error: aio.AioRpcError) -> None:
        """Wait before the next call, after a failed one; raises GoneError or RefusedError if there must be none.

        The next call may have another address.
        """
        await self.wait(self.reconnector.retry(await self.loss(error), _now()))

    async def wait(self, retry: Retry) -> None:
        """Log the notice of a retry, and wait."""
        self.log_notice(retry.notice)
        await asyncio.sleep(retry.wait_s)

    async def loss(self, error: aio.AioRpcError) -> Loss:
        """Return what a failed call means. May probe the peer for the reason, which takes two seconds at most."""
        if grpc_quirks.is_unexplained(error.code()):
            return Loss(Kind.UNEXPLAINED, reason_of(error))
        if error.code() in _REFUSALS:
            return Loss(Kind.REFUSED, reason_of(error))
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return Loss(Kind.FOREIGN, reason_of(error))
        if not self.reconnector.has_met:  # certificates that worked once are not the cause
            fault = await self._access.fault(self.address, error.details() or "", self._limits)
            if fault is not None:
                return Loss(Kind.UNUSABLE, fault)
        return Loss(Kind.MAY_PASS, reason_of(error))

    def log_notice(self, notice: str) -> None:
        """Log a notice, unless it is empty."""
        if notice:
            self._log.info(notice)


def reason_of(error: aio.AioRpcError) -> str:
    """Return why a call failed, in a few words."""
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return "a different service listens there"
    if error.code() == grpc.StatusCode.UNAUTHENTICATED:
        return "missing or wrong token: set --token-file or SMSSIM_TOKEN"
    if error.code() == grpc.StatusCode.CANCELLED:
        return "the call was ended"
    details = escape(error.details() or error.code().name.lower().replace("_", " "))
    if error.code() != grpc.StatusCode.UNAVAILABLE or details.startswith(STANDS_BY):
        return details
    return grpc_quirks.cause(details)


def _now() -> float:
    """Return the time on the clock of the running event loop."""
    return asyncio.get_running_loop().time()
