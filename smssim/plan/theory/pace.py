"""How much later than an attempt's end the monitor records it. Knows the pace of reports only."""

from __future__ import annotations

from smssim.core.limits import LIMITS, Limits
from smssim.core.pace import sender_wait_s


def report_lag_s(senders: int, limits: Limits = LIMITS, *, dry: bool = False) -> float:
    """Return the mean seconds from the end of an attempt to its record at the monitor.

    An attempt ends at any moment between two reports of its sender, and between two checks of the sender's lanes. A
    sender caps what the monitor asks for. `dry`: for the attempt after which a sender has nothing left. That sender
    reports `Limits.dry_hurry` times sooner than usual after its last report, which may be at once. The time on the
    network is not included.
    """
    wait_s = sender_wait_s(senders, limits)
    look_s = wait_s / limits.looks_per_report
    return wait_s / (2 * limits.dry_hurry**2 if dry else 2) + look_s / 2
