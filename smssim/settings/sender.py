"""The settings of `smssim sender`, each declared together with its flag.

Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Self

from smssim.core.fault import Fault, slowdown_max
from smssim.core.limits import (
    BURST_MAX,
    CONCURRENCY_MAX,
    COPIES_MAX,
    NAME_GIVEN_BYTES_MAX,
    PRICE_MAX,
    RATE_MAX_PER_S,
    RATE_MIN_PER_S,
    SLOWDOWN_MAX,
)
from smssim.core.spread import STD_LIMITS, expected_std, usual_std
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import PRODUCER_ADDRESS
from smssim.settings.flags import Flag, flag, flags_of, like, switch
from smssim.settings.producer import PEER, ProducerSettings
from smssim.settings.rules import Rule, one_of, real, share, text, whole
from smssim.settings.sender_faults import FAULT
from smssim.settings.shared import ANY_TIME, ClientSettings
from smssim.settings.span import ONLY, Span, is_span

if TYPE_CHECKING:
    from smssim.core.model import AttemptModel

DISTRIBUTIONS: Final = ("gamma", "exponential", "lognormal", "normal", "uniform", "fixed")


def _is_name(got: str) -> bool:
    return got.isprintable() and len(got.encode()) <= NAME_GIVEN_BYTES_MAX  # printable text can be encoded as UTF-8


def _copies(given: str) -> int:
    rule = whole(1, COPIES_MAX)
    if is_span(given):
        raise bad_value("--copies", given, f"{rule.expected}; {ONLY}")
    return int(rule.read(given))


_NAME: Final = text(f"printable text of at most {NAME_GIVEN_BYTES_MAX} bytes", _is_name)
_COPIES: Final = replace(whole(1, COPIES_MAX), read=_copies)
_LIMIT: Final = real(RATE_MIN_PER_S, RATE_MAX_PER_S, f"{RATE_MIN_PER_S:g} to 10^12 segments per second")
_BURST: Final = whole(1, BURST_MAX)
_PRICE: Final = real(0, PRICE_MAX, f"a number from 0 to {PRICE_MAX:,}")

# Not a flag of `smssim sender`, which begins at once, but a key of `--sender` and of the senders of a scenario.
JOINS: Final = Flag(
    ANY_TIME,
    "SECONDS",
    "Sending",
    "When it starts, in seconds since the first message was delivered",
    0.0,
    word="joins",
)


def _preset_names() -> Mapping[str, object]:
    from smssim.settings.presets import presets  # imported late: it needs this module, and reads a file

    return presets()


# Not a setting: it stands for the values of other flags, which `with_preset` puts in its place.
PRESET: Final = Flag(
    Rule(
        "the name of a preset (smssim presets lists them)",
        str,
        lambda got: got in _preset_names(),
        lambda got: next(iter(get_close_matches(got.lower(), _preset_names(), n=1)), None),
    ),
    "NAME",
    "Sending",
    "Send as this preset does; the flags beside it take precedence",
    None,
    unset="none",
    word="preset",
)


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
        _COPIES,
        "N",
        "Sending",
        f"Number of identical senders in this process (at most {CONCURRENCY_MAX:,} lanes in total)",
    )
    limit_per_s: float | None = flag(
        None,
        _LIMIT,
        "RATE",
        "Sending",
        "Rate at which each copy may start messages: a token bucket, which counts SMS segments",
        unset="no limit",
        word="limit",
    )
    burst: int = flag(
        1, _BURST, "N", "Sending", "Segments that it may start at once after a pause, with --limit; at least a message"
    )
    price: float = flag(0.0, _PRICE, "PRICE", "Price", "Price of each segment of a message that was sent")
    price_failed: float = flag(0.0, _PRICE, "PRICE", "Price", "Price of each segment of an attempt that failed")
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
    producer: str = flag(PRODUCER_ADDRESS, PEER, "ADDRESS", "Network", "Address of the producer", in_run=False)
    monitor: str | None = like(
        ProducerSettings, "monitor", default=None, purpose="Address of the monitor", unset="sent by the producer"
    )
    name: str = flag("", _NAME, "NAME", "Output", "Name in logs and tables", unset="host name and process ID")
    verbose: bool = switch("Output", "Log each attempt, up to a limit per second.", short="-v", in_run=False)
    linger: bool = like(ProducerSettings, "linger", purpose="Keep running after the run is complete, for the next run.")
    metrics_port: int | None = like(ProducerSettings, "metrics_port")
    # Has no flag, because `smssim sender` starts when it is started: see `JOINS`.
    joins_s: float = JOINS.default
    # Has no flag either: only `smssim plan --cheapest` takes a range, of which `copies` is then the largest number.
    copies_span: Span | None = None

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Return the flags of its settings, and that of presets."""
        return {"preset": PRESET, **flags_of(cls)}

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Return the settings for these values of flags and this shared token. Raises UsageError."""
        return super().from_flags(with_preset(given), token)

    def __post_init__(self) -> None:
        super().__post_init__()
        JOINS.check(self.joins_s)
        given = self.std_s
        if given is None:
            object.__setattr__(self, "std_s", usual_std(self.distribution, self.mean_s))
        elif (expected := expected_std(self.distribution, self.mean_s, given)) is not None:
            raise bad_value("--std", given, expected)
        if self.burst != 1 and self.limit_per_s is None:
            raise UsageError("--limit is required with --burst")
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


def with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a sender's flags, with those of the preset that they name where they have none.

    A standard deviation belongs to a mean and a distribution: beside other ones, that of the preset does not count.
    """
    rest = {setting: value for setting, value in given.items() if setting != "preset"}
    if "preset" not in given:
        return rest
    from smssim.settings.presets import presets  # imported late, as above

    its = presets()[given["preset"]].settings
    if {"mean_s", "distribution"} & rest.keys():
        its.pop("std_s", None)
    return its | rest
