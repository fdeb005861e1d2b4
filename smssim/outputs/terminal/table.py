"""Tables as lines of text, whose less important columns are dropped if there is no room for all.

Knows columns and text. Must not know what they contain, colours or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

GAP: Final = "  "  # between two columns

Row = TypeVar("Row")
Piece = tuple[str, str]  # a cell's text with the gap before it, and the head of its column


@dataclass(frozen=True)
class Elastic:
    """The widths of a column that adapts to the room, in characters."""

    least: int  # the column never becomes narrower
    wanted: int  # other columns are dropped until it has this width, or all that it needs
    most: int  # longer cells are cut


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column. Each column of a table has its own head."""

    head: str
    cell: Callable[[Row], str]
    least: int = 0  # minimum width in characters
    gives_way: int = 0  # if not all columns fit, 1 is dropped first, then 2 and so on; 0 is never dropped
    is_left: bool = False  # flush left
    elastic: Elastic | None = None
    tail: Callable[[Row], str] | None = None  # the end of the cell, which is never cut; only with `elastic`
    brief: Column[Row] | None = None  # takes the place of this column when it is dropped


class Table(Generic[Row]):
    """A table with aligned columns.

    Each column is as wide as its head and its `least`; longer cells stick out. With `grows`, columns widen to fit their
    cells and never narrow again, so that nothing jumps from refresh to refresh.
    """

    def __init__(self, columns: Sequence[Column[Row]], grows: bool = False) -> None:
        self._columns = columns
        self._grows = grows
        self._all = [*columns, *(column.brief for column in columns if column.brief is not None)]
        self._widths = {column: max(len(column.head), column.least) for column in self._all}
        self._first_to_go = sorted((column for column in columns if column.gives_way), key=lambda c: c.gives_way)

    def lines(self, rows: Sequence[Row], room: int | None = None) -> list[list[Piece]]:
        """Return the header and a line for each row. Columns are dropped to fit into `room` characters, if possible."""
        if self._grows:
            for column in self._all:
                texts = (_cell(column, row, column.elastic.most if column.elastic else None) for row in rows)
                self._widths[column] = max([self._widths[column], *map(len, texts)])
        shown = self._shown(room)
        header = [(_padded(column, column.head, width, i), "head") for i, (column, width) in enumerate(shown)]
        body = [
            [
                (_padded(column, _cell(column, row, width if column.elastic else None), width, i), column.head)
                for i, (column, width) in enumerate(shown)
            ]
            for row in rows
        ]
        return [header, *body]

    def _shown(self, room: int | None) -> list[tuple[Column[Row], int]]:
        """Return the columns that fit, each with its width."""
        shown = list(self._columns)
        for column in self._first_to_go:
            if room is None or sum(map(self._wanted, shown)) <= room + len(GAP):
                break
            at = shown.index(column)
            shown[at : at + 1] = [] if column.brief is None else [column.brief]
        return [(column, self._width(column, shown, room)) for column in shown]

    def _wanted(self, column: Column[Row]) -> int:
        """Return the width that a column needs, including a gap."""
        width = self._widths[column]
        return len(GAP) + (min(width, column.elastic.wanted) if column.elastic else width)

    def _width(self, column: Column[Row], shown: Sequence[Column[Row]], room: int | None) -> int:
        width = self._widths[column]
        if column.elastic is None or room is None:
            return width
        others = sum(self._wanted(other) for other in shown if other is not column)
        return min(width, max(column.elastic.least, room - others))


def joined(pieces: Sequence[Piece]) -> str:
    """Return the pieces of a line as one text."""
    return "".join(part for part, _ in pieces)


def _cell(column: Column[Row], row: Row, width_max: int | None) -> str:
    cell, tail = column.cell(row), "" if column.tail is None else column.tail(row)
    return cell + tail if width_max is None else _cut(cell, max(1, width_max - len(tail))) + tail


def _padded(column: Column[Row], cell: str, width: int, place: int) -> str:
    return (GAP if place else "") + (cell.ljust(width) if column.is_left else cell.rjust(width))


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"
