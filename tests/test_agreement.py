"""The comparison of plans with live runs: what is forecast and when, how the two are compared, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smssim.bench import agreement, agreement_cases, agreement_table
from smssim.bench import main as bench_main
from smssim.bench.agreement import FORECASTS, Agreement, Joins, Result
from smssim.bench.agreement_cases import AGREEMENT_CASES, AgreementCase, CaseFault, CaseSender
from smssim.bench.comparison import LAST, Comparison, FigureForecast, LiveRun, Value, compare
from smssim.bench.process_group import BenchError
from smssim.core.fault import Fault, FaultKind
from smssim.core.model import AttemptModel
from smssim.errors import ExitCode, UsageError
from smssim.plan.forecast import Forecast
from smssim.plan.scale import FULL
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.seeds import play
from smssim.plan.theory.theory import Theory
from smssim.settings import BenchSettings, RunSettings, SenderSettings

SMALL = AgreementCase("small", "two small senders", (CaseSender(0.05, 5), CaseSender(0.05, 5)), quick=True)
OTHER = AgreementCase("other", "retries", (CaseSender(0.05, 5, 0.1),), max_attempts=3)


def settings_of(case: AgreementCase, folder: Path, quick: bool) -> RunSettings:
    """Return the settings of the run of a case."""
    path = folder / "scenario.yaml"
    path.write_text(case.scenario(quick), encoding="utf-8")
    return RunSettings.from_flags({"scenario": str(path)}, None)


# ---- The cases


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("case", AGREEMENT_CASES.values(), ids=AGREEMENT_CASES)
def test_a_case_is_a_scenario_file_of_the_intended_length(case: AgreementCase, quick: bool, tmp_path: Path) -> None:
    settings = settings_of(case, tmp_path, quick)
    planned = settings.planned()
    per_s = sum(sender.declared_per_s for sender in planned.senders)
    time_s = planned.total / min(per_s, planned.rate_per_s or per_s)
    assert time_s == pytest.approx((8 if quick else 40) * max(1, case.rate_share or 1), rel=0.01)
    assert len(planned.faults) == len(case.faults)
    assert all(0 < fault.at_s < time_s for fault in planned.faults)
    assert (planned.max_attempts, planned.unreachable) == (case.max_attempts, case.unreachable)
    assert (planned.rate_per_s is None) == (case.rate_share is None)


def test_every_case_sends_99_percent_of_the_messages_that_can_be_reached() -> None:
    for case in AGREEMENT_CASES.values():
        assert max(sender.fail**case.max_attempts for sender in case.senders) < 0.0081, case.name


def test_a_pause_lasts_longer_than_the_lease_timeout(tmp_path: Path) -> None:
    for quick in (False, True):
        planned = settings_of(AGREEMENT_CASES["pause"], tmp_path, quick).planned()
        (fault,) = planned.faults
        assert fault.kind is FaultKind.PAUSE
        assert fault.for_s is not None
        assert fault.for_s > planned.lease_timeout_s


def test_a_fault_strikes_at_a_share_of_the_time_for_a_share_of_it() -> None:
    case = replace(SMALL, faults=(CaseFault("slow", 0.25, length=0.5, factor=4), CaseFault("kill", 0.95)))
    assert case.scenario(quick=False).splitlines()[-2:] == [
        "  - {at: 10s, slow: a, factor: 4, for: 20s}",
        "  - {at: 38s, kill: a}",
    ]


# ---- The order: forecasts first


class Rehearsal:
    """Made-up starts and runs of `SMALL` and `OTHER`; remembers what happened in which order."""

    def __init__(self, folder: Path, fails: str = "") -> None:
        self.folder, self.fails = folder, fails
        self.happened: list[str] = []
        self.forecast_when_run: list[str] = []  # the file of forecasts at each run

    def joined(self, settings: RunSettings) -> Joins:
        self.happened.append("start")
        return tuple((0.1 * number,) for number in range(len(settings.senders)))

    def live(self, scenario: Path, seed: int) -> LiveRun:
        self.happened.append(f"{scenario.stem} {seed}")
        self.forecast_when_run.append((self.folder / FORECASTS).read_text(encoding="utf-8"))
        if scenario.stem == self.fails:
            raise BenchError("why")
        planned = agreement.with_joins(
            RunSettings.from_flags({"scenario": str(scenario)}, None).planned(),
            tuple((0.2 * number,) for number in range(2 if scenario.stem == "small" else 1)),
        )
        joins_s = tuple(sender.joins_s for sender in planned.senders)
        return LiveRun(seed, agreement.figures_of(play(planned, seed)), joins_s, 0.25)

    def agreement(self) -> Agreement:
        return Agreement(
            folder=self.folder,
            quick=False,
            repeat=2,
            seeds=4,
            joined=self.joined,
            live=self.live,
            begin=lambda step: self.happened.append("planning") if step.startswith("planning") else None,
        )

    def results(self, cases: Sequence[AgreementCase] = (SMALL, OTHER)) -> list[Result]:
        return list(self.agreement().results(cases))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement_cases, "TIME_S", 2.0)
    monkeypatch.setattr(agreement_cases, "QUICK_TIME_S", 1.5)


@pytest.mark.usefixtures("short")
def test_the_forecasts_of_all_cases_are_in_a_file_before_the_first_run(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    rehearsal.results()
    starts = ["start"] * agreement.STARTS
    runs = ["small 1", "small 2", "other 1", "other 2"]
    assert rehearsal.happened == [*starts, "planning", *starts, "planning", *runs]
    first = [json.loads(line) for line in rehearsal.forecast_when_run[0].splitlines()]
    assert [one["scenario"] for one in first] == ["small", "other"]
    for one in first:
        assert {"plan", "tolerance", "theory"} <= set(one["figures"][0])
        assert "live" not in one["figures"][0]
    assert len(set(rehearsal.forecast_when_run)) == 1  # and never change


@pytest.mark.usefixtures("short")
def test_forecasts_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / FORECASTS).touch()
    rehearsal = Rehearsal(tmp_path)
    with pytest.raises(UsageError, match=r"^--forecasts: got .*; expected a directory without forecasts\.jsonl"):
        rehearsal.results()
    assert rehearsal.happened == []


@pytest.mark.usefixtures("short")
def test_cases_with_the_same_senders_share_the_starts(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    rehearsal.results([SMALL, replace(SMALL, what="again")])
    assert rehearsal.happened.count("start") == agreement.STARTS


@pytest.mark.usefixtures("short")
def test_a_case_whose_run_fails_shows_why_and_the_others_still_run(tmp_path: Path) -> None:
    small, other = Rehearsal(tmp_path, fails="small").results()
    assert (small.error, small.compared) == ("why", ())
    assert other.error is None
    assert [one.forecast.name for one in other.compared] == [
        "t50",
        "t80",
        "t95",
        "t99",
        LAST,
        "sent",
        "failed",
        "retried",
    ]


@pytest.mark.usefixtures("short")
def test_in_hindsight_the_plan_knows_when_senders_joined(tmp_path: Path) -> None:
    small, _ = Rehearsal(tmp_path).results()  # the runs are plays in which the second sender joins 0.1 s later
    t50 = small.compared[0]
    assert t50.difference is not None
    assert t50.difference > 0.01
    assert t50.difference_in_hindsight == pytest.approx(0, abs=1e-9)
    assert small.cpu_share == 0.25


# ---- Forecasts


def planned(*fails: float, faults: tuple[Fault, ...] = (), max_attempts: int = 1) -> Scenario:
    """Return a scenario with a sender for each failure rate."""
    senders = tuple(
        PlannedSender(f"s{number}", AttemptModel(0.1, 0.03, "gamma", None, fail), 10)
        for number, fail in enumerate(fails)
    )
    return Scenario(500, senders, max_attempts, faults=faults)


def test_a_scenario_has_a_failure_rate_if_all_its_attempts_fail_equally_often() -> None:
    assert planned(0.1, 0.1).fail == 0.1
    assert planned(0.1, 0.2).fail is None
    assert planned(0.1, faults=(Fault(1.0, FaultKind.KILL, "s0"),)).fail == 0.1
    assert planned(0.1, faults=(Fault(1.0, FaultKind.FAIL, "s0", share=0.5),)).fail is None


def test_a_forecast_has_the_figures_of_each_seed_and_the_theory() -> None:
    scenario = planned(0.1, max_attempts=2)
    plays = [play(scenario, seed) for seed in (1, 2, 3)]
    found = {one.name: one for one in agreement.forecasts(Forecast(scenario, plays, FULL), Theory(scenario), runs=2)}
    assert found["sent"].values == tuple(one.sent for one in plays)
    assert found["sent"].is_exact
    assert found["sent"].theory == pytest.approx(500 * 0.99)
    assert found["failed"].theory == pytest.approx(5)
    assert found["retried"].theory == pytest.approx(50)
    assert found["t50"].values == tuple(one.reached_s[50] for one in plays)
    assert found["t50"].theory == Theory(scenario).reached_s(50)
    assert not found["t50"].is_exact
    low, high = found[LAST].low, found[LAST].high
    assert low is not None
    assert high is not None
    assert low <= min(one.complete_s or 0 for one in plays) * 1.05 < high * 1.1


def test_a_forecast_of_a_run_with_unreachable_messages_has_the_figures_of_those_that_can_be_reached() -> None:
    scenario = replace(planned(0.1, max_attempts=2), unreachable=0.2)
    one = play(scenario, 1)
    found = {each.name: each for each in agreement.forecasts(Forecast(scenario, [one], FULL), Theory(scenario), 1)}
    assert found["t95_reachable"].values == (one.reached_reachable_s[95],)
    assert found["t95_reachable"].theory == Theory(scenario).reached_reachable_s(95)
    assert found["unreachable"].values == (one.unreachable,)
    assert found["unreachable"].theory == 100
    assert found["unreachable"].is_exact


def test_retries_are_no_figure_of_a_run_with_one_attempt() -> None:
    scenario = planned(0.1)
    assert "retried" not in [
        one.name for one in agreement.forecasts(Forecast(scenario, [play(scenario, 1)], FULL), Theory(scenario), 1)
    ]


def forecast(
    *values: Value, name: str = "t50", runs: int = 2, is_exact: bool = False, theory: Value = None
) -> FigureForecast:
    known = sorted(value for value in values if value is not None)
    low, high = (known[0], known[-1]) if known else (None, None)
    return FigureForecast.of(
        name, values, (low, known[len(known) // 2] if known else None, high), runs, is_exact=is_exact, theory=theory
    )


def test_the_tolerance_is_one_percent_or_two_standard_errors_whichever_is_more() -> None:
    assert forecast(10.0, 10.0).tolerance == pytest.approx(0.1)
    spread = forecast(9.0, 11.0, runs=2)  # standard deviation of the seeds: sqrt(2)
    assert spread.tolerance == pytest.approx(2 * 2**0.5 * (1 / 2 + 1 / 2) ** 0.5)
    assert forecast(9.0, 11.0, runs=50).tolerance < spread.tolerance
    assert forecast(9.0, 11.0, is_exact=True).tolerance == 0


# ---- Verdicts


def comparison(of: FigureForecast, *live: Value, hindsight: Sequence[Value] = ()) -> Comparison:
    runs = [LiveRun(seed, {of.name: value}) for seed, value in enumerate(live, 1)]
    (one,) = compare([of], runs, [{of.name: value} for value in hindsight or live])
    return one


@pytest.mark.parametrize(
    ("live", "within"),
    [((10.0, 10.0), True), ((9.91, 9.91), True), ((9.89, 9.89), False), ((10.2, 9.8), True), ((10.2, 10.1), False)],
)
def test_means_within_the_tolerance_agree(live: tuple[float, ...], within: bool) -> None:
    assert comparison(forecast(10.0, 10.0), *live).is_within is within


def test_exact_counts_have_to_be_those_of_the_same_seed() -> None:
    counts = forecast(90, 92, 91, name="sent", is_exact=True)
    assert comparison(counts, 90, 92).is_within
    assert not comparison(counts, 92, 90).is_within  # the same mean
    assert comparison(forecast(90, 92, 91, name="sent"), 92, 90).is_within


def test_what_is_never_reached_agrees_only_with_never() -> None:
    assert comparison(forecast(None, None), None, None).is_within
    assert not comparison(forecast(None, None), None, 3.0).is_within
    assert not comparison(forecast(3.0, 3.0), 3.0, None).is_within


def test_runs_are_counted_that_are_inside_the_interval() -> None:
    assert comparison(forecast(9.0, 10.0, 11.0), 8.9, 9.0, 11.0, 11.1).inside == 2
    assert comparison(forecast(9.0, 10.0, 11.0), None).inside == 0
    assert comparison(forecast(None, None), None, 4.0).inside == 1
    assert comparison(replace(forecast(9.0, 10.0), high=None), 99.0).inside == 1  # most seeds never get there


def test_differences_are_relative_to_the_plan() -> None:
    one = comparison(forecast(10.0, 10.0), 11.0, 12.0, hindsight=(11.0, 11.0))
    assert one.difference == pytest.approx(0.15)
    assert one.difference_in_hindsight == pytest.approx(11.5 / 11 - 1)
    assert comparison(forecast(10.0, 10.0), None).difference is None
    assert comparison(forecast(0.0, 0.0), 1.0).difference is None


def test_a_comparison_is_an_object_for_json() -> None:
    shown = comparison(forecast(10.0, 11.0, theory=10.5), 10.0, 11.0).as_dict()
    assert shown["plan"] == {"mean": 10.5, "median": 11.0, "low": 10.0, "high": 11.0}
    assert shown["live"] == {"mean": 10.5, "min": 10.0, "max": 11.0, "values": (10.0, 11.0)}
    assert (shown["theory"], shown["difference"], shown["inside"], shown["within"]) == (10.5, 0.0, 2, True)
    json.dumps(shown)


# ---- The table


def test_the_table_shows_plan_runs_theory_difference_and_verdict() -> None:
    seen = [
        comparison(forecast(20.0, 20.0, theory=20.1), 20.1, 20.2, hindsight=(20.1, 20.1)),
        comparison(forecast(40.0, 42.0, name=LAST), 41.0, 47.0),
        comparison(forecast(990, 991, name="sent", is_exact=True), 990, 991),
    ]
    title, *rows = agreement_table.case(SMALL, seen, why="because")[1:]
    assert title == "small: two small senders"
    assert [" ".join(row.split()) for row in rows] == [
        "t50 20.00 s 20.00 s 20.00 s 20.15 s 20.10 s 20.20 s 20.10 s +0.75% +0.25% yes",
        "last message 42.00 s 40.00 s 42.00 s 44.00 s 41.00 s 47.00 s +7.32% +0.00% NO",
        "sent 991 990 991 990.5 990 991 +0.00% +0.00% exactly",
        "last message inside the plan's 95% interval in 1 of 2 runs",
        "no theory: because",
    ]
    assert agreement_table.ending({"small": seen, "failed": []}) == [
        "",
        "1 of 2 last messages inside the 95% interval, LESS than 90%",
        "2 of 3 figures agree; not: small last message",
    ]


def test_the_columns_of_the_table_line_up() -> None:
    seen = comparison(forecast(123.4, 123.4, name="t50_reachable", theory=123.4), 123.4)
    head = agreement_table.heading("a machine", quick=True, runs=1, seeds=4)[-1]
    assert len(agreement_table.row(seen)) == len(head)


def test_a_table_says_never_and_what_failed() -> None:
    assert "never" in agreement_table.row(comparison(forecast(None, None), None))
    assert agreement_table.case(SMALL, (), error="why")[-1] == "  FAILED: why"
    assert agreement_table.ending({"small": ()}) == []


# ---- When senders join


def test_starts_are_in_the_order_of_the_messages_that_they_cost() -> None:
    late, early, between = ((0.0,), (0.9,)), ((0.0,), (0.1,)), ((0.5,), (0.0,))
    assert agreement.in_order([late, early, between], [1.0, 1.0]) == (early, between, late)
    assert agreement.in_order([late, early, between], [10.0, 1.0]) == (early, late, between)


@pytest.mark.usefixtures("short")
def test_theory_leaves_out_that_senders_join_if_it_has_no_formula_for_that(tmp_path: Path) -> None:
    (small, rate) = Rehearsal(tmp_path).results([SMALL, replace(SMALL, rate_share=0.5)])
    assert (small.prepared.why, rate.prepared.why) == ("", "")
    assert rate.prepared.forecasts[0].theory is not None


@pytest.mark.usefixtures("short")
def test_the_seeds_of_a_plan_take_turns_with_the_starts(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    late_s = iter([0.0, 0.5] * agreement.STARTS)
    starts = replace(rehearsal.agreement(), seeds=10, joined=lambda _: ((0.0,), (next(late_s),)))
    (small,) = starts.results([SMALL])
    assert len(set(small.prepared.starts)) == 2
    t50 = small.prepared.forecasts[0].values
    assert len(t50) == 10
    assert max(value or 0.0 for value in t50) - min(value or 0.0 for value in t50) > 0.1


def test_copies_join_in_groups_and_keep_their_name() -> None:
    scenario = Scenario(10, (PlannedSender("s", AttemptModel(0.1, 0.0, "fixed"), 2, copies=100),))
    joins_s = tuple(0.01 * number for number in range(100))
    changed = agreement.with_joins(scenario, (joins_s,)).senders
    assert len(changed) == agreement.COPIES_GROUPS
    assert sum(sender.copies for sender in changed) == 100
    assert {sender.name for sender in changed} == {"s"}
    assert sum(sender.copies * sender.joins_s for sender in changed) == pytest.approx(sum(joins_s))
    (first,) = agreement.with_joins(scenario, ((-0.2,),)).senders  # it joined before the first message was delivered
    assert first.joins_s == 0


def summary(*there_s: float) -> dict[str, Any]:
    rows = [
        {"name": f"s{number}", "sent": 90, "failed": 10, "rate_per_s": 100 / one_s}
        for number, one_s in enumerate(there_s)
    ]
    reached = {"50": 1.0, "80": 2.0, "95": 3.0, "99": None}
    counts = {"sent": 270, "failed": 30, "retried": 0, "unreachable": 20}
    reachable = {"50": 0.9, "80": 1.9, "95": 2.9, "99": 3.9}
    return counts | {"sender_rows": rows, "reached_s": reached, "reached_reachable_s": reachable, "elapsed_s": 4.0}


def test_a_summary_says_when_senders_joined() -> None:
    assert agreement.joined_in(summary(10.0, 9.5), planned(0.1, 0.1)) == pytest.approx((0.0, 0.5))
    killed = planned(0.1, 0.1, faults=(Fault(5.0, FaultKind.KILL, "s1"),))
    assert agreement.joined_in(summary(10.0, 4.7), killed) == pytest.approx((0.0, 0.3))
    copies = replace(planned(0.1), senders=(replace(planned(0.1).senders[0], copies=2),))
    assert agreement.joined_in(summary(10.0), copies) is None


def test_a_run_is_what_its_summary_says() -> None:
    run = agreement.live_run(7, summary(10.0, 9.5), planned(0.1, 0.1), 0.3)
    times = {"t50": 1.0, "t80": 2.0, "t95": 3.0, "t99": None, LAST: 4.0}
    reachable = {"t50_reachable": 0.9, "t80_reachable": 1.9, "t95_reachable": 2.9, "t99_reachable": 3.9}
    figures = times | reachable | {"sent": 270, "failed": 30, "retried": 0, "unreachable": 20}
    assert (run.seed, run.figures, run.cpu_share) == (7, figures, 0.3)
    assert run.joined_s == pytest.approx((0.0, 0.5))


# ---- The command


@pytest.mark.usefixtures("short")
def test_a_small_comparison_runs_live(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench_main, "AGREEMENT_CASES", {case.name: case for case in (SMALL, OTHER)})
    settings = BenchSettings(case=("agreement",), quick=True, json=True, forecasts=str(tmp_path / "new"))
    assert bench_main.serve(settings) == ExitCode.OK
    assert len((tmp_path / "new" / FORECASTS).read_text(encoding="utf-8").splitlines()) == 1  # --quick leaves one out
    (case,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (case["case"], case["scenario"], case["seeds"], case["error"]) == ("agreement", "small", 40, None)
    figures = {one["name"]: one for one in case["figures"]}
    assert figures["sent"]["within"]
    assert 1 < figures[LAST]["live"]["mean"] < 30
    assert case["cpu_share"] > 0


@pytest.mark.usefixtures("short")
def test_without_json_a_comparison_is_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rehearsal = Rehearsal(tmp_path / "new")
    monkeypatch.setattr(bench_main, "AGREEMENT_CASES", {case.name: case for case in (SMALL, OTHER)})
    monkeypatch.setattr(bench_main.Bench, "_joined", lambda _, settings: rehearsal.joined(settings))
    monkeypatch.setattr(agreement, "live", lambda stage, scenario: rehearsal.live(scenario, stage.seed))
    settings = BenchSettings(case=("agreement",), quick=True, forecasts=str(tmp_path / "new"))
    assert bench_main.serve(settings) == ExitCode.OK
    assert len((tmp_path / "new" / FORECASTS).read_text(encoding="utf-8").splitlines()) == 1
    out = capsys.readouterr().out
    assert "\nsmall: two small senders\n  t50 " in out
    assert out.splitlines()[-1].split(";")[0].endswith("of 7 figures agree")


def test_an_unusable_directory_for_forecasts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^--forecasts: got .*; expected a directory, created if it does not exist$"):
        bench_main.serve(BenchSettings(case=("agreement",), forecasts=str(tmp_path / "file")))


def test_the_starts_of_a_sender_are_seen_for_each_copy(tmp_path: Path) -> None:
    settings = settings_of(SMALL, tmp_path, quick=True)
    sender = SenderSettings(name="c", mean_s=0.5, copies=3)
    settings = replace(settings, senders=(settings.senders[0], sender))
    bench = bench_main.Bench(BenchSettings())
    one, three = bench._joined(settings)
    assert (len(one), len(three)) == (1, 3)
    assert min(*one, *three) == 0
    assert max(*one, *three) < 30
