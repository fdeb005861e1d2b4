"""Why a run stalls: one case a line."""

from __future__ import annotations

from smssim.core.limits import LIMITS
from smssim.core.model import SenderFacts
from smssim.core.session import Session
from smssim.core.stall import Cause, Stall, stall
from smssim.outputs.terminal import why

NOW = 1000.0


def sender(
    in_flight: int = 0,
    held: int = 0,
    silent_s: float = 0.0,
    cut_off: bool = False,
    left: bool = False,
    mean_s: float = 9.0,
    limit_per_s: float | None = None,
) -> Session:
    return Session(
        SenderFacts("id", "name", mean_s, limit_per_s=limit_per_s),
        last_report_at=NOW - silent_s,
        in_flight=in_flight,
        held=held,
        cut_off=cut_off,
        left=left,
    )


LOST = LIMITS.lost_after_s + 0.1
SILENT = LIMITS.silent_after_s + 0.1


def test_the_cause_follows_from_the_last_reports_of_the_senders() -> None:
    for senders, cause, told in (
        ([], Cause.NO_SENDER, "no sender is reporting"),
        ([sender(left=True)], Cause.NO_SENDER, "no sender is reporting"),
        ([sender(3, 4, LOST)], Cause.NO_SENDER, "no sender (1 lost, holding 7 messages)"),
        ([sender(3, 0, SILENT), sender()], Cause.SILENT, "1 sender holding 3 messages is silent"),
        ([sender(3), sender(2, 0, SILENT)], Cause.LANES_BUSY, "5 messages being sent, about 9.00 s each"),
        ([sender(1, mean_s=0.1), sender()], Cause.LANES_BUSY, "1 message being sent, about 100 ms each"),
        ([sender(1, 9, mean_s=1e7)], Cause.LANES_BUSY, "1 message being sent, about 10,000,000 s each"),
        ([sender(cut_off=True), sender(cut_off=True)], Cause.NO_PRODUCER, "2 senders can't reach the producer"),
        ([sender(cut_off=True), sender()], Cause.NOTHING_OUT, "no messages released, 2 senders waiting"),
        ([sender(), sender(3, 1, LOST)], Cause.LEASES_LOST, "4 messages are leased to 1 lost sender"),
        ([sender(0, 2, limit_per_s=0.1), sender()], Cause.LIMIT, "1 sender waiting for its limit"),
        ([sender(0, 0, limit_per_s=0.1)] * 2, Cause.LIMIT, "2 senders waiting for their limits"),
        ([sender(0, 0, limit_per_s=9.0)], Cause.NOTHING_OUT, "no messages released, 1 sender waiting"),
        ([sender(1, 2, limit_per_s=0.1)], Cause.LANES_BUSY, "1 message being sent, about 9.00 s each"),
        ([sender(), sender(0, 0, LOST)], Cause.NOTHING_OUT, "no messages released, 1 sender waiting"),
    ):
        found = stall(senders, missing=100, quiet_s=LIMITS.quiet_s, now=NOW)
        assert found is not None, told
        assert (found.cause, why.reason(found)) == (cause, told)
        assert why.sentence(found) == f"Nothing finished for 3.0 s: {told}"


def test_a_stall_concerns_no_more_messages_than_are_missing() -> None:
    found = stall([sender(500, 500, LOST)], missing=7, quiet_s=LIMITS.quiet_s, now=NOW)
    assert found is not None
    assert found.messages == 7


def test_a_run_that_moves_or_is_done_has_no_stall() -> None:
    for missing, quiet_s in ((0, 99.0), (5, LIMITS.quiet_s - 0.1)):
        assert stall([sender(1)], missing, quiet_s, NOW) is None, (missing, quiet_s)


def test_every_cause_fits_into_a_line() -> None:
    for cause in Cause:
        sentence = why.sentence(Stall(cause, 3599.0, 1000, 100_000, 1234.0))
        assert len(sentence) <= 100, sentence


def test_a_limit_lets_a_message_of_several_segments_start_only_after_a_while() -> None:
    for segments, cause in ((1, Cause.NOTHING_OUT), (4, Cause.LIMIT)):
        found = stall([sender(limit_per_s=1.0)], missing=1, quiet_s=LIMITS.quiet_s, now=NOW, segments=segments)
        assert found is not None
        assert found.cause is cause
