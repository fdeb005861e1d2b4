"""The table that measuring scripts print: each figure, its target, and whether it is reached."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    def row(self) -> str:
        """Return a line of the table."""
        sign, passed = ("≥" if self.at_least else "≤"), ""
        if self.target is not None:
            passed = "yes" if (self.value >= self.target) == self.at_least or self.value == self.target else "NO"
        target = "" if self.target is None else f"{sign} {self.target:g} {self.unit}"
        return f"{self.name:66} {self.value:>10.4g} {self.unit:6} {target:>14} {passed:>5}"


def asked(about: str | None, groups: Iterable[str], quick: str) -> tuple[list[str], bool]:
    """Return the groups to measure, and whether to be quick, from the command line; `quick`: what that does."""
    names = list(groups)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=names, action="append", help="group to measure (repeatable)")
    parser.add_argument("--quick", action="store_true", help=quick)
    given = parser.parse_args()
    return given.only or names, given.quick


def show(figures: Iterable[Figure]) -> None:
    """Print the table, each figure as soon as it is measured."""
    print(f"{'figure':66} {'value':>10} {'':6} {'target':>14} {'pass':>5}")
    for figure in figures:
        print(figure.row(), flush=True)
