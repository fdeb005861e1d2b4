"""The table of senders in a report.

Knows documents. Must not know what surrounds the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.session import State
from smssim.outputs.report.markup import Content, Html
from smssim.outputs.report.tables import table
from smssim.words import about_per_second, count, part, plural, seconds, setting_s

_FIELDS: Final = tuple(name for name in SenderRow.__slots__ if name not in ("name", "state"))
_HEADS: Final = ("sender", "state", "lanes", "mean", "fail", "sent", "failed", "share", "average", "rate")


def senders(document: Mapping[str, Any], rows_max: int) -> Html | None:
    """Return the table of senders, at most this many of them in rows; None if there are none."""
    fleet = fleet_of(document).limited(rows_max)
    if not fleet.rows:
        return None
    rows: list[Sequence[Content]] = [_row(row) for row in fleet.rows]
    others = fleet.others
    if others.senders:
        share = part(others.failed, others.sent + others.failed)
        rows.append(
            (
                plural(others.senders, "more sender"),
                "",
                "",
                "",
                "",
                count(others.sent),
                count(others.failed),
                share,
                "",
                "",
            )
        )
    return table(_HEADS, rows, left=2)


def fleet_of(document: Mapping[str, Any]) -> Fleet:
    """Return the senders of a document."""
    columns, others = document["senders"], document["others"]
    rows = tuple(
        SenderRow(name=name, state=State(int(state)), **{field: columns[field][i] for field in _FIELDS})
        for i, (name, state) in enumerate(zip(columns["name"], columns["state"], strict=True))
    )
    return Fleet(rows, Others(**{name: others[name] for name in Others.__slots__}))


def _row(row: SenderRow) -> Sequence[Content]:
    return (
        row.name,
        row.state.name.lower(),
        count(row.concurrency),
        setting_s(row.mean_s),
        f"{100 * row.failure_rate:.3g}%",
        count(row.sent),
        count(row.failed),
        part(row.failed, row.sent + row.failed),
        seconds(row.avg_time_s),
        about_per_second(row.rate_per_s),
    )
