"""How often each of many watchers gets a response, so that all of them together cost no more than a few.

Knows numbers and times. Must not know what a response says.
"""

from __future__ import annotations

from typing import Final

SHARED_S: Final = 0.05  # what was made for one watcher serves all others for so long
WAIT_PER_RESPONSE_S: Final = 0.002  # between two responses of a watcher, and all others: about five hundred a second
WAIT_MAX_S: Final = 30.0  # no watcher waits longer because of others


def wait_s(asked_s: float, watchers: int, runs: int) -> float:
    """How long one of so many watchers waits between two rounds of responses, one for each of these runs.

    As long as it asked for, or longer if they are many.
    """
    return max(asked_s, min(WAIT_PER_RESPONSE_S * watchers * runs, WAIT_MAX_S))
