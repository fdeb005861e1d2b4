"""What docs/engine.md and the files in docs/engine/ say holds: real servers and the real command line accept them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import engine_demo
import jsonschema
import pytest
from nats_cluster import BINARY, Cluster, Server, free_ports
from processes_support import MARK, Nodes
from ruamel.yaml import YAML

from smssim.cli import options
from smssim.cli.commands import COMMANDS, Command
from smssim.core.limits import LIMITS
from smssim.engine.checks import VERSION_MIN
from smssim.errors import ExitCode
from smssim.launch.child import Child
from smssim.settings import FREE_ADDRESS, MonitorSettings

ROOT: Final = Path(__file__).parent.parent
FILES: Final = ROOT / "docs/engine"
PAGE: Final = (ROOT / "docs/engine.md").read_text(encoding="utf-8")
UNITS: Final = sorted(path.name for path in FILES.glob("*.service"))
CONFIGS: Final = ("nats.conf", "nats-trusted.conf")
MACHINES: Final = ("alpha", "beta", "gamma")
KINDS: Final = ("producer", "monitor")
DEMONSTRATION: Final = ROOT / "scripts/engine.sh"

Words = list[str]


# ---- Command lines


def given_by(words: Words) -> Any:
    """Return the settings that the words of a command line after `smssim` give; fails if they are refused."""
    taken: list[Any] = []
    command = COMMANDS[words[0]]

    def serve(settings: Any) -> int:
        taken.append(settings)
        return 0

    stand_in = Command(command.name, command.purpose, command.examples, command.settings, serve)
    options.program([stand_in])(words, standalone_mode=False)
    (settings,) = taken
    return settings


def lines_of_the_page() -> Iterator[str]:
    """Yield the commands of docs/engine.md, continued lines joined."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL):
        yield from filter(None, (line.strip() for line in re.sub(r"\\\n\s*", "", block).splitlines()))


def unit(name: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of each setting of a unit; fails if a line is none of these."""
    section, found = "", []
    for line in re.sub(r"\\\n\s*", "", (FILES / name).read_text(encoding="utf-8")).splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            section = line[1:-1]
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert section, line
            assert equals, line
            found.append((section, key, value))
    return found


def command_of(name: str) -> Words:
    """Return the command line of a unit, for the run `flood`."""
    (command,) = (value for _, key, value in unit(name) if key == "ExecStart")
    return shlex.split(command.replace("%i", "flood"))


def compose() -> Mapping[str, Any]:
    """Return docs/engine/compose.yaml."""
    read: Mapping[str, Any] = YAML(typ="safe").load(FILES / "compose.yaml")
    return read


def composed_commands() -> dict[str, Words]:
    """Return the command line of each service that runs smssim."""
    services = compose()["services"]
    return {name: shlex.split(one["command"]) for name, one in services.items() if one["image"] == "smssim"}


def test_every_command_line_of_the_page_is_one_that_smssim_accepts() -> None:
    commands = [shlex.split(line)[1:] for line in lines_of_the_page() if line.startswith("smssim ")]
    assert {words[0] for words in commands} == {"certs", "producer", "monitor", "sender", "watch"}
    for words in commands:
        given_by(words)


def test_every_command_of_the_page_is_known() -> None:
    known = {"smssim", "nats-server", "nats", "systemctl", "journalctl", "useradd", "cp", "curl", "echo", "python3"}
    assert {shlex.split(line)[0] for line in lines_of_the_page()} - known == {"/opt/smssim/bin/pip"}


def test_a_wrong_flag_in_a_command_line_is_found() -> None:
    with pytest.raises(Exception, match="--engine-login"):
        given_by(["producer", "--engine-login", "x"])


def test_the_units_and_the_containers_start_nodes_of_one_run() -> None:
    units = [given_by(command_of(f"smssim-{kind}@.service")[1:]) for kind in KINDS]
    containers = [given_by(words) for words in composed_commands().values() if words[0] in KINDS]
    assert len(containers) == 4
    for nodes in (units, containers):
        assert {node.run_name for node in nodes} == {"flood"}
        assert {node.engine_servers for node in nodes} == {nodes[0].engine_servers}
        assert [server.split("/")[-1] for server in nodes[0].engine_servers] == [f"{one}:4222" for one in MACHINES]
    for producer in (node for node in (*units, *containers) if hasattr(node, "monitor")):
        assert producer.monitor == "alpha:50052,beta:50052"


def test_the_least_version_of_the_page_is_that_of_the_code() -> None:
    assert f"nats-server/releases) {'.'.join(map(str, VERSION_MIN))} or later" in PAGE


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    takeover, cut_off = (f"{time_s:g} s" for time_s in (LIMITS.takeover_after_s, LIMITS.cut_off_after_s))
    assert f"After {takeover} without a new record" in PAGE
    assert f"paused for longer than {takeover}" in PAGE
    assert f"after {cut_off} it sends its peers to the other nodes" in PAGE
    assert f"after {takeover} another takes over, and after {cut_off} this one sends its peers away" in PAGE
    assert f"at most {1 / LIMITS.append_every_s:.0f} a second for each log" in PAGE
    assert f"keeps the run open for {LIMITS.open_after_pause_s:g} s at least" in PAGE
    assert f"waits up to {LIMITS.farewell_s:g} s for senders" in PAGE
    assert LIMITS.log_states_max == 4
    assert f"up to {LIMITS.log_bytes_max >> 20} MB or four times the state" in PAGE
    assert f"or {LIMITS.log_records_max:,} records" in PAGE
    assert (1 / LIMITS.poll_s, LIMITS.renew_s) == (2, 1)  # "twice a second", "at least once a second"


# ---- Files


# The sections and keys of units that are used here; systemd ignores others with a warning. See systemd.unit(5),
# systemd.service(5) and systemd.exec(5).
KEYS: Final = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst"},
    "Service": {
        *("User", "StateDirectory", "Environment", "EnvironmentFile", "ExecStart", "LimitNOFILE", "TimeoutStopSec"),
        *("Restart", "RestartSec", "RestartForceExitStatus", "RestartPreventExitStatus", "SuccessExitStatus"),
    },
    "Install": {"WantedBy"},
}


@pytest.mark.parametrize("name", UNITS)
def test_the_units_have_known_settings_only(name: str, tmp_path: Path) -> None:
    settings = unit(name)
    assert {section for section, _, _ in settings} == KEYS.keys()
    assert [one for one in settings if one[1] not in KEYS[one[0]]] == []
    assert next(value for _, key, value in settings if key == "Restart") in ("always", "on-failure")
    verify = shutil.which("systemd-analyze")
    if verify is not None:  # it warns of what systemd would ignore, and of a program that does not exist
        text = (FILES / name).read_text(encoding="utf-8")
        path = tmp_path / name
        path.write_text(re.sub(r"(?<=ExecStart=)\S+", shutil.which("true") or "", text), encoding="utf-8")
        shown = subprocess.run([verify, "verify", path], capture_output=True, text=True, check=False)
        assert str(path) not in shown.stderr, shown.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_restarted_only_with_codes_after_which_that_can_help(kind: str) -> None:
    codes = {
        key: {*map(int, value.split())} for _, key, value in unit(f"smssim-{kind}@.service") if "ExitStatus" in key
    }
    final = {ExitCode.USAGE, ExitCode.DISAGREE, ExitCode.THRESHOLD}
    assert codes["RestartPreventExitStatus"] == final
    assert codes["RestartForceExitStatus"] == codes["SuccessExitStatus"] == {ExitCode.INCOMPLETE}


_NAMES: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
# The parts of the Compose Specification (schema/compose-spec.json in compose-spec/compose-spec) that are used here.
COMPOSE: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["services"],
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "services": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["image", "command"],
                "properties": {
                    "image": {"type": "string"},
                    "command": {"oneOf": [{"type": "string"}, _TEXTS]},
                    "hostname": {"type": "string"},
                    "environment": _NAMES,
                    "volumes": {**_TEXTS, "uniqueItems": True},
                    "network_mode": {"type": "string"},
                    "build": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"context": {"type": "string"}, "dockerfile_inline": {"type": "string"}},
                    },
                },
                "dependentSchemas": {"network_mode": {"properties": {"hostname": False}}},  # Docker refuses both
            },
        },
    },
}


def test_the_compose_file_follows_the_specification() -> None:
    read = compose()
    jsonschema.validate(read, COMPOSE)
    with pytest.raises(jsonschema.ValidationError, match="volume"):
        jsonschema.validate({"services": {"a": {"image": "b", "command": "c", "volume": []}}}, COMPOSE)
    for name, service in read["services"].items():
        kind, _, machine = service.get("network_mode", "service:alpha").partition(":")
        assert (kind, machine in read["services"]) == ("service", True), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in read["volumes"] or (FILES / source).is_file(), volume


def test_the_image_of_the_compose_file_gets_files_that_exist() -> None:
    build = compose()["services"]["senders"]["build"]
    context = (FILES / build["context"]).resolve()
    assert context == ROOT
    copied = [
        word for line in re.findall("^COPY (.+) ", build["dockerfile_inline"], re.MULTILINE) for word in line.split()
    ]
    assert {"pyproject.toml", "smssim"} <= {*copied}
    assert [name for name in copied if not (context / name).exists()] == []


# ---- Servers


@dataclass
class Machines:
    """Where the machines of docs/engine/ are in a test: each name is an address of this machine, with free ports."""

    folder: Path
    addresses: dict[str, str]

    @classmethod
    def on_loopback(cls, folder: Path) -> Machines:
        """Return machines whose files are in this folder."""
        names = [f"{name}:{port}" for name in MACHINES for port in (4222, 6222, 8222, 50051, 50052)]
        ports = free_ports(len(names))
        return cls(folder, {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)})

    def port(self, name: str) -> int:
        """Return the port that stands for one of a machine, such as alpha:4222."""
        return int(self.addresses[name].partition(":")[2])

    def on(self, machine: str, text: str) -> str:
        """Return a text of docs/engine/ as it is on a machine."""
        for port in (4222, 6222, 8222, 50051, 50052):
            for anywhere in (f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
                text = text.replace(anywhere, self.addresses[f"{machine}:{port}"])
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        folders = {"/var/lib/nats": machine, "/etc/nats": "", "/etc/smssim": "", "pki": ""}
        return re.sub("|".join(folders), lambda found: str(self.folder / folders[found[0]]), text)

    def config(self, machine: str, name: str) -> str:
        """Return a configuration of a NATS server on a machine, with its name instead of the variable."""
        text = (FILES / name).read_text(encoding="utf-8").replace('include "users.conf"', self.users())
        return self.on(machine, text).replace("$NATS_NAME", machine)

    def users(self) -> str:
        """Return the users of the servers."""
        return (FILES / "users.conf").read_text(encoding="utf-8")


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    given_by_page = next(line for line in lines_of_the_page() if line.startswith("smssim certs"))
    settings = given_by(shlex.split(given_by_page)[1:])
    command = COMMANDS["certs"]
    words = {"directory": str(tmp_path), "host": settings.host}
    assert command.serve(command.settings(**words)) == 0
    password = re.search(r'user: smssim, password: "(.*?)"', (FILES / "users.conf").read_text(encoding="utf-8"))
    assert password
    for name, text in (("engine-login", f"smssim:{password[1]}"), ("token", "a token of a test")):
        (tmp_path / name).write_text(text.replace(" ", "-"), encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    return Machines.on_loopback(tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_nats_server_accepts_the_configurations(name: str, machines: Machines) -> None:
    config = machines.folder / name
    config.write_text(machines.config("alpha", name), encoding="utf-8")
    checked = subprocess.run([BINARY, "-t", "-c", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    config.write_text(config.read_text(encoding="utf-8").replace("sync_interval", "sync_intervall"), encoding="utf-8")
    assert subprocess.run([BINARY, "-t", "-c", config], capture_output=True, check=False).returncode != 0


def test_a_run_on_three_machines_works_as_the_files_say(machines: Machines) -> None:
    folder = machines.folder
    cluster = Cluster(folder)
    cluster.servers = [
        Server(name, folder / name, client_port, route_port, page_port)
        for name in MACHINES
        for client_port, route_port, page_port in [[machines.port(f"{name}:{port}") for port in (4222, 6222, 8222)]]
    ]
    for server in cluster.servers:
        server.config = machines.config(server.name, "nats.conf")
    with cluster, Nodes() as nodes:
        for server in cluster.servers:
            assert server.says("/varz")["jetstream"]["config"]["sync_always"], server.name
        started = {}
        for machine in ("alpha", "beta"):
            for kind in KINDS:
                words = [machines.on(machine, word) for word in command_of(f"smssim-{kind}@.service")[1:]]
                started[machine, kind] = nodes.start(*words)
        sender = next(line for line in lines_of_the_page() if line.startswith("smssim sender --producer"))
        words = [machines.on("gamma", word) for word in shlex.split(sender)[1:]]
        codes = [node.code() for node in (nodes.start(*words, "--mean=0.01"), *started.values())]
        assert codes == [0] * 5, [node.story() for node in started.values()]


def test_the_commands_for_one_server_work(tmp_path: Path) -> None:
    nats, *commands = map(shlex.split, islice(lines_of_the_page(), 4))
    assert (nats[0], {words[1] for words in commands}) == ("nats-server", {"monitor", "producer", "sender"})
    client, producer, monitor = (f"127.0.0.1:{port}" for port in free_ports(3))
    nats[nats.index("--port") + 1] = client.split(":")[1]
    nats[nats.index("--store_dir") + 1] = str(tmp_path)
    with subprocess.Popen([BINARY, *nats[1:]], stderr=subprocess.DEVNULL) as server, Nodes() as nodes:
        try:
            more = {
                "monitor": [f"--listen={monitor}"],
                "producer": [f"--listen={producer}", f"--monitor={monitor}", "--count=80"],
                "sender": [f"--producer={producer}", "--mean=0.01"],
            }
            words = [[word.replace("127.0.0.1:4222", client) for word in one[1:]] for one in commands]
            started = [nodes.start(*one, *more[one[0]]) for one in words]
            assert [node.code() for node in started] == [0, 0, 0], [node.story() for node in started]
        finally:
            server.terminate()


# ---- The demonstration


def test_a_run_survives_the_loss_of_the_machine_that_owns_it() -> None:
    shown = subprocess.run([DEMONSTRATION, "--count=4000"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Killed machine A" in shown.stdout
    for kind in KINDS:
        assert re.search(rf"^ +taken over +by {kind} B after", shown.stdout, re.MULTILINE)
        assert re.search(rf"{kind} taken over from", shown.stdout)
    assert "totals        the producer and the monitor agree" in shown.stdout
    assert "= 4,000, as seed 7 dictates" in shown.stdout


def test_a_signal_while_a_node_of_the_demonstration_starts_does_not_lose_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    children: list[Child] = []

    def interrupted(name: str, words: Words) -> Child:
        children.append(Child(name, words))
        os.kill(os.getpid(), signal.SIGTERM)
        return children[0]

    monkeypatch.setattr(engine_demo, "Child", interrupted)
    with pytest.raises(SystemExit, match="143"), engine_demo.Stage() as stage:
        stage.start("monitor", "A", MonitorSettings(listen=FREE_ADDRESS))
    assert [child.has_ended for child in children] == [True]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demonstration_leaves_nothing_behind_when_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    with Nodes() as nodes:
        variables = os.environ | {MARK: nodes._mark, "TMPDIR": str(tmp_path)}
        with subprocess.Popen([DEMONSTRATION], env=variables, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            shown = [next(line for line in process.stdout if "senders" in line)]
            process.send_signal(number)
            shown += process.stdout.readlines()
        assert (process.returncode, nodes.left(), list(tmp_path.iterdir())) == (128 + number, [], []), shown
