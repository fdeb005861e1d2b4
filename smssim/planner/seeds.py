"""Which seeds to play, and how many: as many as fit into the time. Decides. Must not know processes or clocks."""

from __future__ import annotations

from typing import Final

from smssim.settings import PlanSettings

FIRST_SEED: Final = 1  # fixed, so that the same plan gives the same answer
SEEDS_MIN: Final = 20  # unless every message is played
SEEDS_MAX: Final = 400
SEEDS_STEPS: Final = (1, 2, 5, 10, SEEDS_MIN, 30, 50, 100, 200, SEEDS_MAX)  # coarse, so that repeated plans are equal
PLAY_S: Final = 1.5  # time for plays; with imports and the page, a plan takes about two seconds


def fitting(played: int, took_s: float) -> int:
    """Return how many seeds fit into the time, those that were played included, if all take equally long."""
    most = played * PLAY_S / max(took_s, 1e-9)
    return max([played, *(step for step in SEEDS_STEPS if step <= most)])


def first_seed(settings: PlanSettings) -> int:
    """Return the first seed to play."""
    given = settings.producer.seed
    return FIRST_SEED if given is None else given
