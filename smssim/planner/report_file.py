"""The report of a plan as a file. Knows forecasts, documents and files."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final

from smssim.core.progress import Milestones
from smssim.errors import bad_file
from smssim.outputs import atomic
from smssim.outputs.document import number, numbers
from smssim.outputs.report.inputs import plan_document
from smssim.outputs.report.page import report
from smssim.plan.forecast import Forecast
from smssim.plan.search.answer import Answer
from smssim.plan.search.cheapest_answer import CheapestAnswer
from smssim.plan.seeds import Spread
from smssim.planner.seeds import first_seed
from smssim.settings import PlanSettings

POINTS: Final = 201  # of the course


def write(
    path: str,
    settings: PlanSettings,
    forecast: Forecast,
    answer: Answer | None,
    mix: CheapestAnswer | None = None,
) -> None:
    """Write the file. Raises UsageError."""
    try:
        atomic.write(path, report([document(settings, forecast, answer, mix)]))
    except OSError as error:
        raise bad_file("--report", path, "a file that can be written", error) from error


def plan_object(
    settings: PlanSettings, forecast: Forecast, answer: Answer | None = None, mix: CheapestAnswer | None = None
) -> dict[str, Any]:
    """Return the object of `smssim plan --json`."""
    return forecast.as_dict(
        find=None if answer is None else answer.as_dict(),
        cheapest=None if mix is None else mix.as_dict(),
        encoding=settings.producer.encoding,
    )


def document(
    settings: PlanSettings, forecast: Forecast, answer: Answer | None = None, mix: CheapestAnswer | None = None
) -> dict[str, Any]:
    """Return the document of a plan."""
    seed = first_seed(settings)
    given = {"--seed": seed, "--seeds": len(forecast.plays)}  # how many seeds are played depends on the machine
    words = settings.command.split()
    command = settings.command + "".join(
        f" {flag} {value}" for flag, value in given.items() if not any(word.split("=")[0] == flag for word in words)
    )
    named = {"title": f"plan of {PurePath(settings.scenario).stem}"} if settings.scenario else {}
    return plan_document(
        plan_object(settings, forecast, answer, mix),
        course(forecast),
        command=command if words else "",
        seed=seed,
        max_attempts=settings.producer.max_attempts,
        unreachable_share=settings.producer.unreachable,
        segments=forecast.scenario.segments,
        **named,
    )


def course(forecast: Forecast) -> dict[str, Any]:
    """Return the course of a plan for a document: sent and failed messages over time, each with its range."""
    times_s, messages = forecast.course(POINTS)
    counts = messages.round().astype(int)
    columns = {
        f"{outcome}{part}": counts[:, kind, place].tolist()
        for kind, outcome in enumerate(("sent", "failed"))
        for place, part in enumerate(("", "_low", "_high"))
    }
    return {
        "times_s": numbers(times_s.tolist(), 7),
        **columns,
        "reached_s": {str(percent): _time(forecast.reached_s[percent]) for percent in Milestones.PERCENTS},
        "complete_s": _time(forecast.complete_s),
        "seeds": len(forecast.plays),
    }


def _time(spread: Spread) -> dict[str, float | None]:
    return {"low_s": number(spread.low), "median_s": number(spread.median), "high_s": number(spread.high)}
