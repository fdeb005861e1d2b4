"""`smssim plan`: refuses what can't be planned, plays seeds, and prints what they found.

Reads the clock and writes files. Must not know how a scenario is played, or what a page looks like.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, NoReturn

from smssim.core.threshold import COST, Threshold, warnings
from smssim.errors import ExitCode, bad
from smssim.escaping import escape, quote
from smssim.outputs import atomic, files
from smssim.plan.forecast import Forecast
from smssim.plan.scale import FULL, Scale, messages_max, scale_for
from smssim.plan.scenario import Scenario
from smssim.plan.search.answer import Answer
from smssim.plan.search.cheapest import Cheapest
from smssim.plan.search.cheapest_answer import CheapestAnswer
from smssim.plan.search.mixes import Kind, with_mix
from smssim.plan.search.search import Search
from smssim.plan.search.steps import Steps
from smssim.plan.seeds import FIGURES, Play, seeds_from
from smssim.planner import course_file, report_file, show
from smssim.planner.page import Page
from smssim.planner.seeds import SEEDS_MIN, first_seed, fitting
from smssim.planner.workers import Workers
from smssim.process import signals, terminal
from smssim.settings import Find, PlanSettings
from smssim.settings.senders import sender_names

CALM_SEEDS: Final = 10  # played without faults, to see what these cost
PROGRESS_AFTER_S: Final = 1.0


def serve(settings: PlanSettings) -> int:
    """Plan a run and return the exit code. Raises SmssimError."""
    began_s = time.monotonic()
    check(settings)
    scenario, answer, mix = settings.planned(), None, None
    workers = Workers(len(os.sched_getaffinity(0)))
    _end_on_signals(workers)
    with workers, _progress() as progress:
        if settings.find is not None:
            answer = _found(settings, settings.find, scenario, workers, progress)
            scenario = with_found(scenario, answer)
        if settings.cheapest:
            mix = _cheapest(settings, scenario, workers, progress)
            scenario = with_mix(scenario, mix.copies)
        forecast = _forecast(settings, scenario, workers, progress)
    if settings.csv is not None:
        course_file.write(settings.csv, forecast)
    if settings.report is not None:
        report_file.write(settings.report, settings, forecast, answer, mix)
    if settings.json:
        found = report_file.plan_object(settings, forecast, answer, mix)
        terminal.print_lines(json.dumps(found, allow_nan=False))
    else:
        took_s, text = time.monotonic() - began_s, settings.producer.text
        seeds = _seeds(settings, len(forecast.plays))
        show.write(Page(forecast, settings.scenario, seeds, took_s, answer, mix, text))
    is_found = (answer is None or answer.found is not None) and (mix is None or mix.found)
    return ExitCode.OK if forecast.passed and is_found else ExitCode.THRESHOLD


def with_found(scenario: Scenario, answer: Answer) -> Scenario:
    """Return the scenario with the value that a search found; unchanged if it found none."""
    if answer.found is None:
        return scenario
    steps = Steps(answer.sought)
    return steps.scenario(scenario, steps.step(answer.found.value))


def check(settings: PlanSettings) -> None:
    """Raise UsageError if a goal can't be forecast or a file can't be written; warn of suspicious goals."""
    for goal in settings.goals:
        check_goal(goal)
    for said in warnings(settings.goals):
        print(f"smssim plan: {said.replace('--threshold', '--goal')}", file=sys.stderr)
    for name in free_by_omission(settings):
        print(f"smssim plan: {escape(name)} has no price, so that it costs nothing in this plan", file=sys.stderr)
    if settings.csv is not None:
        files.check_writable("--csv", settings.csv)
    if settings.report is not None:
        atomic.check("--report", settings.report)


def free_by_omission(settings: PlanSettings) -> list[str]:
    """Return the names of senders without a price, if costs are compared; many presets have none."""
    named = zip(sender_names(settings.senders), settings.senders, strict=True)
    free = [name for name, sender in named if not (sender.price or sender.price_failed)]
    has_goal = any(goal.name == COST for goal in settings.goals)
    is_compared = has_goal or (settings.cheapest and len(free) < len(settings.senders))
    return free if is_compared else []


def check_goal(goal: Threshold) -> None:
    """Raise UsageError if a plan does not know the figure that a goal is about."""
    if goal.name not in FIGURES:
        raise bad("a goal", quote(goal.text), f"a figure that a plan can forecast: {', '.join(FIGURES)}")


def _seeds(settings: PlanSettings, number: int) -> list[int]:
    return seeds_from(first_seed(settings), number)


def _found(settings: PlanSettings, find: Find, scenario: Scenario, workers: Workers, progress: _Progress) -> Answer:
    """Search what `--find` asks for."""

    def plays(candidate: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
        return workers.plays(candidate, seeds, scale, progress.of(0))

    first = _seeds(settings, 1)[0]
    return Search(scenario, find, settings.goals, plays, first_seed=first, full=settings.full).answer()


def _cheapest(settings: PlanSettings, scenario: Scenario, workers: Workers, progress: _Progress) -> CheapestAnswer:
    """Search the cheapest mix."""

    def plays(candidate: Scenario, seeds: Sequence[int], scale: Scale) -> list[Play]:
        return workers.plays(candidate, seeds, scale, progress.of(0))

    kinds = [Kind(name, span.low, span.high) for name, span in settings.spans.items()]
    first = _seeds(settings, 1)[0]
    return Cheapest(scenario, kinds, settings.goals, plays, first_seed=first, full=settings.full).answer()


def _forecast(settings: PlanSettings, scenario: Scenario, workers: Workers, progress: _Progress) -> Forecast:
    """Play the seeds that were asked for, or as many as there is time for, and some without faults."""
    most = messages_max(scenario)
    scale = FULL if settings.full else scale_for(scenario, most)
    number = settings.seeds or (1 if settings.full and scenario.total > most else SEEDS_MIN)
    began_s = time.monotonic()
    plays = workers.plays(scenario, _seeds(settings, number), scale, progress.of(number))
    if settings.seeds is None:
        total = fitting(number, time.monotonic() - began_s)
        plays += workers.plays(scenario, _seeds(settings, total)[number:], scale, progress.of(total))
    calm: list[Play] = []
    if scenario.faults:
        some = _seeds(settings, min(CALM_SEEDS, len(plays)))
        calm = workers.plays(replace(scenario, faults=()), some, scale, progress.of(0))
    return Forecast(scenario, plays, scale, settings.goals, calm)


class _Progress:
    """A line on stderr about the plays so far, if stderr is a terminal and it takes long."""

    def __init__(self) -> None:
        self._played = 0
        self._began_s = time.monotonic()
        self._is_shown = False

    def of(self, total: int) -> Callable[[], None]:
        """Return what to call after each play of the next ones; `total`: of all, if known, or 0."""

        def told() -> None:
            self._played += 1
            if sys.stderr.isatty() and time.monotonic() - self._began_s > PROGRESS_AFTER_S:
                self._write(f"smssim plan: {self._played} plays" + f" of {total}" * (total >= self._played))

        return told

    def clear(self) -> None:
        """Remove the line."""
        if self._is_shown:
            self._write("")

    def _write(self, text: str) -> None:
        self._is_shown = True
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


@contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress()
    try:
        yield progress
    finally:
        progress.clear()


def _end_on_signals(workers: Workers) -> None:
    """Let a signal that ends this process end it and its workers at once."""

    def end(_: signal.Signals) -> NoReturn:  # in the signal thread
        workers.kill()
        os.write(2, b"\r\x1b[K" * sys.stderr.isatty() + b"smssim plan: interrupted\n")
        os._exit(ExitCode.INCOMPLETE)

    signals.handle(end)
