"""The network between test hosts: passes their IP packets on, late or not at all if a test says so.

`hosts_support` runs it as a process of its own: a kernel need not have netem, and the hosts' load can't slow it down.
Its arguments are the descriptors of the hosts' tun devices; host N, from 1, has the address 10.77.0.N. Each line of
stdin is a JSON matrix: for each sending and each receiving host the loss (0 to 1), the delay and the jitter in seconds.
The answer, an empty line, says that all earlier packets are handled and the matrix is in force. It ends with stdin.

Knows packets. Must not know what they carry.
"""

from __future__ import annotations

import heapq
import math
import os
import select
import sys
import time
from contextlib import suppress
from json import loads
from random import Random
from typing import Final

Link = tuple[float, float, float]  # loss, delay_s, jitter_s
PERFECT: Final[Link] = (0.0, 0.0, 0.0)
CUT: Final[Link] = (1.0, 0.0, 0.0)

PREFIX: Final = bytes([10, 77, 0])
PACKET_BYTES_MAX: Final = 65_536
TURN_PACKETS: Final = 64  # from one host before the others get their turn
QUEUED_PACKETS: Final = 2_000  # at most, in the kernel's queues of a device
LATE_PACKETS_MAX: Final = 20_000  # delayed ones; more are lost, as in a router


class Network:
    """Forwards packets between devices, which are non-blocking. On each link, packets stay in order."""

    def __init__(self, devices: list[int]) -> None:
        self._devices = devices
        self._links = [[PERFECT] * len(devices) for _ in devices]
        self._late: list[tuple[float, int, int, int, bytes]] = []  # a heap: when due, number, source, target, packet
        self._number = 0
        self._last_due = [[-math.inf] * len(devices) for _ in devices]
        self._random = Random()

    def set_links(self, links: list[list[Link]]) -> None:
        """Handle the packets that the hosts have sent, then change the links. A cut loses delayed packets, too."""
        for source in range(len(self._devices)):
            self.read(source, QUEUED_PACKETS)
        self._links = links
        self._late = [late for late in self._late if links[late[2]][late[3]][0] < 1]
        heapq.heapify(self._late)

    def read(self, source: int, packets_max: int = TURN_PACKETS) -> None:
        """Read the packets that a host has sent. Those to other networks, or not of IPv4, vanish."""
        for _ in range(packets_max):
            try:
                packet = os.read(self._devices[source], PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            target = packet[19] - 1
            if packet[0] >> 4 == 4 and packet[16:19] == PREFIX and 0 <= target < len(self._devices):
                self._forward(source, target, packet)

    def _forward(self, source: int, target: int, packet: bytes) -> None:
        loss, delay_s, jitter_s = self._links[source][target]
        if self._random.random() < loss:
            return
        if not delay_s and not self._late:
            self._write(target, packet)
        elif len(self._late) < LATE_PACKETS_MAX:
            drawn = time.monotonic() + delay_s + self._random.uniform(-jitter_s, jitter_s)
            due = self._last_due[source][target] = max(drawn, self._last_due[source][target])
            self._number += 1
            heapq.heappush(self._late, (due, self._number, source, target, packet))

    def deliver(self) -> float | None:
        """Deliver the packets that are due; return in how many seconds the next one is, or None if there is none."""
        while self._late:
            wait_s = self._late[0][0] - time.monotonic()
            if wait_s > 0:
                return wait_s
            _, _, _, target, packet = heapq.heappop(self._late)
            self._write(target, packet)
        return None

    def _write(self, target: int, packet: bytes) -> None:
        with suppress(OSError):  # the host does not take it: lost
            os.write(self._devices[target], packet)


def run(devices: list[int]) -> None:
    """Forward packets until the end of stdin."""
    network = Network(devices)
    sources = {device: source for source, device in enumerate(devices)}
    ready = select.epoll()
    for descriptor in (*devices, sys.stdin.fileno()):
        ready.register(descriptor, select.EPOLLIN)
    while True:
        for descriptor, _ in ready.poll(network.deliver()):
            if descriptor in sources:
                network.read(sources[descriptor])
            elif line := sys.stdin.readline():
                network.set_links(loads(line))
                print(flush=True)
            else:
                return


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-10)  # wires don't wait for a processor
    run([int(word) for word in sys.argv[1:]])
