"""A range of copies, such as 0..200, among which `smssim plan --cheapest` chooses. Must stay cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import COPIES_MAX
from smssim.settings.rules import Rule, whole

_COPIES: Final = whole(1, COPIES_MAX)
_END: Final = whole(0, COPIES_MAX)
_DOTS: Final = ".."
ONLY: Final = "only smssim plan --cheapest takes a range"


@dataclass(frozen=True, slots=True)
class Span:
    """The copies of a sender that there may be, at least and at most. With 0 copies, it is not there."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}{_DOTS}{self.high}"


def is_span(text: str) -> bool:
    """Return whether a text looks like a range."""
    return _DOTS in text


def _read(text: str) -> int | Span:
    if not is_span(text):
        return int(_COPIES.read(text))
    low, high = (_END.read(end.strip()) for end in text.split(_DOTS, 1))
    return Span(low, high)


def _holds(got: object) -> bool:
    if isinstance(got, Span):
        return _END.holds(got.low) and _COPIES.holds(got.high) and got.low <= got.high
    return _COPIES.holds(got)


# The value of the key `copies` of --sender and of the senders of a scenario.
COPIES_OR_SPAN: Final = Rule(
    f"{_COPIES.expected}, or a range such as 0..200 ({ONLY})",
    _read,
    _holds,
    kind=int,
    low=_COPIES.low,
    high=_COPIES.high,
    pattern=f"^({_COPIES.pattern[1:-1]}|{_END.pattern[1:-1]}\\.\\.{_END.pattern[1:-1]})$",
)
