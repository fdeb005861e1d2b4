"""The comparison of runs and plans: each figure of each of them, and its difference to the first one.

Knows documents. Must not know how a comparison is shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from smssim.core.threshold import PERCENTS

Document: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that is compared."""

    name: str
    head: str  # what it is called
    unit: str  # "count", "time", "span" (a time of the run), "rate" or "cost"
    needs: str = ""  # left out unless this figure of a run or a plan is above 0


FIGURES: Final = (
    Figure("total", "messages", "count"),
    Figure("sent", "sent", "count"),
    Figure("failed", "failed", "count"),
    Figure("unreachable", "of them unreachable", "count", "unreachable"),
    Figure("retried", "retried", "count"),
    Figure("duplicates", "duplicates", "count"),
    *(Figure(f"t{percent}", f"{percent}% sent after", "span") for percent in PERCENTS),
    *(
        Figure(f"t{percent}_reachable", f"{percent}% of the reachable sent after", "span", "unreachable")
        for percent in PERCENTS
    ),
    Figure("complete_s", "complete after", "span"),
    Figure("rate_per_s", "rate", "rate"),
    *(Figure(f"latency_p{percent}_s", f"latency, {percent}%", "time") for percent in (50, 95, 99)),
    Figure("avg_time_s", "average time of an attempt", "time"),
    Figure("cost", "cost", "cost", "cost"),
)


_MILESTONE: Final = re.compile(r"t([0-9]+)(|_reachable)")


def comparison(documents: Sequence[Document]) -> dict[str, Any] | None:
    """Return the comparison of documents for JSON; None if there is only one.

    - `runs`: of each document a `label` (1, 2, ...), its `kind` and its `title`.
    - `rows`: of each figure its `name`, `head` and `unit`, and `cells`, one per document. A cell has a `value`, and for
      a plan, of which it is the median, the ends of the middle 95%: `low` and `high`. It has the `difference` of its
      value to that of the first document, the same in `percent` of it, and `inside`: whether the value of a run is in
      the range of the first plan. All are null where they are unknown; a time is null also if it was never reached.
    - `equal`: of each document a `code` and a `text`, which say whether it has the same outcomes as the first run, and
      whether it should. Codes: equal, unequal (although they should be), differ (as they may), incomparable. Null for
      plans and for the first run.
    - `text`: the same in one line; empty if there is nothing to say.
    """
    if len(documents) < 2:
        return None
    plan = next((one for one in documents if one["kind"] == "plan"), None)
    run = next((one for one in documents if one["kind"] == "run"), None)
    equal = [
        None if run is None or other is run or other["kind"] == "plan" else _equal(run, other) for other in documents
    ]
    return {
        "runs": [
            {"label": str(number), "kind": one["kind"], "title": one["title"]}
            for number, one in enumerate(documents, 1)
        ],
        "rows": [
            {
                "name": figure.name,
                "head": figure.head,
                "unit": figure.unit,
                "cells": _cells(figure.name, documents, plan),
            }
            for figure in FIGURES
            if not figure.needs or any(spread(one, figure.needs)[0] for one in documents)
        ],
        "equal": equal,
        "text": " ".join(f"{number}: {one['text']}" for number, one in enumerate(equal, 1) if one),
    }


def spread(document: Document, name: str) -> tuple[float | None, float | None, float | None]:
    """Return a figure of a document: its value, and the ends of its range, which are None if there is none."""
    milestone = _MILESTONE.fullmatch(name)
    if document["kind"] == "plan":
        forecast = document["forecast"]
        some = forecast.get(name) if milestone is None else _milestones(forecast, milestone[2]).get(milestone[1])
        if isinstance(some, dict):
            return some["median"], some["low"], some["high"]
        return some, None, None
    progress = document["progress"]
    if name == "complete_s":
        return (progress["elapsed_s"] if progress["complete"] else None), None, None
    if milestone is not None:
        return _milestones(document, milestone[2]).get(milestone[1]), None, None
    return progress[name], None, None


def _milestones(of: Mapping[str, Any], which: str) -> Mapping[str, Any]:
    """Return when shares of all messages were sent, or those of the reachable (`which`): the same if all can be."""
    reached: Mapping[str, Any] = of[f"reached{which}_s"] or of["reached_s"]
    return reached


def _cells(name: str, documents: Sequence[Document], plan: Document | None) -> list[dict[str, Any]]:
    spreads = [spread(document, name) for document in documents]
    first = spreads[0][0]
    planned = None if plan is None or not _is_forecast(plan, name) else spread(plan, name)
    cells = []
    for number, (document, (value, low, high)) in enumerate(zip(documents, spreads, strict=True)):
        difference = value - first if number and value is not None and first is not None else None
        cells.append(
            {
                "value": value,
                "low": low,
                "high": high,
                "difference": difference,
                "percent": 100 * difference / first if difference is not None and first else None,
                "inside": None if planned is None or document["kind"] == "plan" else _inside(value, planned),
            }
        )
    return cells


def _is_forecast(plan: Document, name: str) -> bool:
    """Return whether a plan has a range for a figure."""
    return name != "total" and (_MILESTONE.fullmatch(name) is not None or plan["forecast"].get(name) is not None)


def _inside(value: float | None, planned: tuple[float | None, float | None, float | None]) -> bool | None:
    """Return whether a value is in a range; None if there is no range. What is never reached is later than any time."""
    median, low, high = planned
    if median is low is high is None and value is not None:
        return False
    known = [math.inf if one is None else one for one in (low, value, high)]
    return known[0] <= known[1] <= known[2]


# ---- Equal by seed?


def _equal(first: Document, other: Document) -> dict[str, str]:
    """Return whether two runs have the outcomes that their seeds make one expect: a code, and a sentence."""
    for name, head in (("seed", "seed"), ("max_attempts", "number of attempts")):
        if first[name] is None or other[name] is None:
            return _says("incomparable", f"The {head} is not known.")
        if first[name] != other[name]:
            return _says("incomparable", f"Another {head}: {other[name]} instead of {first[name]}.")
    if (first["unreachable_share"] or 0) != (other["unreachable_share"] or 0):
        return _says("incomparable", "Another share of unreachable messages.")
    one, two = first["progress"], other["progress"]
    if one["total"] != two["total"]:
        return _says("incomparable", "Another number of messages.")
    if not (one["complete"] and two["complete"]):
        return _says("incomparable", "Not both runs are complete.")
    is_equal = (one["sent"], one["failed"]) == (two["sent"], two["failed"])
    rates = _failure_rates(first) | _failure_rates(other)
    counts = f"{two['sent']:,} sent and {two['failed']:,} failed"
    if is_equal:
        must = ", as they must be" if len(rates) == 1 else ""
        return _says("equal", f"The same seed, and the same outcomes{must}: {counts}.")
    if len(rates) == 1:
        return _says(
            "unequal",
            f"The same seed and failure rate, but not the same outcomes: {counts} instead of "
            f"{one['sent']:,} and {one['failed']:,}.",
        )
    return _says(
        "differ",
        "The same seed. Senders do not all fail equally often, so that the outcomes depend on which sender gets which "
        f"message: {counts}.",
    )


def _failure_rates(document: Document) -> set[float]:
    """Return all probabilities with which attempts of a run fail; -1 stands for unknown ones."""
    unknown = {-1.0} if document["others"]["senders"] or not document["senders"]["name"] else set()
    failing = {-1.0} if any(event["kind"] == "failing" for event in document["events"]) else set()
    return {*document["senders"]["failure_rate"]} | unknown | failing


def _says(code: str, text: str) -> dict[str, str]:
    return {"code": code, "text": text}
