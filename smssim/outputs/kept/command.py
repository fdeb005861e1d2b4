"""`smssim history`: lists the runs that `--history` has kept.

Knows kept runs and stdout. Must stay cheap to import.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from smssim.escaping import escape
from smssim.outputs.kept.directory import Kept
from smssim.process import terminal
from smssim.settings import HistorySettings
from smssim.words import clock, count

TITLE_MAX: Final = 30  # characters of a title in the table
ID_MIN: Final = 8  # characters of an id in the table, more if they would be the same for several runs

Row = Mapping[str, Any]


def serve(settings: HistorySettings) -> int:
    """Print the list and return the exit code. Raises UsageError."""
    entries = Kept(settings.where).entries()
    for entry in entries:
        if entry.row is None:
            print(f"smssim history: {entry.damage}", file=sys.stderr)
    rows = [entry.row for entry in entries if entry.row is not None]
    if settings.json:
        terminal.print_lines(*(json.dumps(row) for row in rows))
    elif rows:
        terminal.print_lines(*lines(rows))
    else:
        terminal.print_lines(f"{escape(settings.where)}: no run is kept here")
    return 0


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table, with a line for each run."""
    long = id_length([row["run_id"] for row in rows])
    cells: list[tuple[str, ...]] = [("run", "began (UTC)", "title", "messages", "sent", "failed", "time", "verdict")]
    cells += [_cells(row, long) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            text.rjust(width) if 3 <= i <= 6 else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def id_length(run_ids: Sequence[str]) -> int:
    """Return how many characters tell all these ids apart, at least `ID_MIN`."""
    most = max([ID_MIN, *map(len, run_ids)])
    different = len(set(run_ids))
    return next((n for n in range(ID_MIN, most) if len({one[:n] for one in run_ids}) == different), most)


def _cells(row: Row, long: int) -> tuple[str, ...]:
    began = row["began"]
    return (
        row["run_id"][:long],
        "unknown" if began is None else f"{began[:10]} {began[11:19]}",
        escape(row["title"], TITLE_MAX),
        count(row["total"]),
        count(row["sent"]),
        count(row["failed"]),
        clock(row["elapsed_s"]),
        escape(row["verdict"]["text"]),
    )
