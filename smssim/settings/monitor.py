"""The settings of `smssim monitor`, each declared together with its flag. Checks that its output files differ.

Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Final

from smssim.core.limits import INTERVAL_MIN_S, TIME_MAX_S
from smssim.core.threshold import EXPECTED, PATTERN, Threshold, near_figure
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import MONITOR_ADDRESS
from smssim.settings.engine import EngineSettings
from smssim.settings.flags import flag, flags_of, like, switch
from smssim.settings.page import COMMAND_VARIABLE, HOST, TITLE, check_page
from smssim.settings.producer import PORT, ProducerSettings
from smssim.settings.rules import Rule, file, seconds, text, whole

HISTORY_RUNS_MAX: Final = 100_000
HISTORY_MEGABYTES_MAX: Final = 1_000_000

FAILED_PURPOSE: Final = "At the end, write the undelivered messages to this CSV file"

_DIRECTORY: Final = text("a directory, created if it does not exist", bool)
_FIGURES: Final = file("a file that can be written; for figures on stdout, use --json")
_SUMMARY: Final = file("a file that can be written, not stdout")
_RECORD: Final = file("a file that does not exist yet, not stdout")
_LIST: Final = file("a file, overwritten if it exists, not stdout")
_THRESHOLD: Final = Rule(
    EXPECTED, Threshold.parse, lambda got: isinstance(got, Threshold), near_figure, pattern=PATTERN
)


@dataclass(frozen=True, kw_only=True)
class MonitorSettings(EngineSettings):
    """`smssim monitor`."""

    interval_s: float = flag(
        5.0, seconds(INTERVAL_MIN_S, TIME_MAX_S), "SECONDS", "Output", "Time between updates", word="interval"
    )
    json: bool = switch("Output", "Print one JSON object per line.")
    csv: str | None = flag(
        None,
        _FIGURES,
        "FILE",
        "Output",
        "Also write the figures to this CSV file, one row per interval",
        unset="not written",
    )
    summary_json: str | None = flag(
        None,
        _SUMMARY,
        "FILE",
        "Output",
        "Write the result of the run to this file, as a JSON object",
        unset="not written",
    )
    threshold: tuple[Threshold, ...] = flag(
        (),
        _THRESHOLD,
        "EXPR",
        "Ending",
        "Goal that the run must meet, or else exit with 5 (repeatable)",
        unset="none",
    )
    record: str | None = flag(
        None, _RECORD, "FILE", "Output", "Write each outcome to this Parquet file", unset="not written"
    )
    failed: str | None = flag(
        None, _LIST, "FILE", "Output", f"{FAILED_PURPOSE} (not with --linger)", unset="not written"
    )
    title: str = flag(
        "", TITLE, "TEXT", "Output", "Title of the page and the report", unset="the start of the run's ID"
    )
    web: int | None = flag(
        None, PORT, "PORT", "Output", "Serve a live page on this port (0: any free port)", unset="not served"
    )
    web_listen: str | None = flag(
        None,
        HOST,
        "HOST",
        "Output",
        "Address of this machine that the page listens on",
        unset="127.0.0.1",
    )
    report: str | None = flag(
        None,
        _LIST,
        "FILE",
        "Output",
        "When a run ends, write a report of it to this HTML file (with --linger, of the latest one)",
        unset="not written",
    )
    history: str | None = flag(
        None, _DIRECTORY, "DIR", "Output", "Keep a JSON file about each run in this directory", unset="not kept"
    )
    history_runs: int = flag(
        200, whole(1, HISTORY_RUNS_MAX), "N", "Output", "Number of runs that --history keeps: the latest"
    )
    history_size: int = flag(
        100, whole(1, HISTORY_MEGABYTES_MAX), "MB", "Output", "Size of what --history keeps, in megabytes"
    )
    listen: str = like(ProducerSettings, "listen", default=MONITOR_ADDRESS)
    journal: str | None = like(
        ProducerSettings,
        "journal",
        purpose="Save the run's state in this file and resume from it after a crash (not with --linger)",
    )
    linger: bool = like(
        ProducerSettings,
        "linger",
        purpose="Keep running after the run is complete, for further runs. "
        "Not with --journal, --engine or --failed, which are for one run.",
    )
    metrics_port: int | None = like(ProducerSettings, "metrics_port", in_run=True)
    # Has no flag: `smssim run` passes the command that it was started with, for the report.
    command: str = ""

    variables: ClassVar[Mapping[str, str]] = {**EngineSettings.variables, "command": COMMAND_VARIABLE}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        check_page(self)
        self._check_history()
        self._check_journal(self.journal)
        if self.engine is not None and self.linger:
            raise UsageError("--engine can't be used with --linger, because its log holds one run")
        if self.journal is not None and self.linger:
            raise UsageError("--journal can't be used with --linger, because a journal holds one run")
        if self.failed is not None and self.linger:
            raise UsageError("--failed can't be used with --linger, because its file is for one run")
        self.check_files()

    def _check_history(self) -> None:
        for setting in ("history_runs", "history_size"):
            its = flags_of(MonitorSettings)[setting]
            if self.history is None and getattr(self, setting) != its.default:
                raise UsageError(f"--history is required with {its.name}")

    def check_files(self, **read: str) -> None:
        """Raise UsageError if this node would write two outputs to the same file, or to one that is `read`."""
        written = {
            flag.name: getattr(self, setting)
            for setting, flag in flags_of(MonitorSettings).items()
            if flag.metavar == "FILE" and flag.panel in ("Output", "Crashes")
        }
        check_different(written, **read)


def check_different(written: Mapping[str, str | None], **read: str | None) -> None:
    """Raise UsageError if two of these files are the same. `written`: by flag; `read`: by what the file is."""
    files = [(f"the {what}", path) for what, path in read.items() if path is not None]
    files += [(name, path) for name, path in written.items() if path is not None]
    for (one, path), (other, its) in combinations(files, 2):
        if _is_same_file(path, its):
            raise bad_value(other, its, f"a different file from {one}")


def _is_same_file(path: str, other: str) -> bool:
    """Return whether both paths name the same file, which need not exist yet. Devices and pipes may be shared."""
    if os.path.isfile(path) and os.path.isfile(other):
        return os.path.samefile(path, other)
    there = os.path.realpath(path)
    return there == os.path.realpath(other) and (os.path.isfile(there) or not os.path.exists(there))
