"""Every flag of the command line: its name, its panel in the help, its words, and how its value is read.

Knows typer. What a flag takes is in `settings`; which command has it is in `cli`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from smssim.core.limits import CONCURRENCY_MAX
from smssim.core.spread import STD_TAKES
from smssim.senders import RUN_COUNT, SENDER_TAKES
from smssim.settings import DISTRIBUTIONS, LOG_FORMATS, LOG_LEVELS, RULES, TOKEN_VARIABLE, parse


def _read(ctx: typer.Context, param: typer.CallbackParam, value: object) -> object:
    """A flag's value from what was typed or from its variable; raises UsageError."""
    if value is None:
        return None
    flag = param.opts[0]
    source = ctx.get_parameter_source(param.name)
    from_variable = source is not None and source.name == "ENVIRONMENT"
    label = f"{flag} ({ctx.auto_envvar_prefix}_{param.name.upper()})" if from_variable else flag
    if isinstance(value, list | tuple):
        return [parse(flag, str(one), label) for one in value]
    return parse(flag, str(value), label)


def _read_directory(value: str) -> str:
    return str(parse("--directory", value, "certs"))


def _flag(flag: str, metavar: str, panel: str, says: str, unset: str | None = None, **more: Any) -> Any:
    """An option that takes a value. `says` is completed by what its rule takes; `unset` says what no value means."""
    return typer.Option(
        flag,
        help=f"{says}: {RULES[flag].takes}.",
        metavar=metavar,
        rich_help_panel=panel,
        show_default=unset or True,
        parser=str,  # and no more: _read knows where the text came from
        callback=_read,
        **more,
    )


def _switch(flag: str, panel: str, says: str, *short: str) -> Any:
    """An option that is either there or not."""
    return typer.Option(
        flag,
        *short,
        help=says,
        metavar="",
        rich_help_panel=panel,
        show_default=False,
        parser=str,  # of its variable
        callback=_read,
    )


_ONE_RUN: Final = "not with --linger"
_FAILED: Final = "At the end, list the messages nobody received, as CSV"

Count = Annotated[int, _flag("--count", "N", "Messages", "How many messages")]
RunCount = Annotated[
    int | None, _flag("--count", "N", "Messages", "How many messages", f"{RUN_COUNT}, or 1000 with --sender")
]
Seed = Annotated[
    int | None, _flag("--seed", "N", "Messages", "Same seed and same senders, same outcomes", "random, and shown")
]
MinLength = Annotated[int, _flag("--min-length", "N", "Messages", "Shortest text, in characters")]
MaxLength = Annotated[int, _flag("--max-length", "N", "Messages", "Longest text, in characters")]

MaxAttempts = Annotated[int, _flag("--max-attempts", "N", "Delivery", "Times a message is tried before it has failed")]
RetryDelay = Annotated[float, _flag("--retry-delay", "SECONDS", "Delivery", "Wait before a message is tried again")]
Rate = Annotated[float | None, _flag("--rate", "RATE", "Delivery", "How fast messages are released", "all at once")]
LeaseTimeout = Annotated[
    float,
    _flag("--lease-timeout", "SECONDS", "Delivery", "Silence of a sender after which others get its messages"),
]

Mean = Annotated[float, _flag("--mean", "SECONDS", "Sending", "Mean time of an attempt")]
Std = Annotated[
    float | None,
    _flag("--std", "SECONDS", "Sending", f"Standard deviation of that time, at most {STD_TAKES}", "0.3 of the mean"),
]
Distribution = Annotated[
    str,
    _flag("--distribution", "NAME", "Sending", "How that time is spread", autocompletion=lambda: list(DISTRIBUTIONS)),
]
MaxTime = Annotated[float | None, _flag("--max-time", "SECONDS", "Sending", "Longest time of an attempt", "no limit")]
Fail = Annotated[float, _flag("--fail", "SHARE", "Sending", "Chance that an attempt fails")]
Concurrency = Annotated[int, _flag("--concurrency", "N", "Sending", "Messages sent at the same time")]
Copies = Annotated[
    int,
    _flag("--copies", "N", "Sending", f"Senders like this one in one process, with {CONCURRENCY_MAX:,} lanes at most"),
]
Sender = Annotated[
    list[str] | None,
    typer.Option(
        "--sender",
        help=f"A sender, any number of times: {SENDER_TAKES}.",
        metavar="SPEC",
        rich_help_panel="Senders",
        show_default="four that differ",
    ),
]

Journal = Annotated[
    str | None, _flag("--journal", "FILE", "Crashes", "Go on after a crash with what this file has", "nothing is kept")
]
MonitorJournal = Annotated[
    str | None,
    _flag(
        "--journal", "FILE", "Crashes", f"Go on after a crash with what this file has, {_ONE_RUN}", "nothing is kept"
    ),
]
RunJournal = Annotated[
    str | None, _flag("--journal", "DIR", "Crashes", "Go on after a crash with what is in here", "nothing is kept")
]

Listen = Annotated[str, _flag("--listen", "ADDRESS", "Network", "Where to listen; port 0 takes a free one")]
ProducerAddress = Annotated[str, _flag("--producer", "ADDRESS", "Network", "Where the producer listens")]
MonitorAddress = Annotated[str, _flag("--monitor", "ADDRESS", "Network", "Where senders find the monitor")]
SenderMonitor = Annotated[
    str | None, _flag("--monitor", "ADDRESS", "Network", "Where the monitor listens", "what the producer says")
]
WatchedMonitor = Annotated[
    str,
    typer.Argument(
        help=f"Where the monitor listens: {RULES['--monitor'].takes}.",
        metavar="[HOST:PORT]",
        envvar="SMSSIM_WATCH_MONITOR",
        callback=lambda value: parse("--monitor", value, "HOST:PORT"),
    ),
]

TlsCert = Annotated[
    str | None, _flag("--tls-cert", "FILE", "Security", "This node's certificate, for TLS", "no certificate")
]
TlsKey = Annotated[str | None, _flag("--tls-key", "FILE", "Security", "The key of that certificate", "no key")]
ServerTlsCa = Annotated[
    str | None, _flag("--tls-ca", "FILE", "Security", "Authority that signed the senders' certificates", "any sender")
]
SenderTlsCa = Annotated[
    str | None, _flag("--tls-ca", "FILE", "Security", "Authority that signed the others' certificates", "no TLS")
]
TokenFile = Annotated[
    str | None, _flag("--token-file", "FILE", "Security", "Shared token", f"the variable {TOKEN_VARIABLE}, or none")
]
Insecure = Annotated[
    bool, _switch("--insecure", "Security", "Let --listen take an address others can reach without TLS.")
]
SenderInsecure = Annotated[
    bool, _switch("--insecure", "Security", "Show the token to other machines without TLS, for all to read.")
]

Interval = Annotated[float, _flag("--interval", "SECONDS", "Output", "Time between two lines")]
Json = Annotated[bool, _switch("--json", "Output", "Write one JSON object a line.")]
Csv = Annotated[
    str | None, _flag("--csv", "FILE", "Output", "Write the figures there too, a row an interval", "not written")
]
SummaryJson = Annotated[
    str | None,
    _flag("--summary-json", "FILE", "Output", "Write there what came of the run, one JSON object", "not written"),
]
Thresholds = Annotated[
    list[str] | None,
    _flag("--threshold", "EXPR", "Ending", "What the run has to achieve, or exit with 5; any number of times", "none"),
]
Name = Annotated[str, _flag("--name", "NAME", "Output", "Name in logs and tables", "host and process number")]
Verbose = Annotated[bool, _switch("--verbose", "Output", "Log each message as it is sent.", "-v")]

LogLevel = Annotated[
    str,
    _flag("--log-level", "LEVEL", "Output", "The least of what is logged", autocompletion=lambda: list(LOG_LEVELS)),
]
RunLogLevel = Annotated[
    str,
    _flag(
        "--log-level",
        "LEVEL",
        "Output",
        "The least of what is logged, with the logs of all nodes where it is debug",
        autocompletion=lambda: list(LOG_LEVELS),
    ),
]
MetricsPort = Annotated[
    int | None,
    _flag("--metrics-port", "PORT", "Output", "Serve metrics for Prometheus there; 0 takes a free port", "not served"),
]
LogFormat = Annotated[
    str, _flag("--log-format", "NAME", "Output", "How it is written", autocompletion=lambda: list(LOG_FORMATS))
]

Record = Annotated[
    str | None,
    _flag("--record", "FILE", "Output", "Write each outcome to a Parquet file", "not written"),
]
Failed = Annotated[
    str | None,
    _flag("--failed", "FILE", "Output", _FAILED, "not written"),
]
MonitorFailed = Annotated[
    str | None,
    _flag("--failed", "FILE", "Output", f"{_FAILED}, {_ONE_RUN}", "not written"),
]
TraceFile = Annotated[
    str, typer.Argument(help="What --record has written.", metavar="FILE", show_default=False, parser=str)
]
MessageId = Annotated[
    int,
    typer.Argument(
        help="Which message.",
        metavar="MESSAGE_ID",
        show_default=False,
        parser=lambda text: parse("MESSAGE_ID", text),
    ),
]

ProducerLinger = Annotated[bool, _switch("--linger", "Ending", "Stay up when the run is complete, until stopped.")]
SenderLinger = Annotated[bool, _switch("--linger", "Ending", "Stay up when the run is complete, for the next one.")]
MonitorLinger = Annotated[
    bool,
    _switch(
        "--linger",
        "Ending",
        "Stay up when the run is complete, for further runs; not with --journal or --failed, which are for one run.",
    ),
]
GiveUp = Annotated[
    float, _flag("--give-up", "SECONDS", "Ending", "How long to wait for a node that was met and is gone")
]

Directory = Annotated[
    str, typer.Argument(metavar="DIR", help="Where to write them.", show_default=False, callback=_read_directory)
]
Hosts = Annotated[
    list[str] | None,
    _flag("--host", "NAME", "Certificates", "A server's name, any number of times", "none but this machine's own"),
]

Case = Annotated[
    list[str] | None,
    _flag(
        "--case", "NAME", "Cases", "What to measure, any number of times", "all; with --quick, not the three longest"
    ),
]
Repeat = Annotated[
    int | None, _flag("--repeat", "N", "Cases", "How often each case is measured", "3, or 1 with --quick")
]
Quick = Annotated[bool, _switch("--quick", "Cases", "Smaller cases: about a minute in all.")]
Figures = Annotated[
    str | None,
    _flag("--figures", "DIR", "Output", "Run the scaling study, instead of the cases, and draw it there", "not drawn"),
]
