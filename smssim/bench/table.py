"""The figures of the bench as lines of text, for people.

Knows figures. Must not know how they were measured or where the lines go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from smssim.bench.measure import Spread

UNITS: Final[dict[str, Callable[[float], str]]] = {
    "per s": lambda value: f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s",
    "share": lambda value: f"{100 * value:.2f}%",
    "times": lambda value: f"{value:.1f} times",
    "cores": lambda value: f"{100 * value:.2f}% core",
    "s": lambda value: f"{value:,.2f} s",
    "ns": lambda value: f"{value:,.0f} ns",
    "MB": lambda value: f"{value:,.0f} MB",
}

_WIDTHS: Final = (-36, 15, 15, 15, 25, 9)  # negative: from the left


def _row(*cells: str) -> str:
    padded = (
        cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True)
    )
    return "".join(padded).rstrip()


def heading(machine: str, quick: bool, repetitions: int) -> list[str]:
    """What comes before the cases."""
    sizes = "quick: smaller cases, without targets; " if quick else ""
    times = "once each" if repetitions == 1 else f"{repetitions} times each"
    return [f"smssim bench on {machine}", f"{sizes}{times}", "", _row("", "median", "min", "max", "target", "reached")]


def case(name: str, title: str, how: str, spreads: Sequence[Spread], error: str | None = None) -> list[str]:
    """One case, or why there is nothing to show."""
    failed = [] if error is None else [f"  FAILED: {error}"]
    return ["", f"{name}: {title}", f"  ({how})", *(row(spread) for spread in spreads), *failed]


def row(spread: Spread) -> str:
    """One figure."""
    in_unit = UNITS[spread.unit]
    target = ""
    if spread.target is not None:
        target = f"at {'least' if spread.target.at_least else 'most'} {in_unit(spread.target.value)}"
    reached = {None: "", True: "yes", False: "NO"}[spread.reached]
    several = len(spread.values) > 1
    least, most = (in_unit(min(spread.values)), in_unit(max(spread.values))) if several else ("", "")
    return _row(f"  {spread.name}", in_unit(spread.median), least, most, target, reached)


def ending(spreads: Sequence[Spread]) -> list[str]:
    """How many targets were reached, and which were not."""
    aimed = [spread for spread in spreads if spread.target is not None]
    missed = [spread.name for spread in aimed if not spread.reached]
    if not aimed:
        return []
    line = f"{len(aimed) - len(missed)} of {len(aimed)} targets reached"
    return ["", line + (f"; not: {', '.join(missed)}" if missed else "")]


def clock(time_s: float) -> str:
    """1:05, minutes and seconds."""
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"
