"""How a comparison is shown: what is compared, one picture, and a table of differences.

Knows documents and comparisons. Must not know what surrounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from smssim.outputs.report.curve import svg
from smssim.outputs.report.markup import Content, Html, joined, tag
from smssim.outputs.report.pictures import overlay
from smssim.outputs.report.tables import table
from smssim.words import clock, moment, per_second, seconds

Document = Mapping[str, Any]

_UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "count": lambda number: f"{number:,.10g}" if abs(number) < 1e10 else f"{number:,.0f}",
    "time": seconds,
    "span": moment,
    "rate": per_second,
}


def compared(documents: Sequence[Document], compares: Document) -> Html:
    """Return the part of a report that compares."""
    labels = [run["label"] for run in compares["runs"]]
    runs = [
        (label, document["title"], document["verdict"]["text"], _origin(document))
        for label, document in zip(labels, documents, strict=True)
    ]
    shown = overlay(documents)
    parts = [
        tag("h1", f"{len(documents)} runs compared"),
        table(("", "title", "verdict", "run"), runs, left=4),
        tag("h2", "Sent over time"),
        tag("p", "There is no curve, because nothing was sent." if shown is None else svg(shown)),
        tag("p", "Each run begins at 0. A dotted line connects the few times that are known of a run."),
        tag("h2", "Differences"),
        differences(compares),
        tag(
            "p",
            f"Differences are to {labels[0]}. Of a plan, the table has the medians and the middle 95% of the seeds.",
        ),
        tag("h2", "Equal by seed?"),
        table(
            ("", ""),
            [(label, one["text"]) for label, one in zip(labels[1:], compares["equal"], strict=True)],
            left=2,
        ),
    ]
    return joined(parts)


def differences(compares: Document) -> Html:
    """Return the table of differences: each figure of each run."""
    heads = [""]
    for number, run in enumerate(compares["runs"]):
        heads += [run["label"], *([f"{run['label']} - {compares['runs'][0]['label']}", "%"] if number else [])]
    return table(heads, [_row(row) for row in compares["rows"]])


def _row(row: Document) -> Sequence[Content]:
    cells: list[Content] = [row["head"]]
    for number, cell in enumerate(row["cells"]):
        cells.append(_value(cell, row["unit"]))
        if number:
            cells += [_signed(cell["difference"], row["unit"]), _percent(cell["percent"])]
    return cells


def _value(cell: Document, unit: str) -> str:
    """Return a value, with its range or with whether it is in the range of the plan."""
    show = _UNITS[unit]
    text = "-" if cell["value"] is None else show(cell["value"])
    if cell["low"] is not None and (cell["high"] is None or cell["high"] > cell["low"]):
        text += f" ({show(cell['low'])} to {'never' if cell['high'] is None else show(cell['high'])})"
    if cell["inside"] is not None:
        text += " as planned" if cell["inside"] else " NOT as planned"
    return text


def _signed(difference: float | None, unit: str) -> str:
    if difference is None:
        return ""
    return f"{'-' if difference < 0 else '+'}{_UNITS[unit](abs(difference))}"


def _percent(percent: float | None) -> str:
    return "" if percent is None else f"{percent:+,.1f}%"


def _origin(document: Document) -> str:
    """Return where a document comes from, as far as it is known."""
    if document["kind"] == "plan":
        return "plan"
    began = document["began"]
    when = f", {began[:10]} {began[11:16]} UTC" if began else ""
    ends = (
        "" if document["progress"]["complete"] else f", not complete after {clock(document['progress']['elapsed_s'])}"
    )
    return f"{document['progress']['run_id'][:8]}{when}{ends}"
