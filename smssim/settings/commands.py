"""The settings of the commands that start no node, such as watch, report and bench.

Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import COUNT_MAX
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import MONITOR_ADDRESS, is_host
from smssim.settings.flags import REQUIRED, Checked, argument, flag, flags_of, like, switch
from smssim.settings.monitor import MonitorSettings, check_different
from smssim.settings.page import check_page
from smssim.settings.producer import ProducerSettings
from smssim.settings.rules import one_of, text, whole
from smssim.settings.runs import RunSettings
from smssim.settings.sender import PRESET
from smssim.settings.shared import ClientSettings

AGREEMENT: Final = "agreement"  # a case that compares plans with runs; only if it is named
BENCH_CASES: Final = (
    *("saturation", "lanes-50k", "lanes-1m", "lanes-2m", "one-lane", "unequal", "thousand", "us", "idle"),
    AGREEMENT,
)
REPEAT_MAX: Final = 1000

_DIRECTORY: Final = text("a directory, created if it does not exist", bool)


@dataclass(frozen=True, kw_only=True)
class WatchSettings(ClientSettings):
    """`smssim watch`."""

    monitor: str = argument(
        MONITOR_ADDRESS, flags_of(ProducerSettings)["monitor"].rule, "[HOST:PORT]", "Address of the monitor"
    )
    interval_s: float = like(MonitorSettings, "interval_s", default=1.0)
    json: bool = like(MonitorSettings, "json")
    title: str = like(MonitorSettings, "title", purpose="Title of the page")
    web: int | None = like(MonitorSettings, "web")
    web_listen: str | None = like(MonitorSettings, "web_listen")
    insecure: bool = like(
        ClientSettings,
        "insecure",
        purpose="Send the token to other machines, and serve the page to them, without TLS.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_page(self)


@dataclass(frozen=True)
class TraceSettings(Checked):
    """`smssim trace`."""

    file: str = argument(REQUIRED, text("a file that --record has written", bool), "FILE", "Record of a run")
    message_id: int = argument(REQUIRED, whole(0, COUNT_MAX, "10^10"), "MESSAGE_ID", "ID of the message")


@dataclass(frozen=True)
class ScenarioSettings(Checked):
    """`smssim scenario`."""

    file: str | None = like(RunSettings, "scenario", purpose="File to check")
    schema: bool = switch("Output", "Print the JSON schema of scenario files instead.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is None and not self.schema:
            raise UsageError("SCENARIO is required without --schema")


@dataclass(frozen=True)
class PresetsSettings(Checked):
    """`smssim presets`."""

    name: str | None = argument(None, PRESET.rule, "[NAME]", "Preset to show in detail", unset="all of them")
    json: bool = like(MonitorSettings, "json", purpose="Print a JSON array of all presets, or the object of one.")


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Checked):
    """`smssim report`."""

    runs: tuple[str, ...] = argument(
        REQUIRED,
        text(
            "the result of a run (--summary-json), a plan (smssim plan --json), a kept run or a report; "
            "or with --history the start of the ID of a kept run",
            bool,
        ),
        "RUN",
        "What to report; up to eight are compared",
        several=True,
    )
    output: str = flag(
        "report.html",
        flags_of(MonitorSettings)["report"].rule,
        "FILE",
        "Output",
        "Where to write the report",
        short="-o",
    )
    history: str | None = like(
        MonitorSettings, "history", purpose="Look up the IDs of kept runs in this directory.", unset="none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for path in self.runs:
            check_different({"--output": self.output}, input=path)


@dataclass(frozen=True, kw_only=True)
class HistorySettings(Checked):
    """`smssim history`."""

    directory: str | None = argument(
        None, _DIRECTORY, "[DIR]", "Directory in which --history has kept runs.", unset="the value of --history"
    )
    history: str | None = like(MonitorSettings, "history", purpose="The same as DIR.", unset="none")
    json: bool = like(MonitorSettings, "json", purpose="Print one JSON object per run.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directory is None and self.history is None:
            raise UsageError("DIR is required")
        if None not in (self.directory, self.history) and self.directory != self.history:
            raise bad_value("--history", self.history, f"{self.directory}, as DIR")

    @property
    def where(self) -> str:
        """The directory."""
        return self.directory or self.history or ""


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
        unset="all but agreement; with --quick, also not the three longest",
    )
    repeat: int | None = flag(
        None,
        whole(1, REPEAT_MAX),
        "N",
        "Cases",
        "Number of measurements per case",
        unset="3, 5 for agreement, or 1 with --quick",
    )
    forecasts: str | None = flag(
        None,
        _DIRECTORY,
        "DIR",
        "Output",
        "Where the case agreement writes its forecasts, before it runs anything",
        unset="a new temporary directory",
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
