"""`smssim report`: makes a report of files, and compares what they hold if there are several runs or plans.

Reads and writes files. Must not know what a report says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from smssim.errors import UsageError, bad, bad_file
from smssim.escaping import escape
from smssim.outputs import atomic
from smssim.outputs.kept.directory import Kept
from smssim.outputs.report.comparing import in_words
from smssim.outputs.report.inputs import DOCUMENTS_MAX, read_file
from smssim.outputs.report.page import report
from smssim.process import terminal
from smssim.settings import ReportSettings
from smssim.words import count


def serve(settings: ReportSettings) -> int:
    """Write the report and return the exit code. Raises UsageError."""
    atomic.check("--output", settings.output)
    documents = [document for named in settings.runs for document in read(named, settings.history)]
    if len(documents) > DOCUMENTS_MAX:
        shown = f"{len(documents)} runs" if len(documents) < 2 * DOCUMENTS_MAX else f"{DOCUMENTS_MAX}+ runs"
        raise bad("RUN", shown, f"1 to {DOCUMENTS_MAX}")
    content = report(documents)
    try:
        atomic.write(settings.output, content)
    except OSError as error:
        raise bad_file("--output", settings.output, "a file that can be written", error) from error
    if os.path.isfile(settings.output):
        terminal.print_lines(f"{escape(settings.output)}: {_named(documents)}, {count(-(-len(content) // 1000))} kB")
    return 0


def _named(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return what a report contains, in words."""
    things = in_words(documents)
    return things if len(documents) == 1 else f"{things} compared"


def read(named: str, history: str | None) -> list[dict[str, Any]]:
    """Return the documents of a file or, with a directory of kept runs, of the run with this ID. Raises UsageError."""
    if history is not None and not os.path.exists(named):
        try:
            return [Kept(history, "--history").find(named)]
        except LookupError as error:
            raise UsageError(f"RUN: {error}") from error
    return read_file(named)
