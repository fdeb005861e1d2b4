"""The table of senders in a report, with copies of one sender in one row, as the view in a terminal has it.

Knows documents. Must not know what surrounds the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.folding import fold
from smssim.core.session import State
from smssim.outputs.report.markup import Html, joined, tag
from smssim.outputs.report.tables import table
from smssim.outputs.terminal.sender_table import COST, NOT_AT_THE_END, columns, others_line

WIDE: Final = 1_000  # characters, more than any line has
_FIELDS: Final = tuple(name for name in SenderRow.__slots__ if name not in ("name", "state"))


def senders(document: Mapping[str, Any], rows_max: int) -> Html | None:
    """Return the table of senders, at most this many of them in rows; None if there are none."""
    fleet = fold(fleet_of(document)).limited(rows_max)
    if not fleet.rows:
        return None
    without = NOT_AT_THE_END if document["progress"]["final"] else ()
    without = without if document["progress"]["cost"] else (*without, COST)
    shown = columns(fleet.has_copies, fleet.has_limits, without)
    made = table(
        [column.head for column in shown],
        [[column.cell(row) + (column.tail(row) if column.tail else "") for column in shown] for row in fleet.rows],
        also_left=[number for number, column in enumerate(shown) if column.is_left],
    )
    others = fleet.others
    return joined([made, tag("p", f"And {others_line(others, WIDE)}.") if others.senders else None])


def fleet_of(document: Mapping[str, Any]) -> Fleet:
    """Return the senders of a document."""
    columns, others = document["senders"], document["others"]
    known = [field for field in _FIELDS if len(columns.get(field, ()))]  # older documents lack some
    rows = tuple(
        SenderRow(name=name, state=State(int(state)), **{field: columns[field][i] for field in known})
        for i, (name, state) in enumerate(zip(columns["name"], columns["state"], strict=True))
    )
    return Fleet(rows, Others(**{name: others[name] for name in Others.__slots__}))
