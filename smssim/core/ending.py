"""How a run ends for the monitor: whether its ledger and the producer's totals agree.

Knows totals. Must not know senders, or when a run ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smssim.core.exchange import RunEnd
from smssim.core.ledger import Ledger
from smssim.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended for the monitor."""

    exit_code: ExitCode
    reason: str  # one line for people


def short(ledger: Ledger, reason: str) -> Ending:
    """Return the ending of a run that stops before every message has a final outcome."""
    missing = ledger.total - ledger.final
    return Ending(ExitCode.INCOMPLETE, f"{reason}: {missing:,} of {ledger.total:,} messages have no final outcome")


def compared(ledger: Ledger, book: RunEnd, missed: Sequence[str]) -> Ending:
    """Return how the run ended, from a comparison of the producer's totals with the ledger.

    `missed`: names of senders whose first reports never reached this monitor.
    """
    total = ledger.total
    if (book.sent, book.failed) == (ledger.sent, ledger.failed) and ledger.final == total:
        return Ending(ExitCode.OK, "the producer and the monitor agree")
    difference = f"monitor minus producer: sent {ledger.sent - book.sent:+,}, failed {ledger.failed - book.failed:+,}"
    if missed:
        return Ending(
            ExitCode.INCOMPLETE, f"the monitor missed the first reports of {', '.join(missed[:3])} ({difference})"
        )
    lacking = ledger.sent <= book.sent and ledger.failed <= book.failed
    if lacking and ledger.final < total == book.sent + book.failed:
        return Ending(
            ExitCode.INCOMPLETE,
            f"reports are missing, as after a restart without a journal: all {total:,} messages are settled with the "
            f"producer, but {total - ledger.final:,} have no final outcome here ({difference})",
        )
    return Ending(ExitCode.DISAGREE, f"the totals do not agree ({difference})")
