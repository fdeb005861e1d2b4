"""The standard deviations that each distribution of times can have.

Knows distributions by name. Must not know how times are drawn. Must stay cheap to import, because `settings` uses it.
"""

from __future__ import annotations

import math
from typing import Final

STD_SHARE: Final = 0.3  # of the mean: the default for distributions whose std can be chosen

# The largest standard deviation, in multiples of the mean, that the times of `core.fate` reproduce within 1%. Beyond
# these, too much of the standard deviation of gamma and lognormal comes from times rarer than one in 65,536. That of a
# normal distribution cut at zero is always less than the mean; if it is almost as large, the distribution resembles an
# exponential one. A uniform distribution would have negative times.
STD_MEANS_MAX: Final = {"gamma": 40.0, "lognormal": 2.5, "normal": 0.99, "uniform": 1 / math.sqrt(3)}
STD_LIMITS: Final = ", ".join(f"{means:.3g} ({name})" for name, means in STD_MEANS_MAX.items()) + " times the mean"
_ROUNDING: Final = 1 + 1e-9  # tolerance: 0.99 times a mean may differ by rounding from what the operator types


def usual_std(distribution: str, mean_s: float) -> float:
    """Return the default standard deviation in seconds."""
    own = _own(distribution, mean_s)
    return STD_SHARE * mean_s if own is None else own


def expected_std(distribution: str, mean_s: float, std_s: float) -> str | None:
    """Return in words which standard deviations are possible if this one is not; None if it is."""
    own = _own(distribution, mean_s)
    if own is not None:
        return None if std_s == own else f"{own:.10g}, or no --std, {_with(distribution, mean_s)}"
    if mean_s == 0:
        return "0 when --mean is 0" if std_s else None
    most = STD_MEANS_MAX[distribution] * mean_s
    return None if std_s <= most * _ROUNDING else f"at most {_floored(most)} {_with(distribution, mean_s)}"


def _own(distribution: str, mean_s: float) -> float | None:
    """Return the standard deviation that the distribution itself determines; None if it can be chosen."""
    return {"exponential": mean_s, "fixed": 0.0}.get(distribution)


def _with(distribution: str, mean_s: float) -> str:
    return f"with --distribution {distribution} and --mean {mean_s:.10g}"


def _floored(number: float) -> str:
    """Return a number with six digits, without rounding it up."""
    shown = f"{number:.6g}"
    return shown if float(shown) <= number * _ROUNDING else f"{number * (1 - 5e-6):.6g}"
