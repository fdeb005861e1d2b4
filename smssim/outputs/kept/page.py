"""Kept runs on web pages: the list of them, and the report of each.

Knows kept runs. Must not know how pages are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smssim.outputs.kept.directory import Kept
from smssim.outputs.report.markup import Content, Html, joined, tag, void
from smssim.outputs.report.page import report
from smssim.outputs.report.tables import table
from smssim.words import clock, count, plural


def runs_page(directory: str) -> str:
    """Return the HTML page with the list of runs in a directory. Raises UsageError if it can't be read.

    It has no scripts. The report of each run is at /runs/ID, the styles at /static/style.css.
    """
    entries = Kept(directory).entries()
    rows = [_row(entry.row) for entry in entries if entry.row is not None]
    damaged = sum(entry.row is None for entry in entries)
    heads = ("began (UTC)", "title", "verdict", "run", "messages", "sent", "failed", "time")
    body: list[Html] = [
        tag("h1", "Kept runs"),
        table(heads, rows, left=4) if rows else tag("p", "No run is kept yet."),
        *([tag("p", f"Not listed: {plural(damaged, 'damaged file')}.")] if damaged else []),
        tag("p", tag("a", "Back to the run in progress", href="/")),
    ]
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "Kept runs - smssim"),
        void("link", rel="stylesheet", href="/static/style.css"),
    )
    page = [
        Html('<!doctype html>\n<html lang="en">\n'),
        head,
        Html("\n"),
        tag("body", tag("main", body)),
        Html("\n</html>\n"),
    ]
    return str(joined(page))


def kept_report(directory: str, run_id: str) -> bytes:
    """Return the report of a run, by the beginning of its id.

    Raises LookupError if there is no such run or there are several, and UsageError if its file is damaged.
    """
    return report([Kept(directory).find(run_id)])


def _row(row: Mapping[str, Any]) -> tuple[Content, ...]:
    began = row["began"]
    return (
        tag("a", "unknown" if began is None else f"{began[:10]} {began[11:19]}", href=f"/runs/{row['run_id']}"),
        row["title"],
        row["verdict"]["text"],
        row["run_id"][:8],
        count(row["total"]),
        count(row["sent"]),
        count(row["failed"]),
        clock(row["elapsed_s"]),
    )
