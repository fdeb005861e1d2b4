"""The command line: flags and SMSSIM_* variables to checked settings, then a node.

Knows how to ask and how to answer a wrong flag in one line. What a flag takes is in `settings`; what a node does
is in `nodes` and `cluster`, imported only when their command runs, so that the help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Annotated, Any, Final, NoReturn, TypeVar, cast

import typer
from typer.exceptions import TyperException

from smssim import __version__
from smssim import options as opt
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode, SmssimError, bad_value
from smssim.escaping import quote
from smssim.process import streams
from smssim.rules import SWITCH
from smssim.senders import RUN_COUNT, RUN_SENDERS, SENDER_TAKES, parse_sender
from smssim.settings import (
    FREE_ADDRESS,
    RULES,
    TOKEN_VARIABLE,
    AccessSettings,
    LogSettings,
    MonitorSettings,
    ProducerSettings,
    RunSettings,
    SenderSettings,
    WatchSettings,
    flag_of,
)
from smssim.tasks import BenchSettings, CertsSettings, TraceSettings

COMMANDS: Final = ("producer", "sender", "monitor", "run", "watch", "trace", "bench", "certs")

_PREFIX: Final = "SMSSIM_"  # of every variable

NodeSettings = TypeVar("NodeSettings", bound=AccessSettings)

app = typer.Typer(
    epilog="Examples:\nsmssim run\nsmssim sender --help",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SMSSIM"},
    pretty_exceptions_enable=False,
)


# ---- The commands


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"smssim {__version__}")
        raise typer.Exit


@app.callback()
def smssim(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version.",
            metavar="",
            allow_from_autoenv=False,
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """Rehearse a mass SMS alert: a producer holds messages, senders send them, a monitor counts."""


@app.command(
    epilog="Examples:\nsmssim producer --count 1000\nsmssim producer --count 1e6 --seed 7 --max-attempts 3 --rate 50000"
)
def producer(
    count: opt.Count = ProducerSettings.count,
    seed: opt.Seed = None,
    min_length: opt.MinLength = ProducerSettings.min_length,
    max_length: opt.MaxLength = ProducerSettings.max_length,
    max_attempts: opt.MaxAttempts = ProducerSettings.max_attempts,
    retry_delay: opt.RetryDelay = ProducerSettings.retry_delay_s,
    rate: opt.Rate = ProducerSettings.rate_per_s,
    lease_timeout: opt.LeaseTimeout = ProducerSettings.lease_timeout_s,
    listen: opt.Listen = ProducerSettings.listen,
    monitor: opt.MonitorAddress = ProducerSettings.monitor,
    journal: opt.Journal = ProducerSettings.journal,
    linger: opt.ProducerLinger = ProducerSettings.linger,
    metrics_port: opt.MetricsPort = MonitorSettings.metrics_port,
    give_up: opt.GiveUp = ProducerSettings.give_up_s,
    log_level: opt.LogLevel = LogSettings.log_level,
    log_format: opt.LogFormat = LogSettings.log_format,
    tls_cert: opt.TlsCert = ProducerSettings.tls_cert,
    tls_key: opt.TlsKey = ProducerSettings.tls_key,
    tls_ca: opt.ServerTlsCa = ProducerSettings.tls_ca,
    token_file: opt.TokenFile = ProducerSettings.token_file,
    insecure: opt.Insecure = ProducerSettings.insecure,
) -> int:
    """Hold the messages of a run and hand them to senders."""
    settings = _made(ProducerSettings, locals())
    from smssim.nodes.producer import serve

    return serve(settings)


@app.command(
    epilog="Examples:\nsmssim sender --mean 0.5 --fail 0.1\n"
    "smssim sender --concurrency 1000 --producer 10.0.0.5:50051 --name big"
)
def sender(
    mean: opt.Mean = SenderSettings.mean_s,
    std: opt.Std = SenderSettings.std_s,
    distribution: opt.Distribution = SenderSettings.distribution,
    max_time: opt.MaxTime = SenderSettings.max_time_s,
    fail: opt.Fail = SenderSettings.fail,
    concurrency: opt.Concurrency = SenderSettings.concurrency,
    copies: opt.Copies = SenderSettings.copies,
    producer: opt.ProducerAddress = SenderSettings.producer,
    monitor: opt.SenderMonitor = SenderSettings.monitor,
    name: opt.Name = SenderSettings.name,
    verbose: opt.Verbose = SenderSettings.verbose,
    linger: opt.SenderLinger = SenderSettings.linger,
    metrics_port: opt.MetricsPort = MonitorSettings.metrics_port,
    give_up: opt.GiveUp = SenderSettings.give_up_s,
    log_level: opt.LogLevel = LogSettings.log_level,
    log_format: opt.LogFormat = LogSettings.log_format,
    tls_cert: opt.TlsCert = SenderSettings.tls_cert,
    tls_key: opt.TlsKey = SenderSettings.tls_key,
    tls_ca: opt.SenderTlsCa = SenderSettings.tls_ca,
    token_file: opt.TokenFile = SenderSettings.token_file,
    insecure: opt.SenderInsecure = SenderSettings.insecure,
) -> int:
    """Pull messages, simulate sending them and report what became of each."""
    settings = _made(SenderSettings, locals())
    from smssim.nodes.sender import serve

    return serve(settings)


@app.command(epilog="Examples:\nsmssim monitor --interval 5\nsmssim monitor --interval 1 --json --linger")
def monitor(
    interval: opt.Interval = MonitorSettings.interval_s,
    json: opt.Json = MonitorSettings.json,
    csv: opt.Csv = MonitorSettings.csv,
    summary_json: opt.SummaryJson = MonitorSettings.summary_json,
    threshold: opt.Thresholds = None,
    record: opt.Record = MonitorSettings.record,
    failed: opt.MonitorFailed = MonitorSettings.failed,
    listen: opt.Listen = MonitorSettings.listen,
    journal: opt.MonitorJournal = MonitorSettings.journal,
    linger: opt.MonitorLinger = MonitorSettings.linger,
    metrics_port: opt.MetricsPort = MonitorSettings.metrics_port,
    give_up: opt.GiveUp = MonitorSettings.give_up_s,
    log_level: opt.LogLevel = LogSettings.log_level,
    log_format: opt.LogFormat = LogSettings.log_format,
    tls_cert: opt.TlsCert = MonitorSettings.tls_cert,
    tls_key: opt.TlsKey = MonitorSettings.tls_key,
    tls_ca: opt.ServerTlsCa = MonitorSettings.tls_ca,
    token_file: opt.TokenFile = MonitorSettings.token_file,
    insecure: opt.Insecure = MonitorSettings.insecure,
) -> int:
    """Count what was sent and what failed, and show it as it happens."""
    settings = _made(MonitorSettings, locals() | {"threshold": _thresholds(threshold)})
    from smssim.nodes.monitor import serve

    return serve(settings)


@app.command(
    epilog="Examples:\nsmssim run\nsmssim run --count 2000 --sender mean=0.05,fail=0.1,concurrency=4 --seed 7\n"
    "smssim run --sender mean=0.1 --sender mean=1,copies=50 --max-attempts 3\n"
    "smssim run --threshold 'failed<15%' --threshold 't95<10s' --summary-json summary.json"
)
def run(
    count: opt.RunCount = None,
    seed: opt.Seed = None,
    min_length: opt.MinLength = ProducerSettings.min_length,
    max_length: opt.MaxLength = ProducerSettings.max_length,
    sender: opt.Sender = None,
    max_attempts: opt.MaxAttempts = ProducerSettings.max_attempts,
    retry_delay: opt.RetryDelay = ProducerSettings.retry_delay_s,
    rate: opt.Rate = ProducerSettings.rate_per_s,
    lease_timeout: opt.LeaseTimeout = ProducerSettings.lease_timeout_s,
    interval: opt.Interval = 1.0,
    json: opt.Json = MonitorSettings.json,
    csv: opt.Csv = MonitorSettings.csv,
    summary_json: opt.SummaryJson = MonitorSettings.summary_json,
    threshold: opt.Thresholds = None,
    journal: opt.RunJournal = RunSettings.journal,
    record: opt.Record = MonitorSettings.record,
    failed: opt.Failed = MonitorSettings.failed,
    metrics_port: opt.MetricsPort = MonitorSettings.metrics_port,
    give_up: opt.GiveUp = ProducerSettings.give_up_s,
    log_level: opt.RunLogLevel = LogSettings.log_level,
    log_format: opt.LogFormat = LogSettings.log_format,
    token_file: opt.TokenFile = ProducerSettings.token_file,
) -> int:
    """A whole run on this machine: a producer, a monitor and senders, each a process."""
    senders = tuple(parse_sender(spec) for spec in sender) if sender else RUN_SENDERS
    if count is None:
        count = ProducerSettings.count if sender else RUN_COUNT
    given = locals() | {"listen": FREE_ADDRESS, "journal": None, "threshold": _thresholds(threshold)}
    producer = _made(ProducerSettings, given | {"metrics_port": None})
    monitor = _made(MonitorSettings, given)
    of_all: dict[str, Any] = {"give_up_s": give_up, "log_level": log_level, "log_format": log_format}
    of_all |= {"token_file": token_file, "token": _token()}
    senders = tuple(replace(each, **of_all) for each in senders)
    from smssim.launch.cluster import serve

    return serve(RunSettings(producer, monitor, senders, journal))


@app.command(epilog="Examples:\nsmssim watch\nsmssim watch 10.0.0.5:50052 --interval 0.5\nsmssim watch --json")
def watch(
    monitor: opt.WatchedMonitor = WatchSettings.monitor,
    interval: opt.Interval = WatchSettings.interval_s,
    json: opt.Json = WatchSettings.json,
    give_up: opt.GiveUp = WatchSettings.give_up_s,
    log_level: opt.LogLevel = LogSettings.log_level,
    log_format: opt.LogFormat = LogSettings.log_format,
    tls_cert: opt.TlsCert = WatchSettings.tls_cert,
    tls_key: opt.TlsKey = WatchSettings.tls_key,
    tls_ca: opt.SenderTlsCa = WatchSettings.tls_ca,
    token_file: opt.TokenFile = WatchSettings.token_file,
    insecure: opt.SenderInsecure = WatchSettings.insecure,
) -> int:
    """See what a running monitor sees, from any terminal; any number at once."""
    settings = _made(WatchSettings, locals())
    from smssim.nodes.watch import serve

    return serve(settings)


@app.command(epilog="Examples:\nsmssim trace outcomes.parquet 42\nsmssim trace /tmp/outcomes.parquet 123456")
def trace(file: opt.TraceFile, message_id: opt.MessageId) -> int:
    """The life of one message: each attempt that a record has of it."""
    from smssim.outputs.trace import serve

    return serve(TraceSettings(file, message_id))


@app.command(epilog="Examples:\nsmssim bench --quick\nsmssim bench --case saturation --case idle --repeat 5 --json")
def bench(
    quick: opt.Quick = BenchSettings.quick,
    case: opt.Case = None,
    repeat: opt.Repeat = BenchSettings.repeat,
    json: opt.Json = BenchSettings.json,
    figures: opt.Figures = BenchSettings.figures,
) -> int:
    """Measure how fast smssim is on this machine, beside a plain asyncio program. To miss a target is no error."""
    settings = BenchSettings(quick=quick, case=tuple(case or ()), repeat=repeat, json=json, figures=figures)
    from smssim.bench.main import serve

    return serve(settings)


@app.command(epilog="Examples:\nsmssim certs pki\nsmssim certs pki --host alpha --host 10.0.0.5")
def certs(directory: opt.Directory, host: opt.Hosts = None) -> int:
    """Make a test authority and certificates, for trying TLS."""
    settings = CertsSettings(directory, tuple(host or ()))
    from smssim.net.certs import serve

    return serve(settings)


def _thresholds(read: list[str] | None) -> tuple[Threshold, ...]:
    """What typer takes to be texts; `options` has read them."""
    return cast("tuple[Threshold, ...]", tuple(read or ()))


def _token() -> str | None:
    return os.environ.get(TOKEN_VARIABLE) or None


def _made(kind: type[NodeSettings], given: dict[str, Any]) -> NodeSettings:
    """Settings from the parameters of a command, which are named like the flags."""
    words = {setting.name: flag_of(setting.name)[2:].replace("-", "_") for setting in fields(kind)}
    return kind(**{name: given[word] for name, word in words.items() if word in given}, token=_token())


# ---- The entry point


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command in `args` (by default the program's own) to its end and exits with its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before anything imports grpc; a busy port is told in our words
    os.environ.setdefault("GLOG_minloglevel", "2")
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    program = f"smssim {words[0]}" if words[0] in COMMANDS else "smssim"
    try:
        code = _answer(words)
    except SmssimError as error:
        code = error.exit_code
        print(f"{program}: {error}", file=sys.stderr)
    except TyperException as error:
        code = ExitCode.USAGE
        print(f"{program}: {_in_one_line(error, program)}", file=sys.stderr)
    sys.stdout.flush()
    reason = streams.news_of_loss()
    if reason is not None:
        print(f"{program}: stdout can't be written: {reason}", file=sys.stderr)
    sys.exit(ExitCode.INCOMPLETE if code == ExitCode.OK and streams.has_lost() else code)


def _answer(words: list[str]) -> int:
    if words[0] not in COMMANDS and not words[0].startswith("-"):
        near = get_close_matches(words[0], COMMANDS, n=1)
        listed = f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}"
        raise bad_value("command", words[0], listed + (f"; did you mean {near[0]}?" if near else ""))
    command = _command()
    if words[0] in COMMANDS and not {"-h", "--help"} & set(words):
        _warn_of_variables(words[0], command)
    return int(command(words, prog_name="smssim", standalone_mode=False) or ExitCode.OK)


def _command() -> Any:
    """The program; what typer adds to it by itself takes no value in the help, and has no variable."""
    program: Any = typer.main.get_command(app)
    names = program.context_settings["help_option_names"]
    for command in (program, *program.commands.values()):
        command.get_help_option(typer.Context(command, help_option_names=names)).metavar = ""  # it is kept
    for param in program.params:
        param.metavar, param.allow_from_autoenv = "", False
    return program


def _warn_of_variables(name: str, program: Any) -> None:
    """Says which variables look like ours and are none, on a line each."""
    given = [variable for variable in os.environ if variable.startswith(_PREFIX)]
    if not given:
        return
    known = {TOKEN_VARIABLE}
    for command in program.commands.values():
        ours = {param.name: param.envvar for param in command.params if param.envvar or param.opts[0][:1] == "-"}
        known |= {envvar or f"{_PREFIX}{command.name}_{word}".upper() for word, envvar in ours.items()}
    ends = [variable.removeprefix(_PREFIX) for variable in known]  # or else all would be alike
    for variable in sorted({*given} - known):
        near = get_close_matches(variable.removeprefix(_PREFIX), ends, n=1, cutoff=0.75)
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else f"see smssim {name} --help"
        print(f"smssim {name}: {quote(variable)}: no such variable; {hint}", file=sys.stderr)


def _in_one_line(error: TyperException, program: str) -> str:
    """What typer could not tell apart as flags and values, in the form of our own errors."""
    flag: str = getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        near = get_close_matches(flag, error.possibilities or (), n=1, cutoff=0.75)
        return f"{quote(flag)}: no such flag; " + (f"did you mean {near[0]}?" if near else f"see {program} --help")
    if flag in RULES and RULES[flag] is SWITCH:
        return f"{flag}: got a value; takes none"
    if flag in RULES or flag == "--sender":
        return f"{flag}: got nothing; takes {RULES[flag].takes if flag in RULES else SENDER_TAKES}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see {program} --help"
