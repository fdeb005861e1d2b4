"""Explanations of a stall, as text.

Knows stalls. Must not decide what a stall is.
"""

from __future__ import annotations

from smssim.core.stall import Cause, Stall
from smssim.words import clock, count, plural, seconds


def reason(stall: Stall) -> str:
    """Return the cause. While it stays the same, only the numbers in the text change."""
    senders, messages = plural(stall.senders, "sender"), plural(stall.messages, "message")
    match stall.cause:
        case Cause.NO_SENDER if stall.messages:
            return f"no sender ({count(stall.senders)} lost, holding {messages})"
        case Cause.NO_SENDER:
            return "no sender is reporting"
        case Cause.SILENT:
            return f"{senders} holding {messages} {'is' if stall.senders == 1 else 'are'} silent"
        case Cause.LANES_BUSY:
            return f"{messages} being sent, about {seconds(stall.time_s)} each"
        case Cause.NO_PRODUCER:
            return f"{senders} can't reach the producer"
        case Cause.LEASES_LOST:
            are = "is" if stall.messages == 1 else "are"
            return f"{messages} {are} leased to {plural(stall.senders, 'lost sender')}"
        case Cause.LIMIT:
            return f"{senders} waiting for {'its limit' if stall.senders == 1 else 'their limits'}"
        case Cause.NOTHING_OUT:
            return f"no messages released, {senders} waiting"


def sentence(stall: Stall) -> str:
    """Return the cause, and how long it has lasted."""
    return f"Nothing finished for {clock(stall.quiet_s)}: {reason(stall)}"
