"""NATS servers on this machine, as the engine of a demonstration or a test.

They listen on free ports of the loopback address, keep their streams below a directory of the caller, and sync each
write to disk. They can be killed, paused, wiped and replaced. Those that the main thread has started end with this
process, however it ends. Each wait is for a state that they report, and has a deadline far beyond the time that it
takes.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from smssim.process.parent import end_with_parent

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.05
UNASSIGNED_PORTS: Final = range(12_000, 32_000)  # the ports that systems assign by themselves start at 32768 or above
TAIL_LINES: Final = 15  # of a server's log, in errors
SAFE: Final = "sync_interval: always"  # the setting of JetStream that makes a server sync each write
BINARY: Final = Path(sys.prefix) / "bin/nats-server"

_BY_US: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


def free_ports(count: int) -> list[int]:
    """Return different free ports that the system never assigns by itself, for servers that start later, or again."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.choice(UNASSIGNED_PORTS)
        with closing(socket.socket()) as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def configuration(
    name: str,
    client: str,
    page: str,
    route: str,
    routes: Sequence[str],
    store: Path,
    jetstream: str | None = SAFE,
    extra: str = "",
) -> str:
    """Return the configuration of a server.

    `client`, `page`, `route`: where it listens for clients, for monitoring and for other servers. `routes`: where all
    servers of its cluster listen for each other. `store`: its directory for streams. `jetstream`: further settings in
    the section of that name; None for no such section. `extra`: further lines.
    """
    lines = [f"server_name: {name}", f"listen: {client}", f"http: {page}"]
    if jetstream is not None:
        lines.append(f"jetstream {{ store_dir: {json.dumps(str(store))}, {jetstream} }}")
    if len(routes) > 1:
        others = ", ".join(f"nats://{one}" for one in routes if one != route)
        lines.append(f"cluster {{ name: local, listen: {route}, routes: [{others}] }}")
    return "\n".join([*lines, extra, ""])


class ClusterError(Exception):
    """The servers did not become as they must; says why, with the ends of their logs."""


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
        """Whether the process was started and is not paused."""
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
                [BINARY, "-c", path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
                # One system call, looked up beforehand. A server must not end with another thread than the main one.
                preexec_fn=end_with_parent if threading.current_thread() is threading.main_thread() else None,  # noqa: PLW1509
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

    def has_ended(self) -> bool:
        """Return whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def says(self, path: str) -> Any:
        """Return what it answers to a request for monitoring; None if it does not."""
        try:
            with closing(_BY_US.open(self.page + path, timeout=2)) as answer:
                return json.load(answer)
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def is_healthy(self) -> bool:
        """Return whether it is ready, as far as it knows: JetStream runs and its streams are up to date."""
        return self.runs and (self.says("/healthz") or {}).get("status") == "ok"

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
        jetstream: str | None = SAFE,
        extra: str = "",
        scheme: str = "nats",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`jetstream`: the settings in its section; None for none. `extra`: further lines of the configuration.

        `sleep`: waits for a time in seconds; what it raises ends the wait for a state of the servers.
        """
        self._directory = directory
        self._jetstream = jetstream
        self._extra = extra
        self._scheme = scheme
        self._sleep = sleep
        ports = iter(free_ports(3 * size))
        self._routes = [next(ports) for _ in range(size)]
        self._names = 0
        self.servers = [Server(self._name(), directory, next(ports), route, next(ports)) for route in self._routes]
        for server in self.servers:
            self._configure(server)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # such as Ctrl-C while they start
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
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
        """Make all servers run again, after some were paused or killed, and wait until they are ready."""
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
            if ended:
                raise ClusterError(f"{', '.join(ended)} ended\n{self.story()}")
            if len(self.servers) == 1 or self._jetstream is None:
                return all(server.says("/varz") and server.is_healthy() for server in running)
            leaders = {((server.says("/jsz") or {}).get("meta_cluster") or {}).get("leader") for server in running}
            return len(leaders) == 1 and leaders <= names and all(server.is_healthy() for server in running)

        self._until(is_ready, "the servers are ready")

    def leader_of(self, stream: str) -> Server:
        """Return the leader of a stream, once the servers that run agree on one."""

        def find() -> Server | None:
            running = [server for server in self.servers if server.runs]
            said = {self._leader_by(server, stream) for server in running} - {None}
            return next((server for server in running if said == {server.name}), None)

        found: Server = self._until(find, f"{stream} has a leader")
        return found

    def up_to_date(self, stream: str) -> None:
        """Wait until every server has all entries of a stream."""

        def is_up_to_date() -> bool:
            details = [self._detail(server, stream) for server in self.servers]
            return all(details) and len({detail["state"]["last_seq"] for detail in details if detail}) == 1

        self._until(is_up_to_date, f"all have {stream}")

    def replace(self, number: int) -> Server:
        """Replace a server and its disk by a new one with another name, at the same addresses.

        The others still wait for the old one, until the cluster is told that it never returns.
        """
        old = self.servers[number]
        old.wipe()
        new = Server(self._name(), self._directory, old.client_port, old.route_port, old.page_port)
        self._configure(new)
        self.servers[number] = new
        new.start()
        return new

    def story(self) -> str:
        """Return the ends of the logs of all servers, for errors."""
        return "\n".join(server.tail() for server in self.servers)

    def _until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition holds and return what it yields. Raises ClusterError if that takes long."""
        deadline = time.monotonic() + DEADLINE_S
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise ClusterError(f"timed out: {what}\n{self.story()}")
            self._sleep(POLL_S)
        return result

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"

    def _configure(self, server: Server) -> None:
        server.directory = self._directory / server.name
        server.config = configuration(
            server.name,
            server.address,
            f"127.0.0.1:{server.page_port}",
            f"127.0.0.1:{server.route_port}",
            [f"127.0.0.1:{port}" for port in self._routes],
            server.store,
            self._jetstream,
            self._extra,
        )

    def _detail(self, server: Server, stream: str) -> Mapping[str, Any] | None:
        said = server.says("/jsz?streams=true") if server.runs else None
        accounts = (said or {}).get("account_details") or []
        details = [detail for account in accounts for detail in account.get("stream_detail") or []]
        return next((detail for detail in details if detail["name"] == stream), None)

    def _leader_by(self, server: Server, stream: str) -> str | None:
        detail = self._detail(server, stream)
        return (detail.get("cluster") or {}).get("leader") or server.name if detail else None
