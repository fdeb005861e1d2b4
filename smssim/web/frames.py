"""Frames: what changed on a page since the last second, as JSON of a few kilobytes.

Knows what was seen of a run. Must not know who gets a frame, or when.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any, Final

from smssim.core.fleet import SenderRow
from smssim.core.planned import PlannedCourse
from smssim.core.snapshot import Snapshot
from smssim.outputs.document import events_of, moment, number, numbers, states_of
from smssim.outputs.of_course import Seen

STALLS_MAX: Final = 3  # in a frame: the latest
EVENTS_MAX: Final = 5  # the same
_DIGITS: Final = 4  # of the figures of the run, except the time and the cost
_MORE_DIGITS: Final = 8
_FEW_DIGITS: Final = 3  # of the figures of each sender, and of percentiles, which are off by 0.4% anyway


@dataclass(frozen=True, slots=True)
class Static:
    """What a document says of a run and a frame leaves out, because it rarely changes."""

    declared: tuple[list[Any], ...]  # columns of the senders
    plan: PlannedCourse | None
    version: int  # the same for the same content, also after a restart

    @classmethod
    def of(cls, snapshot: Snapshot, before: Static | None = None) -> Static:
        """Return the static part of a snapshot; `before` if nothing has changed."""
        rows = snapshot.fleet.rows
        declared: tuple[list[Any], ...] = (
            [row.name for row in rows],
            [row.mean_s for row in rows],
            [row.failure_rate for row in rows],
            [row.concurrency for row in rows],
            [row.limit_per_s for row in rows],
        )
        if before is not None and (before.declared, before.plan) == (declared, snapshot.plan):
            return before
        return cls(declared, snapshot.plan, zlib.crc32(repr((declared, snapshot.plan)).encode("utf-8", "replace")))


def frame(seen: Seen, version: int) -> dict[str, Any]:
    """Return the frame of a run as it was last seen; `version`: of its static part."""
    snapshot, course = seen.snapshot, seen.course
    rows, events = snapshot.fleet.rows, events_of(snapshot, course)
    changes = moment(snapshot, course, STALLS_MAX)
    if not snapshot.figures.final:
        changes["progress"] = {name: _short(name, value) for name, value in changes["progress"].items()}
        changes["expected"] = changes["expected"] and {
            mark: {name: number(time_s, _DIGITS) for name, time_s in times.items()}
            for mark, times in changes["expected"].items()
        }
        changes["spectrum"] = [[percent, number(time_s, _FEW_DIGITS)] for percent, time_s in changes["spectrum"]]
    if not snapshot.fleet.others.senders:
        changes["others"] = {"senders": 0}
    return {
        "run_id": snapshot.figures.run_id,
        "version": version,
        **changes,
        "senders": _senders(rows),
        "heat": course.heat.newest(rows),
        "events": {"count": len(events), "latest": [event.as_dict() for event in events[-EVENTS_MAX:]]},
    }


def encoded(value: object) -> bytes:
    """Return a value as compact JSON; numbers that JSON does not have become null."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":")).encode()


def message(event: str, value: object) -> bytes:
    """Return a server-sent event with this value."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), encoded(value))


def _senders(rows: tuple[SenderRow, ...]) -> dict[str, Any]:
    return {
        "state": states_of(rows),
        "sent": [row.sent for row in rows],
        "failed": [row.failed for row in rows],
        "avg_time_s": numbers([row.avg_time_s for row in rows], _FEW_DIGITS),
        "recent_rate_per_s": numbers([row.recent_rate_per_s for row in rows], _FEW_DIGITS),
    }


def _short(name: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    return number(value, _MORE_DIGITS if name in ("elapsed_s", "cost") else _DIGITS)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
