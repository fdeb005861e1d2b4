"""The nodes of a run on this machine, each through all of its processes: how they are started, killed and signalled.

Knows processes, and which settings a node has. Must not know when something happens to a node, or why.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from smssim.core.fault import MONITOR, PRODUCER
from smssim.launch.limits import LaunchLimits
from smssim.launch.node import Node, NodeSettings
from smssim.settings import RunSettings, sender_names
from smssim.settings.faults import SERVERS


class Member:
    """One node of a run."""

    def __init__(self, key: str, kind: str, name: str, title: str, settings: NodeSettings) -> None:
        """`key` is unique; `name` is for tables, `title` for sentences."""
        self.key, self.kind, self.name, self.title = key, kind, name, title
        self.settings = settings
        self.processes: list[Node] = []  # all that it had, in order

    @property
    def node(self) -> Node:
        """The current process, or the last. Assumes that there is one."""
        return self.processes[-1]

    @property
    def code(self) -> int | None:
        """The exit code of the last process; None if it runs or none was started."""
        return self.processes[-1].code if self.processes else None

    def change(self, **settings: Any) -> None:
        """Change settings for the processes that are started from now on."""
        self.settings = replace(self.settings, **settings)


class Members:
    """All nodes of a run."""

    def __init__(self, settings: RunSettings, silent: bool, limits: LaunchLimits) -> None:
        """`silent`: whether the nodes write nothing to stdout."""
        monitor = replace(settings.monitor, title=settings.title)
        self.monitor = Member(MONITOR, "monitor", MONITOR, "the monitor", monitor)
        self.producer = Member(PRODUCER, "producer", PRODUCER, "the producer", settings.producer)
        names = sender_names(settings.senders)
        self.senders = [
            Member(key, "sender", name, f"sender {name}", replace(its, name=name))
            for key, name, its in zip(keys(names), names, settings.senders, strict=True)
        ]
        self._by_key = {member.key: member for member in (self.monitor, self.producer, *self.senders)}
        self._silent = silent
        self._limits = limits
        self._struck: set[Node] = set()  # the processes that a fault has killed

    def __getitem__(self, key: str) -> Member:
        """Return the node with this key."""
        return self._by_key[key]

    def __iter__(self) -> Iterator[Member]:
        """Yield all nodes."""
        return iter(self._by_key.values())

    @property
    def processes(self) -> list[Node]:
        """All processes that were started."""
        return [node for member in self for node in member.processes]

    def start(self, member: Member) -> Node:
        """Start a process of a node. Raises OSError."""
        name = member.title if member.kind == "sender" else member.kind
        node = Node.start(member.kind, name, member.settings, silent=self._silent, limits=self._limits)
        member.processes.append(node)
        return node

    def strike(self, member: Member) -> None:
        """Kill the process of a node, on purpose."""
        self._struck.add(member.node)
        member.node.signal(signal.SIGKILL)

    def was_struck(self, node: Node) -> bool:
        """Return whether a process was killed on purpose."""
        return node in self._struck

    def signal(self, number: signal.Signals, but: Iterable[str] = ()) -> None:
        """Send a signal to all processes that still run, except those of some nodes. May be called in any thread."""
        for member in self:
            if member.key not in but:
                for node in list(member.processes):
                    node.signal(number)


def keys(names: Sequence[str]) -> list[str]:
    """Return a key for each of these senders: its name, unless another node has the same name."""
    all_names = [*names, *SERVERS]
    return [name if all_names.count(name) == 1 else f"{name}\n{number}" for number, name in enumerate(names)]
