"""Unreachable messages, ceilings and costs where people read them: summary, view, report, comparison, metrics."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from report_support import ASSETS, data_of, result, run
from test_report_comparison import cells, compared

from smssim.core.fleet import Fleet
from smssim.core.history import History
from smssim.core.model import RunFacts
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.threshold import Threshold
from smssim.outputs.judging import ceiling, deadlines
from smssim.outputs.report.inputs import summary_document
from smssim.outputs.report.page import report
from smssim.outputs.terminal.screen import RunView
from smssim.outputs.terminal.summary import page


def reached() -> Snapshot:
    """Return the last snapshot of a run of which 450 of 5,000 messages are unreachable, and that cost something."""
    last = result(unreachable=450, cost=1234.5)
    assert last.summary is not None
    assert last.detail is not None
    times = {50: 9.0, 80: 14.0, 95: 18.0}
    rows = tuple(
        replace(row, name=f"{'abcd'[i]} sender", cost=78.08 if i else 1000.25) for i, row in enumerate(last.fleet.rows)
    )
    return replace(
        last,
        fleet=Fleet(rows),
        detail=Detail(RunFacts(last.figures.run_id, 7, 5000, 3, 0.09), last.detail.latency),
        summary=replace(last.summary, reached_reachable_s={"99": None, **{str(p): s for p, s in times.items()}}),
        reached_reachable_s=times,
    )


def test_the_summary_names_unreachable_messages_the_ceiling_and_the_cost() -> None:
    text = "\n".join(page(reached(), 100))
    assert re.search(r"\n  failed +500 +10\.0%\n +450 +9% {2}of them unreachable\n", text.replace("9.0%", "9%"))
    assert re.search(r"\n  cost +1,234\.50  0\.2743 per message that was sent\n", text)
    assert re.search(r"\n  sent after .*\n.*\n  reachable +9\.0 s +14\.0 s +18\.0 s +never\n", text)
    assert "\n  ceiling       95% and 99% can't be reached: at most 91.0%\n" in text
    assert re.search(r"\n  a sender .* 1,000\.25\n", text)


def test_a_run_without_unreachable_messages_and_prices_says_nothing_of_them() -> None:
    for text in ("\n".join(page(result(), 100)), report([run()], ASSETS).decode().partition("<script")[0]):
        assert not re.search("reachable|ceiling|cost|can't", text)
    view = RunView(replace(result(), summary=None), History())
    assert not re.search("reachable|cost", "\n".join(line.plain for line in view.lines(100, 40)))


def test_the_view_shows_them_in_a_line_as_far_as_it_fits() -> None:
    view = RunView(replace(reached(), summary=None), History())
    shown = [line.plain for line in view.lines(120, 40)]
    assert "unreachable  450   cost  1,234.50   95% and 99% can't be reached: at most 91.0%" in shown
    assert any(re.match(r"reachable  50% +9\.0 s +80%  14\.0 s", line) for line in shown)
    for width in (79, 60, 30):
        narrow = [line.plain for line in view.lines(width, 40)]
        assert all(len(line) <= width for line in narrow)
        assert any(line.startswith("unreachable  450") for line in narrow)


@pytest.mark.parametrize(
    ("unreachable", "expected"),
    [
        (0, ""),
        (10, ""),  # 99% of 1,000 are exactly the others
        (11, "99% can't be reached: at most 98.9%"),
        (69, "95% and 99% can't be reached: at most 93.1%"),
        (1000, "50%, 80%, 95% and 99% can't be reached: at most 0%"),
    ],
)
def test_a_ceiling_is_named_only_below_a_milestone(unreachable: int, expected: str) -> None:
    assert ceiling(1000, unreachable) == expected


@pytest.mark.parametrize(
    ("unreachable", "expected"),
    [(1401, "95% and 99% can't be reached: at most 93.0%"), (1001, "95% and 99% can't be reached: at most 94.995%")],
)
def test_a_ceiling_is_rounded_like_the_share_of_the_sent_but_not_up_to_a_milestone(
    unreachable: int, expected: str
) -> None:
    assert ceiling(20_000, unreachable) == expected


def test_a_report_shows_them_without_scripts_and_keeps_them_in_its_data() -> None:
    html = report([run(reached())], ASSETS).decode()
    text = re.sub("<[^>]+>", " ", html)
    assert re.search(r"450 +9\.0%, of them unreachable", text)
    assert re.search(r"95% +never +18\.00 s ", text)
    assert "95% and 99% can&#x27;t be reached: at most 91.0%." in text or "can't be reached: at most 91.0%." in text
    assert re.search(r"cost +1,234\.50", text)
    assert re.search(r"a sender .*?1,000\.25", text, re.DOTALL)
    (data,) = data_of(html.encode())["runs"]
    assert (data["unreachable_share"], data["reached_reachable_s"]["95"], data["senders"]["cost"][0]) == (
        0.09,
        18,
        1000.25,
    )


def test_a_summary_file_gives_the_same_figures_in_a_report() -> None:
    made = summary_document(reached().as_dict())
    assert made["reached_reachable_s"] == {"50": 9.0, "80": 14.0, "95": 18.0, "99": None}
    assert (made["unreachable_share"], made["segments"], made["senders"]["cost"][0]) == (0.09, 1, 1000.25)


def test_a_comparison_has_them_only_if_a_run_does() -> None:
    assert not {row["name"] for row in compared(run(), run())["rows"]} & {"unreachable", "cost", "t95_reachable"}
    made = compared(run(reached()), run())
    assert [cell["value"] for cell in cells(made, "cost")] == [1234.5, 0]
    assert [cell["value"] for cell in cells(made, "t95_reachable")] == [18, None]
    assert made["equal"][1]["text"] == "Another share of unreachable messages."


def test_a_deadline_for_the_reachable_stands_at_the_share_of_all_messages_that_they_are() -> None:
    goals = [Threshold.parse("t95<10m"), Threshold.parse("t95_reachable<5m"), Threshold.parse("cost<5")]
    assert deadlines(goals, 0.1) == [
        {"text": "t95<10m", "percent": 95, "at_s": 600.0},
        {"text": "t95_reachable<5m", "percent": 85.5, "reachable": 95, "at_s": 300.0},
    ]
