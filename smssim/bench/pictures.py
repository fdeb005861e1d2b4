"""The pictures of the scaling study.

Knows samples and matplotlib. No other module imports matplotlib, because it is an extra. The colours are from Okabe and
Ito's palette for all kinds of colour vision; markers and dashes distinguish the series too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from smssim.bench.machine import in_words
from smssim.bench.scaling import BASELINE, SMSSIM, Sample

SIZE_INCHES: Final = (9.0, 5.6)
DPI: Final = 150
INK: Final = "#222222"
FAINT: Final = "#767676"
GRID: Final = "#e4e4e4"

SERIES: Final = (  # program, mean, label, colour, marker, dashes
    (SMSSIM, 0.01, "smssim, mean 10 ms", "#0072B2", "o", "-"),
    (SMSSIM, 1.0, "smssim, mean 1 s", "#0072B2", "s", "--"),
    (BASELINE, 0.01, "asyncio baseline, mean 10 ms", "#D55E00", "^", "-"),
    (BASELINE, 1.0, "asyncio baseline, mean 1 s", "#D55E00", "v", "--"),
)
LANDMARKS: Final = (
    (60.0, "1 minute"),
    (3600.0, "1 hour"),
    (86_400.0, "1 day"),
    (30 * 86_400.0, "1 month"),
    (365.25 * 86_400.0, "1 year"),
    (10 * 365.25 * 86_400.0, "10 years"),
)


def draw(samples: Sequence[Sample], facts: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures and their numbers into a folder. Return the paths of the files."""
    numbers = folder / "scaling.json"
    numbers.write_text(
        json.dumps({"machine": facts, "samples": [sample.as_dict() for sample in samples]}, indent=1) + "\n",
        encoding="utf-8",
    )
    caption = in_words(facts)
    return [
        numbers,
        _save(folder / "throughput.png", _throughput(samples), caption),
        _save(folder / "efficiency.png", _efficiency(samples), caption),
        _save(folder / "everyone.png", _everyone(samples), caption),
    ]


def _throughput(samples: Sequence[Sample]) -> Figure:
    figure, axes = _axes(
        "Throughput against concurrency",
        "each message is generated with its text, delivered, sent, reported, recorded and settled",
        "messages per second",
    )
    lanes = [1, max(sample.setting.lanes for sample in samples)]
    for mean_s in sorted({sample.setting.mean_s for sample in samples}):
        axes.plot(lanes, [n / mean_s for n in lanes], color=FAINT, linewidth=1.2, linestyle=":", zorder=1)
    axes.plot([], [], color=FAINT, linewidth=1.2, linestyle=":", label="concurrency / mean")
    _series(axes, samples, lambda sample: sample.rate_per_s)
    for best in _bests(samples):
        _note(axes, best, best.rate_per_s, f"{_rounded(best.rate_per_s)}/s", above=False)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 1e8)
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    _legend(axes, "upper left")
    return figure


def _efficiency(samples: Sequence[Sample]) -> Figure:
    figure, axes = _axes(
        "Efficiency against concurrency",
        "throughput as a share of concurrency / mean, the most that the lanes can send",
        "share of concurrency / mean",
    )
    _series(axes, samples, lambda sample: sample.share)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _legend(axes, "lower left")
    return figure


def _everyone(samples: Sequence[Sample]) -> Figure:
    figure, axes = _axes(
        "Time to message everyone in the US against concurrency",
        "340 million messages at the measured throughput",
        "time to send all messages",
    )
    _series(axes, samples, lambda sample: sample.everyone_s)
    for best in _bests(samples):
        _note(axes, best, best.everyone_s, _time(best.everyone_s), above=best.setting.program == BASELINE)
    axes.set_yscale("log")
    axes.set_ylim(5, 2e9)
    axes.set_yticks([at for at, _ in LANDMARKS], [name for _, name in LANDMARKS])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)
    _legend(axes, "upper right")
    return figure


def _axes(title: str, subtitle: str, unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.115, 0.185, 0.86, 0.66))
    figure.text(0.02, 0.945, title, fontsize=15, fontweight="bold", color=INK)
    figure.text(0.02, 0.895, subtitle, fontsize=10, color=FAINT)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 3e6)
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.set_xlabel("concurrency: messages being sent at the same time (lanes)", color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, which="both")
    return figure, axes


def _series(axes: Axes, samples: Sequence[Sample], value: Callable[[Sample], float]) -> None:
    for program, mean_s, label, color, marker, dashes in SERIES:
        mine = [s for s in samples if s.setting.program == program and s.setting.mean_s == mean_s]
        mine.sort(key=lambda sample: sample.setting.lanes)
        axes.plot(
            [sample.setting.lanes for sample in mine],
            [value(sample) for sample in mine],
            label=label,
            color=color,
            marker=marker,
            markersize=6,
            markerfacecolor=color if dashes == "-" else "white",
            linestyle=dashes,
            linewidth=2,
            clip_on=False,
            zorder=3,
        )


def _bests(samples: Sequence[Sample]) -> list[Sample]:
    """Return the sample with the highest throughput of each program."""
    programs = sorted({sample.setting.program for sample in samples})
    return [max((s for s in samples if s.setting.program == p), key=lambda s: s.rate_per_s) for p in programs]


def _note(axes: Axes, sample: Sample, value: float, text: str, above: bool) -> None:
    color = next(color for program, _, _, color, _, _ in SERIES if program == sample.setting.program)
    axes.annotate(
        text,
        (sample.setting.lanes, value),
        xytext=(0, 9 if above else -9),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        color=color,
        fontsize=11,
        fontweight="bold",
    )


def _legend(axes: Axes, where: Literal["upper left", "upper right", "lower left"]) -> None:
    axes.legend(loc=where, frameon=True, framealpha=0.9, edgecolor="none", labelcolor=INK, fontsize=10)


def _short(value: float, _position: object = None) -> str:
    """Return a number in short form: 1, 10, 1k, 10k, 1M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _rounded(value: float) -> str:
    """Return a number in short form, rounded to three digits: 3.21M."""
    return _short(float(f"{value:.3g}"))


def _time(time_s: float) -> str:
    """Return a time in a suitable unit."""
    for unit_s, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if time_s >= unit_s:
            return f"{time_s / unit_s:.3g} {name}"
    return f"{time_s:.3g} s"


def _save(path: Path, figure: Figure, caption: str) -> Path:
    figure.text(0.02, 0.025, f"measured by smssim bench on {caption}", fontsize=7.5, color=FAINT)
    figure.savefig(path)
    return path
