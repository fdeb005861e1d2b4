"""The answer of a search for the cheapest mix: the mix, or why there is none. Holds values, and says them in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from smssim.core.threshold import Threshold

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Fewer:
    """What happens with one copy of a sender fewer."""

    name: str
    copies: int
    probability: float  # that all goals are met
    cost: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"name": self.name, "copies": self.copies, "probability": self.probability, "cost": self.cost}


@dataclass(frozen=True, slots=True)
class CheapestAnswer:
    """What a search found."""

    goals: Sequence[Threshold]
    played: int  # plays in all
    copies: Mapping[str, int] = field(default_factory=dict)  # of each sender with a range; empty if no mix will do
    why: str = ""  # why none will do, as a clause
    cost: float = 0.0  # the median
    probability: float = 0.0  # share of the plays that confirm it in which all goals are met
    at_least: float = 0.0  # a lower bound of that probability, with 95% confidence
    seeds: int = 0  # that confirm it
    scale: int = 1  # how many messages one played message stands for in them
    fewer: Sequence[Fewer] = ()

    @property
    def found(self) -> bool:
        """Whether there is a mix that will do."""
        return bool(self.copies)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        if not self.found:
            return {"senders": None, "why": self.why}
        return {
            "senders": dict(self.copies),
            "cost": self.cost,
            "probability": self.probability,
            "confidence": CONFIDENCE,
            "fewer": [one.as_dict() for one in self.fewer],
        }
