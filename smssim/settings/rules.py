"""What a flag can take: how it is read from text, which values may stand, and the words that say so.

Knows kinds of values. Must not know any flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

from smssim.core.threshold import TIME_UNITS
from smssim.settings.addresses import address_words, is_address

SHARE_UNITS: Final = {"%": Decimal("0.01")}


@dataclass(frozen=True)
class Rule:
    """What one flag takes."""

    takes: str  # in words, as in "got 7; takes ..."
    read: Callable[[str], Any]  # from text; raises ValueError
    holds: Callable[[Any], bool]  # whether a value read, or set in code, may stand
    near: Callable[[str], str | None] = lambda text: None  # what a wrong text may have been meant to be
    kind: type = str  # of a value read, where the help names it
    words: tuple[str, ...] = ()  # all values there are, where they can be listed


def _read_real(text: str, units: Mapping[str, Decimal]) -> float:
    """`0.05` or, with units, `50ms`: both the same number, to the last bit."""
    unit = next((unit for unit in units if text.endswith(unit)), None)
    if unit is None:
        return float(text) + 0.0  # + 0.0 makes -0 a plain 0
    try:
        return float(Decimal(text.removesuffix(unit)) * units[unit]) + 0.0
    except ArithmeticError as error:  # no number, or beyond all
        raise ValueError(text) from error


def _read_whole(text: str) -> int:
    """`1000`, `1_000` or, as long as it is exact, `1e6`."""
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
    """A whole number from low to high."""
    takes = f"a whole number from {low} to {high_in_words or f'{high:,}'}"
    return Rule(takes, _read_whole, lambda got: isinstance(got, int) and low <= got <= high, kind=int)


def real(low: float, high: float, takes: str, units: Mapping[str, Decimal] | None = None) -> Rule:
    """A number from low to high, which may be given with one of these units."""
    read = partial(_read_real, units=units or {})
    return Rule(takes, read, lambda got: low <= got <= high, kind=float)  # false for NaN too


def seconds(low: float, high: float) -> Rule:
    """A time from low to high, in seconds or with its unit."""
    takes = f"{low:g} to {high:,.0f} seconds, or with a unit (ms, s, m, h)"
    return real(low, high, takes, TIME_UNITS)


def share() -> Rule:
    """A share of a whole, as a number or in percent."""
    return real(0, 1, "a share from 0 to 1, or a percentage like 5%", SHARE_UNITS)


def text(takes: str, holds: Callable[[str], bool]) -> Rule:
    """Any text that holds."""
    return Rule(takes, str, holds)


def one_of(words: tuple[str, ...], any_case: bool = False) -> Rule:
    """One of these words, which are lowercase; with `any_case`, `Word` is `word` too."""
    read = str.lower if any_case else str
    return Rule("one of " + ", ".join(words), read, lambda got: got in words, words=words)


def file(takes: str) -> Rule:
    """The path of a file. `-` is not taken to be the name of one."""
    return text(takes, lambda got: got not in ("", "-"))


def address(port_min: int) -> Rule:
    """`host:port` or `[v6]:port`, with a port from `port_min` on."""
    return text(address_words(port_min), partial(is_address, port_min=port_min))


SWITCH: Final = Rule("true or false", _read_switch, lambda got: isinstance(got, bool), kind=bool)
