"""Scenario files: what is sent, by which senders, what goes wrong when, and what has to be achieved.

Knows the keys of a file, which are those of flags and of `--sender`, and reads each value with the rule of its flag.
Must not know which command reads the file. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from smssim.core.fault import Fault
from smssim.core.threshold import Threshold
from smssim.errors import UsageError, bad
from smssim.escaping import escape, quote
from smssim.settings.faults import EXTRA, FAULT_FLAGS, KINDS, SERVERS, mistake_in, setting_keys
from smssim.settings.flags import Flag, flags_of
from smssim.settings.monitor import MonitorSettings
from smssim.settings.producer import ProducerSettings
from smssim.settings.sender import SenderSettings
from smssim.settings.senders import SENDER_FLAGS, SENDER_KEYS, about_keys, check_senders, sender_of
from smssim.settings.shared import AccessSettings
from smssim.settings.yaml_file import Entry, read_yaml
from smssim.words import listed

SECTIONS: Final = ("messages", "senders", "faults", "goals")
SCENARIO_EXPECTED: Final = "a scenario file (YAML)"

MESSAGE_FLAGS: Final[Mapping[str, Flag]] = {  # all flags of a producer that determine its run
    setting: flag
    for setting, flag in flags_of(ProducerSettings).items()
    if flag.in_run and setting not in flags_of(AccessSettings)
}
MESSAGE_KEYS: Final = {flag.word: setting for setting, flag in MESSAGE_FLAGS.items()}
SENDER_NAME: Final = flags_of(SenderSettings)["name"]
SENDER_FILE_KEYS: Final = {word: setting for word, setting in SENDER_KEYS.items() if setting != "name"}
GOAL: Final = flags_of(MonitorSettings)["threshold"]

Made = TypeVar("Made")


@dataclass(frozen=True)
class ScenarioFile:
    """What a scenario file says. A section that it does not have is empty."""

    messages: Mapping[str, Any] = field(default_factory=dict)  # by setting of the producer
    senders: tuple[SenderSettings, ...] = ()
    faults: tuple[Fault, ...] = ()
    goals: tuple[Threshold, ...] = ()
    fault_entries: tuple[Entry, ...] = ()  # where each fault stands

    def check_faults(self, senders: Sequence[SenderSettings]) -> None:
        """Raise UsageError unless all faults of a run with these senders can be carried out."""
        wrong = mistake_in(self.faults, senders)
        if wrong is not None:
            raise self.fault_entries[wrong.index].member(wrong.key).refuse(wrong.expected, wrong.near)


def read_scenario(path: str, label: str = "SCENARIO") -> ScenarioFile:
    """Read a scenario file. Raises UsageError, with one line that names file, line and key.

    Does not check that faults strike senders of the run, which can come from flags: see `ScenarioFile.check_faults`.
    """
    expected = f"a map of {listed(SECTIONS, 'or')}"
    whole = read_yaml(label, path, SCENARIO_EXPECTED)
    if whole is None:
        raise bad(escape(path), "an empty file", expected)
    sections = whole.members(expected)
    if not sections:
        raise whole.refuse(expected)
    for key, entry in sections.items():
        if key not in SECTIONS:
            raise _unknown(entry, key, SECTIONS)
    faults = tuple(map(_fault, _items(sections, "faults", "a list of faults, such as {at: 5s, kill: NAME, for: 2s}")))
    return ScenarioFile(
        _messages(sections["messages"]) if "messages" in sections else {},
        _senders(sections["senders"]) if "senders" in sections else (),
        faults,
        tuple(_read(GOAL, entry) for entry in _items(sections, "goals", "a list of goals, such as [t95<60s]")),
        _items(sections, "faults", ""),
    )


def _items(sections: Mapping[str, Entry], section: str, expected: str) -> tuple[Entry, ...]:
    return sections[section].items(expected) if section in sections else ()


def _messages(section: Entry) -> dict[str, Any]:
    given = _values(section, MESSAGE_KEYS, MESSAGE_FLAGS, f"a map with keys such as {listed([*MESSAGE_KEYS][:3])}")
    _checked(section, lambda: ProducerSettings(**given))
    return given


def _senders(section: Entry) -> tuple[SenderSettings, ...]:
    expected = "a map of senders by name, such as {city: {mean: 50ms, fail: 10%}}"
    named = section.members(expected)
    if not named:
        raise section.refuse(expected)
    senders = tuple(_sender(name, entry) for name, entry in named.items())
    check_senders(senders, section.place)
    return senders


def _sender(name: str, entry: Entry) -> SenderSettings:
    if not name or name in SERVERS or not SENDER_NAME.rule.holds(name):
        expected = f"a name other than {listed(SERVERS)}: {SENDER_NAME.rule.expected}"
        raise bad(entry.place, quote(name), expected)
    given = _values(entry, SENDER_FILE_KEYS, SENDER_FLAGS, "a map with the keys of a sender, such as {mean: 50ms}")
    return _checked(entry, lambda: sender_of(given, name))


def _fault(entry: Entry) -> Fault:
    members = entry.members("a map, such as {at: 5s, kill: NAME, for: 2s}")
    kinds = [kind for kind in KINDS if kind in members]
    known = {key: None for kind in kinds or KINDS for key in (*setting_keys(kind), kind)}
    for key, member in members.items():
        if key not in known and key not in KINDS:
            raise _unknown(member, key, known)
    if len(kinds) != 1:
        shown = " and ".join(kinds) or "no kind of fault"
        raise bad(entry.place, shown, f"one of {listed([*KINDS], 'or')}")
    kind = kinds[0]
    settings = setting_keys(kind)
    given = {setting: _read(FAULT_FLAGS[setting], members[key]) for key, setting in settings.items() if key in members}
    for setting in filter(None, ("at_s", EXTRA.get(kind))):
        if setting not in given:
            raise entry.member(FAULT_FLAGS[setting].word).refuse(FAULT_FLAGS[setting].rule.expected)
    return Fault(kind=kind, target=members[kind].text("the name of a node"), **given)


# ---- Values


def _values(entry: Entry, keys: Mapping[str, str], flags: Mapping[str, Flag], expected: str) -> dict[str, Any]:
    """Return the values of a map by setting, each read by the rule of its flag."""
    given: dict[str, Any] = {}
    for key, member in entry.members(expected).items():
        setting = keys.get(key.replace("_", "-"))
        if setting is None:
            raise _unknown(member, key, keys)
        if setting in given:
            raise bad(member.place, "this key again", f"either {key.replace('_', '-')} or {key.replace('-', '_')}")
        given[setting] = _read(flags[setting], member)
    return given


def _read(flag: Flag, entry: Entry) -> Any:
    return flag.read(entry.text(flag.rule.expected), entry.place)


def _checked(entry: Entry, make: Callable[[], Made]) -> Made:
    """Return what `make` returns. Its UsageError, about a combination of values, gets the place of the first one."""
    try:
        return make()
    except UsageError as error:
        said = about_keys(error)
        members = entry.members("")
        key = said.partition(":")[0]
        line = next((one for word, one in members.items() if word.replace("_", "-") == key), entry).line
        raise UsageError(f"{entry.file}: line {line}: {entry.key}.{said}") from error


def _unknown(entry: Entry, key: str, keys: Mapping[str, Any] | Sequence[str]) -> UsageError:
    near = get_close_matches(key.lower().replace("_", "-"), keys, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UsageError(f"{entry.place}: unknown key; expected one of {', '.join(keys)}{hint}")
