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

_REFUSALS: Final = frozenset(  # another call would get the same answer
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class Peer:
    """A peer that a node waits for."""

    def __init__(
        self,
        kind: str,
        address: str,
        access: Access,
        give_up_s: float,
        log: Log,
        limits: Limits = LIMITS,
        *,
        met: bool = False,
    ) -> None:
        """`met`: whether the give-up timeout applies from the start."""
        self.name = f"{kind} {address}"
        self.reconnector = Reconnector(self.name, give_up_s, random.uniform, limits, met=met)
        self._address = address
        self._limits = limits
        self._access = access
        self._log = log

    def found(self) -> None:
        """Record that the peer has answered, and log it if that is news."""
        self.log_notice(self.reconnector.found(_now()))

    async def lost(self, error: aio.AioRpcError) -> None:
        """Wait before the next call, after a failed one; raises GoneError or RefusedError if there must be none."""
        step = self.reconnector.lost(await self.loss(error), _now())
        if not isinstance(step, Retry):
            raise step.error
        await self.wait(step)

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
        if not self.reconnector.met:  # certificates that worked once are not the cause
            fault = await self._access.fault(self._address, error.details() or "", self._limits)
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
    details = escape(error.details() or error.code().name.lower().replace("_", " "))
    return grpc_quirks.cause(details) if error.code() == grpc.StatusCode.UNAVAILABLE else details


def _now() -> float:
    """Return the time on the clock of the running event loop."""
    return asyncio.get_running_loop().time()
