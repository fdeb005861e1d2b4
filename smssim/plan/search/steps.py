"""The values of a setting among which a search chooses, in order: each step is faster than the one before.

Knows the settings of senders that can be searched. Must not know goals or plays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from smssim.core.limits import MEAN_MIN_S
from smssim.core.model import StartLimit
from smssim.core.spread import usual_std
from smssim.plan.scenario import PlannedSender, Scenario

_DIGITS: Final = 900  # numbers of three digits in each power of ten


class Sought(Protocol):
    """A setting of a sender, and the range in which to look for its value."""

    @property
    def name(self) -> str:
        """The sender."""

    @property
    def key(self) -> str:
        """The setting: copies, concurrency, limit or mean."""

    @property
    def low(self) -> float:
        """The smallest value; an int with copies and concurrency."""

    @property
    def high(self) -> float:
        """The largest value."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The values of a range: whole numbers or limits of three digits upward, or means of three digits downward.

    Steps are counted in integers.
    """

    sought: Sought

    @property
    def is_mean(self) -> bool:
        """Whether the value is a mean, of which less is faster."""
        return self.sought.key == "mean"

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.sought.key in ("copies", "concurrency")

    @property
    def first(self) -> int:
        """The slowest step."""
        if not (self.is_mean or self.is_whole):
            return _number(self.sought.low, math.floor)
        return -_number(self.sought.high, math.ceil) if self.is_mean else int(self.sought.low)

    @property
    def last(self) -> int:
        """The fastest step."""
        if not (self.is_mean or self.is_whole):
            return _number(self.sought.high, math.ceil)
        return -_number(max(self.sought.low, MEAN_MIN_S), math.floor) if self.is_mean else int(self.sought.high)

    def value(self, step: int) -> float:
        """Return the value of a step; that of the first and the last one is exactly the end of the range."""
        if self.is_whole:
            return step
        if step == (self.first if self.is_mean else self.last):
            return self.sought.high
        power, digits = divmod(-step if self.is_mean else step, _DIGITS)
        value = float(f"{digits + 100}e{power}")
        return min(max(value, self.sought.low, MEAN_MIN_S if self.is_mean else 0.0), self.sought.high)

    def step(self, value: float) -> int:
        """Return the slowest step that is at least as fast as this value, of any positive size; a step of the range."""
        if value >= self.sought.high if self.is_mean else value <= self.sought.low:
            return self.first
        value = max(value, MEAN_MIN_S)
        if self.is_whole:
            step = math.ceil(value)
        else:
            step = -_number(value, math.floor) if self.is_mean else _number(value, math.ceil)
        return min(max(step, self.first), self.last)

    def middle(self, slow: int, fast: int) -> int:
        """Return a step between two, near the geometric mean of their values."""
        middle = math.isqrt(max(1, slow) * fast) if self.is_whole else (slow + fast) // 2
        return min(max(middle, slow + 1), fast - 1)

    def is_coarse(self, step: int, share: float) -> bool:
        """Return whether this step is faster than the one before by more than this share."""
        ratio = self.value(step - 1) / self.value(step)
        return (ratio if self.is_mean else 1 / max(ratio, 1e-9)) > 1 + share

    def scenario(self, scenario: Scenario, step: int) -> Scenario:
        """Return the scenario with the value of this step. A mean changes the standard deviation in proportion."""
        return replace(
            scenario,
            senders=tuple(
                self._changed(sender, self.value(step), scenario.segments)
                if sender.name == self.sought.name
                else sender
                for sender in scenario.senders
            ),
        )

    def _changed(self, sender: PlannedSender, value: float, segments: int) -> PlannedSender:
        if self.sought.key == "copies":
            return replace(sender, copies=int(value))
        if self.sought.key == "concurrency":
            return replace(sender, concurrency=int(value))
        if self.sought.key == "limit":
            burst = segments
            if sender.limit is not None:  # in segments, as before
                burst += round(sender.limit.slack_s * segments / sender.limit.interval_s)
            return replace(sender, limit=StartLimit.of(value, burst, segments))
        model = sender.model
        std_s = model.std_s * value / model.mean_s if model.mean_s else usual_std(model.distribution, value)
        return replace(sender, model=replace(model, mean_s=value, std_s=std_s))


def _number(value: float, rounding: Callable[[float], int]) -> int:
    """Return the number of a positive value among all values of three digits, ascending; others are rounded."""
    power = math.floor(math.log10(value)) - 2
    digits = value / 10.0**power
    near = round(digits)
    whole = near if abs(digits - near) < 1e-9 * digits else rounding(digits)
    return power * _DIGITS + whole - 100
