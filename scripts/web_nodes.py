"""Real nodes on this machine, and clients of their page: for scripts that measure what the page costs (Linux)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

STARTED_S: Final = 60.0
LISTENING: Final = r"Listening on (\S+)"


def request(target: str) -> bytes:
    """Return a request."""
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()


class Node:
    """A node as a child process."""

    def __init__(self, *words: str) -> None:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - closed with the node
        self._out = tempfile.NamedTemporaryFile("w+", suffix=".out")  # noqa: SIM115
        command = [sys.executable, "-m", "smssim", *words]
        self.process = subprocess.Popen(command, stdout=self._out, stderr=self._log)

    def says(self, pattern: str) -> str:
        """Wait for a log line and return the first group of the pattern."""
        until = time.monotonic() + STARTED_S
        while time.monotonic() < until:
            found = re.search(pattern, Path(self._log.name).read_text())
            if found:
                return found[1]
            time.sleep(0.02)
        raise RuntimeError(Path(self._log.name).read_text())

    def figures(self) -> list[dict[str, Any]]:
        """Return the objects that it has written."""
        return [json.loads(line) for line in Path(self._out.name).read_text().splitlines() if line.endswith("}")]

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Return its resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()
        self._out.close()


class Cluster:
    """A monitor, perhaps with a page, a producer and a sender."""

    def __init__(self, count: int, sender: tuple[str, ...], *, page: bool = True) -> None:
        web = ("--web=0",) if page else ()
        self.nodes: list[Node] = []
        self.monitor = self._start("monitor", "--listen=127.0.0.1:0", "--json", "--interval=0.5", *web)
        self.port = int(self.monitor.says(r"Page at http://127.0.0.1:(\d+)/")) if page else 0
        monitor = self.monitor.says(LISTENING)
        words = (f"--monitor={monitor}", f"--count={count}", "--seed=7")
        producer = self._start("producer", "--listen=127.0.0.1:0", *words).says(LISTENING)
        self._start("sender", f"--producer={producer}", *sender)

    def _start(self, *words: str) -> Node:
        self.nodes.append(Node(*words))
        return self.nodes[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes:
            node.close()

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for figures that meet a condition."""
        while True:
            found = next(filter(condition, self.monitor.figures()), None)
            if found is not None:
                return found
            time.sleep(0.05)


class Viewer(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.received = 0
        self.final_at = 0.0  # when the last frame arrived
        self.over_at = 0.0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(request("/api/events"))
        self.start()

    def run(self) -> None:
        """Read."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 20):
                self.received += len(data)
                if b'"final":true' in data and not self.final_at:
                    self.final_at = time.monotonic()
                if b"event: over" in data:
                    self.over_at = time.monotonic()

    def close(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def viewing(port: int, count: int) -> Iterator[list[Viewer]]:
    """Open streams, and close them at the end."""
    viewers = [Viewer(port) for _ in range(count)]
    try:
        yield viewers
    finally:
        for viewer in viewers:
            viewer.close()
