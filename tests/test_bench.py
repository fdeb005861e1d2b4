"""The benchmarks: their arithmetic, their output, and small real runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smssim.bench
from smssim.bench import cases, pictures, scaling, table
from smssim.bench import main as bench_main
from smssim.bench.cases import CASES, Case
from smssim.bench.machine import in_words, machine
from smssim.bench.measure import Point, Reading, Spread, Target, TooShortError, best_s, schedule_s, spreads, steady
from smssim.bench.process_group import BenchError, GroupLimits, ProcessGroup, cpu_s
from smssim.bench.runs import BaselineRun, Run, Stage, baseline_of, follow, run_of
from smssim.bench.scaling import BASELINE, SMSSIM, Sample, Setting
from smssim.core.fate import Fates
from smssim.errors import ExitCode, UsageError
from smssim.settings import AGREEMENT, BENCH_CASES, BenchSettings, SenderSettings


def stage(*, seed: int = 3) -> Stage:
    """Return the stage of one repetition."""
    return Stage(quick=True, seed=seed, group=lambda: ProcessGroup(lambda: None), done=lambda _: None)


def python(code: str) -> list[str]:
    """Return the command line that runs this Python code."""
    return [sys.executable, "-c", code]


# ---- The steady part


def points(*rows: tuple[float, int, int], senders: int = 1) -> list[Point]:
    """Return points from rows of elapsed seconds, attempts and waiting messages.

    Attempts take 2 s each. Node `a` uses half a core, node `b` a quarter.
    """
    return [
        Point(at, attempts, 2.0 * attempts, waiting, senders, {"a": 10 + at / 2, "b": at / 4})
        for at, attempts, waiting in rows
    ]


RAMP = points((0, 0, 900), (1, 0, 800), (2, 20, 700))
MIDDLE = points((3, 60, 600), (4, 100, 500), (5, 140, 400), (6, 180, 100))
TAIL = points((7, 400, 99), (8, 500, 0))


def test_the_steady_part_starts_after_three_means_and_ends_when_fewer_messages_wait_than_lanes() -> None:
    part = steady([*RAMP, *MIDDLE, *TAIL], lanes=100, mean_s=1.0)
    assert (part.first, part.last, part.time_s) == (MIDDLE[0], MIDDLE[-1], 3)


def test_the_steady_part_starts_three_means_after_the_last_sender_joined() -> None:
    series = [*RAMP, *(replace(point, senders=2) for point in MIDDLE), *TAIL]
    assert steady(series, lanes=100, mean_s=1 / 3).first == series[4]
    with pytest.raises(TooShortError, match=r"1 of 9 points are after 6\.0 s with at least 100 messages waiting"):
        steady(series, lanes=100, mean_s=1.0)


def test_the_steady_part_leaves_out_at_least_half_a_second() -> None:
    early = points((0.0, 0, 500), (0.4, 10, 500), (0.5, 20, 500), (0.6, 30, 500), (0.7, 40, 500))
    assert steady(early, lanes=100, mean_s=0.01).first == early[2]


def test_rates_of_the_steady_part_are_differences_divided_by_its_duration() -> None:
    part = steady([*RAMP, *MIDDLE, *TAIL], lanes=100, mean_s=1.0)
    assert part.rate_per_s == (180 - 60) / 3
    assert part.busy_lanes == 2 * (180 - 60) / 3
    assert part.cores("a") == pytest.approx(0.5)
    assert part.cores("a", "b") == pytest.approx(0.75)


def test_a_point_is_made_from_a_json_line_of_the_monitor() -> None:
    figures = {"elapsed_s": 2.0, "attempts": 10, "avg_time_s": 0.5, "waiting": 3, "senders": 4, "sent": 9}
    assert Point.of(figures, {"monitor": 1.5}) == Point(2.0, 10, 5.0, 3, 4, {"monitor": 1.5})
    assert Point.of(figures | {"attempts": 0, "avg_time_s": None}, {}).work_s == 0


# ---- The greedy list schedule


@pytest.mark.parametrize(
    ("durations", "lanes", "end_s"),
    [
        ([[5, 5]], [(0, 0)], 10),  # a single lane: one after the other
        ([[5, 5]], [(0, 0), (0, 0)], 5),  # side by side
        ([[3, 1, 1, 4]], [(0, 0), (0, 0)], 6),  # the last message starts on the lane that is free at 2
        ([[1, 1, 1], [9, 9, 9]], [(0, 0), (0, 1)], 9),  # a free slow lane wins, even if a fast one finishes sooner
        ([[2, 2]], [(0, 0), (7, 0)], 4),  # a lane that joins too late gets nothing
        ([[2, 2]], [(1, 0), (1.5, 0)], 3.5),  # lanes that join at different times
        ([[8, 1]], [(0, 0), (0, 0)], 8),  # the message that ends last is not always the last one
        ([[]], [(0, 0)], 0),
    ],
)
def test_a_greedy_schedule_gives_each_message_to_the_first_free_lane(
    durations: list[list[float]], lanes: list[tuple[float, int]], end_s: float
) -> None:
    assert schedule_s(np.array(durations, np.float32), lanes) == end_s


def test_the_best_possible_time_is_computed_from_the_attempts_of_the_run() -> None:
    sender = SenderSettings(mean_s=0.5)
    durations, _ = Fates(3, 1, sender.attempt_model).draw(np.arange(20, dtype=np.uint64), 1)
    assert best_s(3, 20, [sender], [-1.0]) == pytest.approx(float(durations.sum(dtype=np.float64)))
    assert best_s(3, 20, [sender], [2.0]) == pytest.approx(2 + float(durations.sum(dtype=np.float64)))
    assert best_s(4, 20, [sender], [0.0]) != best_s(3, 20, [sender], [0.0])
    assert best_s(3, 20, [replace(sender, concurrency=20)], [0.0]) == pytest.approx(float(durations.max()))


# ---- Repetitions and output


def test_repetitions_of_a_figure_become_a_median_and_a_spread() -> None:
    target = Target(10)
    (spread,) = spreads([[Reading("rate", value, "per s", target)] for value in (30.0, 10.0, 11.0)])
    assert (spread.name, spread.median, spread.values) == ("rate", 11.0, (30.0, 10.0, 11.0))
    shown = spread.as_dict()
    assert (shown["min"], shown["median"], shown["max"]) == (10.0, 11.0, 30.0)
    assert (shown["target"], shown["reached"]) == ({"at_least": 10}, True)


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [(Target(3), 3, True), (Target(3), 2.9, False), (Target(3, at_least=False), 3, True), (Target(3, False), 4, False)],
)
def test_a_target_is_an_inclusive_lower_or_upper_bound(target: Target, value: float, reached: bool) -> None:
    assert Spread("x", "s", (value,), target).reached is reached
    assert Spread("x", "s", (value,)).reached is None


def test_the_table_shows_median_spread_target_and_whether_it_is_reached() -> None:
    seen = [
        Spread("throughput", "per s", (3e6, 3.2e6, 3.1e6), Target(3e6)),
        Spread("time", "s", (125.0, 121.0, 130.0), Target(120, at_least=False)),
        Spread("share", "share", (0.98765,)),
    ]
    title, how, *rows = table.case("us", "340 messages", "as it is", seen)[1:]
    assert (title, how) == ("us: 340 messages", "  (as it is)")
    assert [row.split() for row in rows] == [
        ["throughput", "3,100,000/s", "3,000,000/s", "3,200,000/s", "at", "least", "3,000,000/s", "yes"],
        ["time", "125.00", "s", "121.00", "s", "130.00", "s", "at", "most", "120.00", "s", "NO"],
        ["share", "98.77%"],
    ]
    assert table.ending(seen) == ["", "1 of 2 targets reached; missed: time"]


def test_the_columns_of_the_table_line_up() -> None:
    seen = [Spread("a", unit, (1.0, 99.0), Target(5)) for unit in table.UNITS]
    lines = [table.heading("a machine", True, 3)[-1], *map(table.row, seen)]
    assert len({line.rindex("reached") + len("reached") for line in lines[:1]} | {len(line) for line in lines[1:]}) == 1


def test_the_settings_and_the_bench_name_the_same_cases() -> None:
    assert (*CASES, AGREEMENT) == BENCH_CASES


@pytest.mark.parametrize("quick", [False, True])
def test_a_title_states_the_size_of_the_case(quick: bool) -> None:
    for case in CASES.values():
        assert f"{case.quick_size if quick else case.size:,}" in case.title(quick)


def test_the_machine_description_has_everything_that_figures_depend_on() -> None:
    facts = machine()
    words = in_words(facts)
    for key in ("cpu", "cores", "python", "numpy", "grpcio", "date"):
        assert str(facts[key]) in words


# ---- Processes


def group(**limits: float) -> ProcessGroup:
    return ProcessGroup(lambda: None, GroupLimits(**limits))


def test_the_cpu_time_of_a_process_can_be_read_while_it_runs_and_afterwards() -> None:
    with group() as some:
        child = some.start("it", python("while True: pass"))
        while (used_s := cpu_s(child)) < 0.2:
            list(some.lines())
        assert child.usage is None
        some.kill()
        child.wait()
        assert cpu_s(child) >= used_s


def test_a_failed_process_ends_the_group_with_its_last_output() -> None:
    with group() as some, pytest.raises(BenchError, match=r"(?s)^it exited with code 1.*ValueError: so"):
        list(some.until_ended([some.start("it", python("raise ValueError('so')"))]))


def test_no_process_outlives_its_group() -> None:
    with group() as some:
        child = some.start("it", python("while True: pass"))
    assert child.code == -signal.SIGKILL


def test_a_node_that_outlives_its_run_is_an_error() -> None:
    with group(others_s=0.0) as some:
        both = [some.start("short", python("")), some.start("long", python("while True: pass"))]
        with pytest.raises(BenchError, match=r"^still running after the end of the run: long$"):
            list(some.until_ended(both))


def test_the_error_names_a_node_that_ends_before_it_is_ready_or_takes_too_long() -> None:
    with group() as some, pytest.raises(BenchError, match=r"^it exited with code 0"):
        some.address(some.start("it", python("")))
    with group(ready_s=0.0) as some, pytest.raises(BenchError, match=r"^it is not ready$"):
        some.address(some.start("it", python("while True: pass")))


def test_output_of_other_processes_is_kept_while_a_node_starts() -> None:
    announces = "import time; from smssim.process import ready; ready.take(); time.sleep(0.2); "
    with group() as some:
        other = some.start("other", python("print('early')"))
        nodes = [some.start("it", python(f"{announces} ready.announce('ready', address='{at}')")) for at in "ab"]
        assert [some.address(node) for node in nodes] == ["a", "b"]
        assert [(child, line.text) for child, line in some.until_ended([other, *nodes])] == [(other, "early")]


# ---- Small runs


def test_the_figures_of_a_small_run_add_up() -> None:
    run = run_of(stage(), 3000, SenderSettings(mean_s=0.005, concurrency=50))
    assert run.final["attempts"] == run.count == run.points[-1].attempts == 3000
    assert [point.elapsed_s for point in run.points] == sorted(point.elapsed_s for point in run.points)
    assert run.rate_per_s == pytest.approx(3000 / run.elapsed_s)
    assert 0 < run.efficiency < 1
    assert run.efficiency == pytest.approx(3000 * run.final["avg_time_s"] / (50 * run.elapsed_s))
    assert -1 < run.joined_s()[0] < 1  # the sender joins when the run starts, give or take a second
    assert not any(child.log for child in run.children)  # no node writes to its log
    costs = {reading.name: reading for reading in run.costs()}
    for node in ("producer", "sender", "monitor"):
        assert 0 < costs[f"{node}: CPU per message"].value < 1e9 * 10 / 3000
        assert 10 < costs[f"{node}: peak memory"].value <= run.peak_bytes / 1e6


def test_concurrent_runs_stay_separate() -> None:
    runs = [Run(seed, 200 * seed, [SenderSettings(mean_s=0.05, concurrency=20)]) for seed in (1, 2)]
    follow(stage(), *runs)
    assert [run.final["attempts"] for run in runs] == [200, 400]
    assert [len(run.joined_s()) for run in runs] == [1, 1]
    assert [run.final["senders_seen"] for run in runs] == [1, 1]


def test_a_run_with_uncounted_messages_is_an_error() -> None:
    run = Run(1, 10, [], final={"final": True, "sent": 8, "failed": 1})
    with pytest.raises(BenchError, match="did not count all of its 10 messages"):
        run.check()


@pytest.mark.parametrize("queue_max", [0, 50])
def test_the_figures_of_a_small_run_of_the_baseline_add_up(queue_max: int) -> None:
    run = baseline_of(stage(), 20, 400, 0.01, 0.1, queue_max)
    assert run.points[-1].attempts == 400
    assert run.points[-1].waiting == 0
    assert run.points[-1].work_s == pytest.approx(400 * 0.01, rel=0.1)
    assert run.points[-1].elapsed_s > 400 * 0.01 / 20 * 0.9
    assert (run.generation_s > 0) is (queue_max == 0)
    assert run.rate_per_s == pytest.approx(400 / (run.points[-1].elapsed_s + run.generation_s))


def test_the_rate_of_the_baseline_includes_the_generation_time() -> None:
    run = BaselineRun(count=100, points=[], generation_s=2.0)  # 50 a second
    assert run.with_generation(50.0) == pytest.approx(25.0)


def test_a_small_case_of_unequal_senders_is_compared_with_the_greedy_schedule() -> None:
    readings = {reading.name: reading for reading in cases.unequal(stage(), 600, means_s=(0.05, 0.1))}
    time_s, best = readings["time to completion"].value, readings["greedy list schedule"].value
    assert 1 < best < 12  # 600 messages at 300 a second, after the senders have joined
    assert readings["beyond the schedule"].value == pytest.approx(time_s / best - 1)
    assert any(reading.target is not None for reading in readings.values())


@pytest.mark.parametrize(
    ("measure", "figures"), [(cases.one_lane, 2), (partial(cases.idle, settle_s=0.1), 6)], ids=["one-lane", "idle"]
)
def test_a_small_case_has_sensible_figures(measure: Callable[[Stage, int], list[Reading]], figures: int) -> None:
    readings = measure(stage(), 1)
    assert len(readings) == figures
    assert all(0 < reading.value < 1.05 for reading in readings)  # above 1 if reports are late in a run of 1 s
    assert any(reading.target is not None for reading in readings)


@pytest.mark.parametrize("program", [SMSSIM, BASELINE])
@pytest.mark.parametrize("lanes", [1, 20])
def test_a_sample_of_the_scaling_study_has_the_throughput_and_the_share_of_its_lanes(program: str, lanes: int) -> None:
    sample = scaling.measure(Setting(program, 0.02, lanes, 80 * lanes), stage())
    assert 0.2 < sample.share < 1.1
    assert sample.rate_per_s == pytest.approx(sample.share * lanes / 0.02, rel=0.25)  # durations are random
    assert sample.everyone_s == pytest.approx(340e6 / sample.rate_per_s)


# ---- The command


def fake_case(name: str, value: float | Exception) -> Case:
    def measured(stage: Stage, size: int) -> list[Reading]:
        if isinstance(value, Exception):
            raise value
        return [Reading("figure", value + stage.seed, "s", Target(2.5)), Reading("size", size, "times")]

    return Case(name, "{} messages", "somehow", 4000, 40, measured, quick=name != "us")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = {
        "idle": fake_case("idle", 0.0),
        "us": fake_case("us", 2.0),
        "unequal": fake_case("unequal", BenchError("why")),
    }
    monkeypatch.setattr(bench_main, "CASES", fake)


@pytest.mark.usefixtures("fakes")
def test_each_case_is_measured_three_times_by_default_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.serve(BenchSettings(case=("idle", "us"))) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "idle: 4,000 messages\n" in out
    assert ["figure", "2.00", "s", "1.00", "s", "3.00", "s", "at", "least", "2.50", "s", "NO"] in map(
        str.split, out.splitlines()
    )
    assert out.endswith("\n1 of 2 targets reached; missed: figure\n")
    assert [line.split("  ")[1] for line in err.splitlines()] == [
        f"{case}, {number} of 3" for case in ("1/2 idle", "2/2 us") for number in (1, 2, 3)
    ]


@pytest.mark.usefixtures("fakes")
def test_quick_measures_smaller_cases_once_and_skips_the_longest(capsys: pytest.CaptureFixture[str]) -> None:
    bench_main.serve(BenchSettings(quick=True, json=True))
    seen = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(case["case"], case["title"]) for case in seen] == [("idle", "40 messages"), ("unequal", "40 messages")]
    figure = seen[0]["figures"][1]
    assert (figure["name"], figure["unit"], figure["values"]) == ("size", "times", [40])
    assert (figure["target"], figure["reached"]) == (None, None)
    assert seen[0]["machine"] == machine()


@pytest.mark.usefixtures("fakes")
def test_a_case_that_fails_shows_the_reason_and_the_others_still_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.serve(BenchSettings(case=("unequal", "idle"), repeat=1)) == ExitCode.INTERNAL
    out = capsys.readouterr().out
    assert "\n  FAILED: why\n" in out
    assert "idle: 4,000 messages\n" in out
    bench_main.serve(BenchSettings(case=("unequal",), json=True))
    assert json.loads(capsys.readouterr().out)["error"] == "why"


def test_missing_matplotlib_is_reported_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "smssim.bench.pictures")
    monkeypatch.delattr(smssim.bench, "pictures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"^--figures: matplotlib is not installed: run pip install"):
        bench_main.serve(BenchSettings(figures=str(tmp_path)))


def test_an_unusable_directory_for_figures_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^--figures: got .*; expected a directory, created if it does not exist$"):
        bench_main.serve(BenchSettings(figures=str(tmp_path / "file")))


def test_a_second_interrupt_ends_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_main.Bench(BenchSettings())
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with bench._group() as some:
        child = some.start("it", python("while True: pass"))
        bench._interrupt(signal.SIGINT)
        assert codes == []
        bench._interrupt(signal.SIGINT)
        assert child.wait(60)
    assert codes == [ExitCode.INTERRUPTED]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_no_process_behind(number: signal.Signals) -> None:
    words = [sys.executable, "-m", "smssim", "bench", "--quick", "--case", "idle"]
    bench = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(nodes := children(bench.pid)) < 3:
        assert bench.poll() is None
        time.sleep(0.01)
    bench.send_signal(number)
    _, err = bench.communicate(timeout=60)
    assert bench.returncode == ExitCode.INCOMPLETE
    assert err.splitlines()[-1] == "smssim bench: stopped; no process is left"
    for node in nodes:
        with pytest.raises(ProcessLookupError):
            os.kill(node, 0)


# ---- Pictures


@pytest.fixture
def samples() -> list[Sample]:
    return [
        Sample(setting, min(0.9 * setting.lanes / setting.mean_s, 4e6), 0.9) for setting in scaling.plan(quick=False)
    ]


def test_the_scaling_study_goes_from_one_lane_to_two_million() -> None:
    plan = scaling.plan(quick=False)
    for program, most in ((SMSSIM, 2_000_000), (BASELINE, 100_000)):
        for mean_s in (0.01, 1.0):
            lanes = [setting.lanes for setting in plan if (setting.program, setting.mean_s) == (program, mean_s)]
            assert (lanes[0], lanes[-1]) == (1, most)
            assert lanes == sorted(set(lanes))
    assert all(setting.count >= 4 * setting.lanes for setting in plan)  # otherwise there is no steady part


def test_pictures_are_written_together_with_their_data(samples: list[Sample], tmp_path: Path) -> None:
    written = pictures.draw(samples, machine(), tmp_path)
    assert [path.name for path in written] == ["scaling.json", "throughput.png", "efficiency.png", "everyone.png"]
    for path in written[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 20_000
    numbers = json.loads(written[0].read_text(encoding="utf-8"))
    assert numbers["machine"] == machine()
    assert numbers["samples"] == [sample.as_dict() for sample in samples]


def test_every_sample_is_in_every_picture(samples: list[Sample]) -> None:
    values: dict[Any, Any] = {
        pictures._throughput: lambda sample: sample.rate_per_s,
        pictures._efficiency: lambda sample: sample.share,
        pictures._everyone: lambda sample: sample.everyone_s,
    }
    for picture, value in values.items():
        (axes,) = picture(samples).axes
        drawn = {(float(x), float(y)) for line in axes.lines for x, y in line.get_xydata()}
        assert {(float(sample.setting.lanes), float(value(sample))) for sample in samples} <= drawn
        left, right = axes.get_xlim()
        bottom, top = axes.get_ylim()
        assert all(left <= x <= right and bottom <= y <= top for x, y in drawn if y in map(value, samples))
