"""A connection to one of the servers of an engine, which moves to another server whenever it is lost.

Each connection is a client of nats-py that does not reconnect: nats-py would wait for a machine that has died to take
what was sent to it, and it ends for good at some errors. Knows nats-py. Must not know streams, or what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client, RawCredentials
from nats.js import JetStreamContext

from smssim.core.limits import LIMITS, Limits
from smssim.core.log_store import UnclearError
from smssim.engine import checks
from smssim.engine.checks import ServerFacts
from smssim.engine.credentials import Credentials
from smssim.errors import UsageError
from smssim.escaping import escape
from smssim.process.logs import Log

Result = TypeVar("Result")

# What nats-py raises if a connection ends during a call, or if an answer is not what it expects.
ERRORS: Final = (nats.errors.Error, OSError, AssertionError, ValueError, KeyError)

_DENIED: Final = "permissions violation"


class Connection:
    """A connection to an engine. While it is lost, it reconnects, and requests fail with the reason."""

    def __init__(self, servers: tuple[str, ...], credentials: Credentials, log: Log, limits: Limits = LIMITS) -> None:
        """`servers`: each as `scheme://host:port`."""
        self.denied = ""  # what the servers did not permit this user to do, if anything
        self._servers = random.sample(servers, len(servers))  # so that the nodes share the load; the next one is first
        self._facts: dict[str, ServerFacts] = {}  # by server, of those that have answered
        self._credentials = credentials
        self._log = log
        self._limits = limits
        self._client: _Client | None = None
        self._reason = "not connected"
        self._is_open = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._staying: asyncio.Task[None] | None = None  # the task that reconnects
        library = logging.getLogger("nats")
        library.addHandler(logging.NullHandler())
        library.propagate = False  # it logs stack traces; this class says what went wrong

    async def open(self) -> None:
        """Connect and check all servers that answer; does nothing if it was open before.

        Raises UnclearError if no server answers, and UsageError if none can be used or one makes the engine unsafe.
        """
        if self._is_open:
            return
        found = await asyncio.gather(*map(self._connect, self._servers), return_exceptions=True)
        clients = [client for client in found if isinstance(client, _Client)]
        errors = {s: error for s, error in zip(self._servers, found, strict=True) if isinstance(error, BaseException)}
        wrong = [error for error in errors.values() if not isinstance(error, UnclearError)]
        fatal = [error for error in wrong if not (clients and isinstance(error, checks.UnusableServerError))]
        for spare in clients if fatal else clients[1:]:
            self._drop(spare)
        if fatal:
            raise fatal[0]
        if not clients:
            raise UnclearError(_together(errors))
        for error in wrong:
            self._log.warning("%s", error)
        self._client, self._is_open = clients[0], True
        self._staying = asyncio.create_task(self._stay_connected())
        self._keep(self._staying)

    async def close(self) -> None:
        """End the connection."""
        for task in self._tasks:
            task.cancel()
        if self._client is not None:
            self._drop(self._client)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ask(self, call: Callable[[JetStreamContext], Awaitable[Result]]) -> Result:
        """Return the answer to a request. Raises UnclearError, or the error that JetStream answers (APIError)."""
        client = self._client
        if self._staying is not None and self._staying.done() and not self._staying.cancelled():
            self._staying.result()  # raises its error: a defect, which must end the node
        if client is None or not client.is_connected:
            raise UnclearError(self._reason)
        try:
            async with asyncio.timeout(self._limits.engine_answer_s):
                answer = await call(client.streams)
            client.answered()
            return answer
        except nats.js.errors.APIError:
            client.answered()
            raise
        except nats.js.errors.NoStreamResponseError as error:
            client.unanswered(self._limits.engine_move_after_s)
            raise UnclearError("the log has no leader") from error
        except TimeoutError as error:
            client.unanswered(self._limits.engine_move_after_s)
            waited_s = self._limits.engine_answer_s
            raise UnclearError(f"no answer within {waited_s:g} s; more than half of the servers must run") from error
        except ERRORS as error:
            raise UnclearError(_said(error)) from error

    async def _stay_connected(self) -> None:
        """Reconnect whenever the connection is lost."""
        while True:
            if self._client is not None:
                await self._client.lost(self._limits.engine_check_s)
                self._log.debug("Lost the connection to %s", self._servers[0])
                self._drop(self._client)
                self._client, self._reason = None, "connection lost"
            self._client = await self._connect_to_any()
            if self._client is None:
                await asyncio.sleep(self._limits.engine_retry_s)

    async def _connect_to_any(self) -> _Client | None:
        """Return a client of the first server that can be used, beginning with the one after the last; None if none."""
        errors: dict[str, BaseException] = {}
        for _ in self._servers:
            self._servers.append(self._servers.pop(0))
            try:
                client = await self._connect(self._servers[0])
            except (UnclearError, UsageError) as error:
                errors[self._servers[0]] = error
            else:
                self._log.debug("Connected to %s", self._servers[0])
                return client
        self._reason = _together(errors)
        return None

    async def _connect(self, server: str) -> _Client:
        """Return a client of this server. Raises UnclearError if it does not answer, UsageError if it can't be used."""
        client = _Client(must_encrypt=self._credentials.tls is not None)
        try:
            async with asyncio.timeout(self._limits.engine_connect_s):
                await client.connect(
                    [server], error_cb=self._heard_by(client), closed_cb=client.closed, **self._options()
                )
            self._check(server, client.facts(_address(server)))
        except BaseException as error:
            self._drop(client)
            if not isinstance(error, ERRORS):
                raise
            cause = client.complaint if isinstance(error, nats.errors.NoServersError) and client.complaint else error
            raise self._failure(server, cause) from error
        return client

    def _check(self, server: str, facts: ServerFacts) -> None:
        """Raise UsageError unless this server can be used, together with those that have answered before."""
        checks.check_server(facts, self._limits)
        if len(self._servers) > 1:
            checks.check_together((self._facts | {server: facts}).values())
        self._facts[server] = facts

    def _options(self) -> dict[str, Any]:
        creds, login, limits = self._credentials.creds, self._credentials.login, self._limits
        return {
            "name": "smssim",
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": limits.engine_connect_s,
            "ping_interval": limits.engine_ping_s,
            "max_outstanding_pings": limits.engine_pings_max,
            "pending_size": -1,  # requests fail while there is no connection, instead of being sent later
            "tls": self._credentials.tls,
            "token": self._credentials.token,
            "user": login[0] if login else None,
            "password": login[1] if login else None,
            "user_credentials": RawCredentials(creds) if creds is not None else None,
        }

    def _heard_by(self, client: _Client) -> Callable[[Exception], Awaitable[None]]:
        async def heard(error: Exception) -> None:
            client.complaint = error
            self._log.debug("Engine: %s", _said(error))
            if _DENIED in str(error).lower():
                self.denied = _said(error)

        return heard

    def _failure(self, server: str, error: Exception) -> UnclearError | UsageError:
        """Return what a failed attempt to connect means."""
        address, said = _address(server), str(error).lower()
        if "authorization" in said or "authentication" in said:
            given_by = self._credentials.given_by
            todo = f"check {given_by}" if given_by else "set --engine-creds, --engine-token-file or --engine-login-file"
            return checks.UnusableServerError(f"--engine: {address} rejects the credentials of this node: {todo}")
        if isinstance(error, nats.errors.SecureConnWantedError):
            return checks.UnusableServerError(
                f"--engine: {address} does not use TLS: set tls in its configuration, or write nats://"
            )
        if isinstance(error, ssl.SSLError):
            return checks.UnusableServerError(f"--engine: {address}: {self._tls_failure(error)}")
        return UnclearError("connection timed out" if isinstance(error, TimeoutError) else _said(error))

    def _tls_failure(self, error: ssl.SSLError) -> str:
        if self._credentials.tls is None:
            return "it requires TLS: write tls:// and add --engine-tls-ca"
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not accepted ({escape(error.verify_message, 80).lower()}): check --engine-tls-ca"
            )
        return "the TLS handshake failed: check --engine-tls-cert and --engine-tls-key"

    def _drop(self, client: _Client) -> None:
        """End a connection at once, in the background."""
        client.cut()

        async def end() -> None:
            with contextlib.suppress(Exception):  # nats-py fails in many ways if its socket is closed meanwhile
                async with asyncio.timeout(self._limits.engine_connect_s):
                    await client.close()

        self._keep(asyncio.create_task(end()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Refer to a task until it has ended: asyncio does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Client(Client):
    """nats-py's client, which can refuse servers without TLS, and can end a connection without waiting."""

    def __init__(self, *, must_encrypt: bool) -> None:
        super().__init__()
        self.complaint: Exception | None = None  # the last error that it reported
        self._must_encrypt = must_encrypt
        self._closed = asyncio.Event()
        self._unanswered_since = math.inf  # since when JetStream has not answered; infinity if it has
        self._is_of_no_use = False
        self._streams: JetStreamContext | None = None

    @property
    def streams(self) -> JetStreamContext:
        """JetStream."""
        if self._streams is None:
            self._streams = self.jetstream()
        return self._streams

    async def closed(self) -> None:
        """Record that the connection has ended; nats-py calls it, but not if closing has to wait for the server."""
        self._closed.set()

    def answered(self) -> None:
        """Record that JetStream has answered a request."""
        self._unanswered_since = math.inf

    def unanswered(self, at_most_s: float) -> None:
        """Record that JetStream has not answered. After such a time without any answer, the connection is lost.

        A server that is cut off from most others keeps its clients, which may reach the others.
        """
        now = asyncio.get_running_loop().time()
        self._unanswered_since = min(self._unanswered_since, now)
        if now - self._unanswered_since >= at_most_s:
            self._is_of_no_use = True
            self._closed.set()

    async def lost(self, check_s: float) -> None:
        """Wait until the connection has ended or is of no use, and check that so often."""
        while self.is_connected and not self._is_of_no_use:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(check_s):
                    await self._closed.wait()

    def facts(self, address: str) -> ServerFacts:
        """Return what the server says about itself."""
        info = self._server_info
        has_jetstream, cluster = bool(info.get("jetstream")), str(info.get("cluster") or "")
        return ServerFacts(address, str(info.get("version")), has_jetstream, self.max_payload, cluster)

    def cut(self) -> None:
        """Close the socket, even if there is something to send, and fail the requests that wait for an answer."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        for answer in [*self._resp_map.values()]:
            if not answer.done():
                answer.set_exception(nats.errors.ConnectionClosedError())
        for subscription in self._subs.values():
            subscription._stop_processing()  # noqa: SLF001 - nats-py forgets to, if its last write fails

    def _connect_command(self) -> bytes:
        """Return the command that contains the credentials. Raises SecureConnWantedError instead of sending them."""
        if self._must_encrypt and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        return super()._connect_command()


def _address(server: str) -> str:
    return server.partition("://")[2]


def _said(error: BaseException) -> str:
    """Return the reason for an error in a few words."""
    text = getattr(error, "strerror", None) or str(error).removeprefix("nats: ") or type(error).__name__
    if isinstance(error, OSError) and "Connect call failed" in str(error):  # asyncio hides the reason
        text = os.strerror(error.errno) if error.errno else "connection refused"
    return escape(text.strip("'\" "), 120).lower()


def _together(errors: Mapping[str, BaseException]) -> str:
    """Return the reasons of several servers, or only one if all are the same."""
    reasons = {server: str(error) for server, error in errors.items()}
    if len({*reasons.values()}) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{_address(server)}: {reason}" for server, reason in reasons.items())
