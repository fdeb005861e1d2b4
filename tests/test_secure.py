"""TLS, mutual TLS and the shared token: which clients are accepted, which are refused, and with what reason."""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpc import StatusCode, aio
from nodes_support import Fetching, Stage, assert_exact, codes, hello, play, report_status
from processes_support import Nodes, assert_quiet
from processes_support import assert_exact as assert_run_exact

from smssim.errors import UsageError
from smssim.launch.node import command
from smssim.net import access, certs
from smssim.net.certs import FILES
from smssim.settings import AccessSettings, CertsSettings, MonitorSettings, ProducerSettings, SenderSettings
from smssim.v1 import monitor_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 50
TOKEN: Final = "open-sesame-1001"
WRONG: Final = "open-sesame-1002"

Settings = dict[str, Any]


def made(directory: Path, *hosts: str) -> Path:
    certs.serve(CertsSettings(str(directory), hosts))
    return directory


def issued(directory: Path, host: str, **dates: Any) -> None:
    """Write a CA and a server's certificate signed by it, with dates that `smssim certs` never makes."""
    directory.mkdir()
    ca = trustme.CA()
    server = ca.issue_cert(host, **dates)
    ca.cert_pem.write_to_path(directory / "ca.pem")
    server.cert_chain_pems[0].write_to_path(directory / "server.pem")
    server.private_key_pem.write_to_path(directory / "server-key.pem")
    (directory / "server-key.pem").chmod(0o600)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the certificates of four CAs: ours, theirs, one for another host, and one that has expired."""
    base = tmp_path_factory.mktemp("pki")
    made(base / "ours")
    made(base / "theirs")
    issued(base / "elsewhere", "elsewhere.example")
    issued(base / "old", "127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    return base


def pair(directory: Path, name: str) -> Settings:
    return {"tls_cert": str(directory / f"{name}.pem"), "tls_key": str(directory / f"{name}-key.pem")}


def authority(directory: Path) -> Settings:
    return {"tls_ca": str(directory / "ca.pem")}


def sides(pki: Path) -> tuple[dict[str, Settings], dict[str, Settings]]:
    """Return the settings of servers and those of clients, by what they use."""
    ours, theirs = pki / "ours", pki / "theirs"
    serving = {
        "plain": {},
        "TLS": pair(ours, "server"),
        "mutual TLS": pair(ours, "server") | authority(ours),
        "TLS for another host": pair(pki / "elsewhere", "server"),
        "TLS of last year": pair(pki / "old", "server"),
        "a token": {"token": TOKEN},
        "mutual TLS and a token": pair(ours, "server") | authority(ours) | {"token": TOKEN},
    }
    coming = {
        "plain": {},
        "TLS": authority(ours),
        "TLS with another authority": authority(theirs),
        "TLS that trusts the other host's": authority(pki / "elsewhere"),
        "TLS that trusts last year's": authority(pki / "old"),
        "mutual TLS": pair(ours, "client") | authority(ours),
        "mutual TLS with a strange certificate": pair(theirs, "client") | authority(ours),
        "a token": {"token": TOKEN},
        "a wrong token": {"token": WRONG},
        "mutual TLS and a token": pair(ours, "client") | authority(ours) | {"token": TOKEN},
    }
    return serving, coming


WELCOME: Final = (
    ("TLS", "TLS"),
    ("TLS", "mutual TLS"),
    ("mutual TLS", "mutual TLS"),
    ("a token", "a token"),
    ("plain", "a token"),
    ("mutual TLS and a token", "mutual TLS and a token"),
)


def test_a_client_with_the_required_credentials_takes_part_in_a_whole_run(pki: Path) -> None:
    async def scene(serving: Settings, coming: Settings) -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(**serving)
            producer = await stage.producer(TOTAL, monitor=monitor.address, **serving)
            sender = stage.sender(producer.address, **coming)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    ways_to_serve, ways_to_come = sides(pki)
    for serves, comes in WELCOME:
        play(scene(ways_to_serve[serves], ways_to_come[comes]))


NO_TOKEN: Final = "refused: missing or wrong token: set --token-file or SMSSIM_TOKEN"
TURNED_AWAY: Final = {
    ("TLS", "plain"): "it requires TLS: add --tls-ca here",
    ("mutual TLS", "plain"): "it requires TLS: add --tls-ca here",
    ("plain", "TLS"): "it does not use TLS: start it with --tls-cert and --tls-key, or remove --tls-ca here",
    ("TLS", "TLS with another authority"): "its certificate is not signed by the CA in --tls-ca: use the CA "
    "that signed it",
    ("TLS for another host", "TLS that trusts the other host's"): "its certificate is not for 127.0.0.1: use a "
    "name that is in it, or issue one for 127.0.0.1",
    ("TLS of last year", "TLS that trusts last year's"): "its certificate has expired: renew it",
    ("mutual TLS", "TLS"): "it requires a client certificate: add --tls-cert and --tls-key here",
    ("mutual TLS", "mutual TLS with a strange certificate"): "it rejects the certificate in --tls-cert: use one "
    "that is signed by the CA in its own --tls-ca",
    ("a token", "plain"): NO_TOKEN,
    ("a token", "a wrong token"): NO_TOKEN,
    ("mutual TLS and a token", "mutual TLS"): NO_TOKEN,
}


def lines(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [line for line in caplog.messages if line.startswith(start)]


def test_a_client_with_wrong_credentials_logs_the_reason_in_one_line_and_exits_with_2(
    pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(serving: Settings, coming: Settings, reason: str) -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL, **serving)
            sender = stage.sender(producer.address, **coming)
            assert await sender.code() == 2, reason
            assert (producer.open_streams(), producer.book()) == (0, (0, 0, 0, TOTAL)), reason
            (line,) = lines(caplog, "sender: ")
            between = " " if reason == NO_TOKEN else ": "
            assert line == f"sender: producer {producer.address}{between}{reason}"

    ways_to_serve, ways_to_come = sides(pki)
    for (serves, comes), reason in TURNED_AWAY.items():
        caplog.clear()
        play(scene(ways_to_serve[serves], ways_to_come[comes], reason))


def test_a_monitor_refuses_clients_as_a_producer_does(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    serving, coming = sides(pki)

    async def scene() -> None:
        async with Stage() as stage:
            for serves, comes in (("mutual TLS", "TLS"), ("a token", "a wrong token")):
                monitor = await stage.monitor(**serving[serves])
                theirs = serving["TLS"] if "TLS" in comes else {}
                producer = await stage.producer(TOTAL, monitor=monitor.address, **theirs)
                assert await stage.sender(producer.address, **coming[comes]).code() == 2
                assert TURNED_AWAY[serves, comes] in lines(caplog, f"sender: monitor {monitor.address}")[-1]
                assert monitor.node.runs.followed == {}
                assert producer.backlog.settled == 0

    play(scene())


def test_an_unreachable_peer_is_not_mistaken_for_one_that_refuses_credentials(pki: Path) -> None:
    _, coming = sides(pki)
    refused = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
    for way in coming.values():
        lent = access.load(AccessSettings(**way))
        assert play(lent.fault("127.0.0.1:1", refused)) is None
        assert play(lent.fault("127.0.0.1:1", "Socket closed")) is None  # a probe finds no peer
        assert play(lent.fault("127.0.0.1:1", "")) is None


# -- the token

METHODS: Final = (
    "/smssim.v1.ProducerService/FetchMessage",
    "/smssim.v1.MonitorService/ReportResult",
    "/smssim.v1.MonitorService/WatchProgress",
    "/smssim.v1.ProducerService/Nothing",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
HEADERS: Final[dict[str, list[tuple[str, str | bytes]]]] = {
    "nothing": [],
    "a wrong token": [("authorization", f"Bearer {WRONG}")],
    "the start of the token": [("authorization", f"Bearer {TOKEN[:-1]}")],
    "the token and more": [("authorization", f"Bearer {TOKEN}1")],
    "another scheme": [("authorization", f"Basic {TOKEN}")],
    "no scheme": [("authorization", TOKEN)],
    "another header": [("token", f"Bearer {TOKEN}")],
    "bytes": [("authorization-bin", b"\xff\xfe")],
}


async def answered(channel: aio.Channel, method: str, headers: Any) -> StatusCode:
    """Return the status of a call with an empty request."""
    ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    try:
        await ask(b"", metadata=headers, timeout=20)
    except aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


def test_without_the_token_only_health_checks_are_answered() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            for server in (await stage.producer(TOTAL, token=TOKEN), await stage.monitor(token=TOKEN)):
                channel = stage.channel(server.address)
                for shown, headers in HEADERS.items():
                    for method in METHODS:
                        assert await answered(channel, method, headers) == StatusCode.UNAUTHENTICATED, shown
                    assert await answered(channel, "/grpc.health.v1.Health/Check", headers) == StatusCode.OK, shown

    play(scene())


def test_with_the_token_calls_are_answered() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer, headers = await stage.producer(TOTAL, token=TOKEN), [("authorization", f"Bearer {TOKEN}")]
            channel = stage.channel(producer.address)
            fetch, nothing = METHODS[0], METHODS[3]
            assert await answered(channel, nothing, headers) == StatusCode.UNIMPLEMENTED
            assert await answered(channel, fetch, headers) == StatusCode.INVALID_ARGUMENT  # no hello

    play(scene())


def test_a_stream_or_report_without_the_token_is_refused_and_nothing_is_counted() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer, monitor = await stage.producer(TOTAL, token=TOKEN), await stage.monitor(token=TOKEN)
            async with Fetching(stage.channel(producer.address)) as stranger:
                await stranger.say(hello(credit=10, idle_lanes=10))
                assert await stranger.status() == StatusCode.UNAUTHENTICATED
            report = monitor_pb2.ReportResultRequest()
            assert await report_status(stage.channel(monitor.address), report) == StatusCode.UNAUTHENTICATED
            assert (producer.book(), monitor.node.runs.followed) == ((0, 0, 0, TOTAL), {})

    play(scene())


def test_the_token_is_sent_to_another_machine_only_over_tls_or_with_insecure(pki: Path) -> None:
    for peer in ("alpha:50051", "10.0.0.5:50051", "[::]:50051"):
        with pytest.raises(UsageError) as caught:
            access.load(AccessSettings(token=TOKEN)).of_client(peer)
        assert str(caught.value) == f"--tls-ca or --insecure is required to send the token to {peer}"
        assert access.load(AccessSettings(token=TOKEN, insecure=True)).of_client(peer) is None
        assert access.load(AccessSettings(token=TOKEN, **authority(pki / "ours"))).of_client(peer) is not None
    assert access.load(AccessSettings(token=TOKEN)).of_client("127.0.0.1:1") is None


def test_a_token_file_takes_precedence_over_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert access.load(AccessSettings(token_file=str(file), token=WRONG)).token == TOKEN.encode()
    assert access.load(AccessSettings(token=TOKEN)).token == TOKEN.encode()
    assert access.load(AccessSettings()).token is None


BAD_TOKENS: Final = {
    "empty": b"\n",
    "short": b"1234567",
    "long": b"x" * 513,
    "spaced": b"open sesame 1",
    "accents": b"\xc3\xa9" * 9,
}


def test_a_bad_token_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for bad, token in BAD_TOKENS.items():
        file.write_bytes(token)
        for settings, source in (
            (AccessSettings(token_file=str(file)), f"--token-file: {str(file)!r}"),
            (AccessSettings(token=token.decode() or " "), "SMSSIM_TOKEN"),
        ):
            with pytest.raises(UsageError) as caught:
                access.load(settings)
            said = f"{source} does not contain a valid token; expected 8 to 512 ASCII characters without spaces"
            assert str(caught.value) == said, bad


def test_the_token_is_neither_on_a_command_line_nor_in_the_text_of_settings() -> None:
    given: Settings = {"token": TOKEN}
    for kind, settings in (
        ("producer", ProducerSettings(seed=1, **given)),
        ("sender", SenderSettings(**given)),
        ("monitor", MonitorSettings(**given)),
    ):
        assert TOKEN not in " ".join(command(kind, settings))
        assert TOKEN not in f"{settings}{access.load(settings)}"


def test_a_run_with_a_token_completes_and_never_shows_it() -> None:
    with Nodes() as nodes:
        sender = "mean=0.01,fail=0.2,concurrency=5"
        run = nodes.start(
            "run", f"--sender={sender}", f"--count={TOTAL}", "--json", "--interval=0.1", SMSSIM_TOKEN=TOKEN
        )
        run.shows(lambda figures: figures["senders"] > 0, "a sender")
        shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in nodes.left()]
        assert run.code() == 0
        assert_run_exact(run, TOTAL)
        assert_quiet(run)
        assert len(shown) > 1
        assert TOKEN not in "".join([*shown, *run.out, *run.err])


# -- files that can't be used


SERVER: Final[Settings] = pair(Path("ours"), "server")
UNUSABLE: Final[list[tuple[Settings, str]]] = [
    ({"tls_ca": "no/such"}, "--tls-ca: can't read 'no/such': No such file or directory"),
    ({"tls_ca": "ours"}, "--tls-ca: can't read 'ours': Is a directory"),
    ({"tls_ca": "a\0b"}, r"--tls-ca: can't read 'a\x00b': not a valid file name"),
    ({"tls_ca": "text"}, "--tls-ca: got text; expected a PEM file with a certificate"),
    ({"tls_ca": "broken"}, "--tls-ca: got broken; expected a file with a valid certificate"),
    (SERVER | {"tls_key": "text"}, "--tls-key: got text; expected a PEM file with a private key"),
    (SERVER | {"tls_key": "locked"}, "--tls-key: got locked; expected a key without a passphrase"),
    (SERVER | {"tls_cert": "no"}, "--tls-cert: can't read 'no': No such file or directory"),
    (
        SERVER | {"tls_cert": "broken"},
        "--tls-cert: got broken; expected a valid certificate, with its private key in ours/server-key.pem",
    ),
    (
        SERVER | {"tls_key": "theirs/server-key.pem"},
        "--tls-key: got theirs/server-key.pem; expected the private key of the certificate in ours/server.pem",
    ),
    ({"token_file": "no/such"}, "--token-file: can't read 'no/such': No such file or directory"),
]


def test_an_unusable_file_is_refused_with_its_flag_and_name(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pki)
    Path("text").write_text("hello")
    Path("broken").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    key = serialization.load_pem_private_key(Path("ours/server-key.pem").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    Path("locked").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    for settings, line in UNUSABLE:
        with pytest.raises(UsageError) as caught:
            access.load(AccessSettings(**settings))
        assert str(caught.value) == line


def test_a_node_with_an_unusable_file_exits_with_2_and_one_line(pki: Path) -> None:
    wrong = [f"--tls-cert={pki}/ours/server.pem", f"--tls-key={pki}/theirs/server-key.pem"]
    with Nodes() as nodes:
        for node in (nodes.start("producer", *wrong), nodes.start("monitor", "--token-file=no/such")):
            assert node.code() == 2
            assert len(node.err) == 1
        assert node.err == ["smssim monitor: --token-file: can't read 'no/such': No such file or directory"]


# -- files that others can read


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_secret_that_others_can_read_causes_a_warning(
    pki: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, token = tmp_path / "key.pem", tmp_path / "the token"
    key.write_bytes((pki / "ours" / "server-key.pem").read_bytes())
    token.write_text(TOKEN)
    certificate = str(pki / "ours" / "server.pem")
    said = [
        f"--tls-key: {key} is readable by other users of this machine: run chmod 600 {key}",
        f"--token-file: {token} is readable by other users of this machine: run chmod 600 '{token}'",
    ]
    for mode, public in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        caplog.clear()
        for file in (key, token):
            file.chmod(mode)
        assert access.load(AccessSettings(tls_cert=certificate, tls_key=str(key), token_file=str(token))).token
        assert warnings(caplog) == (said if public else []), oct(mode)


def test_a_secret_from_a_pipe_causes_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.fchmod(reading, 0o644)
    os.write(writing, TOKEN.encode())
    os.close(writing)
    try:
        assert access.load(AccessSettings(token_file=f"/dev/fd/{reading}")).token == TOKEN.encode()
    finally:
        os.close(reading)
    assert warnings(caplog) == []


def test_a_run_warns_once_about_a_token_that_others_can_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    with Nodes() as nodes:
        run = nodes.start("run", "--sender=mean=0.01,copies=2", f"--count={TOTAL}", f"--token-file={token}")
        assert run.code() == 0
        assert sum("readable by other users" in line for line in run.err) == 1


# -- smssim certs


def test_certificates_are_for_this_machine_and_the_given_hosts(tmp_path: Path) -> None:
    directory = made(tmp_path / "new" / "pki", "alpha", "10.0.0.5")
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    certificate = x509.load_pem_x509_certificate((directory / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "alpha"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses >= {"127.0.0.1", "::1", "10.0.0.5"}


def test_only_the_owner_can_read_a_key(pki: Path) -> None:
    for name in FILES:
        mode = stat.S_IMODE((pki / "ours" / name).stat().st_mode)
        assert mode & 0o077 == 0 if name.endswith("-key.pem") else mode & 0o400


def test_certs_overwrites_nothing_and_writes_all_files_or_none(tmp_path: Path) -> None:
    (tmp_path / "client.pem").write_text("mine")
    with pytest.raises(UsageError, match=r"client\.pem' already exists: remove it, or choose another directory$"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["client.pem"]
    assert (tmp_path / "client.pem").read_text() == "mine"


def test_a_host_that_no_certificate_can_name_is_refused(tmp_path: Path) -> None:
    for host in ("a..b", "under_scored", "-a"):
        with pytest.raises(UsageError) as caught:
            made(tmp_path / "pki", host)
        assert (
            str(caught.value) == f"--host: got {host}; expected an IP address, or a name of letters, digits and hyphens"
        )
    assert not (tmp_path / "pki").exists()


def test_certificates_are_valid_for_a_year_and_the_client_certificate_names_no_host(pki: Path) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    server, client = (
        x509.load_pem_x509_certificate((pki / "ours" / name).read_bytes()) for name in (certs.SERVER, certs.CLIENT)
    )
    for certificate in (server, client):
        assert certificate.not_valid_before_utc < now - day / 2
        assert now + 364 * day < certificate.not_valid_after_utc < now + 366 * day
    names = client.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [type(name) for name in names] == [x509.RFC822Name]


def test_without_trustme_certs_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(UsageError, match=r"^trustme is not installed: run pip install 'smssim\[tls\]'$"):
        made(tmp_path / "pki")
    assert not (tmp_path / "pki").exists()


def test_every_pip_install_in_a_message_names_an_extra_of_this_package() -> None:
    root = Path(__file__).parent.parent
    with open(root / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    said = {
        what
        for path in (root / "smssim").rglob("*.py")
        for what in re.findall(r"pip install ([^\s\"]+)", path.read_text())
    }
    assert said >= {"'smssim[tls]'"}
    assert said <= {f"'smssim[{extra}]'" for extra in extras}


def test_the_certs_command_says_what_it_wrote(tmp_path: Path) -> None:
    with Nodes() as nodes:
        first = nodes.start("certs", tmp_path / "pki")
        assert first.code() == 0
        assert first.out[0].startswith(f"Wrote {', '.join(FILES)} to {tmp_path}/pki, for localhost, 127.0.0.1, ::1, ")
        second = nodes.start("certs", tmp_path / "pki")
        assert second.code() == 2
        assert len(second.err) == 1
        assert second.err[0].endswith(" already exists: remove it, or choose another directory")


def test_grpc_accepts_the_files_of_certs(pki: Path) -> None:
    ours = access.load(AccessSettings(**pair(pki / "ours", "server"), **authority(pki / "ours")))
    assert isinstance(ours.of_server(), grpc.ServerCredentials)
    assert isinstance(ours.of_client("127.0.0.1:1"), grpc.ChannelCredentials)
