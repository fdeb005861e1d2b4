"""The live page against clients that are slow, many, or strangers: bounds, TLS, and requests of any kind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes_support import play, until
from view_support import row
from web_support import QUICK, TOKEN, Served, end_of, parsed, request, seen_at, serving

from smssim.core.fleet import Fleet
from smssim.core.limits import LIMITS, Limits
from smssim.core.snapshot import Snapshot
from smssim.net import certs
from smssim.net.hosts import Hosts
from smssim.settings import CertsSettings
from smssim.web.connection import Connection

KERNEL_BYTES: Final = 4 << 20  # far more than a system buffers for one connection by itself
BUFFERED_MAX: Final = 128 << 10


def wide(elapsed_s: float) -> Snapshot:
    """Return a run with long names, so that its state and its last frame are large."""
    names = (f"{i}-{'x' * 50}" for i in range(1000))
    return replace(seen_at(elapsed_s), fleet=Fleet(tuple(map(row, names))))


def connections(served: Served) -> list[Connection]:
    return list(served.page._page.server.crowd.all)  # type: ignore[union-attr]


async def stalled(served: Served, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request, and never read the answer."""
    reader, writer = await served.connect()
    reading(writer).pause_reading()
    writer.write(request(target))
    return reader, writer


def reading(writer: asyncio.StreamWriter) -> asyncio.ReadTransport:
    """Return the side of a connection that receives, to pause it."""
    transport: Any = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    return transport


# -- slow clients


def buffered(connection: Connection) -> int:
    """Return how many bytes are buffered for a client, also below TLS."""
    transport = connection.transport
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below is not None else 0)


@contextlib.asynccontextmanager
async def without_compression(limits: Limits = QUICK) -> AsyncIterator[Served]:
    """Serve a page whose state is far larger than what a system buffers."""
    async with serving(limits) as served:
        served.note(wide(1.0))
        app = served.page._page.app  # type: ignore[union-attr]
        large = replace(app._files["style.css"], body=b" " * (4 * KERNEL_BYTES), packed=None)
        app._files["style.css"] = large
        yield served


def test_little_is_buffered_for_a_client_that_does_not_read_and_it_is_closed_in_the_end() -> None:
    async def scene() -> None:
        async with without_compression(replace(QUICK, page_stuck_s=0.3)) as served:
            reader, _ = await stalled(served, "/static/style.css")
            await until(lambda: any(map(buffered, connections(served))))
            (connection,) = connections(served)
            assert buffered(connection) <= BUFFERED_MAX
            assert (await served.ask("/api/state")).status == 200  # others are answered meanwhile
            await until(lambda: connection.is_lost)
            assert not connections(served)
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            with pytest.raises(ConnectionResetError):  # by the system, which keeps nothing for it either
                await reader.read()

    play(scene())


def test_a_slow_viewer_gets_the_newest_frame_when_it_reads_again() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_shared_s=0.0)) as served:
            served.note(wide(0.5))
            stream = await served.follow()
            viewers = served.page._page.viewers  # type: ignore[union-attr]
            (connection,) = connections(served)
            reading(stream.writer).pause_reading()
            second = 1
            while not buffered(connection):
                served.note(wide(float(second)))
                second += 1
                await asyncio.sleep(0)
            made = viewers.made
            for later in range(second, second + 300):
                served.note(wide(float(later)))
                await asyncio.sleep(0)
                assert buffered(connection) <= BUFFERED_MAX
            served.note(end_of())
            reading(stream.writer).resume_reading()
            received = 0
            while not (await stream.frame())["progress"]["final"]:
                received += 1
            assert received <= made + 1 < viewers.made  # those in between were skipped

    play(scene())


def test_stalled_viewers_do_not_delay_others() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, page_shared_s=0.0)) as served:
            served.note(wide(0.5))
            for _ in range(QUICK.page_viewers_max - 1):
                await stalled(served, "/api/events")
            viewers = served.page._page.viewers  # type: ignore[union-attr]
            await until(lambda: len(viewers) == QUICK.page_viewers_max - 1)
            reading = await served.follow()
            for second in range(1, 100):
                served.note(wide(float(second)))
                while (await reading.frame())["progress"]["elapsed_s"] < second:
                    pass
            assert sum(map(buffered, connections(served))) <= QUICK.page_viewers_max * BUFFERED_MAX

    play(scene())


def test_a_request_that_never_ends_is_closed_and_so_is_a_silent_connection() -> None:
    async def scene() -> None:
        async with serving(replace(QUICK, http_connection_s=0.1, page_alive_s=0.15)) as served:
            for start in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
                assert await served.raw(start) == b""
            reader, writer = await served.connect()  # one complete request, then half of another
            writer.write(request("/api/runs", Connection="keep-alive"))
            await reader.readuntil(b"[]")
            writer.write(b"GET /")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            stream = await served.follow()  # an open stream is no silent connection
            while await stream._line() != b":\n":  # longer than the limit, which does not apply
                pass
            served.note(seen_at(1.0))
            await stream.frame()

    play(scene())


def test_connections_beyond_the_bound_replace_idle_ones_and_are_refused_if_all_are_busy() -> None:
    async def scene() -> None:
        limits = replace(QUICK, page_connections_max=4, page_viewers_max=3, http_connection_s=1000.0)
        async with serving(replace(limits, page_connections_max=4)) as served:
            idle = [await served.connect() for _ in range(4)]
            await until(lambda: len(connections(served)) == 4)
            assert (await served.ask("/api/runs")).status == 200
            with contextlib.suppress(ConnectionError):
                assert await idle[0][0].read() == b""
            served.note(wide(1.0))
            streams = [await served.follow() for _ in range(3)]
            app = served.page._page.app  # type: ignore[union-attr]
            app._files["style.css"] = replace(app._files["style.css"], body=b" " * (4 * KERNEL_BYTES), packed=None)
            await stalled(served, "/static/style.css")
            await until(lambda: len(connections(served)) == 4 and all(one.is_busy for one in connections(served)))
            refused = parsed(await served.raw(request("/api/runs")))
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            for stream in streams:
                await stream.frame()

    play(scene())


def test_sixty_four_viewers_are_served_and_one_more_is_not() -> None:
    async def scene() -> None:
        async with serving(LIMITS) as served:
            served.note(seen_at(1.0))
            streams = [await served.follow() for _ in range(64)]
            assert (await served.ask("/api/events")).status == 503
            assert (await served.ask("/api/state")).status == 200
            for stream in streams:
                await stream.frame()
            served.note(end_of())
            for stream in streams:
                assert (await stream.frame())["progress"]["final"]

    play(scene())


def test_pipelined_requests_are_answered_in_order_on_one_connection() -> None:
    async def scene() -> None:
        async with serving() as served:
            kept = request("/api/runs", Connection="keep-alive")
            answer = await served.raw(kept * 3 + request("/nothing"))
            assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 404]

    play(scene())


# -- requests of any kind

words = st.one_of(
    st.sampled_from([b"GET", b"HEAD", b"POST", b"/", b"/api/state", b"/api/events", b"/static/x", b"*", b"HTTP/1.1"]),
    st.sampled_from(
        [b"Host: localhost\r\n", b"Host: \xff\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
    ),
    st.sampled_from([b" ", b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"?run=", b"?token=", b"%", b"%00", b"%ff", b"/../"]),
    st.sampled_from(
        [b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Cookie: a=b;;=\r\n"]
    ),
    st.sampled_from([b'If-None-Match: "\r\n', b"Accept-Encoding: ;;q=,gzip;q\r\n", b"Authorization: Bearer \xff\r\n"]),
    st.binary(max_size=20),
)
well_formed = st.builds(
    lambda target, header: (
        b"GET /" + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + b"\r\n"
    ),
    st.lists(words.filter(lambda word: not set(word) & set(b" \r\n")), max_size=4).map(b"".join),
    words.filter(lambda word: word.endswith(b"\r\n") and b"\r\n\r\n" not in word),
)
anything = st.lists(words, max_size=12).map(b"".join)


@settings(max_examples=40)
@given(st.lists(well_formed | anything, min_size=1, max_size=10), st.booleans())
def test_whatever_is_sent_the_page_answers_the_next_request(requests: list[bytes], has_token: bool) -> None:
    async def scene() -> None:
        limits = replace(QUICK, http_connection_s=0.05, page_over_s=0.0)
        async with serving(limits, token=TOKEN if has_token else None) as served:
            served.note(seen_at(1.0)).note(end_of())
            for one in requests:
                answer = await served.raw(one)
                assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4")), answer
            sound = parsed(await served.raw(request("/api/state", Authorization=f"Bearer {TOKEN}")))
            assert sound.status == 200
            assert not any("failed" in line for line in served.said)

    play(scene())


# -- other machines


def test_a_page_for_other_machines_answers_to_this_machine_only_and_to_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Beta.example.net")
    rows: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "127.0.0.1": (("localhost", "[::1]:1", "127.0.0.2"), ("beta", "10.0.0.5", "evil.example", "beta.example.net")),
        "::1": (("localhost", "[::1]"), ("beta", "[2001:db8::1]")),
        "0.0.0.0": (
            ("localhost", "beta", "BETA:80", "beta.example.net:1", "10.0.0.5", "[2001:db8::1]:80"),
            ("evil.example",),
        ),
        "10.0.0.5": (
            ("10.0.0.5:1", "localhost", "beta", "192.0.2.1"),
            ("evil.example", "beta.evil.example", "10.0.0.5.evil"),
        ),
        "alert.example": (
            ("alert.example", "Alert.Example:8", "10.0.0.5"),
            ("evil.example", "x.alert.example", "", ":1"),
        ),
    }
    for listen, (included, excluded) in rows.items():
        answering = Hosts.of(listen)
        assert [host for host in included if not answering.includes(host)] == [], listen
        assert [host for host in excluded if answering.includes(host)] == [], listen


def test_a_page_on_all_addresses_is_announced_under_the_name_of_the_machine() -> None:
    async def scene() -> None:
        async with serving(web_listen="0.0.0.0", insecure=True) as served:
            host = served.url.split("/")[2]
            assert (await served.ask(Host=host)).status == 200
            assert (await served.ask(Host="192.0.2.7:80")).status == 200
            assert (await served.ask(Host="evil.example")).status == 400
            assert "0.0.0.0" not in served.url

    play(scene())


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    certs.serve(CertsSettings(directory=str(directory), host=()))
    return directory


def pair(pki: Path) -> dict[str, Any]:
    """Return the settings of a node with a certificate."""
    return {"tls_cert": str(pki / certs.SERVER), "tls_key": str(pki / certs.SERVER_KEY)}


def client(pki: Path, *, certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / certs.CA))
    if certificate:
        context.load_cert_chain(pki / certs.CLIENT, pki / certs.CLIENT_KEY)
    return context


def test_with_a_certificate_the_page_has_tls_and_its_cookie_needs_it(pki: Path) -> None:
    async def scene() -> None:
        async with serving(token=TOKEN, **pair(pki)) as served:
            assert served.url.startswith("https://127.0.0.1:")
            assert await served.raw(request()) == b""  # clear text
            served.tls = client(pki)
            entered = await served.ask(f"/?token={TOKEN}")
            cookie = entered.headers["set-cookie"]
            assert cookie.endswith("; Secure")
            served.note(wide(1.0))
            stream = await served.follow(Cookie=cookie.split(";")[0])
            await stream.frame()
            served.note(end_of())
            assert (await stream.frame())["progress"]["final"]

    play(scene())


def test_with_a_ca_browsers_need_a_certificate_too(pki: Path) -> None:
    async def scene() -> None:
        async with serving(tls_ca=str(pki / certs.CA), **pair(pki)) as served:
            served.tls = client(pki)
            with contextlib.suppress(ssl.SSLError):
                assert await served.raw(request()) == b""
            served.tls = client(pki, certificate=True)
            assert (await served.ask()).status == 200

    play(scene())


def test_little_is_buffered_below_tls_too(pki: Path) -> None:
    async def scene() -> None:
        async with serving(**pair(pki)) as served:
            served.tls = client(pki)
            app = served.page._page.app  # type: ignore[union-attr]
            app._files["style.css"] = replace(app._files["style.css"], body=b" " * (4 * KERNEL_BYTES), packed=None)
            reader, writer = await served.connect()
            reading(writer).pause_reading()
            writer.write(request("/static/style.css"))
            await until(lambda: any(one.flow.write_paused for one in connections(served)))
            (connection,) = connections(served)
            assert 0 < buffered(connection) <= BUFFERED_MAX
            assert not reader.at_eof()

    play(scene())


def test_a_watcher_serves_its_page_without_its_clients_certificate_on_loopback(pki: Path) -> None:
    async def scene() -> None:
        mine: dict[str, Any] = {"tls_cert": str(pki / certs.CLIENT), "tls_key": str(pki / certs.CLIENT_KEY)}
        async with serving(watches=True, tls_ca=str(pki / certs.CA), **mine) as served:
            assert served.url.startswith("http://127.0.0.1:")
            served.note(seen_at(1.0))
            stream = await served.follow()
            await stream.frame()
            closing = asyncio.create_task(served.page.close())
            assert await stream.next() == ("over", {"reason": "smssim watch has ended"})
            await closing

    play(scene())
