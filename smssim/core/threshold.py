"""Requirements on the result of a run, as in k6: `failed<5%`, `t95<10m`, `rate_per_s>1000`, `duplicates==0`.

Parses an expression and judges figures by it. Knows only the names of figures. Must stay cheap to import, because
`settings` checks expressions with it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Final

TIME_UNITS: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}  # in seconds

FAILED_REACHABLE: Final = "failed_reachable"  # messages that failed although they can be reached
COUNTS: Final = (  # of messages; these may be compared with a share of the total, or the last one of its own whole
    *("sent", "failed", "retried", "attempts", "duplicates", "redelivered", "in_flight", "waiting", "unreachable"),
    FAILED_REACHABLE,
)
PERCENTS: Final = (50, 80, 95, 99)  # milestones of a run: shares of all its messages
REACHED: Final = tuple(f"t{percent}" for percent in PERCENTS)  # time until this percentage of all messages was sent
REACHED_REACHABLE: Final = tuple(f"{name}_reachable" for name in REACHED)  # the same, of those that can be reached
TIMES: Final = (
    *("elapsed_s", "avg_time_s", "avg_sent_time_s", "latency_p50_s", "latency_p95_s", "latency_p99_s"),
    *REACHED,
    *REACHED_REACHABLE,
)
COST: Final = "cost"
OTHERS: Final = ("total", "rate_per_s", "recent_rate_per_s", "senders", "senders_seen", COST)
FIGURES: Final = COUNTS + TIMES + OTHERS
EXPECTED: Final = (
    "a comparison (< <= > >= == !=) such as failed<5% or t95<10m, of a number in the JSON output or of redelivered, "
    "failed_reachable, t50, t80, t95, t99, or t50_reachable and so on"
)

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_SIGN: Final = "<=|>=|==|!=|<|>"
_NUMBER: Final = r"\d+(\.\d*)?([eE][+-]?\d{1,2})?|\.\d+"
_EXPRESSION: Final = re.compile(
    rf"(?P<name>\w+)\s*(?P<sign>{_SIGN})\s*(?P<number>{_NUMBER})\s*(?P<unit>%|ms|s|m|h)?", re.ASCII
)
PATTERN: Final = "|".join(  # what `Threshold.parse` accepts, as a regular expression of other languages too
    rf"^\s*({'|'.join(names)})\s*({_SIGN})\s*({_NUMBER})\s*({units})\s*$"
    for names, units in ((COUNTS, "%?"), (TIMES, "(ms|s|m|h)?"), (OTHERS, ""))
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One comparison. `bound` is in seconds for a time, and in percent of the `whole` for a share."""

    text: str
    name: str
    sign: str
    bound: Fraction
    is_share: bool

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Parse an expression; raises ValueError if it is malformed."""
        match = _EXPRESSION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"malformed threshold: {text}")
        name, unit = match["name"], match["unit"] or ""
        if name not in {"%": COUNTS, "": FIGURES}.get(unit, TIMES):
            raise ValueError(f"malformed threshold: {text}")
        bound = Fraction(match["number"]) * Fraction(TIME_UNITS.get(unit, 1))
        return cls(" ".join(text.split()), name, match["sign"], bound, unit == "%")

    def judge(self, figures: Mapping[str, float | None]) -> Judged:
        """Judge figures, which include `total`, and `unreachable` if `failed_reachable` is compared with a share.

        A figure that the run does not have misses the threshold.
        """
        value = figures.get(self.name)
        if value is None:
            return Judged(self, None, False)
        compared = self.compared(value, figures)
        bound = float(self.bound) if self.name == COST else self.bound  # prices are rounded to binary numbers too
        return Judged(self, value, _OPERATORS[self.sign](compared, bound))

    def compared(self, value: float, figures: Mapping[str, float | None]) -> float | Fraction:
        """Return what is compared with the bound: a value of this figure, or which share it is, exact, in percent."""
        return share(value, self._whole(figures)) if self.is_share else value

    def _whole(self, figures: Mapping[str, float | None]) -> float:
        """Return of how many messages a share is.

        That is the total; for `failed_reachable`, it leaves out the messages that have proved to be unreachable.
        """
        total = figures["total"] or 0
        return total - (figures.get("unreachable") or 0) if self.name == FAILED_REACHABLE else total

    def warning(self) -> str | None:
        """Return a warning if a number of messages is compared as if it were a share, as in k6: failed<0.05."""
        if self.name not in COUNTS or self.is_share or not 0 < self.bound < 1:
            return None
        share = f"{self.name}{self.sign}{float(100 * self.bound):.10g}%"
        return f"--threshold {self.text}: {self.name} is a number of messages; for a share of all, write {share}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A threshold and its result after the run."""

    threshold: Threshold
    value: float | None  # the figure, not yet converted to a share; None if the run has no such figure
    passed: bool

    @property
    def text(self) -> str:
        """The expression, as the operator wrote it."""
        return self.threshold.text


def warnings(thresholds: Iterable[Threshold]) -> list[str]:
    """Return the warnings about these thresholds."""
    return [said for said in (threshold.warning() for threshold in thresholds) if said is not None]


def near_figure(text: str) -> str | None:
    """Return the figure that an unknown name in an expression probably means; None if no figure has a similar name."""
    name = re.split(r"\W", text.strip(), maxsplit=1)[0]
    near = [] if name in FIGURES else get_close_matches(name.lower(), FIGURES, n=1)
    return near[0] if near else None


def share(number: float, total: float) -> Fraction:
    """Return a number of messages as an exact percentage of a total; 0 if the total is 0."""
    return 100 * Fraction(number) / Fraction(total) if total else Fraction(0)
