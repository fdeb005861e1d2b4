"""Reads what reports are made of: results of runs, plans, kept runs and earlier reports.

Anybody may have made these files. Knows their formats. Must not know how anything is shown. Must stay cheap to import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from smssim import __version__
from smssim.errors import UsageError
from smssim.escaping import quote
from smssim.outputs.judging import deadlines, end_verdict, judged, parsed, plan_verdict
from smssim.outputs.report.formats import FORECAST, PLAN_DOCUMENT, RUN_DOCUMENT, SUMMARY, VERSION, document_of
from smssim.outputs.report.shapes import WrongShapeError, shaped
from smssim.words import plural

FILE_BYTES_MAX: Final = 32 << 20  # a report of eight runs has at most 4 MiB
DOCUMENTS_MAX: Final = 8  # in one report
NAME_MAX: Final = 300  # characters of a file's name in an error
EXPECTED: Final = (
    "the result of a run (--summary-json), a plan (smssim plan --json), a run that --history has kept, or a report"
)
DATA: Final = re.compile(rb'<script type="application/json" id="smssim-data">(.*?)</script>', re.DOTALL)
_PLANNED: Final = ("seeds", "complete_s", "ceiling")  # fields by which an object of `smssim plan` is recognised


def read_file(path: str) -> list[dict[str, Any]]:
    """Return the documents in a file. Raises UsageError, which names the file."""
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unfit(path, f"can't be read ({reason.lower()})") from error
    return documents_in(content, path)


def documents_in(content: bytes, name: str) -> list[dict[str, Any]]:
    """Return the documents in the content of a file, at least one. Raises UsageError, which names the file."""
    with _named(name):
        _check_size(content)
        if content.lstrip()[:1] == b"<":
            return _of_report(content)
        return [document for value in _values(content) for document in _documents(value)]


def value_in(content: bytes, name: str) -> Any:
    """Return the JSON value in the content of a file, unchecked. Raises UsageError, which names the file."""
    with _named(name):
        _check_size(content)
        return _loaded(content.decode())


class _UnfitError(ValueError):
    """The content of a file is not what is expected. The text says what is wrong, after the name of the file."""


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise UsageError, which names the file, for every error in the content of a file."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise _unfit(name, f"is not JSON ({error})") from error
    except WrongShapeError as error:
        raise _unfit(name, f"does not fit: {error}") from error
    except _UnfitError as error:
        raise _unfit(name, str(error)) from error
    except RecursionError as error:
        raise _unfit(name, "has values that are nested too deeply") from error
    except ValueError as error:  # not UTF-8, or a number with thousands of digits
        raise _unfit(name, f"can't be read ({str(error).partition(':')[0]})") from error


def _check_size(content: bytes) -> None:
    if len(content) > FILE_BYTES_MAX:
        raise _UnfitError(f"is larger than {FILE_BYTES_MAX >> 20} MiB")
    if not content.strip():
        raise _UnfitError("is empty: perhaps the run did not end")


def _unfit(name: str, says: str) -> UsageError:
    return UsageError(f"RUN: {quote(name, NAME_MAX)} {says}; expected {EXPECTED}")


def _of_report(content: bytes) -> list[dict[str, Any]]:
    """Return the documents in an HTML file; raises ValueError."""
    found = DATA.search(content)
    if found is None:
        raise _UnfitError("is a page without the data of a report")
    data = _loaded(found[1].decode())
    if not isinstance(data, dict) or not isinstance(data.get("runs"), list):
        raise WrongShapeError("smssim-data", data, "an object with runs")
    if data.get("version") != VERSION:
        raise _UnfitError(f"is a report in a format that this smssim, {__version__}, does not know")
    if not data["runs"]:
        raise _UnfitError("is a report without a run")
    return [document_of(run, f"runs[{i}]") for i, run in enumerate(data["runs"][: DOCUMENTS_MAX + 1])]


def _values(content: bytes) -> list[Any]:
    """Return the JSON values in a text: one, or one per line. Raises ValueError."""
    text = content.decode("utf-8-sig")
    try:
        return [_loaded(text)]
    except json.JSONDecodeError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [_loaded(line) for line in lines]


def _loaded(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise WrongShapeError("a number", constant, "a finite number")

    return json.loads(text, parse_constant=refuse)


def _documents(value: Any) -> list[dict[str, Any]]:
    """Return the documents in one JSON value. Raises WrongShapeError."""
    if isinstance(value, list) and value:
        return [document for one in value[: DOCUMENTS_MAX + 1] for document in _documents(one)]
    if not isinstance(value, dict):
        raise WrongShapeError("", value, "an object")
    if "kind" in value and "version" in value:
        return [document_of(value)]
    if all(name in value for name in _PLANNED):
        return [plan_document(shaped(value, FORECAST))]
    if "run_id" in value and "exit_code" not in value and value.get("final") in (True, False):
        raise _UnfitError("is the output of --json; use --summary-json")
    return [summary_document(shaped(value, SUMMARY))]


# ---- Documents of what has less than a document


def summary_document(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a run of which only the result is known."""
    from smssim.core.fleet import Fleet, SenderRow  # imported late: these load numpy, which a list of runs
    from smssim.core.session import State  # does not need
    from smssim.outputs.document import senders_of

    rows = [{**row, "state": State[row["state"].upper()]} for row in summary["sender_rows"]]
    senders = senders_of(Fleet(tuple(SenderRow(**row) for row in rows)))
    missing = summary["senders_not_in_rows"]
    return {
        **RUN_DOCUMENT.blank,
        "version": VERSION,
        "kind": "run",
        "title": f"run {summary['run_id'][:8]}",
        "seed": summary.get("seed"),
        **{name: summary.get(name) for name in ("max_attempts", "unreachable_share", "segments")},
        "progress": dict(summary),
        "verdict": end_verdict(
            summary["exit_code"],
            summary["reason"],
            summary["elapsed_s"],
            [one["threshold"] for one in summary["thresholds"] if not one["passed"]],
        ),
        "judged": judged(summary),
        "reached_s": dict(summary["reached_s"]),
        "reached_reachable_s": dict(summary.get("reached_reachable_s", {})) if summary["unreachable"] else {},
        "others": {**RUN_DOCUMENT.blank["others"], "senders": missing, "left": missing},
        "spectrum": [[float(of), time_s] for of, time_s in summary["percentiles"].items() if time_s is not None],
        "goals": deadlines(
            parsed(one["threshold"] for one in summary["thresholds"]), summary.get("unreachable_share") or 0.0
        ),
        "senders": senders,
        "events": list(summary["events"]),
    }


def plan_document(forecast: Mapping[str, Any], plan: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the document of a plan. `plan`: its course, if it is known. `more`: other fields that are known."""
    missing = more.get("unreachable_share")
    if missing is None:  # the JSON of a plan does not tell: about as many as in its plays
        missing = ((forecast.get("unreachable") or {}).get("median") or 0.0) / max(1, forecast["total"])
    return {
        **PLAN_DOCUMENT.blank,
        "version": VERSION,
        "kind": "plan",
        "title": f"plan of {plural(forecast['total'], 'message')}",
        "verdict": plan_verdict(forecast),
        "goals": deadlines(parsed(one["goal"] for one in forecast["goals"]), missing),
        "forecast": dict(forecast),
        "plan": plan,
        **more,
    }
