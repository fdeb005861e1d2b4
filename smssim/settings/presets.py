"""Presets: what `--preset NAME` stands for, read from `smssim/presets.yaml` and checked as a whole.

Knows the form of that file, and the flags whose values it has. Loaded only when a preset is used or shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from smssim.errors import UsageError
from smssim.settings.flags import Flag, flags_of
from smssim.settings.sender import SenderSettings
from smssim.settings.yaml_file import Entry, read_yaml

FILE: Final = Path(__file__).parent.parent / "presets.yaml"
CURRENCIES: Final = ("USD", "GBP", "EUR")
SETTINGS: Final = (  # that a preset may have, in the order in which they are shown
    *("limit_per_s", "burst", "concurrency", "mean_s", "std_s", "distribution", "max_time_s", "fail"),
    *("price", "price_failed"),
)
_FLAGS: Final[Mapping[str, Flag]] = {flag.word: flag for flag in map(flags_of(SenderSettings).__getitem__, SETTINGS)}
_SETTING_OF: Final = dict(zip(_FLAGS, SETTINGS, strict=True))
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_DATE: Final = re.compile(r"20[0-9]{2}(-(0[1-9]|1[0-2])(-[0-3][0-9])?)?")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from."""

    name: str
    address: str
    date: str  # of the source or, if it has none, when a copy of it was read


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a preset."""

    value: Any  # of the setting
    source: Source | None
    is_assumed: bool  # it is our assumption, or follows from the source and one


@dataclass(frozen=True, slots=True)
class Preset:
    """A way to send, as it really is."""

    name: str
    title: str
    scope: str  # what the limit is for
    currency: str  # of the prices; empty if it has none
    also: tuple[str, ...]  # what is not modelled, and what else to know
    values: Mapping[str, Value]  # by setting, in the order of SETTINGS

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a sender that it stands for."""
        return {setting: one.value for setting, one in self.values.items()}


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, in the order of the file. Raises UsageError if the file is not as it should be."""
    return read_presets(str(FILE))


# ---- The file


def read_presets(path: str) -> dict[str, Preset]:
    """Read a file of presets. Raises UsageError, with one line that names file, line and key."""
    whole = read_yaml("presets", path, "a file of presets")
    if whole is None:
        raise UsageError(f"{path}: an empty file")
    sections = _members(whole, ("sources", "shared", "presets"))
    sources = {name: _source(entry) for name, entry in sections["sources"].members("a map of sources").items()}
    used: set[str] = set()
    shared = _values(sections["shared"], sources, used)
    made = {
        name: _preset(name, entry, shared, sources, used)
        for name, entry in sections["presets"].members("a map of presets").items()
    }
    for name in sources.keys() - used:
        raise sections["sources"].member(name).refuse("a source that a value names")
    return made


def _members(entry: Entry, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> Mapping[str, Entry]:
    """Return the members of a map that has exactly these keys."""
    members = entry.members(f"a map with {', '.join(needed)}")
    for key, member in members.items():
        if key not in (*needed, *optional):
            raise UsageError(f"{member.place}: unknown key; expected one of {', '.join((*needed, *optional))}")
    for key in needed:
        if key not in members:
            raise entry.member(key).refuse("a value")
    return members


def _text(entry: Entry, pattern: re.Pattern[str] | None = None) -> str:
    expected = "a line of text" if pattern is None else f"text like {pattern.pattern}"
    text = entry.text(expected)
    if not (text.isprintable() and text.strip() == text and text) or (pattern and not pattern.fullmatch(text)):
        raise entry.refuse(expected)
    return text


def _source(entry: Entry) -> Source:
    members = _members(entry, ("name", "address", "date"))
    return Source(_text(members["name"]), _text(members["address"]), _text(members["date"], _DATE))


def _preset(
    name: str, entry: Entry, shared: Mapping[str, Value], sources: Mapping[str, Source], used: set[str]
) -> Preset:
    if not _NAME.fullmatch(name):
        raise entry.refuse(f"a name like {_NAME.pattern}")
    members = _members(entry, ("title", "scope", "values"), ("currency", "also"))
    values = {**shared, **_values(members["values"], sources, used)}
    currency = _text(members["currency"]) if "currency" in members else ""
    if currency and currency not in CURRENCIES:
        raise members["currency"].refuse(f"one of {', '.join(CURRENCIES)}")
    if bool(currency) != ("price" in values):
        raise entry.member("currency").refuse("a currency with a price, and no currency without")
    also = tuple(map(_text, members["also"].items("a list of texts"))) if "also" in members else ()
    ordered: dict[str, Value] = {name: values[name] for name in SETTINGS if name in values}
    made = Preset(name, _text(members["title"]), _text(members["scope"]), currency, also, ordered)
    try:
        SenderSettings(**made.settings)
    except UsageError as error:  # about a combination of values
        raise UsageError(f"{members['values'].place}: {error}") from error
    return made


def _values(entry: Entry, sources: Mapping[str, Source], used: set[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for word, one in entry.members("a map of values").items():
        if word not in _FLAGS:
            raise UsageError(f"{one.place}: unknown key; expected one of {', '.join(_FLAGS)}")
        members = _members(one, ("value",), ("source", "assumed"))
        flag = _FLAGS[word]
        value = flag.read(members["value"].text(flag.rule.expected), members["value"].place)
        source = _text(members["source"]) if "source" in members else None
        if source is not None and source not in sources:
            raise members["source"].refuse(f"one of {', '.join(sources)}")
        is_assumed = "assumed" in members
        if is_assumed and members["assumed"].shown != "true":
            raise members["assumed"].refuse("true, or no such key")
        if source is None and not is_assumed:
            raise one.member("source").refuse("a source, or assumed: true")
        if source is not None:
            used.add(source)
        found[_SETTING_OF[word]] = Value(value, None if source is None else sources[source], is_assumed)
    return found
