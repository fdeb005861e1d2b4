"""The web server of the page: uvicorn, in the event loop of a node and on a socket of ours.

Knows uvicorn. Must not know what is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from smssim.core.limits import LIMITS, Limits
from smssim.process.logs import Log
from smssim.web.app import App
from smssim.web.connection import Connection, Crowd

_SILENT = logging.CRITICAL + 1  # uvicorn logs each malformed request, and its own start


class PageServer(uvicorn.Server):
    """A server that leaves the signals to the node."""

    def __init__(self, app: App, tls: ssl.SSLContext | None, log: Log, limits: Limits = LIMITS) -> None:
        self.crowd = Crowd(limits.page_connections_max)
        self.servers: list[asyncio.Server] = []
        self._tls = tls
        self._log = log
        self._limits = limits
        self._listening: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, crowd=self.crowd, limits=limits),  # type: ignore[arg-type] # it is called only
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=_SILENT,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.page_idle_s,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=limits.http_head_bytes_max,
            )
        )

    def start(self, listening: socket.socket) -> None:
        """Serve the connections of this socket from now on."""
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.page_system_bytes)  # they inherit it
        self._listening = listening
        self._serving = asyncio.create_task(self.serve([listening]))
        self._serving.add_done_callback(self._note_end)

    async def end(self) -> None:
        """Close all connections, and stop."""
        self.crowd.abort()
        self.should_exit = True
        if self._serving is not None and self._listening is not None:
            await asyncio.wait([self._serving])
            self._listening.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; as in uvicorn, but with a limit on the time of a TLS handshake."""
        config, loop = self.config, asyncio.get_running_loop()
        await self.lifespan.startup()

        def connect() -> Any:
            make: Any = config.http_protocol_class
            return make(config=config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop)

        handshake_s = self._limits.http_connection_s if self._tls else None
        self.servers = [
            await loop.create_server(
                connect, sock=one, ssl=self._tls, backlog=config.backlog, ssl_handshake_timeout=handshake_s
            )
            for one in sockets or []
        ]
        self.started = True

    def _note_end(self, serving: asyncio.Task[None]) -> None:
        if not serving.cancelled() and (error := serving.exception()) is not None:
            self._log.error("The page is not served any more: %s: %s", type(error).__name__, error)
            for server in self.servers:
                server.close()
            self.crowd.abort()
