"""The progress of runs as a curve: an SVG picture that needs neither styles nor scripts.

Knows shares over time. Must not know documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from smssim.outputs.report.markup import Content, Html, joined, short, tag
from smssim.words import clock, moment

WIDTH: Final = 760
HEIGHT: Final = 340
LEFT: Final = 52  # of the plotting area
RIGHT: Final = 14
TOP: Final = 26
BOTTOM: Final = 44
COLOURS: Final = (  # of several curves, told apart by their dashes too; dark enough on white
    *("#0b5cad", "#b3400a", "#1f7a3d", "#7a2a8c", "#8a6d00", "#00707a", "#a3123f", "#444444"),
)
DASHES: Final = (None, "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 2", "9 3 2 3 2 3")
_GRID: Final = "#d4d4d4"
_INK: Final = "#222222"
_STEPS: Final = (1, 2, 5)
_LONG_S: Final = (*(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800), *(3600 * n for n in (1, 2, 4, 6, 12, 24)))
_TICKS: Final = 9  # labels on the time axis, at most
_APART: Final = 3  # the least distance between two events ...
_NAMED: Final = 14  # ... and between two with a number


@dataclass(frozen=True, slots=True)
class Line:
    """The share of all messages that was sent, over time: columns of shape (n,)."""

    times_s: Sequence[float]
    shares: Sequence[float]
    is_rough: bool = False  # only a few points are known
    gaps: Sequence[tuple[float, float]] = ()  # times without a record: the line is broken there
    number: int = 0  # from 1, if there are several


@dataclass(frozen=True, slots=True)
class Band:
    """The range in which a plan expects the share, and its median."""

    times_s: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    median: Sequence[float]
    number: int = 0  # from 1, if there are several


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn."""

    title: str
    description: str
    end_s: float
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    marks: Sequence[tuple[float, float, str]] = ()  # time, share, label: when shares were reached
    goals: Sequence[tuple[float, str]] = ()  # deadlines
    stalls: Sequence[tuple[float, float]] = ()
    events: Sequence[tuple[float, str]] = field(default=())  # time and text, numbered from 1


def svg(picture: Picture) -> Html:
    """Return the picture."""
    x, parts = _Scale(picture.end_s), []
    parts.append(tag("rect", x=0, y=0, width=WIDTH, height=HEIGHT, fill="#ffffff"))
    parts += [_stretch(x, *stall, fill="#f3d9d3", label="nothing finished") for stall in picture.stalls]
    parts += [
        _stretch(x, *gap, fill="#e4e4e4", label="no record: the monitor was away")
        for line in picture.lines
        for gap in line.gaps
    ]
    parts += _axes(x)
    for band in picture.bands:
        parts += _band(x, band, COLOURS[-1] if not band.number else _colour(band.number))
    parts += [_goal(x, at_s, text) for at_s, text in picture.goals if at_s <= picture.end_s]
    parts += _events(x, picture.events)
    for line in picture.lines:
        parts += _line(x, line, _colour(line.number), DASHES[max(0, line.number - 1) % len(DASHES)])
    parts += [_mark(x, *mark) for mark in picture.marks]
    return tag(
        "svg",
        tag("title", picture.title),
        tag("desc", picture.description),
        [(part, Html("\n")) for part in parts],  # so that a text browser shows the labels apart
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        font_family="sans-serif",
        font_size=12,
    )


class _Scale:
    """Places times on the picture."""

    def __init__(self, end_s: float) -> None:
        self.end_s = end_s if end_s > 0 else 1.0

    def __call__(self, time_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * max(0.0, min(1.0, time_s / self.end_s))

    def ticks(self) -> list[tuple[float, str]]:
        """Return round times and their labels."""
        least_s = self.end_s / _TICKS
        fine = (step * 10.0**power for power in range(-9, 0) for step in _STEPS)
        days = (step * 86400 * 10.0**power for power in range(15) for step in _STEPS)
        step_s = next((step for step in (*fine, *_LONG_S, *days) if step >= least_s), self.end_s)
        return [(i * step_s, _tick(i * step_s)) for i in range(int(self.end_s / step_s + 1e-9) + 1)]


def _tick(time_s: float) -> str:
    if 1 <= time_s < 100 and time_s == round(time_s):
        return f"{time_s:.0f} s"
    return "0" if not time_s else moment(time_s) if time_s < 100 else clock(time_s)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(0.0, min(1.0, share))


def _text(x: float, y: float, *content: Content, anchor: str = "middle", fill: str = _INK) -> Html:
    return tag("text", *content, x=x, y=y, text_anchor=anchor, fill=fill)


def _axes(x: _Scale) -> list[Html]:
    parts = []
    for percent in (0, 20, 40, 60, 80, 100):
        y = _y(percent / 100)
        parts.append(tag("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, stroke=_GRID if percent else _INK))
        parts.append(_text(LEFT - 6, y + 4, f"{percent}%", anchor="end"))
    for at_s, label in x.ticks():
        parts.append(tag("line", x1=x(at_s), y1=_y(0), x2=x(at_s), y2=_y(0) + 5, stroke=_INK))
        parts.append(_text(min(x(at_s), WIDTH - RIGHT - 12), _y(0) + 19, label))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "time since the start of the run"))
    return parts


def _stretch(x: _Scale, from_s: float, to_s: float, fill: str, label: str) -> Html:
    left, right = x(from_s), x(to_s)
    says = tag("title", f"{label}, {moment(from_s)} to {moment(to_s)}")
    return tag("rect", says, x=left, y=TOP, width=max(1.0, right - left), height=_y(0) - TOP, fill=fill)


def _points(x: _Scale, times_s: Sequence[float], shares: Sequence[float]) -> list[str]:
    """Return the points of a line: the first one, and the last one in each step of a pixel."""
    kept: dict[int, str] = {}
    for number, (time_s, share) in enumerate(zip(times_s, shares, strict=True)):
        at = x(time_s)
        kept[int(at) if number else -1] = f"{short(at)},{short(_y(share))}"
    return list(kept.values())


def _line(x: _Scale, line: Line, colour: str, dash: str | None) -> list[Html]:
    pieces: list[list[tuple[float, float]]] = [[]]
    gaps = list(line.gaps)
    before_s = None
    for time_s, share in zip(line.times_s, line.shares, strict=True):
        if before_s is not None and any(from_s < time_s and to_s > before_s for from_s, to_s in gaps):
            pieces.append([])
        pieces[-1].append((time_s, share))
        before_s = time_s
    drawn = []
    for piece in pieces:
        if piece:
            points = _points(x, [time_s for time_s, _ in piece], [share for _, share in piece])
            drawn.append(_polyline(points, colour, 2.5, "3 4" if line.is_rough else dash))
    if line.number and line.times_s:
        drawn.append(_number(x, line.times_s, line.shares, line.number, colour))
    if line.is_rough:
        drawn += [
            tag("circle", cx=x(time_s), cy=_y(share), r=3, fill=colour)
            for time_s, share in zip(line.times_s, line.shares, strict=True)
        ]
    return drawn


def _band(x: _Scale, band: Band, colour: str) -> list[Html]:
    up, down = _points(x, band.times_s, band.high), _points(x, band.times_s, band.low)
    area = tag("polygon", points=" ".join([*up, *reversed(down)]), fill=colour, fill_opacity="0.16")
    median = _polyline(_points(x, band.times_s, band.median), colour, 1.5, "6 4")
    numbers = [_number(x, band.times_s, band.median, band.number, colour)] if band.number else []
    return [area, median, *numbers]


def _polyline(points: Sequence[str], colour: str, width: float, dash: str | None) -> Html:
    return tag(
        "polyline",
        points=" ".join(points),
        fill="none",
        stroke=colour,
        stroke_width=width,
        stroke_linejoin="round",
        stroke_dasharray=dash,
    )


def _number(x: _Scale, times_s: Sequence[float], shares: Sequence[float], number: int, colour: str) -> Html:
    """Return the number of a line or a band, somewhere in its middle: at their ends, lines often meet."""
    share = (0.35 + 0.05 * number) * shares[-1]
    after = next((i for i, one in enumerate(shares) if one >= share), len(shares) - 1)
    before = max(0, after - 1)
    part = (share - shares[before]) / ((shares[after] - shares[before]) or 1.0)
    at_s = times_s[before] + part * (times_s[after] - times_s[before])
    return _text(x(at_s) + 8, _y(share) + 12, number, anchor="start", fill=colour)


def _mark(x: _Scale, at_s: float, share: float, label: str) -> Html:
    is_late = x(at_s) > WIDTH - 150
    away = (-8, 15, "end") if is_late else (8, 14, "start")
    return joined(
        [
            tag("circle", tag("title", label), cx=x(at_s), cy=_y(share), r=4, fill="#ffffff", stroke=_INK),
            _text(x(at_s) + away[0], _y(share) + away[1], label, anchor=away[2]),
        ]
    )


def _goal(x: _Scale, at_s: float, text: str) -> Html:
    at = x(at_s)
    return joined(
        [
            tag("line", x1=at, y1=TOP, x2=at, y2=_y(0), stroke="#8a1538", stroke_dasharray="8 3"),
            _text(at - 4 if at > WIDTH / 2 else at + 4, TOP + 12, text, anchor="end" if at > WIDTH / 2 else "start"),
        ]
    )


def _events(x: _Scale, events: Sequence[tuple[float, str]]) -> list[Html]:
    """Return a line for each event, with its number where there is room."""
    drawn: list[Html] = []
    named, before = -float(WIDTH), -float(WIDTH)
    for number, (at_s, text) in enumerate(events, 1):
        at = x(at_s)
        if at - before >= _APART:
            before = at
            drawn.append(tag("line", tag("title", text), x1=at, y1=TOP, x2=at, y2=_y(0), stroke="#777777"))
        if at - named >= _NAMED:
            named = at
            drawn.append(_text(at, TOP - 8, number))
    return drawn


def _colour(number: int) -> str:
    return COLOURS[max(0, number - 1) % len(COLOURS)]
