"""A sender's life: which runs it joins, what to do when a peer is lost or returns, when it leaves and how it ends.

`SenderLife` covers all runs of a sender. `SenderRun` covers one run and combines the protocol (`sending`) with waiting
for lost peers (`reconnect`). The caller calls a method when something happens, and the method returns what to do.
Knows one sender and the time that it is given. Must not know streams or calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.exchange import Answer, Delivery, RunEnd
from smssim.core.limits import LIMITS, Limits
from smssim.core.reconnect import Loss, Reconnector, Retry
from smssim.core.sending import SenderProtocol
from smssim.errors import ExitCode, GoneError, SmssimError


@dataclass(frozen=True, slots=True)
class SenderEnd:
    """How a run, or the search for one, ended for a sender."""

    exit_code: ExitCode
    reason: str  # one line for people
    error: SmssimError | None = None  # whose message is the reason
    warning: str = ""  # another line for people

    @classmethod
    def of(cls, error: SmssimError) -> SenderEnd:
        """Return the end that an error causes."""
        return cls(ExitCode(error.exit_code), str(error), error)


NO_RUN: Final = SenderEnd(ExitCode.OK, "Stopped before a run was found")


class SenderLife:
    """One sender: run after run if it lingers, otherwise one run."""

    def __init__(self, linger: bool, limits: Limits = LIMITS) -> None:
        self._linger = linger
        self._limits = limits
        self._stopping = False
        self._run_id = ""  # the current run, or the last
        self._done_run_id = ""  # the last run in which it took part to the end

    def stop(self) -> None:
        """Look for no further run."""
        self._stopping = True

    def on_offer(self, run_id: str) -> float | None:
        """Return None to join this run, or the seconds to wait for another one if the sender has finished this run."""
        if run_id == self._done_run_id:
            return self._limits.backoff_max_s
        self._run_id = run_id
        return None

    def on_end(self, end: SenderEnd) -> bool:
        """Return whether to look for another run. A sender that gave up may rejoin the run; a refusal is final."""
        if end.error is None:
            self._done_run_id = self._run_id
        may_go_on = end.error is None or isinstance(end.error, GoneError)
        return may_go_on and self._linger and not self._stopping


class SenderRun:
    """One sender in one run, from when a producer has offered the run on an open stream."""

    def __init__(
        self,
        run_id: str,
        protocol: SenderProtocol,
        producer: Reconnector,
        monitor: Reconnector,
        now: float,
        limits: Limits = LIMITS,
    ) -> None:
        self.run_id = run_id
        self.protocol = protocol
        self.producer = producer
        self.monitor = monitor
        self._limits = limits
        self._gone: GoneError | None = None  # why it gave up on the producer; finished attempts are still reported
        self._failure: SmssimError | None = None  # ends the run at once
        self._left = False  # whether it left without an answer to its last report
        self._warning = ""
        protocol.stream_up(now)

    @property
    def returns(self) -> int:
        """How often a peer was lost and reconnected."""
        return self.producer.returns + self.monitor.returns

    @property
    def end(self) -> SenderEnd | None:
        """How the run ended for this sender; None while it takes part."""
        protocol = self.protocol
        if self._failure is not None:
            return SenderEnd.of(self._failure)
        needless = protocol.draining and protocol.needs_no_monitor and not protocol.is_reporting
        if not (protocol.done or self._left or needless):
            return None
        if self._gone is not None:
            return SenderEnd.of(self._gone)
        if protocol.run_end is None:
            return SenderEnd(ExitCode.OK, "Drained", warning=self._warning)
        if protocol.run_end.complete:
            return SenderEnd(ExitCode.OK, "Run complete", warning=self._warning)
        code = ExitCode.OK if protocol.draining else ExitCode.INCOMPLETE
        return SenderEnd(code, "The producer ended the run early", warning=self._warning)

    def drain(self, now: float) -> tuple[int, int]:
        """Drain, even if a peer is unreachable; return how many messages to finish and how many are handed back."""
        for peer in (self.producer, self.monitor):
            peer.bound(now, self._limits.drain_max_s)
        return self.protocol.drain(now)

    # -- the producer

    def on_response(
        self, now: float, settled: int, delivery: Delivery | None = None, end: RunEnd | None = None
    ) -> None:
        """Apply a response; raises PeerError. See `SenderProtocol.on_response`."""
        self.protocol.on_response(now, settled, delivery, end)
        if end is not None:
            self.monitor.bound(now)  # the run is over, so perhaps no one will start a monitor for it any more

    def on_stream_lost(self, now: float) -> None:
        """Record that the stream has ended, for whatever reason."""
        self.protocol.stream_lost(now)

    def on_producer_lost(self, loss: Loss, now: float) -> Retry | None:
        """Return the wait before another stream, after a failed one; None to open no other."""
        if self.protocol.ended:
            return None
        step = self.producer.lost(loss, now)
        if isinstance(step, Retry):
            return step
        if isinstance(step.error, GoneError):
            self._give_up(step.error, now)
        else:
            self._failure = step.error
        return None

    def on_offer(self, run_id: str, now: float) -> str | None:
        """Return the notice for a stream that is open again; None if the stream must be closed.

        It must be closed if the run has ended for this sender or if the producer now has another run.
        """
        if self.protocol.ended:  # by an answer of the monitor in the meantime
            return None
        if run_id != self.run_id:
            self._give_up(GoneError(f"{self.producer.peer} now has another run, {run_id}"), now)
            return None
        self.protocol.stream_up(now)
        return self.producer.found(now)

    def _give_up(self, error: GoneError, now: float) -> None:
        """Continue without the producer: report finished attempts, then leave."""
        self._gone = error
        self.protocol.advance(now, at_once=True)
        self.protocol.end(None)

    # -- the monitor

    def on_answer(self, answer: Answer, now: float) -> str:
        """Apply the answer to a report. Return a notice if the monitor has connected or returned, else an empty one."""
        notice = self.monitor.found(now)
        self.protocol.acknowledge(answer)
        return notice

    def on_report_failed(self, loss: Loss, now: float) -> Retry | None:
        """Return the wait before the report is resent; None to not resend it (see `end`)."""
        if self.protocol.needs_no_monitor:
            self._left = True
            return None
        step = self.monitor.lost(loss, now)
        if isinstance(step, Retry):
            return step
        if isinstance(step.error, GoneError) and self.protocol.only_goodbye:
            self._left = True
            self._warning = f"{step.error} and did not answer the goodbye; all outcomes are on record"
        else:
            self._failure = step.error
        return None
