"""Runs and plans are compared figure by figure, and by what their seeds make one expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from report_support import ASSETS, Parsed, data_of, forecast, plan, result, run, running

from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, Others
from smssim.outputs.report.comparison import comparison
from smssim.outputs.report.inputs import plan_document
from smssim.outputs.report.page import report


def compared(*documents: dict[str, Any]) -> dict[str, Any]:
    made = comparison(documents)
    assert made is not None
    return made


def cells(made: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (row,) = (row for row in made["rows"] if row["name"] == name)
    found: list[dict[str, Any]] = row["cells"]
    return found


def other(**more: Any) -> dict[str, Any]:
    """Return the document of a run with other figures."""
    return run(result(**more))


def code(one: dict[str, Any], another: dict[str, Any]) -> str:
    found: str = compared(one, another)["equal"][1]["code"]
    return found


def test_one_run_alone_is_not_compared() -> None:
    assert comparison([run()]) is None
    assert comparison([]) is None


def test_differences_are_to_the_first_run_absolute_and_in_percent() -> None:
    made = compared(run(), other(sent=4000, failed=1000, rate_per_s=500.0, latency_p95_s=None))
    assert [run["label"] for run in made["runs"]] == ["1", "2"]
    first, second = cells(made, "sent")
    assert (first["value"], first["difference"], first["percent"]) == (4500, None, None)
    assert (second["value"], second["difference"]) == (4000, -500)
    assert round(second["percent"], 6) == -11.111111
    assert cells(made, "failed")[1]["percent"] == 100
    assert cells(made, "rate_per_s")[1]["difference"] == 250
    assert cells(made, "latency_p95_s")[1]["difference"] is None


def test_a_difference_to_nothing_has_no_percentage() -> None:
    made = compared(run(), other(duplicates=3))
    assert [cell["percent"] for cell in cells(made, "duplicates")] == [None, None]
    assert cells(made, "duplicates")[1]["difference"] == 3


def test_times_are_those_of_milestones_and_of_a_complete_run() -> None:
    made = compared(run(), running())
    assert [cell["value"] for cell in cells(made, "t50")] == [9.5, None]
    assert [cell["value"] for cell in cells(made, "complete_s")] == [20.0, None]
    assert [cell["value"] for cell in cells(made, "t99")] == [None, None]


def test_a_run_lies_inside_or_outside_the_ranges_of_a_plan() -> None:
    made = compared(plan(), run(), other(sent=4400, failed=600))
    planned, inside, outside = cells(made, "sent")
    assert (planned["value"], planned["low"], planned["high"], planned["inside"]) == (4500, 4480.5, 4520.5, None)
    assert (inside["inside"], outside["inside"]) == (True, False)
    assert outside["difference"] == -100
    assert [cell["inside"] for cell in cells(made, "t99")] == [None, True, True]  # never, as planned
    assert [cell["inside"] for cell in cells(made, "latency_p50_s")] == [None, None, None]
    assert [cell["value"] for cell in cells(made, "latency_p50_s")] == [None, 1.2, 1.2]


def test_a_time_that_a_plan_reaches_and_a_run_does_not_is_outside() -> None:
    reached = {**forecast()["reached_s"], "99": {"median": 18.0, "low": 17.0, "high": 19.0, "share": 1.0}}
    made = compared(plan_document(forecast(reached_s=reached)), run())
    assert cells(made, "t99")[1]["inside"] is False
    open_ended = {**reached, "99": {"median": 18.0, "low": 17.0, "high": None, "share": 0.9}}
    made = compared(plan_document(forecast(reached_s=open_ended)), run())
    assert cells(made, "t99")[1]["inside"] is True


# ---- Equal by seed?


def test_runs_of_one_seed_whose_senders_fail_equally_often_must_be_equal() -> None:
    made = compared(run(), run())
    assert made["equal"][0] is None
    assert made["equal"][1]["code"] == "equal"
    assert "as they must be: 4,500 sent and 500 failed" in made["text"]
    assert code(run(), other(sent=4499, failed=501)) == "unequal"


def test_runs_whose_senders_fail_differently_often_may_differ() -> None:
    last = result()
    rows = tuple(replace(row, failure_rate=i / 10) for i, row in enumerate(last.fleet.rows))
    mixed = replace(last, fleet=Fleet(rows))
    less = replace(mixed, figures=replace(mixed.figures, sent=4499, failed=501))
    assert code(run(mixed), run(less)) == "differ"
    assert code(run(mixed), run(mixed)) == "equal"
    hidden = replace(last, fleet=replace(last.fleet, others=Others(left=1)))
    assert code(run(hidden), run(replace(less, fleet=hidden.fleet))) == "differ"
    failing = replace(last, events=(Event(1.0, Kind.FAILING, "city fails more often"),))
    assert code(run(failing), run(replace(less, fleet=last.fleet))) == "differ"


def test_runs_that_cannot_be_equal_are_not_compared_by_seed() -> None:
    known = run()
    for different, reason in (
        (run(result(seed=8)), "Another seed: 8 instead of 7."),
        ({**known, "seed": None}, "The seed is not known."),
        ({**known, "max_attempts": 1}, "Another number of attempts: 1 instead of 3."),
        (other(total=6000, complete=False), "Another number of messages."),
        (other(complete=False), "Not both runs are complete."),
    ):
        assert compared(known, different)["equal"][1] == {"code": "incomparable", "text": reason}


def test_plans_are_not_compared_by_seed_and_runs_beside_them_are() -> None:
    assert compared(plan(), plan())["equal"] == [None, None]
    assert compared(plan(), plan())["text"] == ""
    equal = compared(run(), plan(), run())["equal"]
    assert [one and one["code"] for one in equal] == [None, None, "equal"]
    assert [one and one["code"] for one in compared(plan(), run(), run())["equal"]] == [None, None, "equal"]


# ---- As a page


def test_a_comparison_is_shown_without_scripts() -> None:
    page = report([plan(title="the plan"), run(title="first"), other(sent=4400, failed=600)], ASSETS)
    shown = Parsed(page)
    for said in (
        "3 runs and plans compared",
        "1 the plan",
        "sent 4,500 (4,480 to 4,520) 4,500, inside equal 4,400, OUTSIDE -100 (-2.2%)",
        "complete after 19.80 s (19.00 s to 20.50 s) 20.00 s, inside +200 ms (+1.0%)",
        "Equal by seed? Compared with 2: 3 The same seed and failure rate, but not the same outcomes",
    ):
        assert said in shown.text, said
    names = [name for name, _ in shown.elements]
    assert names.count("details") == 3
    assert names.count("svg") == 4
    assert data_of(page)["comparison"] == comparison(data_of(page)["runs"])


def test_each_run_of_a_comparison_has_a_line_of_its_own() -> None:
    one = Parsed(report([run(), run()]))
    lines = [a for name, a in one.elements if name == "polyline" and a["stroke-width"] == "2.5"]
    assert len({(a["stroke"], a.get("stroke-dasharray", "")) for a in lines}) >= 2


def test_of_a_run_that_reaches_everybody_the_reachable_are_all() -> None:
    some = run(replace(result(unreachable=450), reached_reachable_s={50: 9.0, 80: 14.0}))
    made = compared(some, run())
    assert [cell["value"] for cell in cells(made, "t80_reachable")] == [14.0, 16.2]


def test_a_plan_of_an_older_file_says_nothing_about_figures_that_it_does_not_have() -> None:
    older = plan_document({**forecast(), **dict.fromkeys(("unreachable", "reached_reachable_s", "cost"))})
    some = run(replace(result(unreachable=450, cost=5.0), reached_reachable_s={50: 9.0, 80: 14.0}))
    made = compared(older, some)
    for name in ("unreachable", "cost"):
        assert [(cell["low"], cell["inside"]) for cell in cells(made, name)] == [(None, None), (None, None)]
    assert cells(made, "t50_reachable")[0] == cells(made, "t50")[0]
