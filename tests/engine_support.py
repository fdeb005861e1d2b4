"""Helpers for the tests with an engine: NATS servers on loopback, which can be killed, paused, wiped and replaced.

Each wait is for a state that the servers report, and has a deadline far beyond the time that this takes. An election
among the servers takes 5 to 10 s, so tests of a file share one cluster if they can.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import nats
import nkeys
from nodes_support import free_address

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.05
TAIL_LINES: Final = 15  # of a server's log, in failure messages
BINARY: Final = Path(sys.executable).parent / "nats-server"

# Clients without credentials get the account APP, so that a test can also connect as an administrator.
OPEN: Final = """
accounts {
    $SYS { users: [{ user: admin, password: admin }] }
    APP { jetstream: enabled, users: [{ user: app, password: app }] }
}
no_auth_user: app
"""

_BY_US: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


def free_ports(count: int) -> list[int]:
    """Return different ports that are free, for servers that start later, and again after they were killed."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(int(free_address().rpartition(":")[2]))
    return list(ports)


def until(condition: Callable[[], Any], what: str, story: Callable[[], str] = str) -> Any:
    """Wait until a condition holds and return what it yields. If it takes too long, fail and tell the story."""
    deadline = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, f"timed out: {what}\n{story()}"
        time.sleep(POLL_S)
    return result


@dataclass
class Server:
    """One nats-server process; its store and its log survive a restart."""

    name: str
    directory: Path
    client_port: int
    route_port: int
    page_port: int
    config: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    is_paused: bool = False

    @property
    def address(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.client_port}"

    @property
    def page(self) -> str:
        """The address for monitoring."""
        return f"http://127.0.0.1:{self.page_port}"

    @property
    def runs(self) -> bool:
        """Whether the process exists and is not paused."""
        return self.process is not None and not self.is_paused

    @property
    def store(self) -> Path:
        """Where it keeps streams."""
        return self.directory / "store"

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.process is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "nats.conf"
        path.write_text(self.config, encoding="utf-8")
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "-c", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process, self.is_paused = None, False

    def pause(self) -> None:
        """Stop the process with SIGSTOP."""
        self.signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """Continue the process with SIGCONT."""
        self.signal(signal.SIGCONT)
        self.is_paused = False

    def restart(self) -> None:
        """Kill the process and start it again."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Kill the process and delete its store: the loss of a disk."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)

    def says(self, path: str) -> Any:
        """Return what it answers to a request for monitoring; None if it does not."""
        try:
            with contextlib.closing(_BY_US.open(self.page + path, timeout=2)) as answer:
                return json.load(answer)
        except (OSError, urllib.error.URLError, ValueError):
            return None

    def is_healthy(self) -> bool:
        """Return whether it is ready, as far as it knows: JetStream runs and its streams are up to date."""
        return self.runs and (self.says("/healthz") or {}).get("status") == "ok"

    def has_ended(self) -> bool:
        """Return whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def tail(self) -> str:
        """Return the end of its log."""
        path = self.directory / "log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "\n".join([f"-- {self.name} ({'runs' if self.runs else 'does not run'}):", *lines[-TAIL_LINES:]])


class Cluster:
    """NATS servers with JetStream that sync each write. Servers are numbered from 0; use it as a context manager."""

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        jetstream: str | None = "sync_interval: always",
        extra: str = OPEN,
        scheme: str = "nats",
    ) -> None:
        """`jetstream`: the settings in its section; None for none. `extra`: further lines of the configuration."""
        self._directory = directory
        self._jetstream = jetstream
        self._extra = extra
        self._scheme = scheme
        ports = iter(free_ports(3 * size))
        self._routes = [next(ports) for _ in range(size)]
        self._names = 0
        self.servers = [Server(self._name(), directory, next(ports), route, next(ports)) for route in self._routes]
        for server in self.servers:
            self._configure(server)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            print(self.story())
        self.close()

    @property
    def urls(self) -> str:
        """The value of --engine."""
        return ",".join(f"{self._scheme}://{server.address}" for server in self.servers)

    @property
    def pages(self) -> str:
        """The value of --engine-monitoring."""
        return ",".join(server.page for server in self.servers)

    def start(self) -> None:
        """Start all servers that do not run, and wait until the cluster is ready."""
        for server in self.servers:
            server.start()
        self.ready()

    def close(self) -> None:
        """End all servers, also paused ones."""
        for server in self.servers:
            server.kill()

    def repair(self) -> None:
        """Make all servers run again, after a test that has paused or killed some, and wait until they are ready."""
        for server in self.servers:
            if server.is_paused:
                server.resume()
        self.start()

    def ready(self) -> None:
        """Wait until all servers that run are healthy and agree on a leader that runs."""
        running = [server for server in self.servers if server.runs]
        assert running, "no server runs"
        names = {server.name for server in running}

        def is_ready() -> bool:
            ended = [server.name for server in running if server.has_ended()]
            assert not ended, f"{ended} ended\n{self.story()}"
            if len(self.servers) == 1 or self._jetstream is None:
                return all(server.says("/varz") and server.is_healthy() for server in running)
            leaders = {((server.says("/jsz") or {}).get("meta_cluster") or {}).get("leader") for server in running}
            return len(leaders) == 1 and leaders <= names and all(server.is_healthy() for server in running)

        until(is_ready, "the servers are ready", self.story)

    def leader_of(self, stream: str) -> Server:
        """Return the leader of a stream, once the servers that run agree on one."""

        def find() -> Server | None:
            running = [server for server in self.servers if server.runs]
            said = {self._leader_by(server, stream) for server in running} - {None}
            return next((server for server in running if said == {server.name}), None)

        found: Server = until(find, f"{stream} has a leader", self.story)
        return found

    def up_to_date(self, stream: str) -> None:
        """Wait until every server has all entries of a stream."""

        def is_up_to_date() -> bool:
            details = [self._detail(server, stream) for server in self.servers]
            return all(details) and len({detail["state"]["last_seq"] for detail in details if detail}) == 1

        until(is_up_to_date, f"all have {stream}", self.story)

    def replace(self, number: int) -> Server:
        """Replace a server and its disk by a new one with another name, at the same addresses.

        Then call `remove` with the name of the old one.
        """
        old = self.servers[number]
        old.wipe()
        new = Server(self._name(), self._directory, old.client_port, old.route_port, old.page_port)
        self._configure(new)
        self.servers[number] = new
        new.start()
        return new

    async def remove(self, name: str) -> None:
        """Tell the cluster that the server with this name never returns, so that another one gets its copies."""
        client = await nats.connect(self.servers[0].address, user="admin", password="admin")
        answer = await client.request("$JS.API.SERVER.REMOVE", json.dumps({"peer": name}).encode(), timeout=10)
        await client.close()
        assert json.loads(answer.data).get("success"), answer.data

    def story(self) -> str:
        """Return the ends of the logs of all servers, for failure messages."""
        return "\n".join(server.tail() for server in self.servers)

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"

    def _configure(self, server: Server) -> None:
        server.directory = self._directory / server.name
        lines = [
            f"server_name: {server.name}",
            f"listen: 127.0.0.1:{server.client_port}",
            f"http: 127.0.0.1:{server.page_port}",
        ]
        if self._jetstream is not None:
            lines.append(f"jetstream {{ store_dir: {json.dumps(str(server.store))}, {self._jetstream} }}")
        if len(self._routes) > 1:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._routes if port != server.route_port)
            lines.append(f"cluster {{ name: test, listen: 127.0.0.1:{server.route_port}, routes: [{routes}] }}")
        server.config = "\n".join([*lines, self._extra, ""])

    def _detail(self, server: Server, stream: str) -> Mapping[str, Any] | None:
        said = server.says("/jsz?streams=true") if server.runs else None
        accounts = (said or {}).get("account_details") or []
        details = [detail for account in accounts for detail in account.get("stream_detail") or []]
        return next((detail for detail in details if detail["name"] == stream), None)

    def _leader_by(self, server: Server, stream: str) -> str | None:
        detail = self._detail(server, stream)
        return (detail.get("cluster") or {}).get("leader") or server.name if detail else None


@dataclass
class Impostor:
    """Listens like a server that says `info` about itself, and keeps what clients send it until their first ping."""

    info: Mapping[str, Any]
    address: str = ""
    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client until it disconnects."""
        info = {"headers": True, "max_payload": 1 << 20, "jetstream": True, **self.info}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        with contextlib.suppress(OSError, EOFError):
            self.heard.append(await reader.readuntil(b"PING\r\n"))
            writer.write(b"PONG\r\n")
            await reader.read()
        writer.close()


@contextlib.asynccontextmanager
async def impostor(**info: Any) -> AsyncIterator[Impostor]:
    """Run an impostor."""
    it = Impostor(info)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    it.address = f"{host}:{port}"
    async with server:
        yield it


# ---- Signed credentials


class Authority:
    """An operator with an account that may use JetStream, as `nsc` would make them."""

    def __init__(self) -> None:
        operator, system, self._account = _key("operator"), _key("account"), _key("account")
        limits = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer", "subs", "data", "payload"), -1)
        limits |= dict.fromkeys(("conn", "leaf", "imports", "exports"), -1)
        accounts = {key: {"limits": limits if key is self._account else {}} for key in (system, self._account)}
        signed = {_public(key): _jwt(operator, key, {"type": "account", **more}) for key, more in accounts.items()}
        own = _jwt(operator, operator, {"type": "operator", "system_account": _public(system)})
        preload = ", ".join(f"{key}: {jwt}" for key, jwt in signed.items())
        self.config = f"operator: {own}\nsystem_account: {_public(system)}\n"
        self.config += f"resolver: MEMORY\nresolver_preload: {{ {preload} }}"

    def creds(self) -> str:
        """Return the text of a .creds file for a new user of the account."""
        user = _key("user")
        jwt = _jwt(self._account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
        parts = (("NATS USER JWT", jwt), ("USER NKEY SEED", user.seed.decode()))
        return "\n".join(f"-----BEGIN {name}-----\n{text}\n------END {name}------\n" for name, text in parts)


def _key(kind: str) -> Any:
    prefix = {
        "operator": nkeys.PREFIX_BYTE_OPERATOR,
        "account": nkeys.PREFIX_BYTE_ACCOUNT,
        "user": nkeys.PREFIX_BYTE_USER,
    }
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix[kind])))


def _public(key: Any) -> str:
    return str(key.public_key.decode())


def _jwt(issuer: Any, subject: Any, about: Mapping[str, Any]) -> str:
    now = int(time.time())
    claims = {"jti": str(now), "iat": now, "iss": _public(issuer), "name": "test", "sub": _public(subject)}
    claims["nats"] = {"version": 2, **about}
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(issuer.sign(text)).rstrip(b"=")).decode()
