"""The curves of documents: what a picture shows of one run or plan, and of several.

Knows documents. Must not know how a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from smssim.outputs.report.curve import Band, Line, Picture
from smssim.outputs.report.formats import PERCENTS
from smssim.words import clock, moment, percent

Document = Mapping[str, Any]


def picture(document: Document) -> Picture | None:
    """Return the picture of one run or plan; None if there is nothing to draw."""
    line, band = line_of(document), band_of(document)
    total = total_of(document)
    if not total or (line is None and band is None):
        return None
    marks = [
        (time_s, int(of) / 100, f"{of}%: {moment(time_s)}")
        for of, time_s in (reached_of(document)).items()
        if time_s is not None
    ]
    is_run = document["kind"] == "run"
    end_s = _end_s([line], [band])
    return Picture(
        title=f"Share of all messages that was sent, over time: {document['title']}",
        description=_described(document, total),
        end_s=end_s,
        lines=[line] if line else [],
        bands=[band] if band else [],
        marks=marks,
        goals=[(goal["at_s"], goal["text"]) for goal in document["goals"]],
        stalls=[
            (stall["from_s"], end_s if stall["to_s"] is None else stall["to_s"]) for stall in document.get("stalls", [])
        ],
        events=[(event["at_s"], event["text"]) for event in document["events"]] if is_run else [],
    )


def overlay(documents: Sequence[Document]) -> Picture | None:
    """Return the picture of several, with the same start; None if there is nothing to draw."""
    lines, bands = [], []
    for number, document in enumerate(documents, 1):
        line = line_of(document, number)
        band = band_of(document, number) if document["kind"] == "plan" else None
        lines += [line] if line else []
        bands += [band] if band else []
    if not lines and not bands:
        return None
    names = "; ".join(f"{number}: {one['title']}" for number, one in enumerate(documents, 1))
    return Picture(
        title="Share of all messages that was sent, over time, of each run",
        description=names,
        end_s=_end_s(lines, bands),
        lines=lines,
        bands=bands,
    )


def total_of(document: Document) -> int:
    """Return the number of messages."""
    total: int = (document["forecast"] if document["kind"] == "plan" else document["progress"])["total"]
    return total


def reached_of(document: Document) -> dict[str, float | None]:
    """Return when shares of all messages were sent, by percent: of a plan, the medians."""
    if document["kind"] == "plan":
        some = document["forecast"]["reached_s"]
        return {of: some[of]["median"] for of in PERCENTS if of in some}
    return {of: document["reached_s"].get(of) for of in PERCENTS}


def line_of(document: Document, number: int = 0) -> Line | None:
    """Return the line of a document; None if nothing is known, or if its plan has a band instead."""
    total = total_of(document)
    if not total:
        return None
    if document["kind"] == "run" and len(document["history"]["elapsed_s"]) > 1:
        history = document["history"]
        gaps = [(gap["from_s"], gap["to_s"]) for gap in document["gaps"] if gap["to_s"] is not None]
        return Line(history["elapsed_s"], [sent / total for sent in history["sent"]], gaps=gaps, number=number)
    if document["kind"] == "plan" and document["plan"] is not None:
        return None
    points = sorted((time_s, int(of) / 100) for of, time_s in reached_of(document).items() if time_s is not None)
    points = [(0.0, 0.0), *points, *_last(document, total)]
    if len(points) < 2:
        return None
    ascending = [points[0], *(one for before, one in pairwise(points) if one >= before)]
    return Line([time_s for time_s, _ in ascending], [share for _, share in ascending], is_rough=True, number=number)


def _last(document: Document, total: int) -> list[tuple[float, float]]:
    """Return the last known point of a document without a course."""
    if document["kind"] == "run":
        progress = document["progress"]
        return [(progress["elapsed_s"], progress["sent"] / total)]
    forecast = document["forecast"]
    end_s, sent = forecast["complete_s"]["median"], forecast["sent"]["median"]
    return [] if end_s is None or sent is None else [(end_s, sent / total)]


def band_of(document: Document, number: int = 0) -> Band | None:
    """Return the range of the plan of a document; None without one."""
    plan, total = document["plan"], total_of(document)
    if plan is None or not total:
        return None
    low, high, median = ([sent / total for sent in plan[name]] for name in ("sent_low", "sent_high", "sent"))
    return Band(plan["times_s"], low, high, median, number)


def _end_s(lines: Sequence[Line | None], bands: Sequence[Band | None]) -> float:
    return max((one.times_s[-1] for one in (*lines, *bands) if one is not None and one.times_s), default=1.0)


def _described(document: Document, total: int) -> str:
    """Return what the picture shows, for those who can't see it."""
    said = [f"{of}% after {clock(time_s)}" for of, time_s in reached_of(document).items() if time_s is not None]
    if document["kind"] == "run":
        progress = document["progress"]
        said.append(f"{percent(progress['sent'], total)} in the end, after {clock(progress['elapsed_s'])}")
    return f"Sent: {', '.join(said)}." if said else "Nothing was sent."
