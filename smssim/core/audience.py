"""How often each of many watchers gets a response, so that all of them together cost no more than a few.

Knows numbers and times. Must not know what a response says.
"""

from __future__ import annotations

from smssim.core.limits import LIMITS, Limits


def wait_s(asked_s: float, watchers: int, runs: int, limits: Limits = LIMITS) -> float:
    """How long one of so many watchers waits between two rounds of responses, one for each of these runs.

    As long as it asked for, or longer if they are many.
    """
    return max(asked_s, min(limits.wait_per_response_s * watchers * runs, limits.watcher_wait_max_s))
