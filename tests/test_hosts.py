"""The test hosts: what reaches what under each fault, and what remains of them afterwards."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import ExitStack, suppress
from itertools import permutations
from pathlib import Path

import pytest
from hosts_support import Host, Hosts
from processes_support import DEADLINE_S, Nodes, eventually

pytestmark = pytest.mark.hosts

PORT = 7000


def udp(stack: ExitStack, host: Host) -> socket.socket:
    place = stack.enter_context(host.socket(socket.SOCK_DGRAM))
    place.bind((host.address, PORT))
    place.settimeout(DEADLINE_S)
    return place


def listening(host: Host) -> socket.socket:
    place = host.socket()
    place.bind((host.address, PORT))
    place.listen()
    place.settimeout(DEADLINE_S)
    return place


def connected(stack: ExitStack, client: Host, server: Host) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection."""
    listener = stack.enter_context(listening(server))
    one = stack.enter_context(client.socket())
    one.settimeout(DEADLINE_S)
    one.connect((server.address, PORT))
    other = stack.enter_context(listener.accept()[0])
    other.settimeout(DEADLINE_S)
    return one, other


def waiting(place: socket.socket) -> list[bytes]:
    """Return what has arrived, without waiting for more."""
    arrived = []
    place.setblocking(False)
    with suppress(BlockingIOError):
        while data := place.recv(1000):
            arrived.append(data)
    place.settimeout(DEADLINE_S)
    return arrived


def links(hosts: Hosts) -> set[str]:
    """Let each host send a packet to each other one; return which arrived, as "h1-h2" from h1 to h2."""
    with ExitStack() as stack:
        places = {host: udp(stack, host) for host in hosts}
        for source, target in permutations(hosts, 2):
            places[source].sendto(source.name.encode(), (target.address, PORT))
        hosts.settle()
        return {f"{name.decode()}-{host.name}" for host, place in places.items() for name in waiting(place)}


ALL = {"h1-h2", "h2-h1", "h1-h3", "h3-h1", "h2-h3", "h3-h2"}


def test_hosts_reach_each_other_and_a_node_in_one_serves_the_others() -> None:
    with Hosts(3) as hosts, Nodes() as nodes, ExitStack() as stack:
        h1, h2, _ = hosts
        assert links(hosts) == ALL
        monitor = nodes.start("monitor", f"--listen={h1.address}:0", "--insecure", before=h1.before)
        address, port = monitor.address().split(":")
        assert (address, hosts.left()) == (h1.address, [monitor.pid])
        client = stack.enter_context(h2.socket())
        client.settimeout(DEADLINE_S)
        client.connect((address, int(port)))


def test_an_isolated_host_reaches_nobody_and_nobody_reaches_it_until_it_heals() -> None:
    with Hosts(3) as hosts:
        h1, h2, _ = hosts
        hosts.isolate(h1)
        assert links(hosts) == {"h2-h3", "h3-h2"}
        hosts.isolate(h2)
        assert links(hosts) == set()
        hosts.heal(h1)
        assert links(hosts) == {"h1-h3", "h3-h1"}
        hosts.heal()
        assert links(hosts) == ALL


def test_hosts_isolated_together_reach_each_other() -> None:
    with Hosts(3) as hosts:
        h1, h2, _ = hosts
        hosts.isolate(h1, h2)
        assert links(hosts) == {"h1-h2", "h2-h1"}


def test_connections_stay_open_during_isolation_and_go_on_after_it() -> None:
    with Hosts(2) as hosts, ExitStack() as stack:
        h1, h2 = hosts
        one, other = connected(stack, h1, h2)
        hosts.isolate(h1)
        one.send(b"from h1")
        other.send(b"from h2")
        hosts.settle()
        assert waiting(one) + waiting(other) == []
        hosts.heal(h1)
        assert (one.recv(1000), other.recv(1000)) == (b"from h2", b"from h1")


def test_a_connection_begun_during_isolation_opens_after_it() -> None:
    with Hosts(2) as hosts, ExitStack() as stack:
        h1, h2 = hosts
        hosts.isolate(h1)
        listener = stack.enter_context(listening(h2))
        client = stack.enter_context(h1.socket())
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect((h2.address, PORT))
        hosts.heal(h1)
        listener.accept()[0].close()


def test_one_way_loss_is_one_way() -> None:
    with Hosts(3) as hosts:
        h1, *_ = hosts
        hosts.one_way_loss(h1, "from")
        assert links(hosts) == ALL - {"h1-h2", "h1-h3"}
        hosts.heal(h1)
        hosts.one_way_loss(h1, "to")
        assert links(hosts) == ALL - {"h2-h1", "h3-h1"}
        hosts.one_way_loss(h1, "from")
        assert links(hosts) == {"h2-h3", "h3-h2"}


def test_a_cut_between_two_hosts_leaves_the_third_untouched() -> None:
    with Hosts(3) as hosts:
        h1, h2, h3 = hosts
        hosts.cut(h1, h2)
        assert links(hosts) == ALL - {"h1-h2", "h2-h1"}
        hosts.heal(h3)
        assert links(hosts) == ALL - {"h1-h2", "h2-h1"}
        hosts.heal(h2)
        assert links(hosts) == ALL


def test_packets_of_other_hosts_overtake_those_of_a_delayed_one() -> None:
    with Hosts(3) as hosts, ExitStack() as stack:
        h1, h2, h3 = hosts
        place = udp(stack, h3)
        hosts.delay(h1, ms=1000)
        udp(stack, h1).sendto(b"late", (h3.address, PORT))
        second = udp(stack, h2)
        for _ in range(5):
            second.sendto(b"early", (h3.address, PORT))
            assert place.recv(1000) == b"early"
        assert place.recv(1000) == b"late"


def test_a_cut_loses_delayed_packets_on_their_way() -> None:
    with Hosts(2) as hosts, ExitStack() as stack:
        h1, h2 = hosts
        place = udp(stack, h2)
        source = udp(stack, h1)
        hosts.delay(h1, ms=1000)
        source.sendto(b"before the cut", (h2.address, PORT))
        hosts.cut(h1, h2)
        hosts.delay(h1, ms=0)
        hosts.heal()
        source.sendto(b"after it", (h2.address, PORT))
        assert place.recv(1000) == b"after it"


def test_packets_with_jitter_stay_in_order() -> None:
    with Hosts(2) as hosts, ExitStack() as stack:
        h1, h2 = hosts
        place = udp(stack, h2)
        source = udp(stack, h1)
        hosts.delay(h1, ms=20, jitter=20)
        sent = [str(number).encode() for number in range(50)]
        for data in sent[:-1]:
            source.sendto(data, (h2.address, PORT))
        hosts.delay(h1, ms=0)
        source.sendto(sent[-1], (h2.address, PORT))
        assert [place.recv(1000) for _ in sent] == sent


def test_a_lossy_host_loses_some_packets_but_not_all() -> None:
    with Hosts(2) as hosts, ExitStack() as stack:
        h1, h2 = hosts
        place = udp(stack, h2)
        source = udp(stack, h1)
        hosts.loss(h1, percent=50)
        for _ in range(100):
            source.sendto(b"perhaps", (h2.address, PORT))
        hosts.loss(h1, percent=0)
        source.sendto(b"last", (h2.address, PORT))
        arrived = [*iter(lambda: place.recv(1000), b"last")]
        assert 0 < len(arrived) < 100


def test_two_sets_of_hosts_do_not_reach_each_other() -> None:
    with Hosts(2) as hosts, Hosts(2) as others, ExitStack() as stack:
        (h1, _), (_, other) = hosts, others
        place = udp(stack, other)
        udp(stack, h1).sendto(b"to the other h2", (other.address, PORT))
        hosts.settle()
        others.settle()
        assert waiting(place) == []


# -- what remains


def traces(inodes: set[int]) -> list[str]:
    """Return all places in /proc that still refer to a namespace: processes in it, descriptors and mounts of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            links = [process / "ns/net", *(process / "fd").iterdir()]
            found += [str(link) for link in links if _target(link) in {f"net:[{inode}]" for inode in inodes}]
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return found + [line for line in mounts.splitlines() if any(f"net:[{inode}]" in line for inode in inodes)]


def held() -> Counter[str]:
    """Return what this process has open, and the network interfaces."""
    return Counter([*(_target(link) for link in Path("/proc/self/fd").iterdir()), *map(str, socket.if_nameindex())])


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed
        return ""


def test_nothing_is_left_after_a_failure() -> None:
    before = held()
    with suppress(ZeroDivisionError), Hosts(2) as hosts:
        h1, h2 = hosts
        inodes = {h1.inode, h2.inode}
        sleeping = hosts.popen(h1, "sleep", "1000")
        hosts.popen(h2, sys.executable, "-c", "import os, time; os.fork(); os.setsid(); time.sleep(1000)")
        eventually(lambda: len(hosts.left()) == 3, "three processes in the hosts")
        assert traces(inodes)
        raise ZeroDivisionError
    assert (traces(inodes), sleeping.returncode) == ([], -signal.SIGKILL)
    assert not held() - before  # less is possible: what earlier tests had left is closed at any time


def test_nothing_is_left_after_the_test_process_is_killed() -> None:
    program = """
        import sys
        from hosts_support import Hosts
        with Hosts(2) as hosts:
            h1, h2 = hosts
            sleeping = hosts.popen(h1, "sleep", "1000")
            print(h1.inode, h2.inode, flush=True)
            sys.stdin.read()
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(words, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        inodes = {int(word) for word in process.stdout.readline().split()}
        assert traces(inodes)
        process.kill()
    eventually(lambda: not traces(inodes), "the end of the hosts")
