"""The senders of a run or a plan: the default ones, and those that `--sender` or a scenario file describes.

Knows the settings of a sender. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from smssim.core.limits import RUN_LANES_MAX
from smssim.errors import UsageError, bad_value
from smssim.escaping import quote
from smssim.settings.flags import Flag, flags_of
from smssim.settings.sender import JOINS, SenderSettings, with_preset
from smssim.settings.shared import NodeSettings
from smssim.settings.span import COPIES_OR_SPAN, ONLY, Span

RUN_SENDERS: Final = (  # 500 messages a second together: 200, 160, 100 and 40
    SenderSettings(name="quick", mean_s=0.02, fail=0.02, concurrency=4),
    SenderSettings(name="steady", mean_s=0.05, fail=0.05, concurrency=8),
    SenderSettings(name="shaky", mean_s=0.1, fail=0.3, concurrency=10, distribution="lognormal"),
    SenderSettings(name="slow", mean_s=0.5, fail=0.1, concurrency=20, distribution="exponential"),
)
RUN_COUNT: Final = 5000  # ten seconds of these senders

# The flags that describe one of several senders. Settings that all nodes of a run share are not among them.
SENDER_FLAGS: Final[Mapping[str, Flag]] = {
    setting: flag
    for setting, flag in (*SenderSettings.flags().items(), ("joins_s", JOINS))
    if flag.in_run and setting not in flags_of(NodeSettings)
} | {"copies": replace(flags_of(SenderSettings)["copies"], rule=COPIES_OR_SPAN)}
SENDER_KEYS: Final = {flag.word: setting for setting, flag in SENDER_FLAGS.items()}  # a key is named like its flag
SENDER_EXPECTED: Final = f"key=value,... with the keys {', '.join(SENDER_KEYS)}"


def parse_sender(spec: str) -> SenderSettings:
    """Return the sender that a value of `--sender` describes, such as `mean=0.05,fail=0.1`. Raises UsageError."""
    given: dict[str, Any] = {}
    for part in spec.split(","):
        key, equals, text = part.strip().partition("=")
        key = key.strip().replace("_", "-")
        if key not in SENDER_KEYS or not equals:
            near = [] if key in SENDER_KEYS else get_close_matches(key.lower(), SENDER_KEYS, n=1)
            raise bad_value("--sender", part, SENDER_EXPECTED, *near)
        setting = SENDER_KEYS[key]
        if setting in given:
            raise bad_value("--sender", spec, f"the key {key} only once")
        given[setting] = SENDER_FLAGS[setting].read(text.strip(), f"--sender: {key}")
    try:
        return sender_of(given)
    except UsageError as error:  # about a combination of settings
        raise UsageError(f"--sender: {about_keys(error)}") from error


def about_keys(error: UsageError) -> str:
    """Return what an error about flags says, about the keys that are named like them."""
    return re.sub(r"--(?=[a-z])", "", str(error))


def sender_of(given: Mapping[str, Any], name: str = "") -> SenderSettings:
    """Return the sender with these values of `SENDER_FLAGS`. Raises UsageError."""
    values = {"name": name} | dict(given) if name else dict(given)
    if isinstance(span := values.get("copies"), Span):
        values |= {"copies": span.high, "copies_span": span}
    return SenderSettings(**with_preset(values))


def spans_of(senders: Sequence[SenderSettings]) -> dict[str, Span]:
    """Return the ranges of copies of those senders that have one, by name."""
    named = zip(sender_names(senders), senders, strict=True)
    return {name: sender.copies_span for name, sender in named if sender.copies_span is not None}


def check_no_spans(senders: Sequence[SenderSettings]) -> None:
    """Raise UsageError if the number of copies of a sender is a range."""
    for name, span in spans_of(senders).items():
        raise bad_value(f"copies of {quote(name)}", str(span), f"a whole number; {ONLY}")


def sender_names(senders: Iterable[SenderSettings]) -> tuple[str, ...]:
    """Return the name of each sender in logs and tables; one without a name is called by its number."""
    return tuple(sender.name or f"sender-{number}" for number, sender in enumerate(senders, 1))


def copy_names(name: str, copies: int) -> list[str]:
    """Return the name of each copy of a sender."""
    return [name] if copies == 1 else [f"{name}-{number}" for number in range(1, copies + 1)]


def check_senders(senders: Iterable[SenderSettings], label: str = "--sender") -> None:
    """Raise UsageError, which begins with `label`, unless these senders can take part in one run."""
    senders = tuple(senders)
    lanes = sum(sender.lanes for sender in senders)
    if lanes > RUN_LANES_MAX:
        raise bad_value(label, f"{lanes:,}", f"at most {RUN_LANES_MAX:,} lanes (concurrency x copies) in total")
    of_copies = {name for one in senders if one.name and one.copies > 1 for name in copy_names(one.name, one.copies)}
    for name in of_copies.intersection(sender.name for sender in senders if sender.copies == 1):
        raise bad_value(label, name, "a name that no copy of another sender has")
    if senders and all(sender.joins_s for sender in senders):
        raise UsageError(f"{label}: got only senders that join later; expected one that is there from the start")
