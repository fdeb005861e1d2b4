"""The settings of the commands that start no node, or several: run, watch, trace, bench and certs.

Knows which flags of nodes `smssim run` has, and to which of its nodes they go. Must stay cheap to import:
`smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

from smssim.core.limits import COUNT_MAX, RUN_LANES_MAX
from smssim.errors import bad_value
from smssim.settings.addresses import FREE_ADDRESS, MONITOR_ADDRESS, is_host
from smssim.settings.flags import REQUIRED, Checked, Flag, argument, flag, flags_of, like, switch
from smssim.settings.nodes import (
    FAILED_SAYS,
    MonitorSettings,
    ProducerSettings,
    SenderSettings,
)
from smssim.settings.rules import Rule, one_of, text, whole
from smssim.settings.senders import RUN_COUNT, RUN_SENDERS, SENDER_TAKES, parse_sender
from smssim.settings.shared import ClientSettings, NodeSettings

BENCH_CASES: Final = (
    *("saturation", "lanes-50k", "lanes-1m", "lanes-2m", "one-lane", "unequal", "thousand", "us", "idle"),
)
REPEAT_MAX: Final = 1000

_DIRECTORY: Final = text("a directory, made if it is not there", bool)

# ---- run

_RUN_DIFFERS: Final[Mapping[str, Mapping[str, Any]]] = {  # from the flags of its nodes
    "count": {"default": None, "unset": f"{RUN_COUNT}, or {ProducerSettings.count} with --sender"},
    "interval_s": {"default": 1.0},
    "failed": {"says": FAILED_SAYS},
    "log_level": {"says": "The least of what is logged, with the logs of all nodes where it is debug"},
}
_RUN_PANELS: Final = ("Messages", "Senders", "Delivery", "Output", "Ending", "Crashes", "Security")  # of the help

Server = TypeVar("Server", ProducerSettings, MonitorSettings)


@dataclass(frozen=True)
class RunSettings(Checked):
    """`smssim run`: one producer, one monitor and these senders, each a process of its own.

    The run's log is as the monitor's.
    """

    producer: ProducerSettings
    monitor: MonitorSettings
    senders: tuple[SenderSettings, ...] = flag(
        (),
        Rule(SENDER_TAKES, parse_sender, lambda got: isinstance(got, SenderSettings)),
        "SPEC",
        "Senders",
        "A sender, any number of times",
        unset="four that differ",
        word="sender",
    )
    journal: str | None = like(  # the directory of the journals of both
        ProducerSettings, "journal", metavar="DIR", says="Go on after a crash with what is in here"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        lanes = sum(sender.lanes for sender in self.senders)
        if lanes > RUN_LANES_MAX:
            raise bad_value("--sender", f"{lanes:,}", f"at most {RUN_LANES_MAX:,} lanes (concurrency x copies) in all")

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Its own flags, and those of a producer, of a monitor and of all nodes that a run has too."""
        of_all = flags_of(NodeSettings)
        of_one = [*flags_of(ProducerSettings).items(), *flags_of(MonitorSettings).items()]
        of_nodes = [*((setting, flag) for setting, flag in of_one if setting not in of_all), *of_all.items()]
        in_run = {setting: flag for setting, flag in of_nodes if flag.in_run} | dict(flags_of(cls))
        flags = {setting: replace(flag, **_RUN_DIFFERS.get(setting, {})) for setting, flag in in_run.items()}
        return dict(sorted(flags.items(), key=lambda pair: _RUN_PANELS.index(pair[1].panel)))

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Gives each flag to every node that has it, and each sender what it says of itself; raises UsageError."""
        own = {setting: given[setting] for setting in flags_of(cls)}
        of_nodes = {setting: value for setting, value in given.items() if setting not in own}
        if of_nodes["count"] is None:
            of_nodes["count"] = ProducerSettings.count if own["senders"] else RUN_COUNT
        producer = _node(ProducerSettings, of_nodes, token)
        monitor = _node(MonitorSettings, of_nodes, token)
        of_all = {setting: value for setting, value in of_nodes.items() if setting in flags_of(NodeSettings)}
        senders = tuple(replace(sender, **of_all, token=token) for sender in own["senders"] or RUN_SENDERS)
        return cls(producer, monitor, senders, own["journal"])


def _node(kind: type[Server], given: Mapping[str, Any], token: str | None) -> Server:
    """A node of a run, with those flags of the run that are for it."""
    of_it = {setting for setting, flag in flags_of(kind).items() if flag.in_run}
    its = {setting: value for setting, value in given.items() if setting in of_it}
    return kind(**its, listen=FREE_ADDRESS, token=token)


# ---- Commands that start no node


@dataclass(frozen=True, kw_only=True)
class WatchSettings(ClientSettings):
    """`smssim watch`."""

    monitor: str = argument(
        MONITOR_ADDRESS, flags_of(ProducerSettings)["monitor"].rule, "[HOST:PORT]", "Where the monitor listens"
    )
    interval_s: float = like(MonitorSettings, "interval_s", default=1.0)
    json: bool = like(MonitorSettings, "json")


@dataclass(frozen=True)
class TraceSettings(Checked):
    """`smssim trace`."""

    file: str = argument(REQUIRED, text("a file that --record has written", bool), "FILE", "What --record has written.")
    message_id: int = argument(REQUIRED, whole(0, COUNT_MAX, "10^10"), "MESSAGE_ID", "Which message.")


@dataclass(frozen=True)
class BenchSettings(Checked):
    """`smssim bench`."""

    quick: bool = switch("Cases", "Smaller cases: about a minute in all.")
    case: tuple[str, ...] = flag(
        (),
        one_of(BENCH_CASES),
        "NAME",
        "Cases",
        "What to measure, any number of times",
        unset="all; with --quick, not the three longest",
    )
    repeat: int | None = flag(
        None, whole(1, REPEAT_MAX), "N", "Cases", "How often each case is measured", unset="3, or 1 with --quick"
    )
    json: bool = like(MonitorSettings, "json")
    figures: str | None = flag(
        None,
        _DIRECTORY,
        "DIR",
        "Output",
        "Run the scaling study, instead of the cases, and draw it there",
        unset="not drawn",
    )


@dataclass(frozen=True)
class CertsSettings(Checked):
    """`smssim certs`."""

    directory: str = argument(REQUIRED, _DIRECTORY, "DIR", "Where to write them.")
    host: tuple[str, ...] = flag(
        (),
        text("the name or the IP address of a host", is_host),
        "NAME",
        "Certificates",
        "A server's name, any number of times",
        unset="none but this machine's own",
    )
