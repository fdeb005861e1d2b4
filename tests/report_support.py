"""Helpers for the tests of reports and kept runs: documents of made-up runs and plans, and pages taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, Final

from test_course import course_of
from view_support import RUN_ID, ended, figures, planned, row, snapshot

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, Others
from smssim.core.model import RunFacts
from smssim.core.progress import LatencyShape
from smssim.core.session import State
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.threshold import Threshold
from smssim.outputs.document import About, document
from smssim.outputs.report.assets import Assets
from smssim.outputs.report.inputs import plan_document

GOALS: Final = (Threshold.parse("t50<1m"), Threshold.parse("failed<5%"))
ASSETS: Final = Assets(("p { color: red }",), ("var smssim = { report() {} };",))
EVENTS: Final = (Event(5.0, Kind.KILLED, "city was killed", RUN_ID, "city"), Event(8.0, Kind.RESTARTED, "city is back"))
SPREAD: Final = {"median": 4500, "low": 4480.5, "high": 4520.5}


def result(seed: int = 7, senders: int = 4, **more: Any) -> Snapshot:
    """Return the last snapshot of a made-up run of 5,000 messages, with everything that a monitor knows."""
    last = replace(ended(), fleet=Fleet(tuple(row(f"sender-{i}", State.LEFT) for i in range(1, senders + 1))))
    detail = Detail(RunFacts(RUN_ID, seed, 5000, 3), LatencyShape((0.5, 1.0), (10, 20, 3), ((50, 0.5), (99.9, 12.5))))
    figures_ = replace(last.figures, **more)
    return replace(last, figures=figures_, plan=planned(), detail=detail, events=EVENTS, reached_s={50: 9.5, 80: 16.2})


def course(last: Snapshot, points: int = 50) -> Course:
    """Return a course that ends with this moment."""
    end_s, sent = last.figures.elapsed_s, last.figures.sent
    moments = (
        replace(last, figures=figures(i * sent // points, 0, last.figures.total, i * end_s / points), summary=None)
        for i in range(points)
    )
    return course_of(*moments, last)


def run(last: Snapshot | None = None, title: str = "a drill", **about: Any) -> dict[str, Any]:
    """Return the document of a run that ended with this snapshot."""
    last = last or result()
    known = {"command": "smssim run --seed 7", "began": "2026-11-29T20:00:00Z", "goals": GOALS, **about}
    return document(last, course(last), About(title, **known))


def running() -> dict[str, Any]:
    """Return the document of a run in progress."""
    return document(snapshot(), course_of(snapshot()), About("still sending"))


def forecast(**more: Any) -> dict[str, Any]:
    """Return an object as `smssim plan --json` prints it."""
    reached = {
        "50": {"median": 9.4, "low": 9.0, "high": 9.8, "share": 1.0},
        "80": {"median": 16.0, "low": 15.5} | {"high": 16.5, "share": 1.0},
    }
    never = {"median": None, "low": None, "high": None, "share": 0.0}
    return {
        "total": 5000,
        "seeds": 100,
        "scale": 1,
        "sent": SPREAD,
        "failed": {"median": 500, "low": 480.5, "high": 519.5},
        **{name: {"median": 0, "low": 0, "high": 0} for name in ("retried", "duplicates")},
        "attempts": {"median": 5000, "low": 5000, "high": 5000},
        **{key: {"median": 0, "low": 0, "high": 0} for key in ("unreachable", "cost")},
        **{key: {**reached, "95": never, "99": never} for key in ("reached_s", "reached_reachable_s")},
        "complete_s": {"median": 19.8, "low": 19.0, "high": 20.5},
        "rate_per_s": {"median": 252.5, "low": 244.0, "high": 263.0},
        "ceiling": 0.9,
        "goals": [{"goal": "t50<1m", "probability": 1.0, "passed": True}],
        "senders": [{"name": "city", "attempts": 5000, "sent": 4500, "failed": 500, "busy": 0.98, "cost": 0}],
        "theory": {"reached_s": {"50": 9.4, "80": 15.9, "95": None, "99": None}, "complete_s": 19.9, "valid": True}
        | {"why": None},
        "find": None,
        "cheapest": None,
        **more,
    }


def plan(**more: Any) -> dict[str, Any]:
    """Return the document of a plan, without its course unless `plan` gives it."""
    return plan_document(forecast(), **more)


def renamed(last: Snapshot, name: str) -> Snapshot:
    """Return a snapshot in which every text that others choose is this one."""
    fleet = Fleet(tuple(replace(row(name, State.LEFT), name=name) for _ in range(2)), Others(left=3))
    events = tuple(replace(event, text=name, target=name) for event in EVENTS)
    assert last.summary is not None
    return replace(last, fleet=fleet, events=events, summary=replace(last.summary, reason=name))


def data_of(page: bytes) -> dict[str, Any]:
    """Return the data in a report."""
    found = re.search(rb'<script type="application/json" id="smssim-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


class Parsed(HTMLParser):
    """A page as a browser without scripts sees it: its text, its elements and their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._in: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._in.pop() == tag

    def handle_data(self, data: str) -> None:
        kind = self._in[-1] if self._in else ""
        (self.scripts if kind == "script" else self.styles if kind == "style" else self.texts).append(data)

    @property
    def text(self) -> str:
        """The text that is shown."""
        return " ".join(" ".join(self.texts).split())
