"""`smssim scenario`: says what a scenario file contains, or prints the JSON schema of scenario files.

Checks a file as `smssim run` does. Must not know what the keys of a file are.
"""

from __future__ import annotations

import json

from smssim.escaping import escape
from smssim.process import terminal
from smssim.settings import RunSettings, ScenarioSettings, spans_of
from smssim.words import plural


def contents(file: str) -> str:
    """Return what a scenario file contains, on one line. Raises UsageError."""
    run = RunSettings.from_flags({"scenario": file}, None, spans=True)
    most = sum(sender.copies for sender in run.senders)
    least = most - sum(span.high - span.low for span in spans_of(run.senders).values())
    counted = (
        plural(run.producer.count, "message"),
        plural(most, "sender") if least == most else f"{least:,} to {plural(most, 'sender')}",
        plural(len(run.faults), "fault"),
        plural(len(run.monitor.threshold), "goal"),
    )
    return f"{escape(file)}: {', '.join(counted)}"


def serve(settings: ScenarioSettings) -> int:
    """Print the schema or what the file contains, and return the exit code. Raises UsageError."""
    if settings.schema or settings.file is None:
        from smssim.settings.schema import schema

        terminal.print_lines(json.dumps(schema(), indent=2))
    else:
        terminal.print_lines(contents(settings.file))
    return 0
