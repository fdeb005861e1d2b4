"""The comparison of plan, live runs and theory as lines of text.

Knows comparisons. Must not know how they were made or where the lines are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from smssim.bench.agreement_cases import AgreementCase
from smssim.bench.comparison import INSIDE_SHARE, LAST, Comparison, Value
from smssim.outputs.terminal.table import Column, Table, joined
from smssim.words import plural

_HEADS: Final = (
    *("plan", "low", "high", "live", "min", "max", "theory"),
    *("difference", "hindsight", "within"),
)
_Cells = tuple[str, ...]


def _column(place: int, head: str) -> Column[_Cells]:
    return Column(head, lambda cells: cells[place], 8)


_TABLE: Final[Table[_Cells]] = Table(
    (Column("", lambda cells: cells[0], 15, is_left=True), *(_column(*pair) for pair in enumerate(_HEADS, 1)))
)
_NAMES: Final = {LAST: "last message"}


def heading(machine: str, quick: bool, runs: int, seeds: int) -> list[str]:
    """Return the lines above the cases."""
    sizes = "quick: a few short cases; " if quick else ""
    return [
        f"smssim bench on {machine}",
        f"{sizes}agreement of plan, {plural(runs, 'live run')} and theory; plan of {plural(seeds, 'seed')}",
        "",
        joined(_TABLE.lines(())[0]),
    ]


def case(of: AgreementCase, compared: Sequence[Comparison], why: str = "", error: str | None = None) -> list[str]:
    """Return the lines of one case, or of its error; `why`: why there is no theory."""
    lines = ["", f"{of.name}: {of.what}", *map(row, compared)]
    last = _last(compared)
    if last is not None:
        lines.append(
            f"  last message inside the plan's 95% interval in {last.inside} of {plural(len(last.live), 'run')}"
        )
    if why:
        lines.append(f"  no theory: {why}")
    return lines if error is None else [*lines, f"  FAILED: {error}"]


def row(one: Comparison) -> str:
    """Return the line of one figure."""
    known = [value for value in one.live if value is not None]
    plan = one.forecast
    values = (plan.median, plan.low, plan.high, one.live_mean, min(known, default=None), max(known, default=None))
    within = ("exactly" if plan.is_exact else "yes") if one.is_within else "NO"
    cells = (
        f"  {name(plan.name)}",
        *(amount(plan.name, value) for value in values),
        "" if plan.theory is None else amount(plan.name, plan.theory),
        percent(one.difference),
        percent(one.difference_in_hindsight),
        within,
    )
    return joined(_TABLE.lines((cells,))[1]).rstrip()


def name(figure: str) -> str:
    """Return the name of a figure in a table."""
    return _NAMES.get(figure, figure)


def amount(figure: str, value: Value) -> str:
    """Return a value of a figure: seconds, or a number of messages."""
    if value is None:
        return "never"
    is_time = figure == LAST or figure.startswith("t")
    return f"{value:,.2f} s" if is_time else f"{value:,.1f}".removesuffix(".0")


def percent(share: Value) -> str:
    """Return a difference in percent, with its sign."""
    return "-" if share is None else f"{100 * share:+.2f}%"


def ending(compared: Mapping[str, Sequence[Comparison]]) -> list[str]:
    """Return the lines below the cases, by the name of the case: how many figures agree, and which do not."""
    figures = [(f"{case} {name(one.forecast.name)}", one) for case, some in compared.items() for one in some]
    differ = [words for words, one in figures if not one.is_within]
    lasts = [one for some in compared.values() if (one := _last(some)) is not None]
    runs, inside = sum(len(one.live) for one in lasts), sum(one.inside for one in lasts)
    return ["", *summary(len(figures), differ, runs, inside)] if runs else []


def summary(figures: int, differ: Sequence[str], runs: int, inside: int) -> list[str]:
    """Return what a comparison comes to: how many last messages are inside the interval, and which figures differ."""
    verdict = "at least" if inside >= INSIDE_SHARE * runs else "LESS than"
    line = f"{figures - len(differ)} of {figures} figures agree"
    return [
        f"{inside} of {runs} last messages inside the 95% interval, {verdict} {INSIDE_SHARE:.0%}",
        line + (f"; not: {', '.join(differ)}" if differ else ""),
    ]


def _last(compared: Sequence[Comparison]) -> Comparison | None:
    return next((one for one in compared if one.forecast.name == LAST), None)
