"""Which standard deviation the times of a distribution can have.

Knows distributions by name. Must not know how times are drawn. Must stay cheap to import: `settings` checks with it.
"""

from __future__ import annotations

import math
from typing import Final

STD_SHARE: Final = 0.3  # of the mean, where a distribution takes a std and none is given

# The largest standard deviation, in means, that the times of `core.fate` have within 1%. Beyond, gamma and lognormal
# owe too much of it to times rarer than one in 65,536. A normal that is cut at zero always has less than its mean, and
# is close to an exponential where it has almost that. Times of a uniform would be less than zero.
STD_MEANS_MAX: Final = {"gamma": 40.0, "lognormal": 2.5, "normal": 0.99, "uniform": 1 / math.sqrt(3)}
STD_TAKES: Final = ", ".join(f"{means:.3g} means with {name}" for name, means in STD_MEANS_MAX.items())
_ROUNDING: Final = 1 + 1e-9  # what 0.99 times a mean may differ by from what somebody types


def usual_std(distribution: str, mean_s: float) -> float:
    """The standard deviation where none is given, in seconds."""
    own = _own(distribution, mean_s)
    return STD_SHARE * mean_s if own is None else own


def takes_instead(distribution: str, mean_s: float, std_s: float) -> str | None:
    """What a standard deviation can be, in words, where this one can't be had; None where it can."""
    own = _own(distribution, mean_s)
    if own is not None:
        return None if std_s == own else f"nothing, or {own:.10g}, {_with(distribution, mean_s)}"
    if mean_s == 0:
        return "0 when --mean is 0" if std_s else None
    most = STD_MEANS_MAX[distribution] * mean_s
    return None if std_s <= most * _ROUNDING else f"at most {_floored(most)} {_with(distribution, mean_s)}"


def _own(distribution: str, mean_s: float) -> float | None:
    """What the distribution itself settles; None where it can be chosen."""
    return {"exponential": mean_s, "fixed": 0.0}.get(distribution)


def _with(distribution: str, mean_s: float) -> str:
    return f"with --distribution {distribution} and --mean {mean_s:.10g}"


def _floored(number: float) -> str:
    """A number in six digits, not rounded up."""
    shown = f"{number:.6g}"
    return shown if float(shown) <= number * _ROUNDING else f"{number * (1 - 5e-6):.6g}"
