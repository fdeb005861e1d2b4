"""`smssim presets`: shows what `--preset` can name, with the source of each value.

Knows presets and plain text.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from smssim.outputs.terminal.table import Column, Elastic, Table, joined
from smssim.process import terminal
from smssim.settings import PresetsSettings, flags_of
from smssim.settings.presets import SETTINGS, Preset, Value, presets
from smssim.settings.sender import SenderSettings
from smssim.words import count, setting_s

WIDTH: Final = 80  # of prose, if the width of the screen is unknown
WIDTH_MAX: Final = 120
ASSUMED: Final = "*"
LEGEND: Final = (
    f"{ASSUMED} assumed, or follows from its source and an assumption",
    "limit and burst: SMS segments, for each copy of the sender; price: of each segment; source: of the limit",
    "caps, queues and rents are not modelled",
)
_HEAD: Final = 14  # width of the first column of details


def serve(settings: PresetsSettings) -> int:
    """Print the presets, or one of them, and return the exit code."""
    wanted = [one for one in presets().values() if settings.name in (None, one.name)]
    width = terminal.screen_width()
    if settings.json:
        objects = list(map(as_dict, wanted))
        terminal.print_lines(json.dumps(objects if settings.name is None else objects[0]))
    else:
        terminal.print_lines(*(overview(wanted, width) if settings.name is None else details(wanted[0], width)))
    return 0


def as_dict(preset: Preset) -> dict[str, Any]:
    """Return a preset for JSON; its values are by key of a sender."""
    values = {}
    for setting, one in preset.values.items():
        source = one.source
        origin = {
            "source": source and source.name,
            "address": source and source.address,
            "date": source and source.date,
        }
        values[_word(setting)] = {"value": one.value, **origin, "assumed": one.is_assumed}
    return {
        "name": preset.name,
        "title": preset.title,
        "scope": preset.scope,
        "currency": preset.currency or None,
        "also": list(preset.also),
        "values": values,
    }


def overview(wanted: list[Preset], width: int | None = None) -> list[str]:
    """Return a table of presets, for a screen of this width, and what else to know about each."""
    lines = [joined(pieces).rstrip() for pieces in _table().lines(wanted, width)]
    lines += ["", *(line for text in LEGEND for line in _wrapped(text, width)), ""]
    for one in wanted:
        also = f" Also: {'; '.join(one.also)}." if one.also else ""
        lines += _wrapped(f"{one.name}: {one.title}. The limit is for {one.scope}.{also}", width, "  ")
    return lines


def details(preset: Preset, width: int | None = None) -> list[str]:
    """Return what one preset stands for, with the source of each value."""
    lines = [f"{preset.name}: {preset.title}", "", *_row("limit for", preset.scope, width)]
    for one in preset.also:
        lines += _row("also", one, width)
    lines.append("")
    for setting in SETTINGS:
        if setting in preset.values:
            lines += _value(preset, setting, width)
    return [*lines, "", *_row("to use it", f"smssim run --sender preset={preset.name},copies=2", None)]


def _value(preset: Preset, setting: str, width: int | None) -> Iterator[str]:
    """Yield a line with a value and where it comes from, and one with the address."""
    one = preset.values[setting]
    source = one.source
    origin = "assumed" if source is None else f"{source.name}, {source.date}" + "; in part assumed" * one.is_assumed
    yield from _row(_word(setting), f"{_SHOWN[setting](one.value, preset):<12} {origin}", width)
    if source is not None:
        yield f"{'':{_HEAD}}{source.address}"


def _table() -> Table[Preset]:
    def cell(setting: str) -> Callable[[Preset], str]:
        return lambda one: _marked(one, setting)

    def origin(part: str) -> Callable[[Preset], str]:
        return lambda one: getattr(one.values["limit_per_s"].source, part, "")

    return Table(
        [
            Column("preset", lambda one: one.name, is_left=True),
            Column("limit", cell("limit_per_s")),
            Column("burst", cell("burst"), gives_way=4),
            Column("lanes", cell("concurrency"), gives_way=3),
            Column("mean", cell("mean_s"), gives_way=5),
            Column("fail", cell("fail"), gives_way=6),
            Column("price", cell("price")),
            Column("source", origin("name"), is_left=True, gives_way=2, elastic=Elastic(12, 12, 60)),
            Column("date", origin("date"), is_left=True, gives_way=1),
        ],
        grows=True,
    )


def _marked(preset: Preset, setting: str) -> str:
    """Return a value as a cell, with room for the mark, so that numbers are aligned."""
    one: Value | None = preset.values.get(setting)
    if one is None:
        return "- "
    return _SHOWN[setting](one.value, preset) + (ASSUMED if one.is_assumed else " ")


_SHOWN: Final[dict[str, Callable[[Any, Preset], str]]] = {
    "limit_per_s": lambda value, _: f"{value:,.10g}/s",
    "burst": lambda value, _: count(value),
    "concurrency": lambda value, _: count(value),
    "mean_s": lambda value, _: setting_s(value),
    "std_s": lambda value, _: setting_s(value),
    "distribution": lambda value, _: value,
    "max_time_s": lambda value, _: setting_s(value),
    "fail": lambda value, _: f"{100 * value:.4g}%",
    "price": lambda value, preset: f"{value:.10g} {preset.currency}",
    "price_failed": lambda value, preset: f"{value:.10g} {preset.currency}",
}


def _word(setting: str) -> str:
    return flags_of(SenderSettings)[setting].word


def _row(head: str, text: str, width: int | None) -> list[str]:
    room = None if width is None else max(20, min(width, WIDTH_MAX) - 1 - _HEAD)
    parts = [text] if room is None else textwrap.wrap(text, room, break_on_hyphens=False)
    return [f"{'' if i else head:<{_HEAD}}{part}" for i, part in enumerate(parts)]


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    room = max(20, min(width or WIDTH, WIDTH_MAX) - 1)
    return textwrap.wrap(text, room, subsequent_indent=indent, break_on_hyphens=False)
