"""The command line: how flags and variables become the settings of a node, and errors in one line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import smssim
from smssim.cli import main, options
from smssim.cli.commands import COMMANDS
from smssim.core.fault import Fault, FaultKind
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode, GoneError, UsageError
from smssim.settings import FREE_ADDRESS, Find, Flag, MonitorSettings, ProducerSettings, SenderSettings
from smssim.settings.senders import RUN_COUNT, RUN_SENDERS

NODES = {
    "producer": "smssim.nodes.producer",
    "sender": "smssim.nodes.sender",
    "monitor": "smssim.nodes.monitor",
    "watch": "smssim.nodes.watch",
    "run": "smssim.launch.cluster",
    "plan": "smssim.planner",
    "scenario": "smssim.cli.scenario",
    "presets": "smssim.cli.presets",
    "report": "smssim.outputs.report.command",
    "history": "smssim.outputs.kept.command",
    "trace": "smssim.outputs.trace",
    "bench": "smssim.bench.main",
    "certs": "smssim.net.certs",
}
ARGUMENTS = {  # positional
    "report": ["summary.json", "plan.json"],
    "history": ["runs"],
    "trace": ["outcomes.parquet", "42"],
    "scenario": ["flood.yaml"],
    "certs": ["pki"],
}

ACCESS: dict[str, tuple[str, str, object]] = {
    "--token-file": ("token.txt", "token_file", "token.txt"),
    "--insecure": ("true", "insecure", True),
    "--tls-cert": ("cert.pem", "tls_cert", "cert.pem"),
    "--tls-key": ("key.pem", "tls_key", "key.pem"),
    "--tls-ca": ("ca.pem", "tls_ca", "ca.pem"),
}
TOGETHER = ("--tls-cert", "--tls-key", "--tls-ca")  # each needs the others
ENGINE_TLS = ("--engine-tls-cert", "--engine-tls-key")  # each needs the other
ENGINE_ALWAYS = ("--engine", "--run")  # each needs the other, and all other flags of an engine need both
# flag: a text other than the default, the setting that it sets, and the value
ENGINE: dict[str, tuple[str, str, object]] = {
    "--engine": ("tls://a:1,b", "engine", "tls://a:1,b"),
    "--run": ("alert-7", "run_name", "alert-7"),
    "--engine-replicas": ("5", "engine_replicas", 5),
    "--engine-monitoring": ("http://a:8222", "engine_monitoring", "http://a:8222"),
    "--engine-tls-ca": ("ca.pem", "engine_tls_ca", "ca.pem"),
    "--engine-tls-cert": ("cert.pem", "engine_tls_cert", "cert.pem"),
    "--engine-tls-key": ("key.pem", "engine_tls_key", "key.pem"),
    "--engine-creds": ("user.creds", "engine_creds", "user.creds"),
    "--engine-token-file": ("token.txt", "engine_token_file", "token.txt"),
    "--engine-login-file": ("login.txt", "engine_login_file", "login.txt"),
}
DELIVERY: dict[str, tuple[str, str, object]] = {
    "--count": ("2e3", "count", 2000),
    "--seed": ("77", "seed", 77),
    "--text": ("Don’t go out", "text", "Don’t go out"),
    "--unreachable": ("5%", "unreachable", 0.05),
    "--max-attempts": ("3", "max_attempts", 3),
    "--retry-delay": ("0.25", "retry_delay_s", 0.25),
    "--lease-timeout": ("2.5", "lease_timeout_s", 2.5),
    "--rate": ("50", "rate_per_s", 50.0),
    "--give-up": ("9", "give_up_s", 9.0),
}
PRODUCER: dict[str, tuple[str, str, object]] = {
    **DELIVERY,
    "--min-length": ("5", "min_length", 5),
    "--max-length": ("50", "max_length", 50),
    "--log-level": ("debug", "log_level", "debug"),
    "--log-format": ("json", "log_format", "json"),
}
OUTPUT: dict[str, tuple[str, str, object]] = {
    "--csv": ("figures.csv", "csv", "figures.csv"),
    "--summary-json": ("summary.json", "summary_json", "summary.json"),
    "--threshold": ("failed<5%", "threshold", (Threshold.parse("failed<5%"),)),
}
PAGE: dict[str, tuple[str, str, object]] = {
    "--title": ("A drill", "title", "A drill"),
    "--web": ("0", "web", 0),
    "--web-listen": ("::1", "web_listen", "::1"),
}
KEPT: dict[str, tuple[str, str, object]] = {
    "--report": ("report.html", "report", "report.html"),
    "--history": ("runs", "history", "runs"),
    "--history-runs": ("5", "history_runs", 5),
    "--history-size": ("7", "history_size", 7),
}
LIMIT: dict[str, tuple[str, str, object]] = {"--limit": ("2.5", "limit_per_s", 2.5)}
BESIDE = ACCESS | ENGINE | PAGE | KEPT | LIMIT  # flags that others require
FLAGS: dict[str, dict[str, tuple[str, str, object]]] = {
    "producer": {
        **PRODUCER,
        "--listen": ("localhost:0", "listen", "localhost:0"),
        "--monitor": ("host.example:1", "monitor", "host.example:1"),
        "--journal": ("it.journal", "journal", "it.journal"),
        **ENGINE,
        **ACCESS,
        "--linger": ("true", "linger", True),
        "--metrics-port": ("9464", "metrics_port", 9464),
    },
    "sender": {
        **ACCESS,
        "--preset": ("smpp-bind", "limit_per_s", 10.0),
        "--mean": ("0.25", "mean_s", 0.25),
        "--std": ("0.125", "std_s", 0.125),
        "--distribution": ("lognormal", "distribution", "lognormal"),
        "--max-time": ("4", "max_time_s", 4.0),
        "--fail": ("0", "fail", 0.0),
        "--concurrency": ("1000000", "concurrency", 1_000_000),
        "--copies": ("3", "copies", 3),
        **LIMIT,
        "--burst": ("7", "burst", 7),
        "--price": (".0125", "price", 0.0125),
        "--price-failed": ("1e-3", "price_failed", 0.001),
        "--fault": ("at=8s,slow=4", "faults", (Fault(8.0, FaultKind.SLOW, "", factor=4.0),)),
        "--name": ("Bob & Ann", "name", "Bob & Ann"),
        "--producer": ("[::1]:50051", "producer", "[::1]:50051"),
        "--monitor": ("host.example:1", "monitor", "host.example:1"),
        "--verbose": ("true", "verbose", True),
        "--linger": ("true", "linger", True),
        "--metrics-port": ("9464", "metrics_port", 9464),
        "--give-up": ("9", "give_up_s", 9.0),
        "--log-level": ("debug", "log_level", "debug"),
        "--log-format": ("json", "log_format", "json"),
    },
    "monitor": {
        **OUTPUT,
        **PAGE,
        **KEPT,
        "--interval": ("0.5", "interval_s", 0.5),
        "--listen": ("[::1]:0", "listen", "[::1]:0"),
        "--json": ("true", "json", True),
        "--journal": ("it.journal", "journal", "it.journal"),
        **ENGINE,
        **ACCESS,
        "--record": ("out.parquet", "record", "out.parquet"),
        "--failed": ("out.csv", "failed", "out.csv"),
        "--linger": ("true", "linger", True),
        "--metrics-port": ("9464", "metrics_port", 9464),
        "--give-up": ("9", "give_up_s", 9.0),
        "--log-level": ("debug", "log_level", "debug"),
        "--log-format": ("json", "log_format", "json"),
    },
    "trace": {},
    "run": {
        **{flag: (text, f"monitor.{setting}", value) for flag, (text, setting, value) in OUTPUT.items()},
        **{flag: (text, f"monitor.{setting}", value) for flag, (text, setting, value) in (PAGE | KEPT).items()},
        "--insecure": ("true", "insecure", True),
        **{flag: (text, f"producer.{setting}", value) for flag, (text, setting, value) in PRODUCER.items()},
        "--interval": ("0.5", "monitor.interval_s", 0.5),
        "--json": ("true", "monitor.json", True),
        "--journal": ("journals", "journal", "journals"),
        "--record": ("out.parquet", "monitor.record", "out.parquet"),
        "--metrics-port": ("9464", "monitor.metrics_port", 9464),
        "--failed": ("out.csv", "monitor.failed", "out.csv"),
        "--sender": ("mean=0.25,name=x", "senders", (SenderSettings(mean_s=0.25, name="x"),)),
        "--token-file": ("token.txt", "producer.token_file", "token.txt"),
        "--no-plan": ("true", "no_plan", True),
    },
    "plan": {
        **{flag: (text, f"producer.{setting}", value) for flag, (text, setting, value) in DELIVERY.items()},
        "--sender": ("mean=0.25,name=x", "senders", (SenderSettings(mean_s=0.25, name="x"),)),
        "--goal": ("failed<5%", "goals", (Threshold.parse("failed<5%"),)),
        "--find": ("quick.copies=1..9", "find", Find("quick", "copies", 1, 9)),
        "--seeds": ("50", "seeds", 50),
        "--cheapest": ("true", "cheapest", True),
        "--full": ("true", "full", True),
        "--json": ("true", "json", True),
        "--csv": ("course.csv", "csv", "course.csv"),
        "--report": ("plan.html", "report", "plan.html"),
    },
    "report": {
        "--output": ("comparison.html", "output", "comparison.html"),
        "--history": ("runs", "history", "runs"),
    },
    "history": {
        "--history": ("runs", "history", "runs"),
        "--json": ("true", "json", True),
    },
    "scenario": {"--schema": ("true", "schema", True)},
    "presets": {"--json": ("true", "json", True)},
    "watch": {
        **ACCESS,
        **PAGE,
        "--interval": ("0.5", "interval_s", 0.5),
        "--json": ("true", "json", True),
        "--give-up": ("9", "give_up_s", 9.0),
        "--log-level": ("debug", "log_level", "debug"),
        "--log-format": ("json", "log_format", "json"),
    },
    "bench": {
        "--quick": ("true", "quick", True),
        "--case": ("idle", "case", ("idle",)),
        "--repeat": ("5", "repeat", 5),
        "--json": ("true", "json", True),
        "--figures": ("docs/bench", "figures", "docs/bench"),
        "--forecasts": ("forecasts", "forecasts", "forecasts"),
    },
    "certs": {
        "--host": ("alpha", "host", ("alpha",)),
    },
}
ALL = [(command, flag) for command, flags in FLAGS.items() for flag in flags]
SAID: dict[tuple[str, str], Flag] = {  # each flag as the settings define it
    (name, flag.name): flag for name, command in COMMANDS.items() for flag in command.flags.values()
}
SWITCHES = [pair for pair in ALL if SAID[pair].is_switch]
VALUED = [pair for pair in ALL if not SAID[pair].is_switch]
ANY_TEXT = (  # flags that accept any text
    *("--csv", "--summary-json", "--record", "--failed", "--name", "--figures", "--forecasts", "--journal", "--host"),
    *("--text", "--title", "--web-listen", "--report", "--output", "--history", "--run", "--token-file"),
    *("--engine-creds", "--engine-token-file", "--engine-login-file"),
    *TOGETHER,
    *(*ENGINE_TLS, "--engine-tls-ca"),
)
PICKY = [pair for pair in VALUED if pair[1] not in (*ANY_TEXT, "--sender")]
PROGRAM = options.program(COMMANDS.values())


def plainly(command: str) -> list[str]:
    return [command, *ARGUMENTS.get(command, [])]


def words(command: str, flag: str, text: str) -> list[str]:
    return [*plainly(command), flag] if SAID[command, flag].is_switch else [*plainly(command), flag, text]


def beside(flag: str) -> list[str]:
    """Return the flags that this one requires, each with a value."""
    if flag == "--cheapest":
        return ["--sender", "copies=0..9"]
    return [word for other in required(flag) for word in (other, BESIDE[other][0])]


def required(flag: str) -> list[str]:
    groups = (
        (("--web-listen",), ("--web",)),
        (("--history-runs", "--history-size"), ("--history",)),
        (("--burst",), ("--limit",)),
        (TOGETHER, TOGETHER),
        (ENGINE_TLS, ENGINE_TLS),
        (ENGINE, ENGINE_ALWAYS),
    )
    return [other for those, others in groups if flag in those for other in others if other != flag]


def variable(command: str, flag: str) -> str:
    return f"SMSSIM_{command}_{flag[2:].replace('-', '_')}".upper()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SMSSIM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(options, "program", lambda commands: PROGRAM)  # built once: it takes 0.1 s


class Nodes:
    """A stand-in for every node: it keeps the settings that it gets, then returns or raises `ends_with`."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.ends_with: int | BaseException = 0

    def serve(self, settings: object) -> int:
        self.given.append(settings)
        if isinstance(self.ends_with, BaseException):
            raise self.ends_with
        return self.ends_with


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    fake = Nodes()
    for name in NODES.values():
        module = ModuleType(name)
        module.serve = fake.serve  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    return fake


def run_main(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def settings_of(nodes: Nodes, *args: str) -> Any:
    assert run_main(*args) == 0
    (settings,) = nodes.given
    nodes.given.clear()
    return settings


def refusal(capsys: pytest.CaptureFixture[str], nodes: Nodes, *args: str) -> str:
    """Return the only line on stderr of a command that exits with 2 before it starts anything."""
    code = run_main(*args)
    out, err = capsys.readouterr()
    assert (code, out, nodes.given) == (2, "", [])
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    return err[:-1]


def help_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert run_main(*args) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return re.sub(r"\x1b\[[0-9;]*m", "", out)


# ---- Settings of a node


def test_this_table_has_every_flag_of_every_command() -> None:
    assert tuple(PROGRAM.commands) == tuple(COMMANDS)
    assert FLAGS.keys() == COMMANDS.keys()
    for name, command in PROGRAM.commands.items():
        given = {param.opts[0] for param in command.params if param.param_type_name == "option"}
        assert given == FLAGS[name].keys(), name


def test_a_flag_sets_its_setting_and_nothing_else(nodes: Nodes) -> None:
    for command, flag in ALL:
        text, setting, value = FLAGS[command][flag]
        seed = [] if flag == "--seed" or command not in ("producer", "run", "plan") else ["--seed", "1"]
        plain = settings_of(nodes, *plainly(command), *seed)
        given = settings_of(nodes, *words(command, flag, text), *beside(flag), *seed)
        assert attrgetter(setting)(given) == value, (command, flag)
        if command not in ("run", "plan") and flag != "--preset":  # which stands for several settings
            undone = {setting: getattr(plain, setting)}
            undone |= {BESIDE[other][1]: None for other in required(flag)}
            if flag in ("--mean", "--distribution"):
                undone["std_s"] = plain.std_s
            assert replace(given, **undone) == plain, (command, flag)


def test_a_variable_sets_what_its_flag_sets(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, flag in ALL:
        text, setting, value = FLAGS[command][flag]
        with monkeypatch.context() as patch:
            patch.setenv(variable(command, flag), text)
            given = settings_of(nodes, *plainly(command), *beside(flag))
        assert attrgetter(setting)(given) == value, (command, flag)


def test_a_flag_takes_precedence_over_its_variable(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, flag in ALL:
        text, setting, value = FLAGS[command][flag]
        with monkeypatch.context() as patch:
            patch.setenv(variable(command, flag), "false" if (command, flag) in SWITCHES else "wrong as can be")
            given = settings_of(nodes, *words(command, flag, text), *beside(flag))
        assert attrgetter(setting)(given) == value, (command, flag)


def test_an_empty_variable_counts_as_unset(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, flag in ALL:
        _, setting, value = FLAGS[command][flag]
        with monkeypatch.context() as patch:
            patch.setenv(variable(command, flag), "")
            given = settings_of(nodes, *plainly(command))
        assert attrgetter(setting)(given) != value, (command, flag)


def test_the_argument_of_watch_has_a_variable(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_WATCH_MONITOR", "host.example:1")
    assert settings_of(nodes, "watch").monitor == "host.example:1"
    assert settings_of(nodes, "watch", "[::1]:2").monitor == "[::1]:2"


def test_a_node_without_flags_has_the_defaults(nodes: Nodes) -> None:
    assert settings_of(nodes, "producer") == ProducerSettings()
    assert settings_of(nodes, "sender") == SenderSettings()
    assert settings_of(nodes, "monitor") == MonitorSettings()


def test_a_plain_run_has_four_senders_and_free_ports(nodes: Nodes) -> None:
    settings = settings_of(nodes, "run")
    assert settings.senders == RUN_SENDERS
    assert settings.producer == ProducerSettings(count=RUN_COUNT, listen=FREE_ADDRESS)
    assert replace(settings.monitor, command="") == MonitorSettings(interval_s=1.0, listen=FREE_ADDRESS)


def test_a_run_knows_the_command_that_started_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/smssim", "run", "--count", "5", "--title", "a drill"])
    assert settings_of(nodes, "run").monitor.command == "smssim run --count 5 --title 'a drill'"


def test_a_run_with_sender_flags_has_only_those_senders_and_1000_messages(nodes: Nodes) -> None:
    settings = settings_of(nodes, "run", "--sender", "mean=0.1", "--sender", "mean=1,copies=50,max_time=2")
    assert settings.senders == (SenderSettings(mean_s=0.1), SenderSettings(mean_s=1, copies=50, max_time_s=2))
    assert settings.producer.count == 1000


def test_the_token_comes_from_its_variable_and_is_never_shown(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_TOKEN", "open-sesame")
    run = settings_of(nodes, "run")
    for settings in (run.producer, run.monitor, *run.senders, *(settings_of(nodes, kind) for kind in list(NODES)[:3])):
        assert settings.token == "open-sesame"
        assert "open-sesame" not in repr(settings)


def test_one_variable_can_hold_several_senders_of_a_run(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_RUN_SENDER", "mean=0.1 mean=0.2")
    assert [sender.mean_s for sender in settings_of(nodes, "run").senders] == [0.1, 0.2]


def test_shared_settings_are_the_same_in_all_nodes_of_a_run(nodes: Nodes) -> None:
    flags = ("--give-up", "9", "--log-level", "error", "--log-format", "json", "--token-file", "t")
    for senders in ([], ["--sender", "mean=1"]):
        settings = settings_of(nodes, "run", *flags, *senders)
        for node in (settings.producer, settings.monitor, *settings.senders):
            assert (node.give_up_s, node.log_level, node.log_format, node.token_file) == (9.0, "error", "json", "t")


# ---- Exit codes


def test_the_exit_code_is_that_of_the_node(nodes: Nodes) -> None:
    for command in COMMANDS:
        for code in set(ExitCode) - {ExitCode.INTERRUPTED}:  # never returned by a node
            nodes.ends_with = code
            assert run_main(*plainly(command)) == code, command


def test_an_error_of_a_node_becomes_one_line_and_an_exit_code(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (GoneError("the monitor is gone"), UsageError("port 50051 is taken")):
        nodes.ends_with = error
        assert run_main("sender") == error.exit_code
        assert capsys.readouterr() == ("", f"smssim sender: {error}\n")


def test_an_unexpected_exception_is_not_hidden(nodes: Nodes) -> None:
    nodes.ends_with = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["monitor"])


# ---- Errors in one line


def test_a_bad_value_is_refused_in_the_same_way_from_flag_and_variable(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, flag in PICKY:
        start, expected = f"smssim {command}: {flag}", SAID[command, flag].rule.expected
        assert refusal(capsys, nodes, *plainly(command), flag, "-7") == f"{start}: got -7; expected {expected}"
        assert refusal(capsys, nodes, command, flag, "a\nb") == rf"{start}: got 'a\nb'; expected {expected}"
        assert refusal(capsys, nodes, command, f"{flag}=") == f"{start}: got ''; expected {expected}"
        name = variable(command, flag)
        with monkeypatch.context() as patch:
            patch.setenv(name, "nan")
            assert refusal(capsys, nodes, command) == f"{start} ({name}): got nan; expected {expected}"


def test_a_switch_accepts_no_value_and_its_variable_accepts_true_or_false(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, flag in SWITCHES:
        start, name = f"smssim {command}: {flag}", variable(command, flag)
        assert refusal(capsys, nodes, command, f"{flag}=1") == f"{start}: got a value; expected none"
        with monkeypatch.context() as patch:
            patch.setenv(name, "7")
            assert refusal(capsys, nodes, command) == f"{start} ({name}): got 7; expected true or false"


def test_a_flag_without_a_value_shows_what_it_expects(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    for command, flag in VALUED:
        expected = SAID[command, flag].rule.expected
        assert refusal(capsys, nodes, command, flag) == f"smssim {command}: {flag}: got no value; expected {expected}"


LISTED = "producer, sender, monitor, run, plan, scenario, presets, watch, report, history, trace, bench or certs"
SHARE = SAID["sender", "--fail"].rule.expected
ADDRESSES = "host:port with a port from 1 to 65535, or up to 8 different ones separated by commas"
REFUSED = {
    "foo": f"smssim: command: got foo; expected {LISTED}",
    "sendr --fail 1": f"smssim: command: got sendr; expected {LISTED}; did you mean sender?",
    "trace": "smssim trace: missing argument 'FILE'; see smssim trace --help",
    "trace out.parquet": "smssim trace: missing argument 'MESSAGE_ID'; see smssim trace --help",
    "trace  5": "smssim trace: FILE: got ''; expected a file that --record has written",
    "trace out.parquet x": "smssim trace: MESSAGE_ID: got x; expected a whole number from 0 to 10^10",
    "monitor --failed x.csv --linger": "smssim monitor: --failed can't be used with --linger, because its file is for "
    "one run",
    "sender --fail 7": f"smssim sender: --fail: got 7; expected {SHARE}",
    "sender --fail nan": f"smssim sender: --fail: got nan; expected {SHARE}",
    "sender --fail 1e999": f"smssim sender: --fail: got 1e999; expected {SHARE}",
    "sender --fail --std 3": f"smssim sender: --fail: got --std; expected {SHARE}",
    "sender --fial 3": "smssim sender: --fial: unknown flag; did you mean --fail?",
    "sender --colour red": "smssim sender: --colour: unknown flag; see smssim sender --help",
    "sender -x": "smssim sender: -x: unknown flag; see smssim sender --help",
    "producer 1000": "smssim producer: got unexpected extra argument(s) (1000); see smssim producer --help",
    "producer --min-length 9 --max-length 8": "smssim producer: --min-length: got 9; expected at most 8, the "
    "value of --max-length",
    "sender --std 9 --distribution fixed --mean 1": "smssim sender: --std: got 9; expected 0, or no --std, with "
    "--distribution fixed and --mean 1",
    "monitor --listen 0.0.0.0:50052": "smssim monitor: --listen: got 0.0.0.0:50052; expected a loopback "
    "address, or any address with --tls-cert or --insecure",
    "monitor --tls-cert x": "smssim monitor: --tls-key is required with --tls-cert",
    "producer --tls-key x": "smssim producer: --tls-cert is required with --tls-key",
    "producer --tls-ca x": "smssim producer: --tls-cert is required with --tls-ca",
    "sender --tls-cert x --tls-key y": "smssim sender: --tls-ca is required with --tls-cert",
    "watch --tls-key y": "smssim watch: --tls-cert is required with --tls-key",
    "watch nowhere": f"smssim watch: HOST:PORT: got nowhere; expected {ADDRESSES}",
    "watch a:1,b": f"smssim watch: HOST:PORT: got a:1,b; expected {ADDRESSES}",
    "sender --producer a:1,a:1": f"smssim sender: --producer: got a:1,a:1; expected {ADDRESSES}",
    "sender --monitor a:1,,b:1": f"smssim sender: --monitor: got a:1,,b:1; expected {ADDRESSES}",
    "producer --monitor a:1,b:0": f"smssim producer: --monitor: got a:1,b:0; expected {ADDRESSES}",
    "producer --listen 127.0.0.1:1,127.0.0.1:2": "smssim producer: --listen: got 127.0.0.1:1,127.0.0.1:2; expected "
    "host:port with a port from 0 to 65535",
    "certs ": "smssim certs: DIR: got ''; expected a directory, created if it does not exist",
    "certs": "smssim certs: missing argument 'DIR'; see smssim certs --help",
    "run --sender mean=1 --sender fail=7": f"smssim run: --sender: fail: got 7; expected {SHARE}",
    "run --sender mean=1,fial=0": "smssim run: --sender: got fial=0; expected key=value,... with the keys preset, "
    "mean, std, distribution, max-time, fail, concurrency, copies, limit, burst, price, price-failed, name, joins; "
    "did you mean fail?",
    "scenario": "smssim scenario: SCENARIO is required without --schema",
    "plan --find x.copies=1..2": "smssim plan: --find: got x; expected a sender (quick, steady, shaky, slow)",
    "plan --find qick.copies=1..2": "smssim plan: --find: got qick; expected a sender (quick, steady, shaky, slow); "
    "did you mean quick?",
    "plan --sender name=a --sender name=a": "smssim plan: --sender: name: got a; expected a different name for each "
    "sender",
    "plan --sender name=sender-2 --sender mean=1": "smssim plan: --sender: name: got sender-2; expected a different "
    "name for each sender",
    "plan --sender concurrency=1e6,name=a --find a.copies=1..11": "smssim plan: --find: copies: got 11; expected at "
    "most 10 with concurrency 1,000,000 (10,000,000 lanes per process)",
    **{
        f"{command} --sender name=a,copies=0..9": f"smssim {command}: copies of a: got 0..9; expected a whole number; "
        "only smssim plan --cheapest takes a range"
        for command in ("run", "plan")
    },
    "sender --copies 0..9": "smssim sender: --copies: got 0..9; expected a whole number from 1 to 2,000; only smssim "
    "plan --cheapest takes a range",
    "plan --cheapest": "smssim plan: --cheapest: no copies are a range; write one, such as copies=0..200, for a sender",
    "plan --cheapest --find a.mean=1..2 --sender name=a,copies=0..9": "smssim plan: --cheapest: got --find too; "
    "expected only one of them",
    "plan --cheapest" + " --sender copies=0..9" * 9: "smssim plan: --cheapest: got 9; expected at most 8 senders whose "
    "copies are a range",
    "run nowhere.yaml": "smssim run: SCENARIO: got nowhere.yaml; expected a scenario file (YAML) (no such file "
    "or directory)",
    "run --sender joins=1": "smssim run: --sender: got only senders that join later; expected one that is there from "
    "the start",
    "sender --std 5 --distribution lognormal": "smssim sender: --std: got 5; expected at most 1.25 with --distribution "
    "lognormal and --mean 0.5",
    "sender --concurrency 1e7 --copies 2000": "smssim sender: --copies: got 2000; expected at most 1 with "
    "--concurrency 10,000,000 (10,000,000 lanes per process)",
    "run --sender concurrency=1e7,copies=2000": "smssim run: --sender: copies: got 2000; expected at most 1 with "
    "concurrency 10,000,000 (10,000,000 lanes per process)",
    "run --sender concurrency=1e7 --sender concurrency=1e7 --sender mean=1": "smssim run: --sender: got 20,000,001; "
    "expected at most 20,000,000 lanes (concurrency x copies) in total",
    "run --csv -": "smssim run: --csv: got -; expected a file that can be written; for figures on stdout, use --json",
    "run --sender name=a,copies=2 --sender name=a-1": "smssim run: --sender: got a-1; expected a name that no "
    "copy of another sender has",
    "run docs/scenarios/calm.yaml --failed docs/scenarios/../scenarios/calm.yaml": "smssim run: --failed: got "
    "docs/scenarios/../scenarios/calm.yaml; expected a different file from the scenario",
    "run --csv x --summary-json ./x": "smssim run: --summary-json: got ./x; expected a different file from --csv",
    "monitor --journal x --failed x": "smssim monitor: --journal: got x; expected a different file from --failed",
    "run --listen 127.0.0.1:1": "smssim run: --listen: unknown flag; did you mean --web-listen?",
    "--": "smssim: missing command; see smssim --help",
    "--verson": "smssim: --verson: unknown flag; did you mean --version?",
}


def test_invalid_command_lines_are_refused_in_one_line(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in REFUSED.items():
        assert refusal(capsys, nodes, *line.split(" ")) == said


def test_control_characters_never_reach_the_terminal(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["a\nb"], ["sender", "a\nb"], ["sender", "--f\nail"], ["sender", "--x\x1b[2J"], ["sender", "-\n"]):
        assert refusal(capsys, nodes, *args).startswith("smssim")  # `refusal` asserts that the line is printable


# ---- The help


def test_the_help_of_a_command_has_its_flags_variables_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        shown = help_of(capsys, command, "--help")
        assert help_of(capsys, command, "-h") == shown
        for flag in FLAGS[command]:
            assert f" {flag} " in shown, command
            assert f"[env var: {variable(command, flag)}]" in shown
        example = shown.split("Examples:")[1].split("\n")[1]
        assert example.strip().startswith(f"smssim {command}")


def test_the_examples_of_the_help_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, nodes: Nodes
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)  # they name files in docs/
    for command in COMMANDS:
        shown = help_of(capsys, command, "-h").split("Examples:")[1]
        examples = [shlex.split(line) for line in shown.splitlines() if line.strip()]
        assert len(examples) >= 2, command
        for program, *args in examples:
            assert program == "smssim"
            assert settings_of(nodes, *args)


def test_the_help_states_limits_and_exclusions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for command, says in (
        ("sender", "at most 40 (gamma), 2.5 (lognormal), 0.99 (normal), 0.577 (uniform) times the mean"),
        ("monitor", "Not with --journal, --engine or --failed, which are for one run"),
        ("monitor", "undelivered messages to this CSV file (not with --linger)"),
        ("monitor", "resume from it after a crash (not with --linger)"),
    ):
        assert says in " ".join(help_of(capsys, command, "--help").split())


def test_the_help_of_run_states_what_differs_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(help_of(capsys, "run", "--help").split())
    for says in (
        "[default: (5000, or 1000 with --sender or a scenario's senders)]",
        "[env var: SMSSIM_RUN_INTERVAL] [default: 1.0]",
        "--journal DIR Save the run's state in this directory and resume from it after a crash: ",
        "undelivered messages to this CSV file: a file",
        "debug includes the full logs of all nodes",
    ):
        assert says in shown


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["-h"], ["--help"]):
        shown = help_of(capsys, *args)
        assert all(f" {command} " in shown for command in COMMANDS)


def test_the_help_shows_no_value_for_switches_and_no_completion_variable(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["-h"], *([command, "-h"] for command in COMMANDS)):
        shown = help_of(capsys, *args)
        assert "--help" in shown, args
        assert "bool" not in shown, args
        assert "_COMPLETION" not in shown, args


def test_no_variable_triggers_completion_or_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, nodes: Nodes
) -> None:
    for name in ("INSTALL_COMPLETION", "SHOW_COMPLETION", "HELP", "PRODUCER_HELP"):
        monkeypatch.setenv(f"SMSSIM_{name}", "1")
    assert settings_of(nodes, "producer")
    assert capsys.readouterr().out == ""


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_of(capsys, "--version") == f"smssim {smssim.__version__}\n"


def test_a_variable_named_version_has_no_effect(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_VERSION", "1")
    assert settings_of(nodes, "monitor") == MonitorSettings()


# ---- Unknown variables


def test_an_unknown_variable_is_reported_in_one_line_with_the_closest_known_one(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, hint in (
        ("SMSSIM_SENDER_MEEN", "did you mean SMSSIM_SENDER_MEAN?"),
        ("SMSSIM_MONITOR_SUMARY_JSON", "did you mean SMSSIM_MONITOR_SUMMARY_JSON?"),
        ("SMSSIM_WATCH_MONITORS", "did you mean SMSSIM_WATCH_MONITOR?"),
        ("SMSSIM_TOKENS", "did you mean SMSSIM_TOKEN?"),
        ("SMSSIM_SENDER_XYZ", "see smssim monitor --help"),
        ("SMSSIM_TRACE_FILE", "see smssim monitor --help"),
        ("SMSSIM_VERSION", "see smssim monitor --help"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert settings_of(nodes, "monitor") == MonitorSettings()
        assert capsys.readouterr() == ("", f"smssim monitor: {name}: unknown variable; {hint}\n")


def test_known_variables_of_other_commands_are_not_reported(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, flag in ALL:
        if command != "monitor":
            monkeypatch.setenv(variable(command, flag), "wrong as can be")
    for name in ("SMSSIM_TOKEN", "SMSSIM_WATCH_MONITOR", "_SMSSIM_COMPLETES", "SMSSIMPLE"):
        monkeypatch.setenv(name, "wrong as can be")
    assert settings_of(nodes, "monitor").token
    assert capsys.readouterr() == ("", "")


def test_the_help_does_not_report_unknown_variables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMSSIM_SENDER_MEEN", "1")
    for args in (["-h"], ["--version"], ["monitor", "--help"]):
        assert help_of(capsys, *args)  # `help_of` asserts that stderr is empty


# ---- In a separate process


def last_words(args: list[str], asks: str, **variables: str) -> str:
    """Return what a process with these arguments prints at its end: the value of the expression `asks`."""
    code = f"import atexit, os, sys, smssim.cli; atexit.register(lambda: print({asks})); smssim.cli.main({args})"
    ours = ("SMSSIM_", "GRPC_", "GLOG_", "OPENBLAS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["--version"]])
def test_the_help_loads_neither_numpy_nor_grpc(args: list[str]) -> None:
    asks = "'smssim.settings' in sys.modules, {'numpy', 'grpc'} & sys.modules.keys()"
    assert last_words(args, asks) == "True set()"


def test_library_variables_have_our_defaults_unless_the_user_sets_them() -> None:
    """By default, gRPC is quiet and has no fork handlers, and numpy uses one thread."""
    names = ("GRPC_VERBOSITY", "GLOG_minloglevel", "GRPC_ENABLE_FORK_SUPPORT", "OPENBLAS_NUM_THREADS")
    asks = f"*[os.environ[name] for name in {names}],"
    wanted = dict(zip(names, ("DEBUG", "0", "1", "2"), strict=True))
    assert last_words(["--version"], asks) == "NONE 2 0 1"
    assert last_words(["--version"], asks, **wanted) == "DEBUG 0 1 2"


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("smssim sender --distribution g", "gamma"),
        ("smssim run --log-level d", "debug"),
        ("smssim bench --case satu", "saturation"),
        ("smssim run --log-l", "--log-level"),
        ("smssim tr", "trace"),
    ],
)
def test_python_m_smssim_runs_the_program_and_completes_words(line: str, completed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smssim"],
        env=os.environ | {"_SMSSIM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [completed]
