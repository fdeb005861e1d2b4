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
from smssim.words import clock, moment, money, per_second, plural, seconds

Document = Mapping[str, Any]

RANGES: Final = (
    " Of a plan, the table has the median and, in parentheses, the middle 95% of its seeds. Inside or outside says "
    "whether a run lies there (of several plans, of the first one)."
)

_UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "count": lambda number: f"{number:,.0f}",
    "time": seconds,
    "span": moment,
    "rate": per_second,
    "cost": money,
}


def compared(documents: Sequence[Document], compares: Document) -> Html:
    """Return the part of a report that compares. Its scripts move what has an id to where they show it."""
    labels = [run["label"] for run in compares["runs"]]
    has_plan = any(run["kind"] == "plan" for run in compares["runs"])
    runs = [
        (label, document["title"], document["verdict"]["text"], _origin(document))
        for label, document in zip(labels, documents, strict=True)
    ]
    shown = overlay(documents)
    parts = [
        tag("h1", f"{in_words(documents)} compared"),
        tag("div", table(("no.", "title", "verdict", "run"), runs, left=4), id="runs"),
        tag("h2", "Sent over time"),
        tag("p", "There is no curve, because nothing was sent." if shown is None else svg(shown)),
        tag("p", "Each run begins at 0. A dotted line connects the few times that are known of a run."),
        tag("h2", "Differences"),
        tag(
            "div",
            differences(compares),
            tag("p", f"Differences are to {labels[0]}.{RANGES if has_plan else ''}"),
            id="differences",
        ),
        *_by_seed(compares),
    ]
    return joined(parts)


def in_words(documents: Sequence[Document]) -> str:
    """Return what these documents are."""
    kinds = {document["kind"] for document in documents}
    return plural(len(documents), *kinds) if len(kinds) == 1 else f"{len(documents)} runs and plans"


def _by_seed(compares: Document) -> list[Html]:
    """Return whether runs have the same outcomes as the first one; nothing if there is only one run."""
    rows = [(run["label"], one["text"]) for run, one in zip(compares["runs"], compares["equal"], strict=True) if one]
    if not rows:
        return []
    first = next(run["label"] for run in compares["runs"] if run["kind"] == "run")
    compared_with = tag("p", f"Compared with {first}:")
    return [tag("h2", "Equal by seed?"), tag("div", compared_with, table(("", ""), rows, left=2), id="seeds")]


def differences(compares: Document) -> Html:
    """Return the table of differences: each figure of each run."""
    first, *others = (run["label"] for run in compares["runs"])
    heads = ["figure", first, *(head for label in others for head in (label, f"{label} - {first}"))]
    return table(heads, [_row(row) for row in compares["rows"]])


def _row(row: Document) -> Sequence[Content]:
    cells: list[Content] = [row["head"]]
    for number, cell in enumerate(row["cells"]):
        cells += [_value(cell, row["unit"]), *([_difference(cell, row["unit"])] if number else [])]
    return cells


def _value(cell: Document, unit: str) -> str:
    """Return a value, with its range or with whether it is in the range of the plan."""
    show = _UNITS[unit]
    text = ("never" if unit == "span" else "-") if cell["value"] is None else show(cell["value"])
    if cell["low"] is not None and (cell["high"] is None or cell["high"] > cell["low"]):
        text += f" ({show(cell['low'])} to {'never' if cell['high'] is None else show(cell['high'])})"
    if cell["inside"] is not None:
        text += ", inside" if cell["inside"] else ", OUTSIDE"
    return text


def _difference(cell: Document, unit: str) -> str:
    difference, percent = cell["difference"], cell["percent"]
    if difference is None:
        return ""
    if not difference:
        return "equal"
    share = "" if percent is None else f" ({percent:+,.1f}%)"
    return f"{'-' if difference < 0 else '+'}{_UNITS[unit](abs(difference))}{share}"


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
