"""The shapes of documents, of results of runs and of forecasts, as they are read from files that anybody may have made.

`outputs.document` makes documents. Must stay cheap to import: a list of kept runs reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from smssim.core import threshold
from smssim.outputs.report.shapes import Column, Fields, Items, Maybe, Named, Shape, Value, WrongShapeError, shaped

PERCENTS: Final = tuple(map(str, threshold.PERCENTS))  # as names of fields
VERSION: Final = 1  # of documents, the latest one that is understood
SENDERS_MAX: Final = 1_000
POINTS_MAX: Final = 4_096  # of a course
_STEPS_MAX: Final = 4_096
_EVENTS_MAX: Final = 2_000
_BARS_MAX: Final = 200
_LETTERS: Final = re.compile(r"[-ewx0-9]*")
_STATES: Final = re.compile(r"[1-4]*")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_PERCENTAGE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_RUN_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}")


def _whole(low: int, high: int, expected: str) -> Value:
    return Value(expected, lambda got: type(got) is int and low <= got <= high)


def _real(low: float, high: float, expected: str) -> Value:
    return Value(expected, lambda got: type(got) in (int, float) and low <= got <= high)  # false for NaN too


def _text(most: int) -> Value:
    return Value(f"text of at most {most:,} characters", lambda got: isinstance(got, str) and len(got) <= most)


def _matching(pattern: re.Pattern[str], most: int, expected: str) -> Value:
    return Value(expected, lambda got: isinstance(got, str) and len(got) <= most and pattern.fullmatch(got) is not None)


COUNT: Final = _whole(0, 2**63 - 1, "a whole number from 0 to 2^63 - 1")
SIGNED: Final = _whole(-(2**63), 2**63 - 1, "a whole number")
REAL: Final = _real(0, 1e18, "a number from 0 to 10^18")
CHANGE: Final = _real(-1e18, 1e18, "a number")
SHARE: Final = _real(0, 1, "a number from 0 to 1")
FLAG: Final = Value("true or false", lambda got: isinstance(got, bool))
WORD: Final = _text(100)
LINE: Final = _text(1_000)
COMMAND: Final = _text(20_000)
RUN_ID: Final = _matching(_RUN_ID, 64, "letters, digits, dots and dashes, at most 64")
DATE: Final = _matching(_DATE, 20, "a time such as 2026-11-29T20:00:00Z")


def _object(known: Mapping[str, Shape], blank: Mapping[str, Any] | None = None, optional: str = "") -> Fields:
    return Fields(known, blank or {}, frozenset(optional.split()))


def _by_percent(of: Shape) -> Named:
    return Named("an object with the percentages 50, 80, 95 and 99", lambda name: name in PERCENTS, of, 4)


EVENT: Final = _object({"at_s": REAL, "kind": WORD, "target": LINE, "text": LINE}, {"target": ""})
SENDER_ROW: Final = _object(
    {
        "name": LINE,
        "mean_s": REAL,
        "failure_rate": SHARE,
        "concurrency": COUNT,
        "state": Value(
            "one of sending, waiting, lost, left", lambda got: got in ("sending", "waiting", "lost", "left")
        ),
        **dict.fromkeys(("sent", "failed", "attempts"), COUNT),
        "avg_time_s": Maybe(REAL),
        "rate_per_s": REAL,
        "recent_rate_per_s": REAL,
        "in_flight": COUNT,
        "held": COUNT,
        "limit_per_s": Maybe(REAL),
        "burst": COUNT,
        "declared_per_s": REAL,
        "cost": REAL,
    },
    {"cost": 0},
    optional="limit_per_s burst declared_per_s",  # of runs before senders had limits
)
THRESHOLD: Final = _object({"threshold": LINE, "value": Maybe(CHANGE), "passed": FLAG})
_FIGURES: Final[Mapping[str, Shape]] = {  # in the order of the monitor's JSON object
    "run_id": RUN_ID,
    "total": COUNT,
    "elapsed_s": REAL,
    **dict.fromkeys(("sent", "failed", "retried", "attempts", "duplicates", "in_flight"), COUNT),
    "waiting": SIGNED,
    "avg_time_s": Maybe(REAL),
    "avg_sent_time_s": Maybe(REAL),
    "rate_per_s": REAL,
    "recent_rate_per_s": REAL,
    **dict.fromkeys(("latency_p50_s", "latency_p95_s", "latency_p99_s"), Maybe(REAL)),
    "senders": COUNT,
    "senders_seen": COUNT,
    "complete": FLAG,
    "final": FLAG,
    "unreachable": COUNT,
    "cost": REAL,
}
_LATER: Final[Mapping[str, Any]] = {"unreachable": 0, "cost": 0}  # figures that older files do not have
_SUMMARY: Final[Mapping[str, Shape]] = {
    "events": Items(EVENT, _EVENTS_MAX),
    "plan_reached_s": Maybe(_by_percent(Maybe(REAL))),
    "reached_reachable_s": _by_percent(Maybe(REAL)),
    "seed": Maybe(COUNT),
    "max_attempts": Maybe(COUNT),
    "unreachable_share": Maybe(SHARE),
    "segments": COUNT,
    "exit_code": _whole(0, 255, "a whole number from 0 to 255"),
    "reason": LINE,
    "reached_s": _by_percent(Maybe(REAL)),
    "percentiles": Named(
        "an object with percentages", lambda name: _PERCENTAGE.fullmatch(name) is not None, Maybe(REAL), 20
    ),
    "redelivered": Maybe(COUNT),
    "sender_rows": Items(SENDER_ROW, SENDERS_MAX),
    "senders_not_in_rows": COUNT,
    "thresholds": Items(THRESHOLD, 1_000),
}
SUMMARY: Final = _object(
    {**_FIGURES, **_SUMMARY}, _LATER, optional="seed max_attempts unreachable_share segments reached_reachable_s"
)
PROGRESS: Final = _object({**_FIGURES, **_SUMMARY}, _LATER, optional=" ".join(_SUMMARY))

RANGE: Final = _object({name: Maybe(REAL) for name in ("low_s", "median_s", "high_s")})
_SPREAD: Final = _object(
    {"median": Maybe(REAL), "low": Maybe(REAL), "high": Maybe(REAL), "share": SHARE}, optional="share"
)
_THEORY: Final = _object(
    {
        "reached_s": _by_percent(Maybe(REAL)),
        "reached_reachable_s": _by_percent(Maybe(REAL)),
        "complete_s": Maybe(REAL),
        "valid": FLAG,
        "why": Maybe(LINE),
    },
    optional="reached_reachable_s",
)
_BELOW: Final = _object({"value": REAL, "probability": Maybe(SHARE)})
_FIND: Final = _object(
    {"setting": LINE, "value": Maybe(REAL), "probability": Maybe(SHARE), "below": Maybe(_BELOW), "why": LINE},
    optional="probability below why",
)
_FEWER: Final = _object({"name": LINE, "copies": COUNT, "probability": SHARE, "cost": REAL})
_CHEAPEST: Final = _object(
    {
        "senders": Maybe(Named("an object with numbers of copies by sender", lambda name: True, COUNT, SENDERS_MAX)),
        "cost": REAL,
        "probability": SHARE,
        "confidence": SHARE,
        "fewer": Items(_FEWER, SENDERS_MAX),
        "why": LINE,
    },
    optional="cost probability confidence fewer why",
)
FORECAST: Final = _object(  # the object of `smssim plan --json`
    {
        "total": COUNT,
        "segments": COUNT,
        "encoding": Maybe(WORD),
        "seeds": COUNT,
        "scale": COUNT,
        **dict.fromkeys(("sent", "failed", "retried", "attempts", "duplicates"), _SPREAD),
        "unreachable": Maybe(_SPREAD),
        "reached_s": _by_percent(_SPREAD),
        "reached_reachable_s": Maybe(_by_percent(_SPREAD)),
        "complete_s": _SPREAD,
        "rate_per_s": _SPREAD,
        "cost": Maybe(_SPREAD),
        "ceiling": REAL,
        "goals": Items(_object({"goal": LINE, "probability": SHARE, "passed": FLAG}), 1_000),
        "senders": Items(
            _object(
                {"name": LINE, **dict.fromkeys(("attempts", "sent", "failed", "busy", "cost"), REAL)}, {"cost": 0.0}
            ),
            SENDERS_MAX,
        ),
        "theory": Maybe(_THEORY),
        "find": Maybe(_FIND),
        "cheapest": Maybe(_CHEAPEST),
    },
    dict.fromkeys(("theory", "find", "cheapest", "unreachable", "reached_reachable_s", "cost")),
    optional="segments encoding",
)

_FAILED: Final = ("failed", "failed_low", "failed_high")  # only in documents of plans
PLAN: Final = _object(
    {
        "times_s": Column(REAL, POINTS_MAX),
        **dict.fromkeys(("sent", "sent_low", "sent_high", *_FAILED), Column(REAL, POINTS_MAX)),
        "reached_s": _by_percent(RANGE),
        "complete_s": RANGE,
        "seeds": COUNT,
    },
    optional=" ".join(_FAILED),
)
_COUNTED: Final = ("sent", "failed", "in_flight", "retried", "duplicates", "senders")
_RATES: Final = ("rate_per_s", "rate_min_per_s", "rate_max_per_s")
_TIMES: Final = ("avg_time_s", "latency_p50_s", "latency_p95_s", "latency_p99_s")
HISTORY: Final = _object(
    {
        "elapsed_s": Column(REAL, POINTS_MAX),
        **dict.fromkeys(_COUNTED, Column(COUNT, POINTS_MAX)),
        **dict.fromkeys(_RATES, Column(REAL, POINTS_MAX, maybe=True)),
        **dict.fromkeys(_TIMES, Column(REAL, POINTS_MAX, maybe=True)),
    }
)
SENDERS: Final = _object(
    {
        "name": Column(LINE, SENDERS_MAX),
        "state": _matching(_STATES, SENDERS_MAX, "a digit from 1 to 4 for each sender"),
        **dict.fromkeys(("concurrency", "sent", "failed", "attempts", "in_flight", "held"), Column(COUNT, SENDERS_MAX)),
        **dict.fromkeys(("mean_s", "failure_rate", "rate_per_s", "recent_rate_per_s"), Column(REAL, SENDERS_MAX)),
        "avg_time_s": Column(REAL, SENDERS_MAX, maybe=True),
        "limit_per_s": Column(REAL, SENDERS_MAX, maybe=True),
        "burst": Column(COUNT, SENDERS_MAX),
        "declared_per_s": Column(REAL, SENDERS_MAX),
        "group": Column(_whole(-1, SENDERS_MAX, "the number of a group"), SENDERS_MAX),
        "groups": Column(LINE, SENDERS_MAX),
        "cost": Column(REAL, SENDERS_MAX),
    },
    optional="limit_per_s burst declared_per_s cost group groups",  # the first four: as in `SENDER_ROW`
)
OTHERS: Final = _object(
    {
        **dict.fromkeys(("senders", "sending", "waiting", "lost", "left", "sent", "failed", "in_flight"), COUNT),
        "recent_rate_per_s": REAL,
        "cost": REAL,
    },
    {"cost": 0},
)
_SPAN: Final = _object({"from_s": REAL, "to_s": Maybe(REAL)})
_ROW: Final = _matching(_LETTERS, _STEPS_MAX, "the characters - e w x and 0 to 9")
_NO_SENDERS: Final = {name: "" if name == "state" else [] for name in SENDERS.known}
_VERDICTS: Final = (
    *("on_course", "late", "ahead", "stalled", "running", "starting"),
    *("complete", "incomplete", "disagree", "missed", "planned"),
)
_ANY: Final[Mapping[str, Shape]] = {  # in the order of a document
    "version": _whole(1, VERSION, f"{VERSION}, the version of the format that this smssim reads"),
    "kind": Value("run or plan", lambda got: got in ("run", "plan")),
    "smssim": WORD,
    "title": LINE,
    "began": Maybe(DATE),
    "command": COMMAND,
    "seed": Maybe(COUNT),
    "max_attempts": Maybe(COUNT),
    "unreachable_share": Maybe(SHARE),
    "segments": Maybe(COUNT),
}
_BLANK: Final[Mapping[str, Any]] = {
    "smssim": "",
    "title": "",
    "command": "",
    **dict.fromkeys(("began", "seed", "max_attempts", "unreachable_share", "segments")),
}
_VERDICT: Final = _object({"code": Value(f"one of {', '.join(_VERDICTS)}", lambda got: got in _VERDICTS), "text": LINE})
RUN_DOCUMENT: Final = _object(
    {
        **_ANY,
        "progress": PROGRESS,
        "verdict": _VERDICT,
        "judged": Items(_object({"passed": FLAG, **dict.fromkeys(("text", "value", "bound", "margin"), LINE)}), 1_000),
        "stall": Maybe(LINE),
        "stalls": Items(_object({"from_s": REAL, "to_s": Maybe(REAL), "reason": LINE}), _EVENTS_MAX),
        "reached_s": _by_percent(Maybe(REAL)),
        "reached_reachable_s": _by_percent(Maybe(REAL)),
        "behind_s": Maybe(CHANGE),
        "pace": LINE,
        "expected": Maybe(Named("an object with ranges of times", lambda name: len(name) <= 20, Maybe(RANGE), 10)),
        "others": OTHERS,
        "latency": _object({"bounds_s": Column(REAL, _BARS_MAX), "counts": Column(COUNT, _BARS_MAX + 1)}),
        "spectrum": Items(Column(REAL, 2), _BARS_MAX),
        "goals": Items(
            _object(
                {"text": LINE, "at_s": REAL, **dict.fromkeys(("percent", "reachable"), _real(0, 100, "a percentage"))},
                optional="reachable",
            ),
            1_000,
        ),
        "plan": Maybe(PLAN),
        "history": HISTORY,
        "gaps": Items(_SPAN, _EVENTS_MAX),
        "senders": SENDERS,
        "heat": _object(
            {"from_s": REAL, "times_s": Column(REAL, _STEPS_MAX), "rows": Column(_ROW, SENDERS_MAX)},
        ),
        "events": Items(EVENT, _EVENTS_MAX),
    },
    {
        **_BLANK,
        **dict.fromkeys(("stall", "behind_s", "expected", "plan")),
        "judged": [],
        "stalls": [],
        "reached_s": {},
        "reached_reachable_s": {},
        "pace": "",
        "others": dict.fromkeys(OTHERS.known, 0),
        "latency": {"bounds_s": [], "counts": [0]},
        "spectrum": [],
        "goals": [],
        "history": {name: [] for name in HISTORY.known},
        "gaps": [],
        "senders": _NO_SENDERS,
        "heat": {"from_s": 0, "times_s": [], "rows": []},
        "events": [],
    },
)
PLAN_DOCUMENT: Final = _object(
    {
        **_ANY,
        "forecast": FORECAST,
        "verdict": _VERDICT,
        "goals": RUN_DOCUMENT.known["goals"],
        "plan": Maybe(PLAN),
    },
    {**_BLANK, "goals": [], "plan": None},
)


def document_of(value: Any, where: str = "") -> dict[str, Any]:
    """Return a document without what is unknown, and with what may be missing. Raises WrongShapeError."""
    is_plan = isinstance(value, dict) and value.get("kind") == "plan"
    found: dict[str, Any] = shaped(value, PLAN_DOCUMENT if is_plan else RUN_DOCUMENT, where)
    _check_plan(found["plan"])
    if not is_plan:
        senders = found["senders"]
        many = len(senders["name"])
        if "group" not in senders or "groups" not in senders:
            senders = {**senders, "group": [-1] * many, "groups": []}
        found["senders"] = senders if "cost" in senders else {**senders, "cost": [0] * many}
        _check_run(found)
    return found


def _check_run(found: Mapping[str, Any]) -> None:
    """Raise WrongShapeError if parts of the document of a run contradict each other."""
    history, senders, heat, latency = (found[name] for name in ("history", "senders", "heat", "latency"))
    _check_columns(history, HISTORY.known, "history")
    _check_ascending(history["elapsed_s"], "history.elapsed_s")
    names = len(senders["name"])
    _check_columns(senders, [*SENDERS.known.keys() - {"groups"}], "senders")
    if len(heat["rows"]) > names or any(len(row) != len(heat["times_s"]) for row in heat["rows"]):
        raise WrongShapeError("heat.rows", heat["rows"], "a row per sender, a character per time")
    _check_ascending(heat["times_s"], "heat.times_s")
    if any(number >= len(senders["groups"]) for number in senders["group"]):
        raise WrongShapeError("senders.group", senders["group"], "numbers of groups")
    if len(latency["counts"]) != len(latency["bounds_s"]) + 1:
        raise WrongShapeError("latency.counts", latency["counts"], "one count more than there are bounds")
    _check_ascending(latency["bounds_s"], "latency.bounds_s")
    if any(len(pair) != 2 for pair in found["spectrum"]):
        raise WrongShapeError("spectrum", found["spectrum"], "pairs of a percentage and a time")


def _check_plan(plan: Mapping[str, Any] | None) -> None:
    if plan is None:
        return
    columns = ("times_s", "sent", "sent_low", "sent_high", *_FAILED)
    _check_columns(plan, columns, "plan")
    _check_ascending(plan["times_s"], "plan.times_s")
    if len(plan["times_s"]) < 2:
        raise WrongShapeError("plan.times_s", plan["times_s"], "at least 2 times")


def _check_columns(table: Mapping[str, Any], columns: Any, where: str) -> None:
    """Raise WrongShapeError unless all columns of a table that exist are equally long."""
    long = {name: len(table[name]) for name in columns if name in table}
    if len(set(long.values())) > 1:
        least, most = min(long, key=long.__getitem__), max(long, key=long.__getitem__)
        raise WrongShapeError(
            f"{where}.{least}", table[least], f"as many elements as {where}.{most} has: {long[most]:,}"
        )


def _check_ascending(times: list[float], where: str) -> None:
    if any(one >= other for one, other in pairwise(times)):
        raise WrongShapeError(where, times, "ascending times")
