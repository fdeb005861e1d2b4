"""One connection to the page, with bounds on its number, its idle time and what is buffered for it.

uvicorn bounds none of these, and closes no connection whose client stops reading. Knows uvicorn's protocol for
HTTP/1.1, some of whose attributes are not documented. Must not know what is answered.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from smssim.core.limits import Limits
from smssim.web.answers import ON_ALL

_NO_LINGERING: Final = struct.pack("ii", 1, 0)  # struct linger in socket.h: on, for 0 seconds


class Crowd:
    """All connections, the oldest first."""

    def __init__(self, most: int) -> None:
        self.all: dict[Connection, None] = {}
        self._most = most

    def admit(self, connection: Connection) -> bool:
        """Add a connection, if there is room or one that waits for a request can be closed; return whether it is."""
        if len(self.all) >= self._most:
            oldest = next((one for one in self.all if not one.is_busy), None)
            if oldest is None:
                return False
            oldest.abort()
        self.all[connection] = None
        return True

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in list(self.all):
            connection.abort()


class Connection(H11Protocol):
    """One connection."""

    def __init__(self, *, crowd: Crowd, limits: Limits, app_state: dict[str, Any], **uvicorns: Any) -> None:
        super().__init__(app_state={**app_state, "connection": self}, **uvicorns)
        self.is_lost = False
        self.when_lost: Callable[[], None] | None = None  # called then
        self._crowd = crowd
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None  # while a request is incomplete
        self._stuck_timer: asyncio.TimerHandle | None = None  # while the client does not read

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def abort(self) -> None:
        """Close the connection at once, and forget what was not sent."""
        self._crowd.all.pop(self, None)
        self.transport.abort()

    def reset(self) -> None:
        """Do the same with a client that does not read, so that the system forgets what was not sent, too."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection; see asyncio.Protocol."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(self._limits.page_buffer_bytes)
        if not self._crowd.admit(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is closed; see asyncio.Protocol."""
        self.is_lost = True
        self._crowd.all.pop(self, None)
        self._stop_head_timer()
        self._stop_stuck_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if self.when_lost is not None:
            self.when_lost()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client; see asyncio.Protocol."""
        if not self.transport.is_closing():
            super().data_received(data)
        if self.is_busy:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._expect_head()

    def pause_writing(self) -> None:
        """Note that the client reads slowly; see asyncio.Protocol."""
        super().pause_writing()
        if self._stuck_timer is None:
            self._stuck_timer = self.loop.call_later(self._limits.page_stuck_s, self.reset)

    def resume_writing(self) -> None:
        """Note that the client has read what was sent; see asyncio.Protocol."""
        super().resume_writing()
        self._stop_stuck_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request."""
        self._refuse(HTTPStatus.BAD_REQUEST, "malformed request")

    def _refuse(self, status: HTTPStatus, says: str) -> None:
        """Answer without the application, and close the connection."""
        body = f"{says}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *([(b"retry-after", b"5")] if status is HTTPStatus.SERVICE_UNAVAILABLE else []),
            *ON_ALL,
        ]
        if not self.is_busy and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = h11.Response(status_code=status.value, headers=headers, reason=status.phrase.encode())
            parts = (answer, h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.http_connection_s, self.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stuck_timer(self) -> None:
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
