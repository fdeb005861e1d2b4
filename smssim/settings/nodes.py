"""The settings of the nodes: frozen, checked once, each with all there is to say about its flag.

Knows which settings make no sense together. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

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
    TEXT_LENGTH_MAX,
    TIME_MAX_S,
)
from smssim.core.spread import STD_TAKES, takes_instead, usual_std
from smssim.core.threshold import TAKES, Threshold, near_figure
from smssim.errors import bad_value
from smssim.settings.addresses import MONITOR_ADDRESS, PORT_MAX, PRODUCER_ADDRESS
from smssim.settings.flags import flag, flags_of, like, switch
from smssim.settings.rules import Rule, address, file, one_of, real, seconds, share, text, whole
from smssim.settings.shared import ANY_TIME, ClientSettings, ServerSettings

if TYPE_CHECKING:
    from smssim.core.model import AttemptModel

DISTRIBUTIONS: Final = ("gamma", "exponential", "lognormal", "normal", "uniform", "fixed")

FAILED_SAYS: Final = "At the end, list the messages nobody received, as CSV"


def _is_name(got: str) -> bool:
    return got.isprintable() and len(got.encode()) <= NAME_GIVEN_BYTES_MAX  # printable text is sound UTF-8


_SEED: Final = whole(0, SEED_MAX, "2^63 - 1")
_LENGTH: Final = whole(1, TEXT_LENGTH_MAX)
_RATE: Final = real(1e-6, RATE_MAX_PER_S, "0.000001 to 10^12 messages a second")
_LEASE: Final = seconds(LEASE_TIMEOUT_MIN_S, TIME_MAX_S)
_HERE: Final = address(port_min=0)
_PEER: Final = address(port_min=1)
_PORT: Final = whole(0, PORT_MAX)
_NAME: Final = text(f"printable text of at most {NAME_GIVEN_BYTES_MAX} bytes", _is_name)
_JOURNAL: Final = text("a path, made if nothing is there", bool)
_FIGURES: Final = file("a file that can be written; the figures go to stdout with --json")
_SUMMARY: Final = file("a file that can be written, not stdout")
_RECORD: Final = file("a file that is not there yet, not stdout")
_LIST: Final = file("a file, which is overwritten, not stdout")
_THRESHOLD: Final = Rule(TAKES, Threshold.parse, lambda got: isinstance(got, Threshold), near_figure)


@dataclass(frozen=True, kw_only=True)
class ProducerSettings(ServerSettings):
    """`smssim producer`."""

    count: int = flag(1000, whole(0, COUNT_MAX, "10^10"), "N", "Messages", "How many messages")
    seed: int | None = flag(  # by default that of the journal, or a random one
        None, _SEED, "N", "Messages", "Same seed and same senders, same outcomes", unset="random, and shown"
    )
    min_length: int = flag(1, _LENGTH, "N", "Messages", "Shortest text, in characters")
    max_length: int = flag(TEXT_LENGTH_MAX, _LENGTH, "N", "Messages", "Longest text, in characters")
    max_attempts: int = flag(
        1, whole(1, ATTEMPTS_MAX), "N", "Delivery", "Times a message is tried before it has failed"
    )
    retry_delay_s: float = flag(
        0.0, ANY_TIME, "SECONDS", "Delivery", "Wait before a message is tried again", word="retry-delay"
    )
    rate_per_s: float | None = flag(
        None, _RATE, "RATE", "Delivery", "How fast messages are released", unset="all at once", word="rate"
    )
    lease_timeout_s: float = flag(
        10.0,
        _LEASE,
        "SECONDS",
        "Delivery",
        "Silence of a sender after which others get its messages",
        word="lease-timeout",
    )
    listen: str = flag(
        PRODUCER_ADDRESS, _HERE, "ADDRESS", "Network", "Where to listen; port 0 takes a free one", in_run=False
    )
    monitor: str = flag(MONITOR_ADDRESS, _PEER, "ADDRESS", "Network", "Where senders find the monitor", in_run=False)
    journal: str | None = flag(
        None,
        _JOURNAL,
        "FILE",
        "Crashes",
        "Go on after a crash with what this file has",
        unset="nothing is kept",
        in_run=False,
    )
    linger: bool = switch("Ending", "Stay up when the run is complete, until stopped.", in_run=False)
    metrics_port: int | None = flag(
        None,
        _PORT,
        "PORT",
        "Output",
        "Serve metrics for Prometheus there; 0 takes a free port",
        unset="not served",
        in_run=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        if self.min_length > self.max_length:
            raise bad_value("--min-length", self.min_length, f"at most --max-length, which is {self.max_length}")


@dataclass(frozen=True)
class SenderSettings(ClientSettings):
    """`smssim sender`. `std_s` is filled in where it is not given."""

    mean_s: float = flag(0.5, ANY_TIME, "SECONDS", "Sending", "Mean time of an attempt", word="mean")
    std_s: float | None = flag(
        None,
        ANY_TIME,
        "SECONDS",
        "Sending",
        f"Standard deviation of that time, at most {STD_TAKES}",
        unset="0.3 of the mean",
        word="std",
    )
    distribution: str = flag(
        "gamma", one_of(DISTRIBUTIONS, any_case=True), "NAME", "Sending", "How that time is spread"
    )
    max_time_s: float | None = flag(
        None, ANY_TIME, "SECONDS", "Sending", "Longest time of an attempt", unset="no limit", word="max-time"
    )
    fail: float = flag(0.1, share(), "SHARE", "Sending", "Chance that an attempt fails")
    concurrency: int = flag(1, whole(1, CONCURRENCY_MAX), "N", "Sending", "Messages sent at the same time")
    copies: int = flag(
        1,
        whole(1, COPIES_MAX),
        "N",
        "Sending",
        f"Senders like this one in one process, with {CONCURRENCY_MAX:,} lanes at most",
    )
    producer: str = flag(PRODUCER_ADDRESS, _PEER, "ADDRESS", "Network", "Where the producer listens", in_run=False)
    monitor: str | None = like(
        ProducerSettings, "monitor", default=None, says="Where the monitor listens", unset="what the producer says"
    )
    name: str = flag("", _NAME, "NAME", "Output", "Name in logs and tables", unset="host and process number")
    verbose: bool = switch("Output", "Log each message as it is sent.", short="-v", in_run=False)
    linger: bool = like(ProducerSettings, "linger", says="Stay up when the run is complete, for the next one.")
    metrics_port: int | None = like(ProducerSettings, "metrics_port")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.std_s
        if given is None:
            object.__setattr__(self, "std_s", usual_std(self.distribution, self.mean_s))
        elif (takes := takes_instead(self.distribution, self.mean_s, given)) is not None:
            raise bad_value("--std", given, takes)
        if self.lanes > CONCURRENCY_MAX:
            most = f"at most {CONCURRENCY_MAX // self.concurrency:,} with --concurrency {self.concurrency:,}"
            raise bad_value("--copies", self.copies, f"{most}: {CONCURRENCY_MAX:,} lanes in one process")

    @property
    def attempt_model(self) -> AttemptModel:
        """What the core knows of these settings."""
        from smssim.core.model import AttemptModel  # numpy, late: the help needs none

        return AttemptModel(self.mean_s, self.std_s or 0.0, self.distribution, self.max_time_s, self.fail)

    @property
    def lanes(self) -> int:
        """Of all copies together."""
        return self.concurrency * self.copies


@dataclass(frozen=True, kw_only=True)
class MonitorSettings(ServerSettings):
    """`smssim monitor`."""

    interval_s: float = flag(
        5.0, seconds(INTERVAL_MIN_S, TIME_MAX_S), "SECONDS", "Output", "Time between two lines", word="interval"
    )
    json: bool = switch("Output", "Write one JSON object a line.")
    csv: str | None = flag(
        None, _FIGURES, "FILE", "Output", "Write the figures there too, a row an interval", unset="not written"
    )
    summary_json: str | None = flag(
        None, _SUMMARY, "FILE", "Output", "Write there what came of the run, one JSON object", unset="not written"
    )
    threshold: tuple[Threshold, ...] = flag(
        (),
        _THRESHOLD,
        "EXPR",
        "Ending",
        "What the run has to achieve, or exit with 5; any number of times",
        unset="none",
    )
    record: str | None = flag(
        None, _RECORD, "FILE", "Output", "Write each outcome to a Parquet file", unset="not written"
    )
    failed: str | None = flag(None, _LIST, "FILE", "Output", f"{FAILED_SAYS}, not with --linger", unset="not written")
    listen: str = like(ProducerSettings, "listen", default=MONITOR_ADDRESS)
    journal: str | None = like(
        ProducerSettings, "journal", says="Go on after a crash with what this file has, not with --linger"
    )
    linger: bool = like(
        ProducerSettings,
        "linger",
        says="Stay up when the run is complete, for further runs; "
        "not with --journal or --failed, which are for one run.",
    )
    metrics_port: int | None = like(ProducerSettings, "metrics_port", in_run=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        if self.journal is not None and self.linger:
            raise bad_value("--journal", self.journal, "nothing with --linger: a journal holds one run")
        if self.failed is not None and self.linger:
            raise bad_value("--failed", self.failed, "a file for one run: not with --linger")
        self._check_files()

    def _check_files(self) -> None:
        """Raises UsageError where two of the files that this node writes are one."""
        written = {
            setting: flag.name
            for setting, flag in flags_of(MonitorSettings).items()
            if flag.metavar == "FILE" and flag.panel in ("Output", "Crashes")
        }
        files = [(name, path) for setting, name in written.items() if (path := getattr(self, setting)) is not None]
        for (one, path), (other, its) in combinations(files, 2):
            if _is_same_file(path, its):
                raise bad_value(other, its, f"another file than {one}")


def _is_same_file(path: str, other: str) -> bool:
    """Whether both name one file, or one that could be made. A device or a pipe may be written to by several."""
    if os.path.isfile(path) and os.path.isfile(other):
        return os.path.samefile(path, other)
    there = os.path.realpath(path)
    return there == os.path.realpath(other) and (os.path.isfile(there) or not os.path.exists(there))
