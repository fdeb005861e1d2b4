"""The faults of a scenario: the keys that describe one, and which faults can't be carried out.

Knows the names of senders. Must not know where faults come from. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.limits import TIME_MAX_S
from smssim.errors import bad
from smssim.escaping import quote
from smssim.settings.flags import Flag
from smssim.settings.rules import seconds
from smssim.settings.sender import SenderSettings
from smssim.settings.sender_faults import FACTOR, SHARE
from smssim.settings.senders import sender_names
from smssim.settings.shared import ANY_TIME

SERVERS: Final = (PRODUCER, MONITOR)
SIGNALS: Final = (FaultKind.KILL, FaultKind.PAUSE)  # sent to processes; the others change what a sender draws

_NAMES_MAX: Final = 12  # names of senders in an error

KINDS: Final[Mapping[FaultKind, str]] = {
    FaultKind.KILL: "Kill this sender, the producer or the monitor (SIGKILL); with `for`, start it again after that",
    FaultKind.PAUSE: "Pause this sender, the producer or the monitor (SIGSTOP), for the time that `for` says",
    FaultKind.SLOW: "Make the attempts that this sender starts take `factor` times as long",
    FaultKind.FAIL: "Make the attempts that this sender starts fail with the probability `share`",
}


def _key(rule: Any, metavar: str, purpose: str, word: str) -> Flag:
    return Flag(rule, metavar, "", purpose, None, word=word)


# The settings of a fault, each with the declaration of its key.
FAULT_FLAGS: Final[Mapping[str, Flag]] = {
    "at_s": _key(ANY_TIME, "TIME", "When it strikes, in seconds since the first message was delivered", "at"),
    "for_s": _key(seconds(0.001, TIME_MAX_S), "TIME", "How long it lasts; without it, until the end of the run", "for"),
    "factor": _key(FACTOR, "NUMBER", "How many times as long attempts take", "factor"),
    "share": _key(SHARE, "SHARE", "Probability that an attempt fails", "share"),
}
EXTRA: Final[Mapping[FaultKind, str]] = {FaultKind.SLOW: "factor", FaultKind.FAIL: "share"}  # required by these kinds


def setting_keys(kind: FaultKind) -> dict[str, str]:
    """Return the keys of the settings of faults of a kind, each with its setting."""
    settings = ("at_s", "for_s", *filter(None, [EXTRA.get(kind)]))
    return {FAULT_FLAGS[setting].word: setting for setting in settings}


@dataclass(frozen=True, slots=True)
class Mistake:
    """The first reason why faults can't be carried out: the value of one key of one fault is wrong."""

    index: int  # of the fault
    key: str
    value: object  # None if the key is missing
    expected: str
    near: str | None = None  # what was perhaps meant


def mistake_in(faults: Sequence[Fault], senders: Sequence[SenderSettings]) -> Mistake | None:
    """Return what is wrong with the faults of a run with these senders; None if all can be carried out."""
    names = sender_names(senders)
    joins_s = dict(zip(names, (sender.joins_s for sender in senders), strict=True))
    for index, fault in enumerate(faults):
        wrong = _wrong_target(index, fault, names) or _wrong_time(index, fault, joins_s.get(fault.target, 0.0))
        wrong = wrong or next(filter(None, (_clash(index, fault, i, faults[i]) for i in range(index))), None)
        if wrong is not None:
            return wrong
    return None


def check_faults(faults: Sequence[Fault], senders: Sequence[SenderSettings]) -> None:
    """Raise UsageError unless all faults of a run with these senders can be carried out."""
    wrong = next(filter(None, map(_wrong_value, range(len(faults)), faults)), None) or mistake_in(faults, senders)
    if wrong is not None:
        shown = "no value" if wrong.value is None else quote(wrong.value)
        raise bad(f"faults[{wrong.index}].{wrong.key}", shown, wrong.expected, wrong.near)


def _wrong_value(index: int, fault: Fault) -> Mistake | None:
    for key, setting in setting_keys(fault.kind).items():
        value, rule = getattr(fault, setting), FAULT_FLAGS[setting].rule
        if value is not None and not rule.holds(value):
            return Mistake(index, key, value, rule.expected)
    return None


def _wrong_target(index: int, fault: Fault, names: Sequence[str]) -> Mistake | None:
    servers = SERVERS if fault.kind in SIGNALS else ()
    possible = [*names, *servers]
    if fault.target not in possible:
        near = get_close_matches(fault.target, possible, n=1)
        return Mistake(index, fault.kind, fault.target, targets(names, servers), *map(quote, near))
    if [*names, *SERVERS].count(fault.target) > 1:
        return Mistake(index, fault.kind, fault.target, "a name that only one node has")
    return None


def targets(names: Sequence[str], servers: Sequence[str] = ()) -> str:
    """Return what a fault may strike, in words."""
    shown = ", ".join([*map(quote, names[:_NAMES_MAX]), *(["..."] if len(names) > _NAMES_MAX else [])])
    return f"a sender ({shown})" + (", " + " or ".join(servers) if servers else "")


def _wrong_time(index: int, fault: Fault, joins_s: float) -> Mistake | None:
    if fault.kind not in SIGNALS:
        return None
    if fault.target in SERVERS and fault.for_s is None:
        back = "started again" if fault.kind is FaultKind.KILL else "continued"
        return Mistake(index, "for", None, f"the time after which the {fault.target} is {back}")
    if fault.at_s < joins_s:
        return Mistake(index, "at", fault.at_s, f"at least {joins_s:g} seconds, when {quote(fault.target)} joins")
    return None


def _clash(index: int, fault: Fault, other_index: int, other: Fault) -> Mistake | None:
    """Return what is wrong if two faults can't both strike their node; `other` stands before `fault`."""
    if fault.target != other.target:
        return None
    for one, then in ((other, fault), (fault, other)):
        if one.kind is FaultKind.KILL and one.for_s is None and then.at_s >= one.at_s:
            words = f"no fault of {quote(one.target)} from {one.at_s:g} seconds on, because a kill without for ends it"
            return Mistake(index, "at", fault.at_s, f"{words} (see faults[{other_index}])")
    both_signal = fault.kind in SIGNALS and other.kind in SIGNALS
    if both_signal and fault.at_s < other.until_s and other.at_s < fault.until_s:
        until = "on" if other.for_s is None else f"to {other.until_s:g} seconds"
        words = f"a time in which no other kill or pause of {quote(fault.target)} lasts"
        return Mistake(index, "at", fault.at_s, f"{words} (faults[{other_index}]: from {other.at_s:g} {until})")
    return None
