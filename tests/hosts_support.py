"""Test hosts on one machine: network namespaces whose network a test can cut, slow down and heal.

Each host has a loopback device and the device eth0 with the address 10.77.0.N, and reaches only the other hosts. A
namespace and its devices exist as long as this process, or one in the namespace, keeps them open. So nothing is left
even after SIGKILL, nothing has a name that another test could use, and no tool but util-linux's nsenter is needed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, Literal, Self

from hosts_network import CUT, PERFECT, PREFIX, Link
from processes_support import DEADLINE_S, eventually

from smssim.process.parent import end_with_parent

PROGRAM: Final = Path(__file__).with_name("hosts_network.py")
OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
DEVICE: Final = b"eth0"

# From Linux's sched.h, if_tun.h and sockios.h
_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of a test."""

    number: int  # from 1
    namespace: int  # an open descriptor

    @property
    def name(self) -> str:
        return f"h{self.number}"

    @property
    def address(self) -> str:
        return socket.inet_ntoa(PREFIX + bytes([self.number]))

    @property
    def before(self) -> tuple[str, ...]:
        """The words that start a command in this host; the process keeps the id that it is started with."""
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.namespace}", "--")

    @property
    def inode(self) -> int:
        """What identifies the namespace in `/proc`."""
        return os.fstat(self.namespace).st_ino

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return an IPv4 socket of this host."""
        with _inside(self.namespace):
            return socket.socket(socket.AF_INET, kind)


class Hosts:
    """Hosts that all reach each other at first. Leaving it ends all processes in them.

    A fault is in force when its method returns: all packets sent earlier have been handled, none is on its way past it.
    Packets that are cut off or lost vanish: no host gets an error, as behind a router.
    """

    def __init__(self, count: int) -> None:
        self._stack = ExitStack()
        self._hosts: list[Host] = []
        self._from: dict[int, Link] = dict.fromkeys(range(1, count + 1), PERFECT)  # by number of the sending host
        self._cuts: dict[frozenset[Host], set[tuple[int, int]]] = {}  # whose healing undoes them: which links

    def __enter__(self) -> Self:
        with ExitStack() as stack, ExitStack() as until_started:
            devices = []
            for number in self._from:
                devices.append(self._add(number, stack))
                until_started.callback(os.close, devices[-1])  # the network has its own descriptors
            self._network = self._start_network(devices, stack)
            self._apply()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    # -- processes

    def popen(self, host: Host, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in a host. The options are those of `subprocess.Popen`."""
        command = [*host.before, *map(str, words)]
        process = subprocess.Popen(command, preexec_fn=end_with_parent, **options)  # noqa: PLW1509 - one system call
        self._stack.callback(_end, process)
        return process

    def run(self, host: Host, *words: object) -> str:
        """Run a command in a host and return what it writes to stdout. Raises CalledProcessError."""
        command = [*host.before, *map(str, words)]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=True).stdout

    def left(self) -> list[int]:
        """Return the ids of all processes that run in the hosts."""
        inodes = {host.inode for host in self}
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
        return [pid for pid in pids if _namespace_of(pid) in inodes]

    # -- faults

    def isolate(self, *hosts: Host) -> None:
        """Cut these hosts off from all others, but not from each other."""
        for host in hosts:
            for other in set(self) - set(hosts):
                self._cut({host}, (host, other), (other, host))
        self._apply()

    def cut(self, one: Host, other: Host) -> None:
        """Lose all packets between two hosts."""
        self._cut({one, other}, (one, other), (other, one))
        self._apply()

    def one_way_loss(self, host: Host, direction: Literal["from", "to"]) -> None:
        """Lose all packets from a host, or all packets to it."""
        for other in set(self) - {host}:
            self._cut({host}, (host, other) if direction == "from" else (other, host))
        self._apply()

    def heal(self, *hosts: Host) -> None:
        """Undo what the three methods above did to these hosts, or to all hosts if none is given."""
        for healed in [whose for whose in self._cuts if not hosts or whose & set(hosts)]:
            del self._cuts[healed]
        self._apply()

    def loss(self, host: Host, percent: float) -> None:
        """Lose these packets from a host, chosen at random; 0 ends it."""
        _, delay_s, jitter_s = self._from[host.number]
        self._from[host.number] = (percent / 100, delay_s, jitter_s)
        self._apply()

    def delay(self, host: Host, ms: float, jitter: float = 0) -> None:
        """Delay packets from a host by ms +- jitter (uniform). They stay in order; 0 ends it."""
        self._from[host.number] = (self._from[host.number][0], ms / 1000, jitter / 1000)
        self._apply()

    def settle(self) -> None:
        """Return when all packets sent so far have been handled: delivered, delayed or lost."""
        self._apply()

    def _cut(self, whose: set[Host], *links: tuple[Host, Host]) -> None:
        cuts = self._cuts.setdefault(frozenset(whose), set())
        cuts.update((source.number, target.number) for source, target in links)

    def _apply(self) -> None:
        cut = set().union(*self._cuts.values())
        matrix = [[CUT if (one, to) in cut else link for to in self._from] for one, link in self._from.items()]
        _pipe(self._network.stdin).write(json.dumps(matrix).encode() + b"\n")
        assert _pipe(self._network.stdout).readline(), f"the network ended with code {self._network.wait(DEADLINE_S)}"

    # -- set-up

    def _add(self, number: int, stack: ExitStack) -> int:
        """Make a host; return the device through which its packets come and go."""
        with _inside(None) as namespace:
            host = Host(number, namespace)
            self._hosts.append(host)
            stack.callback(os.close, namespace)
            return _set_up(host.address)

    def _start_network(self, devices: list[int], stack: ExitStack) -> subprocess.Popen[bytes]:
        network = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), *map(str, devices)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=devices,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, looked up beforehand
        )
        stack.callback(_end, network)
        stack.callback(eventually, self._ended_all, "the end of all processes in the hosts")
        return network

    def _ended_all(self) -> bool:
        """Kill what still runs in the hosts; return whether nothing did. Its parent reaps it."""
        left = self.left()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


@cache
def why_not() -> str:
    """Return why hosts can't be made on this machine; empty if they can."""
    if sys.platform != "linux":
        return f"they need Linux; this is {sys.platform}"
    if shutil.which("nsenter") is None:
        return "no nsenter: install util-linux"
    try:
        with Hosts(1):
            return ""
    except OSError as error:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


@contextmanager
def _inside(namespace: int | None) -> Iterator[int]:
    """Have this thread in a namespace, or in a new one if it is None; yield the descriptor."""
    outside = os.open(OWN_NAMESPACE, os.O_RDONLY)
    try:
        if namespace is None:
            _call("unshare", _CLONE_NEWNET)
            namespace = os.open(OWN_NAMESPACE, os.O_RDONLY)
        else:
            _call("setns", namespace, _CLONE_NEWNET)
        try:
            yield namespace
        finally:
            _call("setns", outside, _CLONE_NEWNET)
    finally:
        os.close(outside)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library. Raises OSError."""
    if getattr(_C, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


_C: Final = ctypes.CDLL(None, use_errno=True)


def _set_up(address: str) -> int:
    """Bring up the devices of this thread's namespace; return the one with this address."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE, _IFF_TUN_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for request, value in (_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0"):
                place = struct.pack("16sHH4s16x", DEVICE, socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(any_socket, request, place)
            for name in b"lo", DEVICE:
                got = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
                flags = struct.unpack_from("H", got, 16)[0] | _IFF_UP
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags))
    except BaseException:
        os.close(device)
        raise
    return device


def _namespace_of(pid: int) -> int:
    """Return the inode of a process's network namespace; 0 if it has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(DEADLINE_S)
    for pipe in process.stdin, process.stdout, process.stderr:
        if pipe is not None:
            pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
