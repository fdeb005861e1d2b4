"""`smssim plan`: the page, the JSON object, the course, exit codes, and the processes that play."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from processes_support import eventually

from smssim.core.fault import Fault, FaultKind
from smssim.core.model import AttemptModel, StartLimit
from smssim.core.threshold import Threshold
from smssim.errors import SmssimError
from smssim.plan.bottleneck import Bottleneck, Cause, bottleneck
from smssim.plan.forecast import Forecast
from smssim.plan.scale import FULL, LANES_MIN, Scale, messages_max, scale_for
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.search.answer import Answer, Odds
from smssim.plan.seeds import FIGURES, Play, SenderShare, play, seeds_from, unscaled
from smssim.planner import course_file, says, show
from smssim.planner.command import free_by_omission
from smssim.planner.curve import HEIGHT, Curve, chart
from smssim.planner.page import Page
from smssim.planner.seeds import PLAY_S, SEEDS_MAX, SEEDS_STEPS, fitting
from smssim.planner.workers import Workers
from smssim.settings import Find, PlanSettings
from smssim.settings.senders import parse_sender
from smssim.words import clock, moment

ROOT = Path(__file__).parent.parent
CITY = PlannedSender("city", AttemptModel(0.1, 0.02, "gamma", fail=0.1), 10)
SLOW = PlannedSender("slow", AttemptModel(1.0, 0.3, "gamma", fail=0.1), 10)
SMALL = Scenario(1000, (CITY, SLOW), max_attempts=2)

Reached = tuple[float | None, float | None, float | None, float | None]


def made(
    scenario: Scenario = SMALL,
    reached: Reached = (5.0, 8.0, 9.5, None),
    complete_s: float | None = 10.0,
    failed: int = 10,
    busy: float = 0.9,
) -> Play:
    """Return a made-up play in which messages are sent evenly over 10 s."""
    sent = scenario.total - failed if complete_s is not None else scenario.total // 2
    times_s = np.linspace(0, 10, 500)
    shares = tuple(SenderShare(500, 495, 5, busy, 495 * sender.price) for sender in scenario.senders)
    unreachable = round(scenario.unreachable * scenario.total)
    times = dict(zip((50, 80, 95, 99), reached, strict=True))
    return Play(
        *(sent, failed, 90, 0, unreachable, scenario.total - unreachable, sum(share.cost for share in shares)),
        *(times, times, complete_s, 0.2, np.inf, shares),
        times_s=times_s,
        course=np.stack([times_s / 10 * sent, times_s / 10 * failed], axis=1),
    )


def forecast(scenario: Scenario = SMALL, *plays: Play, scale: Scale = FULL, goals: tuple[str, ...] = ()) -> Forecast:
    """Return a forecast of these plays, or of twenty made-up ones."""
    parsed = [Threshold.parse(goal) for goal in goals]
    return Forecast(scenario, plays or [made(scenario)] * 20, scale, parsed)


def shown(of: Forecast, width: int = 80, *, fine: bool = True, answer: Answer | None = None) -> str:
    """Return the page as plain text."""
    return show.plain(Page(of, None, seeds_from(1, len(of.plays)), 1.5, answer).lines(width, fine))


def row(page: str, head: str) -> str:
    """Return the line of the page that begins with this head."""
    return next(line for line in page.splitlines() if line.strip().startswith(head))


# ---- The page


def test_the_page_says_what_is_planned_and_found() -> None:
    page = shown(forecast(goals=("t80<9s", "failed<0.1%")))
    assert page.startswith("plan: 1,000 messages, 2 senders with 20 lanes, at most 2 attempts each\n")
    assert row(page, "50%").split()[1:6] == ["5.00", "s", "5.00", "s", "to"]
    assert re.search(r"99% +never  99\.0% are sent on average\n", page)
    assert re.search(r"sent +990   99\.0%\n", page)
    assert "99.0% on average: 10% of attempts fail, 2 attempts each (99% needs 3)" in " ".join(page.split())
    assert row(page, "attempts").endswith("1.09 per message")
    assert re.search(r"goals +passed  t80<9s +probability 100%\n", page)
    assert re.search(r" MISSED  failed<0\.1% +probability 0%\n", page)
    assert row(page, "busiest").strip().endswith("city: 90.0% of its lane time, 495 sent")
    assert page.endswith("  played       20 seeds (1 to 20), in 1.50 s\n")


@pytest.mark.parametrize("width", [30, 60, 66, 68, 69, 80, 120, 300])
@pytest.mark.parametrize("total", [0, 1, 1000, 10**10])
def test_no_line_is_longer_than_the_screen(width: int, total: int) -> None:
    name = "a-sender-with-a-rather-long-name-of-64-characters-at-the-very-most"
    faults = tuple(Fault(float(i), FaultKind.PAUSE, "city", 1.0) for i in range(12))
    scenario = Scenario(total, (CITY, replace(SLOW, name=name, joins_s=2.0)), 3, faults=faults)
    page = shown(forecast(scenario, made(scenario, failed=0)), width)
    page += shown(forecast(Scenario(total, (CITY,))), width)  # with theory beside the times
    long = [line for line in page.splitlines() if len(line) > max(60, width) and name not in line]
    assert long == []


def test_the_page_is_ascii_where_the_terminal_shows_no_more() -> None:
    assert shown(forecast(), fine=False).isascii()
    assert not shown(forecast()).isascii()


def test_colours_do_not_change_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    lines = Page(forecast(goals=("t80<1s",)), None, [1], 1.5).lines()
    painted = show.coloured(lines)
    assert "\x1b[1;31mMISSED" in painted
    text = re.sub(r"\x1b\[[\d;]*m", "", painted)
    assert [line.rstrip() for line in text.splitlines()] == show.plain(lines).splitlines()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in show.coloured(lines)
    assert "1;31" not in show.coloured(lines)


def test_a_scaled_plan_says_so() -> None:
    assert "20 seeds (1 to 20), 1 message for every 170, in 1.50 s" in shown(forecast(scale=Scale(17, 10)))
    assert "every" not in shown(forecast())


def test_a_plan_beyond_what_a_machine_does_says_that_cpu_is_not_modelled() -> None:
    fast = replace(SMALL, total=100_000_000)
    assert "The plan does not model CPU time" in " ".join(shown(forecast(fast)).split())
    assert "machine" not in shown(forecast())


def test_the_page_has_theory_or_why_there_is_none() -> None:
    one = Scenario(100_000, (CITY,))
    assert "theory" in row(shown(forecast(one)), "sent after")
    faulty = replace(one, faults=(Fault(1.0, FaultKind.KILL, "city", 1.0),))
    page = shown(forecast(faulty))
    assert "theory" not in row(page, "sent after")
    assert "theory       does not apply: faults (kill city at 1 s)" in page


def test_faults_and_late_senders_are_marked_on_the_time_axis() -> None:
    faults = (Fault(5.0, FaultKind.KILL, "slow"), Fault(99.0, FaultKind.SLOW, "city", 2.0, factor=3))
    page = shown(forecast(Scenario(1000, (replace(CITY, joins_s=2.0), SLOW), faults=faults)))
    assert "      1     2.0 s  city joins\n" in page
    assert "      2     5.0 s  kill slow\n" in page
    assert "      3    99.0 s  slow city, factor 3, for 2 s (after the end)\n" in page
    axis = next(line for line in page.splitlines() if "└" in line)
    assert ("1" in axis, "2" in axis, "3" in axis) == (True, True, False)


def test_what_was_found_is_on_the_page() -> None:
    goal = [Threshold.parse("t95<5s")]
    found = Answer(Find("city", "copies", 1, 9), goal, 100, Odds(3, 1.0), seeds=66, below=Odds(2, 0.5))
    page = shown(forecast(), answer=found)
    assert "with city.copies = 3 as found" in " ".join(page.split())
    assert "found        3 copies of city are enough: all 66 plays meet t95<5s" in page
    none = Answer(Find("city", "copies", 1, 9), goal, 100, why="it is too much")
    assert "No value of city.copies from 1 to 9 will do, because it is too much." in " ".join(
        shown(forecast(), answer=none).split()
    )


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0%"), (1, "100%"), (0.0001, "<0.1%"), (0.99999, ">99.9%"), (0.123, "12.3%"), (0.9, "90.0%")],
)
def test_a_share_is_written_as_a_person_reads_it(part: float, text: str) -> None:
    assert says.share(part) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0%"), (1.0, "100%"), (0.9, "90.0%"), (0.99, "99.0%"), (0.9999, "99.990%"), (1 - 1e-15, "100%")],
)
def test_a_ceiling_is_written_as_precisely_as_it_matters(part: float, text: str) -> None:
    assert says.precisely(part) == text


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(1, FaultKind.KILL, "city"), "kill city"),
        (Fault(1, FaultKind.KILL, "producer", 2.0), "kill producer for 2 s"),
        (Fault(1, FaultKind.PAUSE, "city", 0.5), "pause city for 500 ms"),
        (Fault(1, FaultKind.SLOW, "city", 10.0, factor=4), "slow city, factor 4, for 10 s"),
        (Fault(1, FaultKind.FAIL, "city", share=0.5), "fail city, share 50%"),
    ],
)
def test_a_fault_is_written_as_a_sentence_part(fault: Fault, text: str) -> None:
    assert says.fault(fault) == text


@pytest.mark.parametrize(
    ("percent", "fail", "needed"), [(95, 0.1, 2), (99, 0.1, 3), (50, 0.0, 1), (50, 1.0, None), (99, 0.9, 44)]
)
def test_the_attempts_that_a_share_needs_are_the_fewest(percent: int, fail: float, needed: int | None) -> None:
    assert says.attempts_for(percent, fail) == needed


@pytest.mark.parametrize(
    ("time_s", "text"),
    [(0.0323, "32.3 ms"), (12.345, "12.35 s"), (245, "4m05s"), (7e5, "8.1 days"), (1e10, "316.9 years")],
)
def test_a_time_of_a_run_is_written_as_precisely_as_it_matters(time_s: float, text: str) -> None:
    assert moment(time_s) == text


def test_the_clock_goes_on_in_days() -> None:
    assert [clock(3600.0 * hours) for hours in (99, 100)] == ["99h00m00s", "4.2 days"]


# ---- What limits a run

KILLED = Fault(5.0, FaultKind.KILL, "slow")
LIMITED = replace(SMALL, senders=(replace(SMALL.senders[0], limit=StartLimit.of(80, 1, 1)), *SMALL.senders[1:]))


@pytest.mark.parametrize(
    ("scenario", "one", "found"),
    [
        (replace(SMALL, total=0), made(replace(SMALL, total=0), failed=0), Bottleneck(Cause.NOTHING)),
        (SMALL, made(), Bottleneck(Cause.LANES, 0.9)),
        (SMALL, made(busy=0.5), Bottleneck(Cause.LAST, 0.5, "slow")),
        (replace(SMALL, rate_per_s=102), made(), Bottleneck(Cause.RATE, 0.9)),
        (replace(SMALL, rate_per_s=500), made(), Bottleneck(Cause.LANES, 0.9)),
        (replace(SMALL, total=20), made(replace(SMALL, total=20), failed=0), Bottleneck(Cause.MESSAGE, 0.9)),
        (LIMITED, made(LIMITED, busy=0.5), Bottleneck(Cause.LIMIT, 0.5, limited=("city",), limit_per_s=80.0)),
        (LIMITED, made(LIMITED, busy=0.5, complete_s=50.0), Bottleneck(Cause.LAST, 0.5, "slow")),
        (replace(SMALL, faults=(KILLED,)), made(complete_s=None), Bottleneck(Cause.STUCK, 0.9, fault=KILLED)),
    ],
)
def test_the_page_says_what_limits_a_run(scenario: Scenario, one: Play, found: Bottleneck) -> None:
    of = forecast(scenario, one)
    limits = bottleneck(of)
    assert replace(limits, busy=round(limits.busy, 9)) == found
    assert says.limit(of, found)


def test_a_limit_that_decides_how_fast_a_run_is_is_named_with_its_remedies() -> None:
    def said(*names: str, per_s: float) -> str:
        return says.limit(forecast(SMALL, made()), Bottleneck(Cause.LIMIT, 0.5, limited=names, limit_per_s=per_s))

    assert said("city", per_s=1600.0).startswith(
        "the limit of city: 1,600 messages per second; more copies or a higher"
    )
    assert said("a", "b", "c", per_s=12.5).startswith(
        "the limits of a, b and c: 12.5 messages per second; more copies or higher"
    )


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (None, "no sender is left"),
        (Fault(5.0, FaultKind.KILL, "city"), "no sender is left after kill city"),
        (Fault(5.0, FaultKind.PAUSE, "monitor"), "the monitor stays away after pause monitor"),
    ],
)
def test_a_run_that_never_ends_says_who_is_missing(fault: Fault | None, why: str) -> None:
    assert says.stuck(Bottleneck(Cause.STUCK, fault=fault)) == why


def test_faults_limit_a_run_that_is_faster_without_them() -> None:
    scenario = replace(SMALL, faults=(KILLED,))
    for calm_s, cause in ((8.0, Cause.FAULTS), (9.5, Cause.LANES)):
        of = Forecast(scenario, [made(scenario)], FULL, calm=[made(complete_s=calm_s)])
        assert bottleneck(of).cause is cause


def test_a_server_that_stays_away_is_what_stops_a_run() -> None:
    gone = Fault(2.0, FaultKind.KILL, "producer")
    of = forecast(replace(SMALL, faults=(KILLED, gone)), made(complete_s=None))
    assert bottleneck(of).fault == gone


# ---- The curve


def drawn(median: list[float], end_s: float = 10.0, marks: tuple[float, ...] = (), fine: bool = False) -> list[str]:
    """Return a curve without a band, as text."""
    shares = np.array(median)
    return ["".join(text for text, _ in line) for line in chart(Curve(end_s, shares, shares, shares), marks, 60, fine)]


def test_a_curve_rises_from_corner_to_corner() -> None:
    lines = drawn([0.0, 1.0])
    assert len(lines) == HEIGHT + 2
    assert lines[0].endswith("*")
    assert lines[0].startswith(" 100% |")
    assert lines[HEIGHT - 1].startswith("   0% |*")
    assert all("*" in line for line in lines[:HEIGHT])
    assert drawn([0.0, 1.0], fine=True)[0].endswith("⠉")


def test_a_curve_without_a_value_lies_on_the_floor() -> None:
    assert ["*" in line for line in drawn([0.0, 0.0])[:HEIGHT]] == [False] * (HEIGHT - 1) + [True]


@pytest.mark.parametrize(
    ("end_s", "labels"),
    [
        (0.04, ["0", "10 ms", "20 ms", "30 ms", "40 ms"]),
        (12.0, ["0", "5 s", "10 s"]),
        (8000.0, ["0", "30 m", "1 h", "90 m", "2 h"]),
        (1e10, ["0", "100 y", "200 y", "300 y"]),
        (0.0, ["0 s"]),
    ],
)
def test_the_time_axis_has_round_labels(end_s: float, labels: list[str]) -> None:
    found = re.split(r" {2,}", drawn([0.0, 1.0], end_s)[-1].strip())
    assert found[0] == labels[0]
    assert found[-1].split()[-1] == labels[-1].split()[-1]
    assert len(found) <= 5


# ---- Seeds, scales


def test_seeds_follow_the_first_and_wrap_around() -> None:
    assert seeds_from(7, 3) == [7, 8, 9]
    assert seeds_from(2**63 - 1, 2) == [2**63 - 1, 0]


@pytest.mark.parametrize(
    ("played", "took_s", "number"),
    [(20, 1e-9, SEEDS_MAX), (20, 60.0, 20), (1, 60.0, 1), (1, PLAY_S / 2.5, 2), (20, PLAY_S / 5.1, 100)],
)
def test_a_plan_has_as_many_seeds_as_there_is_time_for(played: int, took_s: float, number: int) -> None:
    assert fitting(played, took_s) == number
    assert number in SEEDS_STEPS


def test_a_million_messages_of_a_thousand_lanes_are_not_scaled() -> None:
    lanes = (replace(CITY, concurrency=20, copies=50),)
    for scenario in (Scenario(1_000_000, lanes, 3), Scenario(0, lanes)):
        assert scale_for(scenario, messages_max(scenario)) == FULL
    for one in (Scenario(10**10, lanes, 3), Scenario(10**10, (replace(CITY, concurrency=1),), 255)):
        scale = scale_for(one, messages_max(one))
        assert 9_000 <= one.total / scale.messages <= 1_000_000


@pytest.mark.parametrize("lanes", [LANES_MIN * 7, 999, 1000, 1111])
@pytest.mark.parametrize("retries", [1, 3])
def test_a_scaled_play_keeps_every_message(lanes: int, retries: int) -> None:
    scenario = Scenario(30_011, (replace(CITY, concurrency=lanes), replace(SLOW, concurrency=lanes)), retries)
    found = play(scenario, 1, Scale(7, 1))
    assert found.complete_s is not None
    assert found.sent + found.failed == scenario.total


def test_the_range_of_scaled_plays_allows_for_their_mean() -> None:
    unlike = (replace(CITY, concurrency=2000), replace(SLOW, model=replace(SLOW.model, fail=0.3)))
    scenario, scale = Scenario(1_000_000, unlike), Scale(100, 1)
    plays = [made(scenario, failed=100_000 + 3000 * (-1) ** i) for i in range(20)]
    fails = [one.failed for one in unscaled(plays, scale, scenario)]
    assert np.std(fails) == pytest.approx(3000 * (1 / 100 + 1 / 20) ** 0.5, rel=0.01)
    alike = replace(scenario, senders=unlike[:1])  # then the mean is known
    fails = [one.failed for one in unscaled(plays, scale, alike)]
    assert np.std(fails) == pytest.approx(3000 / 100**0.5, rel=0.01)
    assert {one.sent + one.failed for one in unscaled(plays, scale, scenario)} == {scenario.total}


# ---- Processes


def broken(scenario: Scenario, seed: int, scale: Scale) -> Play:
    """Fail, or die with an odd seed."""
    if seed % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("a planted bug")


def test_plays_come_in_the_order_of_their_seeds_whatever_process_plays_them() -> None:
    told: list[None] = []
    with Workers(2) as workers:
        plays = workers.plays(SMALL, [5, 3, 4], FULL, lambda: told.append(None))
        assert workers.plays(SMALL, [], FULL) == []
        again = workers.plays(SMALL, [4], FULL)
    assert len(told) == 3
    assert len({one.complete_s for one in plays}) == 3
    assert again[0].complete_s == plays[2].complete_s


def test_a_worker_that_dies_is_an_error_and_one_that_fails_a_bug() -> None:
    with Workers(2, broken) as workers, pytest.raises(SmssimError, match=r"died \(SIGKILL\)"):
        workers.plays(SMALL, [1], FULL)
    with Workers(1, broken) as workers, pytest.raises(RuntimeError, match="a planted bug"):
        workers.plays(SMALL, [2], FULL)


def smssim(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "smssim", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


SENDER = "--sender=name=city,mean=0.1,concurrency=50,fail=0.1"
FIELDS = {
    "": [
        *("total", "segments", "encoding", "seeds", "scale", "sent", "failed", "retried", "attempts", "duplicates"),
        *("unreachable", "reached_s", "reached_reachable_s", "complete_s", "rate_per_s", "cost", "ceiling"),
        *("goals", "senders", "theory", "find", "cheapest"),
    ],
    "sent": ["median", "low", "high"],
    "complete_s": ["median", "low", "high"],
    "reached_s": ["50", "80", "95", "99"],
    "theory": ["reached_s", "reached_reachable_s", "complete_s", "valid", "why"],
}


def test_json_has_exactly_the_promised_fields(tmp_path: Path) -> None:
    path = tmp_path / "course.csv"
    done = smssim("plan", SENDER, "--seeds=3", "--seed=8", "--goal=t80<1h", "--json", f"--csv={path}")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    found = json.loads(done.stdout)
    for name, fields in FIELDS.items():
        assert list(found[name] if name else found) == fields
    assert list(found["reached_s"]["50"]) == ["median", "low", "high", "share"]
    assert list(found["senders"][0]) == ["name", "attempts", "sent", "failed", "busy", "cost"]
    assert found["goals"] == [{"goal": "t80<1h", "probability": 1.0, "passed": True}]
    assert (found["total"], found["seeds"], found["scale"], found["find"]) == (1000, 3, 1, None)
    with path.open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == course_file.COLUMNS
    assert 200 <= len(rows) - 1 <= 500
    assert rows[1] == ["0"] * 7
    last = dict(zip(rows[0], map(float, rows[-1]), strict=True))
    assert last["sent_median"] == pytest.approx(found["sent"]["median"], abs=1)
    assert last["elapsed_s"] >= found["complete_s"]["median"]


@pytest.mark.parametrize(
    ("words", "code", "says_"),
    [
        (["--goal=t50<1ms"], 5, None),
        (["--goal=latency_p95_s<1s"], 2, "figure that a plan can forecast: sent, failed"),
        (["--goal=nonsense<1"], 2, "--goal"),
        (["--csv=/none/such.csv"], 2, "--csv: got /none/such.csv"),
        (["--find=city.copies=1..5"], 2, "no goal to meet"),
        (["--find=town.copies=1..5", "--goal=t50<9s"], 2, "town"),
        (["--goal=t99<1s", "--find=city.copies=1..5"], 5, None),
        (["--cheapest", "--sender=copies=0..3"], 2, "no goal to meet"),
        (["--cheapest", "--sender=copies=0..3", "--goal=t99<1ms"], 5, None),
        (["none.yaml"], 2, "none.yaml"),
    ],
)
def test_exit_codes_and_errors_in_one_line(words: list[str], code: int, says_: str | None) -> None:
    done = smssim("plan", SENDER, "--seeds=2", *words)
    assert done.returncode == code
    assert "\x1b" not in done.stdout
    if says_ is None:
        assert done.stderr == ""
        assert done.stdout.startswith("plan: ")
    else:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert says_ in done.stderr


def test_a_value_that_is_found_is_planned() -> None:
    done = smssim("plan", SENDER, "--seeds=2", "--goal=t50<0.5s", "--find=city.copies=1..9", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["find"]["setting"] == "city.copies"
    assert found["find"]["value"] > 1
    assert found["find"]["below"]["probability"] < 0.95
    assert found["goals"][0]["passed"]


def test_the_cheapest_mix_is_planned(tmp_path: Path) -> None:
    report = tmp_path / "plan.html"
    dear = "--sender=name=dear,mean=0.1,concurrency=10,fail=0,copies=0..5,price=0.5"
    words = (dear, "--goal=t80<2s", "--cheapest", "--count=200", "--seeds=2", f"--report={report}")
    done = smssim("plan", SENDER, *words, "--json")
    assert (done.returncode, done.stderr) == (
        0,
        "smssim plan: city has no price, so that it costs nothing in this plan\n",
    )
    found = json.loads(done.stdout)
    assert list(found["cheapest"]) == ["senders", "cost", "probability", "confidence", "fewer"]
    assert found["cheapest"]["senders"] == {"dear": 0}  # the other one is enough, and costs nothing
    assert [one["name"] for one in found["senders"]] == ["city"]
    assert b'"cheapest":{"senders":{"dear":0}' in report.read_bytes().replace(b" ", b"")
    page = " ".join(smssim("plan", SENDER, *words).stdout.split())
    assert "in the cheapest mix" in page
    assert "cheapest No copy of dear, with as few copies as possible: all" in page


@pytest.mark.parametrize(
    ("senders", "goals", "cheapest", "free"),
    [
        (["preset=us-shortcode", "preset=smpp-bind"], ["cost<9"], False, ["sender-2"]),
        (["preset=us-shortcode", "preset=smpp-bind"], ["t95<9s"], False, []),  # costs decide nothing
        (["name=a,price-failed=1,copies=0..3", "name=b,copies=0..3"], ["t95<9s"], True, ["b"]),
        (["name=a,copies=0..3", "name=b,copies=0..3"], ["t95<9s"], True, []),  # the fewest copies are sought
    ],
)
def test_senders_without_a_price_are_named_where_costs_decide(
    senders: list[str], goals: list[str], cheapest: bool, free: list[str]
) -> None:
    given = {"senders": tuple(map(parse_sender, senders)), "goals": tuple(map(Threshold.parse, goals))}
    assert free_by_omission(PlanSettings.from_flags({**given, "cheapest": cheapest}, None)) == free


@pytest.mark.parametrize(
    "words",
    [
        ["--count=0"],
        ["--count=1"],
        ["--sender=fail=0,mean=0"],
        ["--sender=fail=1,concurrency=100", "--count=10", "--max-attempts=255"],
        ["--count=1e10", "--sender=mean=1h,concurrency=1"],
        ["--count=1e10", "--sender=mean=0.001,concurrency=1000000", "--rate=1e6"],
        ["--sender=mean=1h", "--sender=joins=1h", "--count=5"],
    ],
)
def test_extremes_give_a_page_and_valid_json(words: list[str]) -> None:
    done = smssim("plan", "--seeds=2", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "limited by" in done.stdout
    assert not re.search(r"\b(nan|inf|None)\b", done.stdout)
    done = smssim("plan", "--seeds=2", *words, "--json")
    json.loads(done.stdout, parse_constant=pytest.fail)


def test_a_run_whose_senders_all_die_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "dead.yaml"
    path.write_text("messages: {count: 9000}\nsenders: {a: {mean: 1s}}\nfaults: [{at: 5s, kill: a}]\n")
    done = smssim("plan", path, "--seeds=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a run that never ends: no sender is left after kill a" in done.stdout
    assert "the run does not get that far" in done.stdout


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_plan_and_its_workers_at_once(ends: signal.Signals) -> None:
    words = ["plan", "--count=1e9", "--sender=mean=0.01,concurrency=1000", "--full"]
    process = subprocess.Popen(
        [sys.executable, "-m", "smssim", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    number = len(os.sched_getaffinity(0))
    workers = eventually(lambda: len(found := children.read_text().split()) == number and found, "the workers")
    process.send_signal(ends)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, "", "smssim plan: interrupted\n")
    eventually(lambda: not any(is_running(int(pid)) for pid in workers), "the end of the workers")


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_the_figures_of_a_play_are_those_that_goals_may_ask_for() -> None:
    assert set(made().figures(1000)) == {*FIGURES, "reachable"}


# ---- Documents


def first_column(heading: str) -> list[str]:
    """Return the first column of the table under a heading of docs/plan.md."""
    section = (ROOT / "docs/plan.md").read_text("utf-8").partition(f"\n## {heading}\n")[2].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_document_has_every_field_and_column() -> None:
    assert first_column("JSON") == list(forecast().as_dict()) == FIELDS[""]
    assert first_column("CSV") == list(course_file.COLUMNS)


def test_the_document_has_every_figure_that_goals_may_ask_for() -> None:
    text = " ".join((ROOT / "docs/plan.md").read_text("utf-8").split())
    assert f"these figures: {', '.join(f'`{name}`' for name in FIGURES)}." in text
