"""`smssim trace`: the history of one message, from a record.

Reads the footer, then the id column of each row group that may contain the message. Reads the other columns only in
row groups that do contain it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from smssim.errors import UsageError, bad_value
from smssim.escaping import escape
from smssim.outputs.record import COLUMNS, OUTCOMES, pyarrow
from smssim.process import terminal
from smssim.settings import TraceSettings, flags_of
from smssim.words import clock, count, plural, seconds

_AGAIN: Final = "duplicate outcome after {}"
_SAID: Final = dict(
    zip(OUTCOMES, ("sent after {}", "failed after {}", "failed after {}, will be retried", _AGAIN), strict=True)
)


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one message in a record."""

    rows: list[dict[str, Any]]  # by column, in the order in which they were recorded
    groups_read: int
    groups: int


def find(path: str, message_id: int) -> Found:
    """Look up a message in a record. Raises UsageError if the file is not a readable record."""
    parquet = pyarrow("trace").parquet
    expected = flags_of(TraceSettings)["file"].rule.expected
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if tuple(names) != COLUMNS:
                raise bad_value("FILE", path, f"{expected}, with the columns {', '.join(COLUMNS)}")
            rows: list[dict[str, Any]] = []
            groups = [i for i in range(file.num_row_groups) if _may_have(file.metadata.row_group(i), message_id)]
            for i in groups:
                at = (file.read_row_group(i, ["message_id"])["message_id"].to_numpy() == message_id).nonzero()[0]
                if len(at):
                    rows += file.read_row_group(i).take(at).to_pylist()
            return Found(rows, len(groups), file.num_row_groups)
    except OSError as error:
        raise UsageError(f"FILE: can't read {path!r}: {os.strerror(error.errno) if error.errno else error}") from error
    except pyarrow("trace").ArrowException as error:
        raise bad_value("FILE", path, f"{expected} (a record is unreadable if its monitor was killed)") from error


def _may_have(group: Any, message_id: int) -> bool:
    """Return whether a row group may contain a message, judging by its lowest and highest id."""
    statistics = group.column(COLUMNS.index("message_id")).statistics
    return statistics is None or not statistics.has_min_max or statistics.min <= message_id <= statistics.max


def story(rows: list[dict[str, Any]]) -> list[str]:
    """Return the history of a message as text. Assumes at least one row."""
    lines = []
    for (run_id, phone), attempts in groupby(rows, lambda row: (row["run_id"], row["phone_number"])):
        lines.append(f"message {rows[0]['message_id']} to {phone}, run {run_id}")
        for row in attempts:
            took, latency, at = seconds(row["duration_s"]), seconds(row["latency_s"]), clock(row["at_s"])
            lines.append(
                f"  attempt {row['attempt']} by {escape(row['sender'])}: {_SAID[row['outcome']].format(took)}; "
                f"{latency} after it was queued, {at} into the run"
            )
    return lines


def serve(settings: TraceSettings) -> int:
    """Print the history of one message and return the exit code. Raises UsageError."""
    found = find(settings.file, settings.message_id)
    if not found.rows:
        raise UsageError(
            f"MESSAGE_ID: got {settings.message_id}; expected a message with an outcome in {escape(settings.file)}"
        )
    terminal.print_lines(*story(found.rows))
    terminal.print_lines(f"  read {count(found.groups_read)} of {plural(found.groups, 'row group')}")
    return 0
