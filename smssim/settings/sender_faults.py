"""The faults of one sender, as `smssim sender --fault` describes them: `at=8s,slow=4,for=10s`.

Knows how to read one. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smssim.core.fault import Fault, FaultKind
from smssim.core.limits import SLOWDOWN_MAX
from smssim.settings.rules import Rule, real, share
from smssim.settings.shared import ANY_TIME

FACTOR: Final = real(1, SLOWDOWN_MAX, f"a number from 1 to {SLOWDOWN_MAX:g}")
SHARE: Final = share()
# `for` may be shorter than the shortest of a scenario file: `smssim run` gives a sender what is left of a fault.
_KEYS: Final[Mapping[str, Rule]] = {"at": ANY_TIME, "for": ANY_TIME, "slow": FACTOR, "fail": SHARE}


def parse_fault(spec: str) -> Fault:
    """Return the fault that a value of `sender --fault` describes. Raises ValueError."""
    given: dict[str, float] = {}
    for part in spec.split(","):
        key, _, text = (word.strip() for word in part.partition("="))
        if key not in _KEYS or key in given:
            raise ValueError(spec)
        value = _KEYS[key].read(text)
        if not _KEYS[key].holds(value):
            raise ValueError(spec)
        given[key] = value
    if "at" not in given or ("slow" in given) == ("fail" in given):
        raise ValueError(spec)
    kind = FaultKind.SLOW if "slow" in given else FaultKind.FAIL
    return Fault(given["at"], kind, "", given.get("for"), given.get("slow", 1.0), given.get("fail", 0.0))


def _is_of_a_sender(got: object) -> bool:
    """Return whether this is a fault that a sender simulates itself."""
    if not isinstance(got, Fault):
        return False
    times = (got.at_s, got.for_s or 0.0)
    in_range = all(map(ANY_TIME.holds, times)) and FACTOR.holds(got.factor) and SHARE.holds(got.share)
    return in_range and got.kind in (FaultKind.SLOW, FaultKind.FAIL)


FAULT: Final = Rule(
    f"at=TIME,slow=FACTOR (1 to {SLOWDOWN_MAX:g}) or at=TIME,fail=SHARE, and for=TIME unless it lasts until the end; "
    "for example at=8s,slow=4,for=10s or at=9s,fail=50%",
    parse_fault,
    _is_of_a_sender,
)
