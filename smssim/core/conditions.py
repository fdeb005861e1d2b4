"""The conditions under which a sender's attempts start: how long they take then, and how often they fail.

Slow and fail faults change them at given seconds of the run. The fate of an attempt is a pure function of the run's
seed, the message, the attempt and the time at which the attempt starts. The twin draws from the same `Fates` and
`model_at`. Knows the faults of one sender. Must not know lanes, other senders or any clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from smssim.core.fate import Fates
from smssim.core.fault import Fault, changes_s, model_at, slowdown
from smssim.core.model import AttemptModel


class Conditions:
    """The fates of one sender's attempts in one run, by the second of the run at which an attempt starts.

    The faults divide the run into segments: segment 0 lasts until `edges_s[0]`, segment i begins at `edges_s[i - 1]`.
    Within a segment, nothing changes. Without slow and fail faults, there is only segment 0, and its fates are `usual`.
    """

    def __init__(
        self, seed: int, max_attempts: int, model: AttemptModel, faults: Iterable[Fault] = (), unreachable: float = 0.0
    ) -> None:
        """`faults`: those of the sender; the others than slow and fail are ignored. `unreachable`: see `Fates`."""
        faults = tuple(faults)
        self.edges_s = tuple(changes_s(faults))  # when the fates may change, ascending
        self._models = [model, *(model_at(model, faults, edge_s) for edge_s in self.edges_s)]  # before, and from each
        self._slowdowns = [1.0, *(slowdown(faults, edge_s) for edge_s in self.edges_s)]
        self._seed, self._max_attempts, self._unreachable = seed, max_attempts, unreachable
        self._fates: dict[AttemptModel, Fates] = {}  # computed on first use: a table takes some milliseconds
        self.usual = self._of(model)

    def fates_in(self, segment: int) -> Fates:
        """Return the fates of the attempts that start in this segment; `usual` if nothing changes them."""
        return self._of(self._models[segment])

    def slowdown_in(self, segment: int) -> float:
        """Return how many times as long as usual the attempts take that start in this segment, apart from a cap."""
        return self._slowdowns[segment]

    def _of(self, model: AttemptModel) -> Fates:
        if model not in self._fates:
            self._fates[model] = Fates(self._seed, self._max_attempts, model, self._unreachable)
        return self._fates[model]
