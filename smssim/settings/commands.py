"""The settings of the commands that do not start exactly one node: run, watch, trace, bench and certs.

Knows which flags of nodes `smssim run` has, and to which of its nodes their values go. Must stay cheap to import:
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
    FAILED_PURPOSE,
    MonitorSettings,
    ProducerSettings,
    SenderSettings,
)
from smssim.settings.rules import Rule, one_of, text, whole
from smssim.settings.senders import RUN_COUNT, RUN_SENDERS, SENDER_EXPECTED, parse_sender
from smssim.settings.shared import ClientSettings, NodeSettings

BENCH_CASES: Final = (
    *("saturation", "lanes-50k", "lanes-1m", "lanes-2m", "one-lane", "unequal", "thousand", "us", "idle"),
)
REPEAT_MAX: Final = 1000

_DIRECTORY: Final = text("a directory, created if it does not exist", bool)

# ---- run

_RUN_DIFFERS: Final[Mapping[str, Mapping[str, Any]]] = {  # differences from the flags of its nodes
    "count": {"default": None, "unset": f"{RUN_COUNT}, or {ProducerSettings.count} with --sender"},
    "interval_s": {"default": 1.0},
    "failed": {"purpose": FAILED_PURPOSE},
    "log_level": {"purpose": "Lowest level to log (debug includes the full logs of all nodes)"},
}
_RUN_PANELS: Final = ("Messages", "Senders", "Delivery", "Output", "Ending", "Crashes", "Security")  # in this order

Server = TypeVar("Server", ProducerSettings, MonitorSettings)


@dataclass(frozen=True)
class RunSettings(Checked):
    """`smssim run`: one producer, one monitor and these senders, each in its own process.

    The log settings of the run are those of the monitor.
    """

    producer: ProducerSettings
    monitor: MonitorSettings
    senders: tuple[SenderSettings, ...] = flag(
        (),
        Rule(SENDER_EXPECTED, parse_sender, lambda got: isinstance(got, SenderSettings)),
        "SPEC",
        "Senders",
        "Settings of one sender (repeatable)",
        unset="four different senders",
        word="sender",
    )
    journal: str | None = like(  # the directory of the journals of the producer and the monitor
        ProducerSettings,
        "journal",
        metavar="DIR",
        purpose="Save the run's state in this directory and resume from it after a crash",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        lanes = sum(sender.lanes for sender in self.senders)
        if lanes > RUN_LANES_MAX:
            raise bad_value(
                "--sender", f"{lanes:,}", f"at most {RUN_LANES_MAX:,} lanes (concurrency x copies) in total"
            )

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Return its own flags, and the flags of nodes that a run has too."""
        of_all = flags_of(NodeSettings)
        of_one = [*flags_of(ProducerSettings).items(), *flags_of(MonitorSettings).items()]
        of_nodes = [*((setting, flag) for setting, flag in of_one if setting not in of_all), *of_all.items()]
        in_run = {setting: flag for setting, flag in of_nodes if flag.in_run} | dict(flags_of(cls))
        flags = {setting: replace(flag, **_RUN_DIFFERS.get(setting, {})) for setting, flag in in_run.items()}
        return dict(sorted(flags.items(), key=lambda pair: _RUN_PANELS.index(pair[1].panel)))

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Return the settings for these values of flags: each value goes to every node that has the flag.

        Raises UsageError.
        """
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
    """Return the settings of a node of a run, from those flags of the run that are for it."""
    of_it = {setting for setting, flag in flags_of(kind).items() if flag.in_run}
    its = {setting: value for setting, value in given.items() if setting in of_it}
    return kind(**its, listen=FREE_ADDRESS, token=token)


# ---- Commands that start no node


@dataclass(frozen=True, kw_only=True)
class WatchSettings(ClientSettings):
    """`smssim watch`."""

    monitor: str = argument(
        MONITOR_ADDRESS, flags_of(ProducerSettings)["monitor"].rule, "[HOST:PORT]", "Address of the monitor"
    )
    interval_s: float = like(MonitorSettings, "interval_s", default=1.0)
    json: bool = like(MonitorSettings, "json")


@dataclass(frozen=True)
class TraceSettings(Checked):
    """`smssim trace`."""

    file: str = argument(REQUIRED, text("a file that --record has written", bool), "FILE", "Record of a run")
    message_id: int = argument(REQUIRED, whole(0, COUNT_MAX, "10^10"), "MESSAGE_ID", "ID of the message")


@dataclass(frozen=True)
class BenchSettings(Checked):
    """`smssim bench`."""

    quick: bool = switch("Cases", "Run smaller cases, which take about a minute in total.")
    case: tuple[str, ...] = flag(
        (),
        one_of(BENCH_CASES),
        "NAME",
        "Cases",
        "Case to measure (repeatable)",
        unset="all; with --quick, all but the three longest",
    )
    repeat: int | None = flag(
        None, whole(1, REPEAT_MAX), "N", "Cases", "Number of measurements per case", unset="3, or 1 with --quick"
    )
    json: bool = like(MonitorSettings, "json")
    figures: str | None = flag(
        None,
        _DIRECTORY,
        "DIR",
        "Output",
        "Run the scaling study instead of the cases and draw its charts here",
        unset="no study",
    )


@dataclass(frozen=True)
class CertsSettings(Checked):
    """`smssim certs`."""

    directory: str = argument(REQUIRED, _DIRECTORY, "DIR", "Where to write the files")
    host: tuple[str, ...] = flag(
        (),
        text("a host name or an IP address", is_host),
        "NAME",
        "Certificates",
        "Another host that the server certificate is valid for (repeatable)",
        unset="only this machine",
    )
