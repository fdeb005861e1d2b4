"""The figures of the bench as lines of text.

Knows figures. Must not know how they were measured or where the lines are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from smssim.bench.measure import Spread
from smssim.outputs.terminal.table import Column, Table, joined

UNITS: Final[dict[str, Callable[[float], str]]] = {
    "per s": lambda value: f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s",
    "share": lambda value: f"{100 * value:.2f}%",
    "times": lambda value: f"{value:.1f} times",
    "cores": lambda value: f"{100 * value:.2f}% core",
    "s": lambda value: f"{value:,.2f} s",
    "ns": lambda value: f"{value:,.0f} ns",
    "MB": lambda value: f"{value:,.0f} MB",
}

_Cells = tuple[str, str, str, str, str, str]

_TABLE: Final[Table[_Cells]] = Table(
    (
        Column("", itemgetter(0), 36, is_left=True),
        Column("median", itemgetter(1), 13),
        Column("min", itemgetter(2), 13),
        Column("max", itemgetter(3), 13),
        Column("target", itemgetter(4), 23),
        Column("reached", itemgetter(5), 7),
    )
)


def heading(machine: str, quick: bool, repetitions: int) -> list[str]:
    """Return the lines above the cases."""
    sizes = "quick: smaller cases, no targets; " if quick else ""
    times = "each case runs once" if repetitions == 1 else f"each case runs {repetitions} times"
    return [f"smssim bench on {machine}", f"{sizes}{times}", "", joined(_TABLE.lines(())[0])]


def case(name: str, title: str, how: str, spreads: Sequence[Spread], error: str | None = None) -> list[str]:
    """Return the lines of one case, or of its error."""
    failed = [] if error is None else [f"  FAILED: {error}"]
    return ["", f"{name}: {title}", f"  ({how})", *(row(spread) for spread in spreads), *failed]


def row(spread: Spread) -> str:
    """Return the line of one figure."""
    in_unit = UNITS[spread.unit]
    target = ""
    if spread.target is not None:
        target = f"at {'least' if spread.target.at_least else 'most'} {in_unit(spread.target.value)}"
    reached = {None: "", True: "yes", False: "NO"}[spread.reached]
    several = len(spread.values) > 1
    least, most = (in_unit(min(spread.values)), in_unit(max(spread.values))) if several else ("", "")
    cells = (f"  {spread.name}", in_unit(spread.median), least, most, target, reached)
    return joined(_TABLE.lines((cells,))[1]).rstrip()


def ending(spreads: Sequence[Spread]) -> list[str]:
    """Return a line with the number of targets reached and the names of those missed; none without targets."""
    aimed = [spread for spread in spreads if spread.target is not None]
    missed = [spread.name for spread in aimed if not spread.reached]
    if not aimed:
        return []
    line = f"{len(aimed) - len(missed)} of {len(aimed)} targets reached"
    return ["", line + (f"; missed: {', '.join(missed)}" if missed else "")]


def clock(time_s: float) -> str:
    """Return a time in minutes and seconds: 1:05."""
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"
