"""What a node is told when it starts: frozen, checked once, with the flag's name in the error.

Knows every flag: its name, bounds and the one sentence about what it takes, which serves the help, the reading of
text and the check of a value alike. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import Field, dataclass, field, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from smssim.core.limits import (
    ATTEMPTS_MAX,
    CONCURRENCY_MAX,
    COPIES_MAX,
    COUNT_MAX,
    INTERVAL_MIN_S,
    LEASE_TIMEOUT_MIN_S,
    NAME_GIVEN_BYTES_MAX,
    RATE_MAX_PER_S,
    RUN_LANES_MAX,
    SEED_MAX,
    TEXT_LENGTH_MAX,
    TIME_MAX_S,
)
from smssim.core.spread import takes_instead, usual_std
from smssim.core.threshold import TAKES, Threshold, near_figure
from smssim.errors import UsageError, bad_value
from smssim.rules import SWITCH, Rule, file, one_of, real, seconds, share, text, whole

if TYPE_CHECKING:
    from smssim.core.model import AttemptModel

PRODUCER_ADDRESS: Final = "127.0.0.1:50051"
MONITOR_ADDRESS: Final = "127.0.0.1:50052"
FREE_ADDRESS: Final = "127.0.0.1:0"  # a free port
GIVE_UP_S: Final = 60.0


DISTRIBUTIONS: Final = ("gamma", "exponential", "lognormal", "normal", "uniform", "fixed")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

BENCH_CASES: Final = (
    *("saturation", "lanes-50k", "lanes-1m", "lanes-2m", "one-lane", "unequal", "thousand", "us", "idle"),
)
REPEAT_MAX: Final = 1000

TOKEN_VARIABLE: Final = "SMSSIM_TOKEN"  # of every command
TOKEN_CHARACTERS_MIN: Final = 8
TOKEN_CHARACTERS_MAX: Final = 512
TOKEN_TAKES: Final = f"{TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} characters of ASCII, no spaces"


# ---- What each flag takes


def _address(port_min: int) -> Rule:
    def holds(got: str) -> bool:
        host_port = _host_port(got)
        return host_port is not None and host_port[1] >= port_min

    return text(f"host:port, port {port_min} to 65535", holds)


def _host_port(address: str) -> tuple[str, int] | None:
    """Host and port of `host:port` or `[v6]:port`; None if it is neither."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    plain = bare.isprintable() and not any(c in " []/@" for c in bare) and (bracketed or ":" not in bare)
    if not (bare and plain and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        return None
    return bare, int(port)


def _is_name(got: str) -> bool:
    return got.isprintable() and len(got.encode()) <= NAME_GIVEN_BYTES_MAX  # printable text is sound UTF-8


RULES: Final = {
    "--count": whole(0, COUNT_MAX, "10^10"),
    "--seed": whole(0, SEED_MAX, "2^63 - 1"),
    "--max-attempts": whole(1, ATTEMPTS_MAX),
    "--min-length": whole(1, TEXT_LENGTH_MAX),
    "--max-length": whole(1, TEXT_LENGTH_MAX),
    "--concurrency": whole(1, CONCURRENCY_MAX),
    "--copies": whole(1, COPIES_MAX),
    "--repeat": whole(1, REPEAT_MAX),
    "--rate": real(1e-6, RATE_MAX_PER_S, "0.000001 to 10^12 messages a second"),
    "--fail": share(),
    "--mean": seconds(0, TIME_MAX_S),
    "--std": seconds(0, TIME_MAX_S),
    "--max-time": seconds(0, TIME_MAX_S),
    "--retry-delay": seconds(0, TIME_MAX_S),
    "--lease-timeout": seconds(LEASE_TIMEOUT_MIN_S, TIME_MAX_S),
    "--give-up": seconds(0, TIME_MAX_S),
    "--interval": seconds(INTERVAL_MIN_S, TIME_MAX_S),
    "--distribution": one_of(DISTRIBUTIONS, any_case=True),
    "--case": one_of(BENCH_CASES),
    "--journal": text("a path, made if nothing is there", bool),
    "--record": file("a file that is not there yet, not stdout"),
    "--failed": file("a file, which is overwritten, not stdout"),
    "--metrics-port": whole(0, 65535),
    "FILE": text("a file that --record has written", bool),
    "MESSAGE_ID": whole(0, COUNT_MAX, "10^10"),
    "--figures": text("a directory, made if it is not there", bool),
    "--directory": text("a directory, made if it is not there", bool),
    "--tls-cert": text("a PEM file", bool),
    "--tls-key": text("a PEM file", bool),
    "--tls-ca": text("a PEM file", bool),
    "--token-file": text(f"a file that holds {TOKEN_TAKES}", bool),
    "--host": text("the name or the IP address of a host", lambda got: _host_port(f"[{got}]:0") is not None),
    "--name": text(f"printable text of at most {NAME_GIVEN_BYTES_MAX} bytes", _is_name),
    "--listen": _address(port_min=0),
    "--monitor": _address(port_min=1),
    "--producer": _address(port_min=1),
    "--csv": file("a file that can be written; the figures go to stdout with --json"),
    "--summary-json": file("a file that can be written, not stdout"),
    "--threshold": Rule(TAKES, Threshold.parse, lambda got: isinstance(got, Threshold), near_figure),
    "--insecure": SWITCH,
    "--json": SWITCH,
    "--linger": SWITCH,
    "--log-format": one_of(LOG_FORMATS),
    "--log-level": one_of(LOG_LEVELS),
    "--quick": SWITCH,
    "--verbose": SWITCH,
}


def parse(flag: str, given: str, label: str | None = None) -> Any:
    """The value of a flag given as text; raises UsageError, naming the flag by `label` if there is one."""
    rule = RULES[flag]
    try:
        value = rule.read(given)
    except ValueError:
        value = None
    if value is None or not rule.holds(value):
        raise bad_value(label or flag, given, rule.takes, rule.near(given))
    return value


def split_address(flag: str, address: str) -> tuple[str, int]:
    """Host (without brackets) and port of an address; raises UsageError."""
    host_port = _host_port(address)
    if host_port is None:
        raise bad_value(flag, address, RULES["--listen"].takes)
    return host_port


def is_loopback(address: str) -> bool:
    """Whether only this machine can be reached at this address, and this machine only by itself."""
    host, _ = split_address("address", address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host's name
        return False


def flag_of(setting: str) -> str:
    """The flag that sets a setting: its name without the unit, as in `retry_delay_s` and `--retry-delay`."""
    return "--" + setting.removesuffix("_s").removesuffix("_per").replace("_", "-")


def flagged(settings: Any) -> list[Field[Any]]:
    """The settings that have a flag: all but a secret, which has none lest a list of processes shows it."""
    return [setting for setting in fields(settings) if setting.repr]


# ---- The settings of each command


@dataclass(frozen=True)
class Checked:
    """Settings whose every value was checked by its flag's rule. None is a value that was not given."""

    def __post_init__(self) -> None:
        for setting in flagged(self):
            flag, given = flag_of(setting.name), getattr(self, setting.name)
            for value in given if isinstance(given, tuple) else (given,):
                if value is not None and not RULES[flag].holds(value):
                    raise bad_value(flag, value, RULES[flag].takes)


@dataclass(frozen=True, kw_only=True)
class LogSettings(Checked):
    """What every node and every run is told about its log."""

    log_level: str = "info"
    log_format: str = "text"


@dataclass(frozen=True, kw_only=True)
class AccessSettings(LogSettings):
    """How a node shows others who it is, and whom it lets in: part of the settings of each node."""

    tls_cert: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None
    token_file: str | None = None
    token: str | None = field(default=None, repr=False)  # from its variable; the file wins
    insecure: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, given, other, needed in (
            ("--tls-key", self.tls_key, "--tls-cert", self.tls_cert),
            ("--tls-cert", self.tls_cert, "--tls-key", self.tls_key),
        ):
            if needed and not given:
                raise UsageError(f"{flag}: got nothing; takes a PEM file when {other} is given")

    def _check_client(self) -> None:
        """What a node needs that connects to others alone."""
        if self.tls_cert and not self.tls_ca:
            raise UsageError("--tls-ca: got nothing; takes a PEM file when --tls-cert is given")

    def _check_server(self, listen: str) -> None:
        """What a node needs that others connect to: with an authority it asks for their certificates too."""
        if self.tls_ca and not self.tls_cert:
            raise UsageError("--tls-cert: got nothing; takes a PEM file when --tls-ca is given")
        if not (self.insecure or self.tls_cert or is_loopback(listen)):
            raise bad_value("--listen", listen, "a loopback address, or any with --tls-cert or --insecure")


@dataclass(frozen=True)
class ProducerSettings(AccessSettings):
    """`smssim producer`."""

    seed: int | None = None  # that of the journal, or a random one
    count: int = 1000
    listen: str = PRODUCER_ADDRESS
    monitor: str = MONITOR_ADDRESS
    max_attempts: int = 1
    retry_delay_s: float = 0.0
    lease_timeout_s: float = 10.0
    rate_per_s: float | None = None
    min_length: int = 1
    max_length: int = TEXT_LENGTH_MAX
    linger: bool = False
    metrics_port: int | None = None  # none are served
    give_up_s: float = GIVE_UP_S
    journal: str | None = None  # nothing survives a crash

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_server(self.listen)
        if self.min_length > self.max_length:
            raise bad_value("--min-length", self.min_length, f"at most --max-length, which is {self.max_length}")


@dataclass(frozen=True)
class SenderSettings(AccessSettings):
    """`smssim sender`. `std_s` is filled in where it is not given."""

    mean_s: float = 0.5
    std_s: float | None = None
    distribution: str = "gamma"
    max_time_s: float | None = None
    fail: float = 0.1
    concurrency: int = 1
    copies: int = 1
    name: str = ""  # the node picks one
    producer: str = PRODUCER_ADDRESS
    monitor: str | None = None  # as the producer says
    verbose: bool = False
    linger: bool = False
    metrics_port: int | None = None  # none are served
    give_up_s: float = GIVE_UP_S

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_client()
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


@dataclass(frozen=True)
class MonitorSettings(AccessSettings):
    """`smssim monitor`."""

    interval_s: float = 5.0
    listen: str = MONITOR_ADDRESS
    json: bool = False
    csv: str | None = None
    summary_json: str | None = None
    threshold: tuple[Threshold, ...] = ()
    record: str | None = None  # a Parquet file, for each outcome
    failed: str | None = None  # a CSV file, for the messages that nobody received
    linger: bool = False
    metrics_port: int | None = None  # none are served
    give_up_s: float = GIVE_UP_S
    journal: str | None = None  # nothing survives a crash

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_server(self.listen)
        if self.journal is not None and self.linger:
            raise bad_value("--journal", self.journal, "nothing with --linger: a journal holds one run")
        if self.failed is not None and self.linger:
            raise bad_value("--failed", self.failed, "a file for one run: not with --linger")
        files = {name: getattr(self, name) for name in ("csv", "summary_json", "record", "failed", "journal")}
        for (one, path), (other, its) in combinations([pair for pair in files.items() if pair[1] is not None], 2):
            if _is_same_file(path, its):
                raise bad_value(flag_of(other), its, f"another file than {flag_of(one)}")


def _is_same_file(path: str, other: str) -> bool:
    """Whether both name one file, or one that could be made. A device or a pipe may be written to by several."""
    if os.path.isfile(path) and os.path.isfile(other):
        return os.path.samefile(path, other)
    there = os.path.realpath(path)
    return there == os.path.realpath(other) and (os.path.isfile(there) or not os.path.exists(there))


@dataclass(frozen=True)
class WatchSettings(AccessSettings):
    """`smssim watch`."""

    monitor: str = MONITOR_ADDRESS
    interval_s: float = 1.0
    json: bool = False
    give_up_s: float = GIVE_UP_S

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_client()


@dataclass(frozen=True)
class RunSettings:
    """`smssim run`: one producer, one monitor and these senders, each a process of its own.

    The run's log is as the monitor's.
    """

    producer: ProducerSettings
    monitor: MonitorSettings
    senders: tuple[SenderSettings, ...] = ()
    journal: str | None = None  # the directory of the journals of both

    def __post_init__(self) -> None:
        lanes = sum(sender.lanes for sender in self.senders)
        if lanes > RUN_LANES_MAX:
            raise bad_value("--sender", f"{lanes:,}", f"at most {RUN_LANES_MAX:,} lanes (concurrency x copies) in all")
