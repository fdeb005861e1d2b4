"""Paces that more than one part follows: how often senders report, and how far ahead they ask for messages.

Knows numbers. Must not know reports, messages or the time.
"""

from __future__ import annotations

import math

from smssim.core.limits import LIMITS, Limits


def report_wait_s(senders: int, limits: Limits = LIMITS) -> float:
    """Return how long each of this many senders should wait between two reports."""
    return max(limits.report_wait_min_s, limits.report_wait_per_sender_s * senders)


def sender_wait_s(senders: int, limits: Limits = LIMITS) -> float:
    """Return how long each of this many senders waits: no longer than a limit, whatever the monitor asks for."""
    return min(report_wait_s(senders, limits), limits.report_wait_max_s)


def messages_ahead(per_s: float, wait_s: float, limits: Limits = LIMITS) -> int:
    """Return how many messages beyond its lanes a sender asks for, at this speed and with this wait between reports."""
    return min(limits.ahead_max, max(1, math.ceil(per_s * max(limits.ahead_s, wait_s))))


def asked_at_least(ahead: int) -> int:
    """Return for how many messages a sender asks at once. For fewer, its request waits for other news, or a heartbeat.

    `ahead`: how many messages beyond its lanes it asks for.
    """
    return max(1, ahead // 2)


def window(lanes: int, ahead: int, limits: Limits = LIMITS) -> int:
    """Return how many messages a sender may have taken without knowing that they are settled."""
    return lanes + 4 * max(ahead, limits.window_ahead_min)


def released(total: int, rate_per_s: float | None, elapsed_s: float) -> int:
    """Return how many messages have been released by then; the first one is released when the run starts."""
    if rate_per_s is None:
        return total
    return min(total, math.floor(elapsed_s * rate_per_s + 1e-9) + 1)
