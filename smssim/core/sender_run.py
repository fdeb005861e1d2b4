"""A sender's life: which run it joins, what the loss and the return of its peers mean, when it leaves and how it ends.

`SenderLife` goes from run to run, `SenderRun` takes part in one: it puts the protocol (`sending`) and the waiting for
lost peers (`reconnect`) together. Each method is something that happened; what it returns is what to do. Knows one
sender and the clock that it is given. Must not know streams or calls.
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
    error: SmssimError | None = None  # which the reason is
    warning: str = ""  # one more line

    @classmethod
    def of(cls, error: SmssimError) -> SenderEnd:
        """Return the end that an error is."""
        return cls(ExitCode(error.exit_code), str(error), error)


NO_RUN: Final = SenderEnd(ExitCode.OK, "stopped before a run was found")


class SenderLife:
    """One sender: run after run if it lingers, else one."""

    def __init__(self, linger: bool, limits: Limits = LIMITS) -> None:
        self._linger = linger
        self._limits = limits
        self._stopping = False
        self._run_id = ""  # the present one, or the last
        self._done_run_id = ""  # the last one that it took part in to its end

    def stop(self) -> None:
        """Look for no further run."""
        self._stopping = True

    def on_offer(self, run_id: str) -> float | None:
        """Return None to join this run, or after how many seconds to look again: it took part in this one."""
        if run_id == self._done_run_id:
            return self._limits.backoff_max_s
        self._run_id = run_id
        return None

    def on_end(self, end: SenderEnd) -> bool:
        """Return whether to look for another run. One that it gave up, it may join again; a refusal is for good."""
        if end.error is None:
            self._done_run_id = self._run_id
        may_go_on = end.error is None or isinstance(end.error, GoneError)
        return may_go_on and self._linger and not self._stopping


class SenderRun:
    """One sender in one run, from when the producer has named it on an open stream."""

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
        self._gone: GoneError | None = None  # the producer; what is finished is still reported
        self._failure: SmssimError | None = None  # which ends the run at once
        self._left = False  # without an answer to the last report
        self._warning = ""
        protocol.stream_up(now)

    @property
    def returns(self) -> int:
        """How often a peer was lost and came back."""
        return self.producer.returns + self.monitor.returns

    @property
    def end(self) -> SenderEnd | None:
        """How the run ended for this sender; None as long as it takes part."""
        protocol = self.protocol
        if self._failure is not None:
            return SenderEnd.of(self._failure)
        needless = protocol.draining and protocol.is_needless and not protocol.is_reporting
        if not (protocol.done or self._left or needless):
            return None
        if self._gone is not None:
            return SenderEnd.of(self._gone)
        if protocol.run_end is None:
            return SenderEnd(ExitCode.OK, "drained", warning=self._warning)
        if protocol.run_end.complete:
            return SenderEnd(ExitCode.OK, "the run is complete", warning=self._warning)
        code = ExitCode.OK if protocol.draining else ExitCode.INCOMPLETE
        return SenderEnd(code, "the producer ended the run early", warning=self._warning)

    def drain(self, now: float) -> tuple[int, int]:
        """Leave the run soon, also if a peer is away; how many messages are to be finished and how many given back."""
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
            self.monitor.bound(now)  # there may be no other sender left that a monitor would be started for

    def on_stream_lost(self, now: float) -> None:
        """The stream has ended, for whatever reason."""
        self.protocol.stream_lost(now)

    def on_producer_lost(self, loss: Loss, now: float) -> Retry | None:
        """Return when to open another stream, after one that failed; None for never."""
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
        """Return what to say of a stream that is open again; None to close it, because the producer has another run."""
        if self.protocol.ended:  # as the monitor has said meanwhile
            return None
        if run_id != self.run_id:
            self._give_up(GoneError(f"{self.producer.peer} has another run now, {run_id}"), now)
            return None
        self.protocol.stream_up(now)
        return self.producer.found(now)

    def _give_up(self, error: GoneError, now: float) -> None:
        """Do without the producer: report what is finished, then leave."""
        self._gone = error
        self.protocol.advance(now, at_once=True)
        self.protocol.end(None)

    # -- the monitor

    def on_answer(self, answer: Answer, now: float) -> str:
        """Apply the answer to the report that is under way; returns what to say of the monitor, if anything."""
        notice = self.monitor.found(now)
        self.protocol.acknowledge(answer)
        return notice

    def on_report_failed(self, loss: Loss, now: float) -> Retry | None:
        """Return when to send the report again; None for never: see `end`."""
        if self.protocol.is_needless:
            self._left = True
            return None
        step = self.monitor.lost(loss, now)
        if isinstance(step, Retry):
            return step
        if isinstance(step.error, GoneError) and self.protocol.only_goodbye:
            self._left = True
            self._warning = f"{step.error} and did not answer the goodbye: all outcomes are on record"
        else:
            self._failure = step.error
        return None
