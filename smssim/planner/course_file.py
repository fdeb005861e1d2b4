"""The course of a planned run as a CSV file. Knows forecasts and files."""

from __future__ import annotations

import csv
from typing import Final

from smssim.errors import bad_file
from smssim.plan.forecast import Forecast

ROWS: Final = 401
COLUMNS: Final = (
    "elapsed_s",
    *(f"{outcome}_{part}" for outcome in ("sent", "failed") for part in ("median", "low", "high")),
)


def rows(forecast: Forecast) -> list[list[str]]:
    """Return the rows: times in seconds and numbers of messages."""
    times_s, course = forecast.course(ROWS)
    numbers = course.reshape(len(times_s), -1)
    return [
        [f"{time_s:.6g}", *(f"{number:.10g}" for number in row)] for time_s, row in zip(times_s, numbers, strict=True)
    ]


def write(path: str, forecast: Forecast) -> None:
    """Write the file. Raises UsageError."""
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows(forecast)])
    except OSError as error:
        raise bad_file("--csv", path, "a file that can be written", error) from error
