"""A curve with its band, drawn in characters: braille dots, or ASCII where the terminal can't show them.

Knows shares over time, marks and characters. Must not know what the curve is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Piece = tuple[str, str]  # text and style
Line = list[Piece]

HEIGHT: Final = 9  # rows of characters
TICK_EVERY: Final = 12  # characters, at least, between two labels of the time axis
_AXIS: Final = 6  # width of the labels of the share axis
_DOTS: Final = ((0x40, 0x80), (0x04, 0x20), (0x02, 0x10), (0x01, 0x08))  # of a braille character, from the bottom up
_STEPS_S: Final = (  # between two labels
    *(mantissa * 10.0**power for power in range(-6, 1) for mantissa in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600),
    *(mantissa * 10.0**power * 86400 for power in range(3) for mantissa in (1, 2, 5)),
    *(mantissa * 10.0**power * 31557600 for power in range(12) for mantissa in (1, 2, 5)),
)
_UNITS: Final = ((31557600, "y"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"), (1e-3, "ms"), (1e-6, "us"))


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares from 0 to 1 at equally spaced times from 0 to `end_s`: columns of shape (n,)."""

    end_s: float
    median: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class _Look:
    """The characters to draw with. A character has `across` times `up` dots."""

    across: int
    up: int
    side: str
    corner: str
    floor: str
    tick: str


_BRAILLE: Final = _Look(2, 4, "│", "└", "─", "┴")
_ASCII: Final = _Look(1, 1, "|", "+", "-", "+")


def chart(curve: Curve, marks_s: Sequence[float], width: int, fine: bool = True) -> list[Line]:
    """Draw a curve `width` characters wide; `fine` with braille dots. The marks are numbered, from 1, on the axis."""
    look = _BRAILLE if fine else _ASCII
    room = max(2 * TICK_EVERY, width - _AXIS - 1)
    labels = {0: "100%", HEIGHT // 2: "50%", HEIGHT - 1: "0%"}
    lines: list[Line] = [
        [(f"{labels.get(row, ''):>{_AXIS - 1}} {look.side}", "head"), *cells]
        for row, cells in enumerate(_rows(curve, room, look))
    ]
    floor, ticks = [look.floor] * room, _ticks(curve.end_s, room)
    for column, _ in ticks:
        floor[column] = look.tick
    styles = ["head"] * room
    for number, at_s in enumerate(marks_s, 1):
        column = _column(at_s, curve.end_s, room)
        if column < room and number <= 9:
            floor[column], styles[column] = str(number), "mark"
    lines.append([(" " * _AXIS + look.corner, "head"), *_runs(floor, styles)])
    below = ""
    for column, text in ticks:
        start = max(0, min(column - len(text) // 2, room - len(text)))
        if start > len(below) or not below:
            below = below.ljust(start) + text
    lines.append([(" " * (_AXIS + 1) + below, "head")])
    return lines


def _rows(curve: Curve, room: int, look: _Look) -> list[Line]:
    """Return the rows of the curve, from the top down."""
    wide, high = room * look.across, HEIGHT * look.up
    at = np.linspace(0, 1, wide)
    given = np.linspace(0, 1, len(curve.median))

    def heights(shares: Floats) -> NDArray[np.int64]:
        return np.rint(np.clip(np.interp(at, given, shares), 0, 1) * (high - 1)).astype(np.int64)

    median, low, top = heights(curve.median), heights(curve.low), heights(curve.high)
    before = np.append(median[:1], median[:-1])
    rows = np.arange(high)[:, None]
    line = (rows >= np.minimum(median, before + (median > before))) & (rows <= median)
    band = (rows >= low) & (rows <= top) & ~line
    if look is _BRAILLE:
        band &= (rows + np.arange(wide)) % 2 == 0
    cells = [[_cell(line, band, row, column, look) for column in range(room)] for row in reversed(range(HEIGHT))]
    return [_runs([text for text, _ in row], [style for _, style in row]) for row in cells]


def _cell(line: NDArray[np.bool_], band: NDArray[np.bool_], row: int, column: int, look: _Look) -> Piece:
    """Return a character and its style: of the line if it passes here, else of the band."""
    part = np.s_[row * look.up : (row + 1) * look.up, column * look.across : (column + 1) * look.across]
    for dots, style, plain in ((line[part], "line", "*"), (band[part], "band", ":")):
        if dots.any():
            return (chr(0x2800 + int((np.array(_DOTS) * dots).sum())) if look is _BRAILLE else plain), style
    return " ", ""


def _runs(texts: Sequence[str], styles: Sequence[str]) -> Line:
    """Return characters as pieces: neighbours of one style together."""
    pairs = groupby(zip(texts, styles, strict=True), key=lambda pair: pair[1])
    return [("".join(text for text, _ in run), style) for style, run in pairs]


def _column(at_s: float, end_s: float, room: int) -> int:
    return round(at_s / end_s * (room - 1)) if end_s else 0


def _ticks(end_s: float, room: int) -> list[tuple[int, str]]:
    """Return the columns and labels of round times."""
    if not end_s:
        return [(0, "0 s")]
    least_s = end_s * TICK_EVERY / room
    step_s = next((step for step in _STEPS_S if step >= least_s), _STEPS_S[-1])
    size, unit = next((pair for pair in _UNITS if pair[0] <= step_s * (1 + 1e-9)), _UNITS[-1])
    number = int(end_s / step_s + 1e-9)
    return [
        (_column(i * step_s, end_s, room), f"{i * step_s / size:.10g} {unit}" if i else "0") for i in range(number + 1)
    ]
