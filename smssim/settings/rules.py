"""Rules for the values of flags: how to read a value from text, which values are valid, and how to say so.

Knows kinds of values. Must not know any flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final

from smssim.core.threshold import TIME_UNITS
from smssim.settings.addresses import address_words, addresses_words, are_addresses, is_address

SHARE_UNITS: Final = {"%": Decimal("0.01")}

_NUMBER: Final = r"\s*\+?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?\s*"  # as `float` reads it
_PERCENT: Final = r"\s*\+?(100(\.0*)?|[0-9]{1,2}(\.[0-9]*)?|\.[0-9]+|[0-9.]+[eE]-?[0-9]+)\s*%"


@dataclass(frozen=True)
class Rule:
    """The values that a flag accepts."""

    expected: str  # in words, as in "got 7; expected ..."
    read: Callable[[str], Any]  # from text; raises ValueError if it can't
    holds: Callable[[Any], bool]  # whether a value, read or set in code, is valid
    near: Callable[[str], str | None] = lambda text: None  # a suggestion for an invalid text, if any
    kind: type = str  # the type of a value, for typer
    words: tuple[str, ...] = ()  # all valid values, if they can be listed
    # For the JSON schema of scenario files:
    low: float | None = None  # the smallest number
    high: float | None = None  # the largest number
    pattern: str = ""  # a regular expression that all valid texts match, except plain numbers


def _read_real(text: str, units: Mapping[str, Decimal]) -> float:
    """Read `0.05` or, with units, `50ms`, which is exactly the same number."""
    unit = next((unit for unit in units if text.endswith(unit)), None)
    if unit is None:
        return float(text) + 0.0  # + 0.0 makes -0 a plain 0
    try:
        return float(Decimal(text.removesuffix(unit)) * units[unit]) + 0.0
    except ArithmeticError as error:  # not a number, or too large
        raise ValueError(text) from error


def _read_whole(text: str) -> int:
    """Read `1000`, `1_000` or `1e6`; a float must be exact."""
    try:
        return int(text)
    except ValueError:
        real = float(text)
        if not real.is_integer() or abs(real) >= 2**53:
            raise
        return int(real)


def _read_switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError(text)
    return word in ("true", "yes", "on", "1")


def whole(low: int, high: int, high_in_words: str = "") -> Rule:
    """Return the rule for a whole number from low to high."""
    expected = f"a whole number from {low} to {high_in_words or f'{high:,}'}"
    return Rule(
        expected,
        _read_whole,
        lambda got: isinstance(got, int) and low <= got <= high,
        kind=int,
        low=low,
        high=high,
        pattern=f"^{_NUMBER}$",
    )


def real(low: float, high: float, expected: str, units: Mapping[str, Decimal] | None = None) -> Rule:
    """Return the rule for a number from low to high, which may have one of these units."""
    read = partial(_read_real, units=units or {})
    return Rule(
        expected,
        read,
        lambda got: low <= got <= high,  # false for NaN too
        kind=float,
        low=low,
        high=high,
        pattern=f"^{_NUMBER}({'|'.join(units or {})})?$",
    )


def seconds(low: float, high: float) -> Rule:
    """Return the rule for a time from low to high, in seconds or with a unit."""
    expected = f"{low:g} to {high:,.0f} seconds, or a time with a unit (ms, s, m, h)"
    return real(low, high, expected, TIME_UNITS)


def share() -> Rule:
    """Return the rule for a share of a whole, as a number or in percent."""
    rule = real(0, 1, "a number from 0 to 1, or a percentage such as 5%", SHARE_UNITS)
    return replace(rule, pattern=f"^({_NUMBER}|{_PERCENT})$")


def text(expected: str, holds: Callable[[str], bool]) -> Rule:
    """Return the rule for any text for which `holds` returns True."""
    return Rule(expected, str, holds)


def one_of(words: tuple[str, ...], any_case: bool = False) -> Rule:
    """Return the rule for one of these words, which are in lower case; with `any_case`, `Word` is read as `word`."""
    read = str.lower if any_case else str
    return Rule("one of " + ", ".join(words), read, lambda got: got in words, words=words)


def file(expected: str) -> Rule:
    """Return the rule for the path of a file. `-` is not a path."""
    return text(expected, lambda got: got not in ("", "-"))


def address(port_min: int) -> Rule:
    """Return the rule for `host:port` or `[v6]:port`, with a port of at least `port_min`."""
    return text(address_words(port_min), partial(is_address, port_min=port_min))


def addresses(port_min: int) -> Rule:
    """Return the rule for one such address, or several separated by commas. The value is the text as it is."""
    return text(addresses_words(port_min), partial(are_addresses, port_min=port_min))


SWITCH: Final = Rule("true or false", _read_switch, lambda got: isinstance(got, bool), kind=bool)
