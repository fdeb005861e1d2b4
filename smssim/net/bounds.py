"""Bounds on the calls of a server, for every service: how many are open, and how soon the first request must arrive.

Knows grpc.aio. Must not know what requests contain.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
from grpc import aio

from smssim.core.admission import Admission, CallBounds
from smssim.core.limits import LIMITS, Limits
from smssim.errors import LaterError
from smssim.net import grpc_quirks

OURS: Final = "/smssim."  # prefix of the names of our own methods

Context = aio.ServicerContext[Any, Any]


class Bounds(aio.ServerInterceptor):
    """Ends calls beyond the bounds, and calls whose first request is late. Their status, UNAVAILABLE, allows a retry.

    gRPC itself reads the request of a unary call before it runs the handler. It waits without a limit, and leaves a
    call open if the client sends no request. Therefore each handler is replaced by one that reads a stream: its first
    element is the request.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        bounds = CallBounds(limits.calls_max, limits.silent_calls_max, limits.aside_calls_max)
        self.admission: Admission[asyncio.Timeout] = Admission(bounds)
        self._hello_s = limits.hello_s
        self._handlers: dict[str, Any] = {}  # bounded, by method

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `aio.ServerInterceptor`."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler: Any = await continuation(handler_call_details)
            if handler is None:  # no such method
                return None
            lasts = handler.response_streaming or handler.request_streaming
            self._handlers[method] = self._bounded(handler, aside=lasts and not method.startswith(OURS))
        return self._handlers[method]

    def _bounded(self, handler: Any, aside: bool) -> Any:
        """Return a handler that does the same, within the bounds."""
        serve = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def answer(requests: AsyncIterator[Any], context: Context) -> Any:
            call = await self._enter(context, aside)
            try:
                first = await self._first(call, context)
                return await serve(_from(first, requests) if handler.request_streaming else first, context)
            finally:
                self.admission.leave(call)

        async def stream(requests: AsyncIterator[Any], context: Context) -> None:
            call = await self._enter(context, aside)
            try:
                first = await self._first(call, context)
                responses = serve(_from(first, requests) if handler.request_streaming else first, context)
                if inspect.isawaitable(responses):  # the handler writes them itself
                    await responses
                    return
                async with aclosing(responses):
                    async for response in responses:
                        await context.write(response)
            finally:
                self.admission.leave(call)

        return grpc_quirks.changed(
            handler,
            request_streaming=True,
            unary_unary=None,
            unary_stream=None,
            stream_unary=None if handler.response_streaming else answer,
            stream_stream=stream if handler.response_streaming else None,
        )

    async def _enter(self, context: Context, aside: bool) -> asyncio.Timeout:
        """Register a call, or abort it if there is no room.

        Returns the timeout for its first request, which is also the call's key in `admission`. If an older silent call
        must make room, its timeout is set to expire now.
        """
        call = asyncio.timeout(self._hello_s)
        try:
            oldest = self.admission.enter(call, aside)
        except LaterError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        if oldest is not None and not oldest.expired():
            oldest.reschedule(asyncio.get_running_loop().time())
        return call

    async def _first(self, call: asyncio.Timeout, context: Context) -> Any:
        """Return the first request; abort the call if it ends without one, or if the timeout expires."""
        try:
            async with call:
                first = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"no request within {self._hello_s:g} s")
        self.admission.requested(call)
        if first is aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")
        return first


async def _from(first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield all requests of a stream whose first one was read already."""
    yield first
    async for request in requests:
        yield request
