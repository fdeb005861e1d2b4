"""What a flag can take: how it is read from text, which values may stand, and the words that say so.

Knows kinds of values. Must not know any flag: those are in `settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Rule:
    """What one flag takes."""

    takes: str  # in words, as in "got 7; takes ..."
    read: Callable[[str], Any]  # from text; raises ValueError
    holds: Callable[[Any], bool]  # whether a value read, or set in code, may stand


def _read_real(text: str) -> float:
    return float(text) + 0.0  # + 0.0 makes -0 a plain 0


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
    return Rule(takes, _read_whole, lambda got: isinstance(got, int) and low <= got <= high)


def real(low: float, high: float, takes: str) -> Rule:
    """A number from low to high."""
    return Rule(takes, _read_real, lambda got: low <= got <= high)  # false for NaN too


def text(takes: str, holds: Callable[[str], bool]) -> Rule:
    """Any text that holds."""
    return Rule(takes, str, holds)


SWITCH: Final = Rule("true or false", _read_switch, lambda got: isinstance(got, bool))
