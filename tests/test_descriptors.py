"""Silent connections: they time out, their number is bounded, and the log says when no more are accepted."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from nodes_support import BRIEF, Stage, assert_exact, codes, losing_after, play
from processes_support import Node, Nodes

from smssim.core.limits import LIMITS
from smssim.net import certs
from smssim.net.descriptors import Shortage, connections_max
from smssim.settings import CertsSettings

TOTAL: Final = 50
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty SETTINGS


async def connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def closed(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Wait until the other side has closed the connection, then close this side."""
    with contextlib.suppress(ConnectionError):
        while await connection[0].read(4096):
            pass
    connection[1].close()


def test_a_silent_connection_is_closed(tmp_path: Path) -> None:
    certs.serve(CertsSettings(str(tmp_path / "pki"), ()))
    secure = {"tls_cert": f"{tmp_path}/pki/server.pem", "tls_key": f"{tmp_path}/pki/server-key.pem"}

    async def scene() -> None:
        async with Stage(replace(BRIEF, handshake_s=0.2)) as stage:
            for settings in ({}, secure):
                producer = await stage.producer(TOTAL, **settings)
                for connection in [await connected(producer.address) for _ in range(3)]:
                    await closed(connection)

    play(scene())


def test_a_connection_without_a_call_is_closed() -> None:
    brief = replace(losing_after(0.3), connection_idle_s=0.2)

    async def scene() -> None:
        async with Stage(brief) as stage:
            connection = await connected((await stage.producer(TOTAL)).address)
            connection[1].write(PREFACE)
            await closed(connection)

    play(scene())


def test_connections_beyond_the_bound_are_closed_and_senders_join_once_silent_ones_time_out() -> None:
    async def scene() -> None:
        async with Stage(replace(BRIEF, connections_max=3, handshake_s=0.2)) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            silent = [await connected(producer.address) for _ in range(3)]
            await closed(await connected(producer.address))
            sender = stage.sender(producer.address)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)
            for connection in silent:
                await closed(connection)

    play(scene())


def test_a_connection_beyond_the_bound_is_closed_even_if_the_others_are_silent() -> None:
    async def scene() -> None:
        async with Stage(replace(BRIEF, connections_max=3, handshake_s=1000.0)) as stage:
            producer = await stage.producer(TOTAL)
            silent = [await connected(producer.address) for _ in range(3)]
            await closed(await connected(producer.address))
            for _, writer in silent:
                writer.close()

    play(scene())


def test_a_shortage_is_reported_once_each_time_it_begins() -> None:
    limit = 1000
    most = connections_max(limit)
    assert most == limit - LIMITS.descriptors_reserved
    shortage = Shortage(limit)
    said = [shortage.news(opened) for opened in (20, most - 1, most, most + 1, most - 1, most, 20, most, most)]
    assert [i for i, news in enumerate(said) if news] == [2, 7]
    assert said[7] == (
        "808 of 1,000 file descriptors are open and no more connections are accepted: raise the limit (ulimit -n), or "
        "find the clients that hold them"
    )
    assert Shortage(10**6).news(LIMITS.connections_max) == (
        "20,000 connections are open and no more are accepted: find the clients that hold them"
    )


def test_small_limits_leave_room_for_connections() -> None:
    limits = (64, 128, 1024, 65_536)
    assert [connections_max(limit) for limit in limits] == [32, 64, 832, LIMITS.connections_max]


@contextlib.contextmanager
def limited(*words: object, soft: int, hard: int) -> Iterator[Node]:
    """Start a node with these soft and hard limits on file descriptors."""
    node = Node(words, {}, before=("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"))
    try:
        yield node
    finally:
        node.close()


def test_a_server_raises_its_limit_on_descriptors_to_the_hard_limit() -> None:
    with limited("producer", "--listen=127.0.0.1:0", soft=100, hard=200) as node:
        node.address()
        assert resource.prlimit(node.pid, resource.RLIMIT_NOFILE) == (200, 200)


def test_when_descriptors_run_out_the_log_says_so_once_and_the_run_continues_later() -> None:
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(Nodes())
        monitor = nodes.monitor()
        words = ("producer", "--listen=127.0.0.1:0", f"--monitor={monitor.address()}", f"--count={TOTAL}")
        producer = stack.enter_context(limited(*words, soft=100, hard=150))
        host, _, port = producer.address().rpartition(":")
        strangers = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(150)]
        warned = r"producer: \d+ of 150 file descriptors are open and no more connections are accepted: raise the limit"
        producer.says(warned)
        sender = nodes.sender(producer, "honest", "--mean=0.01")
        for stranger in strangers:
            stranger.close()
        assert [node.code() for node in (sender, producer, monitor)] == [0, 0, 0]
        assert sum("file descriptors" in line for line in producer.err) == 1
