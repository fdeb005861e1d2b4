"""The settings of the nodes, each declared together with its flag. They are frozen, and checked when they are made.

Checks that settings agree with each other. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Final

from smssim.core.fault import Fault, slowdown_max
from smssim.core.limits import (
    ATTEMPTS_MAX,
    CONCURRENCY_MAX,
    COPIES_MAX,
    COUNT_MAX,
    INTERVAL_MIN_S,
    LEASE_TIMEOUT_MIN_S,
    NAME_GIVEN_BYTES_MAX,
    RATE_MAX_PER_S,
    SEED_MAX,
    SLOWDOWN_MAX,
    TEXT_LENGTH_MAX,
    TIME_MAX_S,
)
from smssim.core.spread import STD_LIMITS, expected_std, usual_std
from smssim.core.threshold import EXPECTED, PATTERN, Threshold, near_figure
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import MONITOR_ADDRESS, PORT_MAX, PRODUCER_ADDRESS
from smssim.settings.engine import EngineSettings
from smssim.settings.flags import Flag, flag, flags_of, like, switch
from smssim.settings.page import COMMAND_VARIABLE, HOST, TITLE, check_page
from smssim.settings.rules import Rule, address, addresses, file, one_of, real, seconds, share, text, whole
from smssim.settings.sender_faults import FAULT
from smssim.settings.shared import ANY_TIME, ClientSettings

if TYPE_CHECKING:
    from smssim.core.model import AttemptModel

DISTRIBUTIONS: Final = ("gamma", "exponential", "lognormal", "normal", "uniform", "fixed")

HISTORY_RUNS_MAX: Final = 100_000
HISTORY_MEGABYTES_MAX: Final = 1_000_000

FAILED_PURPOSE: Final = "At the end, write the undelivered messages to this CSV file"


def _is_name(got: str) -> bool:
    return got.isprintable() and len(got.encode()) <= NAME_GIVEN_BYTES_MAX  # printable text can be encoded as UTF-8


_SEED: Final = whole(0, SEED_MAX, "2^63 - 1")
_LENGTH: Final = whole(1, TEXT_LENGTH_MAX)
_RATE: Final = real(1e-6, RATE_MAX_PER_S, "0.000001 to 10^12 messages per second")
_LEASE: Final = seconds(LEASE_TIMEOUT_MIN_S, TIME_MAX_S)
_HERE: Final = address(port_min=0)
_PEER: Final = addresses(port_min=1)
_PORT: Final = whole(0, PORT_MAX)
_NAME: Final = text(f"printable text of at most {NAME_GIVEN_BYTES_MAX} bytes", _is_name)
_DIRECTORY: Final = text("a directory, created if it does not exist", bool)
_JOURNAL: Final = text("a path, created if it does not exist", bool)
_FIGURES: Final = file("a file that can be written; for figures on stdout, use --json")
_SUMMARY: Final = file("a file that can be written, not stdout")
_RECORD: Final = file("a file that does not exist yet, not stdout")
_LIST: Final = file("a file, overwritten if it exists, not stdout")
_THRESHOLD: Final = Rule(
    EXPECTED, Threshold.parse, lambda got: isinstance(got, Threshold), near_figure, pattern=PATTERN
)

# Not a flag of `smssim sender`, which begins at once, but a key of `--sender` and of the senders of a scenario.
JOINS: Final = Flag(
    ANY_TIME,
    "SECONDS",
    "Sending",
    "When it starts, in seconds since the first message was delivered",
    0.0,
    word="joins",
)


@dataclass(frozen=True, kw_only=True)
class ProducerSettings(EngineSettings):
    """`smssim producer`."""

    count: int = flag(1000, whole(0, COUNT_MAX, "10^10"), "N", "Messages", "Number of messages")
    seed: int | None = flag(  # by default that of the journal, or a random one
        None,
        _SEED,
        "N",
        "Messages",
        "Random seed; if all senders are alike, the same seed gives the same counts",
        unset="random; see the log",
    )
    min_length: int = flag(1, _LENGTH, "N", "Messages", "Minimum length of a text, in characters")
    max_length: int = flag(TEXT_LENGTH_MAX, _LENGTH, "N", "Messages", "Maximum length of a text, in characters")
    max_attempts: int = flag(1, whole(1, ATTEMPTS_MAX), "N", "Delivery", "Maximum number of attempts per message")
    retry_delay_s: float = flag(
        0.0, ANY_TIME, "SECONDS", "Delivery", "Delay before a message is retried", word="retry-delay"
    )
    rate_per_s: float | None = flag(
        None,
        _RATE,
        "RATE",
        "Delivery",
        "Rate at which messages are released for delivery",
        unset="all at once",
        word="rate",
    )
    lease_timeout_s: float = flag(
        10.0,
        _LEASE,
        "SECONDS",
        "Delivery",
        "Time without a request after which a sender's messages go to others",
        word="lease-timeout",
    )
    listen: str = flag(
        PRODUCER_ADDRESS, _HERE, "ADDRESS", "Network", "Address to listen on (port 0: any free port)", in_run=False
    )
    monitor: str = flag(
        MONITOR_ADDRESS, _PEER, "ADDRESS", "Network", "Address at which senders reach the monitor", in_run=False
    )
    journal: str | None = flag(
        None,
        _JOURNAL,
        "FILE",
        "Crashes",
        "Save the run's state in this file and resume from it after a crash",
        unset="no journal",
        in_run=False,
    )
    linger: bool = switch(
        "Ending", "Keep running after the run is complete, for late senders, until stopped.", in_run=False
    )
    metrics_port: int | None = flag(
        None,
        _PORT,
        "PORT",
        "Output",
        "Serve Prometheus metrics on this port (0: any free port)",
        unset="not served",
        in_run=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        self._check_journal(self.journal)
        if self.min_length > self.max_length:
            raise bad_value("--min-length", self.min_length, f"at most {self.max_length}, the value of --max-length")


@dataclass(frozen=True)
class SenderSettings(ClientSettings):
    """`smssim sender`. `std_s` is computed if it is not given."""

    mean_s: float = flag(0.5, ANY_TIME, "SECONDS", "Sending", "Mean time of an attempt", word="mean")
    std_s: float | None = flag(
        None,
        ANY_TIME,
        "SECONDS",
        "Sending",
        f"Standard deviation of that time, at most {STD_LIMITS}",
        unset="0.3 times the mean",
        word="std",
    )
    distribution: str = flag(
        "gamma", one_of(DISTRIBUTIONS, any_case=True), "NAME", "Sending", "Distribution of that time"
    )
    max_time_s: float | None = flag(
        None,
        ANY_TIME,
        "SECONDS",
        "Sending",
        "Cap on the time of an attempt",
        unset="no limit",
        word="max-time",
    )
    fail: float = flag(0.1, share(), "SHARE", "Sending", "Probability that an attempt fails")
    concurrency: int = flag(
        1, whole(1, CONCURRENCY_MAX), "N", "Sending", "Number of lanes, each sending one message at a time"
    )
    copies: int = flag(
        1,
        whole(1, COPIES_MAX),
        "N",
        "Sending",
        f"Number of identical senders in this process (at most {CONCURRENCY_MAX:,} lanes in total)",
    )
    faults: tuple[Fault, ...] = flag(
        (),
        FAULT,
        "SPEC",
        "Sending",
        "Slow down the attempts that start at some time of the run, or let a share of them fail (repeatable)",
        unset="none",
        word="fault",
        in_run=False,
    )
    producer: str = flag(PRODUCER_ADDRESS, _PEER, "ADDRESS", "Network", "Address of the producer", in_run=False)
    monitor: str | None = like(
        ProducerSettings, "monitor", default=None, purpose="Address of the monitor", unset="sent by the producer"
    )
    name: str = flag("", _NAME, "NAME", "Output", "Name in logs and tables", unset="host name and process ID")
    verbose: bool = switch("Output", "Log each attempt, up to a limit per second.", short="-v", in_run=False)
    linger: bool = like(ProducerSettings, "linger", purpose="Keep running after the run is complete, for the next run.")
    metrics_port: int | None = like(ProducerSettings, "metrics_port")
    # Has no flag, because `smssim sender` starts when it is started: see `JOINS`.
    joins_s: float = JOINS.default

    def __post_init__(self) -> None:
        super().__post_init__()
        JOINS.check(self.joins_s)
        given = self.std_s
        if given is None:
            object.__setattr__(self, "std_s", usual_std(self.distribution, self.mean_s))
        elif (expected := expected_std(self.distribution, self.mean_s, given)) is not None:
            raise bad_value("--std", given, expected)
        if (slowdown := slowdown_max(self.faults)) > SLOWDOWN_MAX:
            raise bad_value(
                "--fault", f"slow={slowdown:g}", f"factors of at most {SLOWDOWN_MAX:g} together at any time"
            )
        if self.lanes > CONCURRENCY_MAX:
            most = f"at most {CONCURRENCY_MAX // self.concurrency:,} with --concurrency {self.concurrency:,}"
            raise bad_value("--copies", self.copies, f"{most} ({CONCURRENCY_MAX:,} lanes per process)")

    @property
    def attempt_model(self) -> AttemptModel:
        """The part of these settings that determines how attempts end."""
        from smssim.core.model import AttemptModel  # imported late: it loads numpy, which the help does not need

        return AttemptModel(self.mean_s, self.std_s or 0.0, self.distribution, self.max_time_s, self.fail)

    @property
    def lanes(self) -> int:
        """The number of lanes of all copies together."""
        return self.concurrency * self.copies


@dataclass(frozen=True, kw_only=True)
class MonitorSettings(EngineSettings):
    """`smssim monitor`."""

    interval_s: float = flag(
        5.0, seconds(INTERVAL_MIN_S, TIME_MAX_S), "SECONDS", "Output", "Time between updates", word="interval"
    )
    json: bool = switch("Output", "Print one JSON object per line.")
    csv: str | None = flag(
        None,
        _FIGURES,
        "FILE",
        "Output",
        "Also write the figures to this CSV file, one row per interval",
        unset="not written",
    )
    summary_json: str | None = flag(
        None,
        _SUMMARY,
        "FILE",
        "Output",
        "Write the result of the run to this file, as a JSON object",
        unset="not written",
    )
    threshold: tuple[Threshold, ...] = flag(
        (),
        _THRESHOLD,
        "EXPR",
        "Ending",
        "Goal that the run must meet, or else exit with 5 (repeatable)",
        unset="none",
    )
    record: str | None = flag(
        None, _RECORD, "FILE", "Output", "Write each outcome to this Parquet file", unset="not written"
    )
    failed: str | None = flag(
        None, _LIST, "FILE", "Output", f"{FAILED_PURPOSE} (not with --linger)", unset="not written"
    )
    title: str = flag(
        "", TITLE, "TEXT", "Output", "Title of the page and the report", unset="the start of the run's ID"
    )
    web: int | None = flag(
        None, _PORT, "PORT", "Output", "Serve a live page on this port (0: any free port)", unset="not served"
    )
    web_listen: str | None = flag(
        None,
        HOST,
        "HOST",
        "Output",
        "Address of this machine that the page listens on",
        unset="127.0.0.1",
    )
    report: str | None = flag(
        None,
        _LIST,
        "FILE",
        "Output",
        "When a run ends, write a report of it to this HTML file (with --linger, of the latest one)",
        unset="not written",
    )
    history: str | None = flag(
        None, _DIRECTORY, "DIR", "Output", "Keep a JSON file about each run in this directory", unset="not kept"
    )
    history_runs: int = flag(
        200, whole(1, HISTORY_RUNS_MAX), "N", "Output", "Number of runs that --history keeps: the latest"
    )
    history_size: int = flag(
        100, whole(1, HISTORY_MEGABYTES_MAX), "MB", "Output", "Size of what --history keeps, in megabytes"
    )
    listen: str = like(ProducerSettings, "listen", default=MONITOR_ADDRESS)
    journal: str | None = like(
        ProducerSettings,
        "journal",
        purpose="Save the run's state in this file and resume from it after a crash (not with --linger)",
    )
    linger: bool = like(
        ProducerSettings,
        "linger",
        purpose="Keep running after the run is complete, for further runs. "
        "Not with --journal, --engine or --failed, which are for one run.",
    )
    metrics_port: int | None = like(ProducerSettings, "metrics_port", in_run=True)
    # Has no flag: `smssim run` passes the command that it was started with, for the report.
    command: str = ""

    variables: ClassVar[Mapping[str, str]] = {**EngineSettings.variables, "command": COMMAND_VARIABLE}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        check_page(self)
        self._check_history()
        self._check_journal(self.journal)
        if self.engine is not None and self.linger:
            raise UsageError("--engine can't be used with --linger, because its log holds one run")
        if self.journal is not None and self.linger:
            raise UsageError("--journal can't be used with --linger, because a journal holds one run")
        if self.failed is not None and self.linger:
            raise UsageError("--failed can't be used with --linger, because its file is for one run")
        self.check_files()

    def _check_history(self) -> None:
        for setting in ("history_runs", "history_size"):
            its = flags_of(MonitorSettings)[setting]
            if self.history is None and getattr(self, setting) != its.default:
                raise UsageError(f"--history is required with {its.name}")

    def check_files(self, **read: str) -> None:
        """Raise UsageError if this node would write two outputs to the same file, or to one that is `read`."""
        written = {
            flag.name: getattr(self, setting)
            for setting, flag in flags_of(MonitorSettings).items()
            if flag.metavar == "FILE" and flag.panel in ("Output", "Crashes")
        }
        check_different(written, **read)


def check_different(written: Mapping[str, str | None], **read: str | None) -> None:
    """Raise UsageError if two of these files are the same. `written`: by flag; `read`: by what the file is."""
    files = [(f"the {what}", path) for what, path in read.items() if path is not None]
    files += [(name, path) for name, path in written.items() if path is not None]
    for (one, path), (other, its) in combinations(files, 2):
        if _is_same_file(path, its):
            raise bad_value(other, its, f"a different file from {one}")


def _is_same_file(path: str, other: str) -> bool:
    """Return whether both paths name the same file, which need not exist yet. Devices and pipes may be shared."""
    if os.path.isfile(path) and os.path.isfile(other):
        return os.path.samefile(path, other)
    there = os.path.realpath(path)
    return there == os.path.realpath(other) and (os.path.isfile(there) or not os.path.exists(there))
