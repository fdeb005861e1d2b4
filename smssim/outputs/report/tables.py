"""Tables of a report: figures, times, thresholds, senders, events and latencies of one run, and those of a plan.

Knows documents. Must not know what surrounds a table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from smssim.outputs.judging import judged
from smssim.outputs.report.formats import PERCENTS
from smssim.outputs.report.markup import Content, Html, tag
from smssim.words import clock, count, moment, money, per_second, percent_of, percents, plural, seconds

Document = Mapping[str, Any]


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Content]], left: int = 1, also_left: Collection[int] = ()
) -> Html:
    """Return a table of which the first `left` columns, and those of `also_left`, hold text, and the others numbers."""

    def cell(name: str, number: int, content: Content, scope: str | None = None) -> Html:
        side = "left" if number < left or number in also_left else "right"
        return tag(name, content, align=side, scope=scope)

    body = [
        tag(
            "tr",
            [cell("td", i, one) if i else cell("th", i, one, scope="row") for i, one in enumerate(row)],
            Html("\n"),
        )
        for row in rows
    ]
    head = tag("tr", [cell("th", i, text, scope="col") for i, text in enumerate(heads)])
    inner = [tag("thead", head), tag("tbody", body)] if any(heads) else [tag("tbody", body)]
    return tag("table", inner, cellpadding="4")


# ---- Runs


def conservation(progress: Document) -> str:
    """Return the sum of which all messages are."""
    names = ("sent", "failed", "in_flight", "waiting")
    terms = " + ".join(f"{count(progress[name])} {name.replace('_', ' ')}" for name in names)
    return f"{count(progress['total'])} = {terms}"


def figures(document: Document) -> Html:
    """Return the figures of a run."""
    progress = document["progress"]
    total, missing = progress["total"], progress["unreachable"]
    sent, failed = percents(progress["sent"], progress["failed"], total) if total else ("", "")
    missing_share = percent_of(missing, progress["failed"], total)
    redelivered = progress.get("redelivered")
    retried = f"{count(progress['retried'])} of them failed and were queued for a retry" if progress["retried"] else ""
    rows: list[Sequence[Content]] = [
        ("messages", count(total), ""),
        ("sent", count(progress["sent"]), sent),
        ("failed", count(progress["failed"]), failed),
        *([("", count(missing), f"{missing_share}, of them unreachable")] if missing else []),
        ("attempts", count(progress["attempts"]), retried),
        ("duplicates", count(progress["duplicates"]), "repeated outcomes, not counted elsewhere"),
        (
            "redelivered",
            "-" if redelivered is None else count(redelivered),
            "delivered again because a sender was lost",
        ),
        ("rate", per_second(progress["rate_per_s"]), f"with {plural(progress['senders_seen'], 'sender')}"),
        (
            "average time",
            seconds(progress["avg_time_s"]),
            f"per attempt, {seconds(progress['avg_sent_time_s'])} per successful attempt",
        ),
        *([("cost", money(progress["cost"]), "of all attempts")] if progress["cost"] else []),
    ]
    return tag("table", [_noted(*row) for row in rows], cellpadding="4")


def _noted(head: Content, number: Content, note: Content) -> Html:
    """Return a row with a number and a note."""
    cells = [
        tag("th", head, scope="row", align="left"),
        tag("td", number, align="right"),
        tag("td", note, align="left"),
    ]
    return tag("tr", cells)


def reached(document: Document) -> Html:
    """Return when shares of all messages were sent, beside the plan and the deadlines.

    If some are unreachable, also when the same shares of the others were sent.
    """
    plan, goals, expected = document["plan"], document["goals"], document["expected"] or {}
    progress = document["progress"]
    missing = progress["unreachable"] > 0
    heads = ["share of all messages", "sent after", *["of the reachable"] * missing]
    heads += ["expected", "middle 80%"] * bool(expected)
    heads += ["plan", "middle 95% of the plan"] * bool(plan) + ["deadline"] * bool(goals)
    rows = []
    for percent in PERCENTS:
        cells: list[Content] = [f"{percent}%", _never(document["reached_s"].get(percent), document)]
        cells += [_never(document["reached_reachable_s"].get(percent), document)] * missing
        cells += _planned(expected.get(percent)) if expected else []
        cells += _planned(plan["reached_s"].get(percent)) if plan else []
        if goals:
            cells.append(", ".join(goal["text"] for goal in goals if _percent(goal) == int(percent)))
        rows.append(cells)
    cells = ["every message has its final outcome"]
    cells += [clock(progress["elapsed_s"]) if progress["complete"] else "not complete", *[""] * missing]
    cells += _planned(expected.get("complete")) if expected else []
    cells += _planned(plan["complete_s"]) if plan else []
    return table(heads, [*rows, [*cells, *[""] * bool(goals)]])


def _percent(goal: Document) -> float:
    """Return the percentage of a deadline, of all messages or of those that can be reached."""
    percent: float = goal.get("reachable", goal["percent"])
    return percent


def _never(time_s: float | None, document: Document) -> str:
    if time_s is not None:
        return moment(time_s)
    return "never" if document["progress"]["final"] else "not yet"


def _planned(planned: Mapping[str, float | None] | None) -> tuple[str, str]:
    """Return a planned time and its range."""
    if planned is None:
        return "-", ""
    median_s = planned["median_s"]
    return moment_of(median_s), _range_s(planned["low_s"], planned["high_s"])


def _range_s(low_s: float | None, high_s: float | None) -> str:
    if low_s is None:
        return ""
    return f"{moment(low_s)} to {moment_of(high_s)}"


def thresholds(progress: Document) -> Html:
    """Return the thresholds of a run, with the values that they were compared with, and by how much they were met."""
    rows = [
        (one["text"], "passed" if one["passed"] else tag("strong", "MISSED"), one["value"], one["bound"], one["margin"])
        for one in judged(progress)
    ]
    return table(("threshold", "result", "value", "bound", "margin"), rows, left=2)


def percentiles(progress: Document) -> Html | None:
    """Return the percentiles of the latency; None if there are none."""
    some = progress.get("percentiles") or {
        name: progress[f"latency_p{name}_s"]
        for name in ("50", "95", "99")
        if progress[f"latency_p{name}_s"] is not None
    }
    if not some:
        return None
    return table([f"{of}%" for of in some], [[seconds(time_s) for time_s in some.values()]], left=0)


def events(document: Document, rows_max: int) -> Html | None:
    """Return what happened during a run: events, stalls and times without a record; None if nothing did."""
    rows: list[tuple[float, Content, Content, str]] = [
        (event["at_s"], number, event["text"], "") for number, event in enumerate(document["events"], 1)
    ]
    rows += [
        (stall["from_s"], "", f"nothing finished: {stall['reason']}", _lasting(stall)) for stall in document["stalls"]
    ]
    rows += [(gap["from_s"], "", "no record: the monitor was away", _lasting(gap)) for gap in document["gaps"]]
    if not rows:
        return None
    rows.sort(key=lambda row: row[0])
    shown: list[Sequence[Content]] = [
        (clock(at_s), number, text, until) for at_s, number, text, until in rows[:rows_max]
    ]
    if len(rows) > rows_max:
        shown.append(("", "", f"and {count(len(rows) - rows_max)} more", ""))
    shown = shown if any(row[3] for row in shown) else [row[:3] for row in shown]
    return table(("time", "no.", "what happened", "until")[: len(shown[0])], shown, left=4)


def moment_of(time_s: float | None) -> str:
    """Return a time of a run, or that it never comes."""
    return "never" if time_s is None else moment(time_s)


def _lasting(span: Document) -> str:
    return "the end" if span["to_s"] is None else clock(span["to_s"])


# ---- Plans


def forecast(document: Document) -> Html:
    """Return the figures of a plan."""
    forecast = document["forecast"]
    total = forecast["total"]
    rows: list[Sequence[Content]] = [
        (f"{percent}% sent after", *_times(forecast["reached_s"].get(percent))) for percent in PERCENTS
    ]
    unreachable, cost = forecast["unreachable"], forecast["cost"]
    if unreachable and unreachable["high"]:
        of = forecast["reached_reachable_s"] or {}
        rows += [(f"{percent}% of the reachable sent after", *_times(of.get(percent))) for percent in PERCENTS]
    rows.append(("complete after", *_times(forecast["complete_s"])))
    for name in ("sent", "failed", "unreachable", "retried", "attempts", "duplicates"):
        some = forecast[name]
        if name == "unreachable" and not (some and some["high"]):
            continue
        rows.append(
            (name, *(("-" if one is None else f"{one:,.0f}") for one in (some["median"], some["low"], some["high"])))
        )
    some = forecast["rate_per_s"]
    rows.append(
        ("rate", *("-" if one is None else per_second(one) for one in (some["median"], some["low"], some["high"])))
    )
    if cost and cost["high"]:
        rows.append(("cost", *(money(one) for one in (cost["median"], cost["low"], cost["high"]))))
    heads = (f"{plural(total, 'message')}, {plural(forecast['seeds'], 'seed')}", "median", "low", "high")
    return table(heads, rows)


def _times(some: Document | None) -> tuple[str, str, str]:
    low, median, high = (None, None, None) if some is None else (some["low"], some["median"], some["high"])
    return tuple(moment_of(one) for one in (median, low, high))  # type: ignore[return-value]


def plan_goals(document: Document) -> Html | None:
    """Return how surely the goals of a plan are met; None if it has none."""
    some = document["forecast"]["goals"]
    rows = [
        (one["goal"], "met" if one["passed"] else tag("strong", "NOT SURE"), f"{one['probability']:.0%}")
        for one in some
    ]
    return table(("goal", "result", "probability"), rows, left=2) if rows else None


def plan_senders(document: Document) -> Html | None:
    """Return what each sender of a plan does; None if it has none."""
    senders = document["forecast"]["senders"]
    priced = any(one["cost"] for one in senders)
    rows = [
        (
            one["name"],
            *(f"{one[name]:,.0f}" for name in ("attempts", "sent", "failed")),
            f"{min(1.0, one['busy']):.0%}",
            *[money(one["cost"])] * priced,
        )
        for one in senders
    ]
    heads = ("sender", "attempts", "sent", "failed", "busy", *["cost"] * priced)
    return table(heads, rows) if rows else None
