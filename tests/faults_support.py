"""Helpers for the tests of faults: a run whose nodes are killed, paused, cut off and restarted.

The moments of faults are random and counted in messages, not in seconds. Each failure shows the seed that they are
drawn from, and `--seed` draws the same ones again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any, Final, TypeVar

from nodes_support import Proxy, free_address
from processes_support import DEADLINE_S, Figures, Node, Nodes, assert_conserved, assert_exact, assert_quiet, eventually

LANES: Final = 2000  # of each of two senders, at 10 ms: 400,000 messages a second, if the machine is fast enough
MEAN_S: Final = 0.01

T = TypeVar("T")


class Rehearsal:
    """A producer, a monitor and two senders at fixed addresses; each can be killed and started again."""

    def __init__(
        self, nodes: Nodes, directory: Path, count: int, *of_producer: str, lanes: int = LANES, mean_s: float = MEAN_S
    ) -> None:
        self.count = count
        self.directory = directory
        self.monitor_at, self.producer_at = free_address(), free_address()
        self.monitor_for_senders, self.producer_for_senders = self.monitor_at, self.producer_at
        self.journaled = True
        self.current: dict[str, Node] = {}
        self.words: dict[str, list[str]] = {"monitor": [], "producer": [*of_producer]}
        self.words |= {who: [f"--mean={mean_s}", f"--concurrency={lanes}"] for who in ("a", "b")}
        self._nodes = nodes
        self._names = 0

    def start(self, *them: str) -> None:
        """Start these nodes, or all of them."""
        for who in them or ("monitor", "producer", "a", "b"):
            self.launch(who)

    def launch(self, who: str) -> Node:
        """Start a node with the same command as before; a sender gets a new name."""
        if who == "monitor":
            words = ["monitor", f"--listen={self.monitor_at}", "--interval=0.1", "--json", *self._journal(who)]
        elif who == "producer":
            there = f"--monitor={self.monitor_for_senders}"
            words = ["producer", f"--listen={self.producer_at}", there, f"--count={self.count}", *self._journal(who)]
        else:
            self._names += 1
            words = ["sender", f"--producer={self.producer_for_senders}", f"--name={who}{self._names}"]
        words += self.words[who]
        self.current[who] = self._nodes.start(*words)
        return self.current[who]

    def kill(self, *them: str) -> None:
        """Kill these nodes without a warning."""
        for who in them:
            self.current[who].signal(SIGKILL)
        for who in them:
            self.current[who].wait()

    def until(self, done: int) -> Figures:
        """Wait until `done` messages are counted; return the figures that show it."""
        return self.current["monitor"].shows(lambda f: f["sent"] + f["failed"] >= done, f"{done} messages done")

    def await_figures(self, more: int) -> None:
        """Wait until the monitor has written this many more lines; it writes one every tenth of a second."""
        monitor = self.current["monitor"]
        before = len(monitor.out)
        monitor.until(lambda: len(monitor.out) >= before + more, f"{more} more lines")

    def has_joined(self, sender: str) -> bool:
        """Return whether the current producer has an open stream of the sender with this name."""
        lines = self.current["producer"].err
        joined, left = (sum(f" {sender} {what}" in line for line in lines) for what in ("joined", "left"))
        return joined > left

    def pause(self, who: str) -> None:
        """Stop a node until `go_on`."""
        self.current[who].signal(SIGSTOP)

    def go_on(self, who: str) -> None:
        """End the pause of a node."""
        self.current[who].signal(SIGCONT)

    def moments(self, random: Random, number: int) -> list[int]:
        """Return random numbers of messages, in ascending order, at which something happens.

        None is near the end, so that a node that is restarted finds the run still in progress.
        """
        return sorted(random.randrange(self.count // 50, self.count * 3 // 5) for _ in range(number))

    def assert_ends_exactly(self) -> Figures:
        """Check that all current nodes exit with 0 and that each message is counted once.

        A sender that was restarted too late to reach the producer is an exception: it waits for another run.
        """
        for who in ("producer", "monitor", *sorted(self.current.keys() - {"producer", "monitor"})):
            node = self.current[who]
            if who in ("a", "b") and not any("Connected to producer" in line for line in node.err):
                node.close()
                del self.current[who]
                continue
            assert node.code() == 0, f"{who}: {node.story()}"
        assert_conserved(self.current["monitor"].figures())
        assert_quiet(*self.current.values())
        return assert_exact(self.current["monitor"], self.count)

    def _journal(self, who: str) -> list[str]:
        return [f"--journal={self.directory / who}.journal"] if self.journaled else []


class Wire:
    """Connections to addresses that can be cut, stalled and slowed, served by a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxies: list[Proxy] = []

    def to(self, target: str) -> Proxy:
        """Return a proxy for this address. Its methods must be called through `do`."""
        proxy = self._run(Proxy.start(target))
        self._proxies.append(proxy)
        return proxy

    def do(self, act: Callable[[], None]) -> None:
        """Call a method of a proxy on the loop of the thread."""

        async def acting() -> None:
            act()

        self._run(acting())

    def close(self) -> None:
        """Close all proxies, and end the thread."""
        for proxy in self._proxies:
            self._run(proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(DEADLINE_S)


def await_connections(way: Proxy, number: int) -> None:
    """Wait until `number` connections have been made through a proxy, including all earlier ones."""
    eventually(lambda: way.connections >= number, f"{number} connections, including earlier ones")
