"""Why nothing moves, in words.

Knows stalls. Must not decide what a stall is.
"""

from __future__ import annotations

from smssim.core.stall import Cause, Stall
from smssim.words import clock, count, plural, seconds


def reason(stall: Stall) -> str:
    """The cause alone: the same words for as long as the cause stays the same, but for its numbers."""
    senders, messages = plural(stall.senders, "sender"), plural(stall.messages, "message")
    match stall.cause:
        case Cause.NO_SENDER if stall.messages:
            return f"no sender: {count(stall.senders)} lost, with {messages}"
        case Cause.NO_SENDER:
            return "no sender is heard from"
        case Cause.SILENT:
            return f"no word from {senders} with {messages}"
        case Cause.LANES_BUSY:
            return f"{messages} being sent, about {seconds(stall.time_s)} each"
        case Cause.NO_PRODUCER:
            return f"no producer: {senders} can't reach it"
        case Cause.LEASES_LOST:
            are = "is" if stall.messages == 1 else "are"
            return f"{messages} {are} leased to {plural(stall.senders, 'lost sender')}"
        case Cause.NOTHING_OUT:
            return f"{senders} {'waits' if stall.senders == 1 else 'wait'}: the producer releases nothing"


def sentence(stall: Stall) -> str:
    """The cause and since when."""
    return f"nothing finished for {clock(stall.quiet_s)}: {reason(stall)}"
