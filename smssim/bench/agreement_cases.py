"""The cases of the comparison of plan, live runs and theory: their scenarios, as the files that `smssim run` reads.

Each case takes 30 to 60 seconds, so that 1% is more than the jitter of processes, and far less CPU time than a machine
has. Knows scenario files. Must not know how a case is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import LEASE_TIMEOUT_MIN_S
from smssim.core.model import StartLimit, declared_speed

TIME_S: Final = 40.0  # that the lanes would take, without failures and faults
QUICK_TIME_S: Final = 8.0
FAIL: Final = 0.005  # so little that 99% of the messages are sent
NAME: Final = "a"  # of the sender that is struck by a fault


@dataclass(frozen=True)
class CaseFault:
    """A fault of one sender. Times are shares of the time that a case would take without it."""

    what: str  # as the key of a scenario file
    at: float
    length: float | None = None  # None: for good
    factor: float | None = None

    def line(self, time_s: float) -> str:
        """Return the fault as an item of a scenario file."""
        lasts = "" if self.length is None else f", for: {self.length * time_s:g}s"
        factor = "" if self.factor is None else f", factor: {self.factor:g}"
        return f"  - {{at: {self.at * time_s:g}s, {self.what}: {NAME}{factor}{lasts}}}"


@dataclass(frozen=True)
class CaseSender:
    """A sender of a case."""

    mean_s: float
    concurrency: int
    fail: float = FAIL
    copies: int = 1
    limit_per_s: float | None = None
    burst: int = 1

    @property
    def per_s(self) -> float:
        """The messages per second that it can send."""
        limit = StartLimit.of(self.limit_per_s, self.burst, segments=1)
        return self.copies * declared_speed(self.concurrency, self.mean_s, limit)

    def line(self, name: str) -> str:
        """Return it as an entry of a scenario file."""
        copies = "" if self.copies == 1 else f", copies: {self.copies}"
        limit = "" if self.limit_per_s is None else f", limit: {self.limit_per_s:g}, burst: {self.burst}"
        keys = f"mean: {self.mean_s:g}, fail: {self.fail:g}, concurrency: {self.concurrency}{copies}{limit}"
        return f"  {name}: {{{keys}}}"


EQUAL: Final = (CaseSender(0.25, 40),) * 4  # 640 messages per second
_MEANS_S: Final = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.0)
UNEVEN: Final = tuple(CaseSender(mean_s, 10, fail=0.001 * number) for number, mean_s in enumerate(_MEANS_S, 1))


@dataclass(frozen=True)
class AgreementCase:
    """One scenario, planned and run."""

    name: str
    what: str
    senders: tuple[CaseSender, ...] = EQUAL
    max_attempts: int = 1
    rate_share: float | None = None  # messages are released at this share of what the senders can send; None: at once
    lease_timeout: float | None = None  # as a share of the time; None: the default
    unreachable: float = 0.0  # share of the messages
    faults: tuple[CaseFault, ...] = ()
    quick: bool = False  # whether --quick includes it

    def scenario(self, quick: bool) -> str:
        """Return the scenario file."""
        time_s = QUICK_TIME_S if quick else TIME_S
        per_s = sum(sender.per_s for sender in self.senders)
        released_per_s = per_s if self.rate_share is None else self.rate_share * per_s
        lines = [f"# {self.what}", "messages:", f"  count: {round(released_per_s * time_s)}"]
        if self.max_attempts > 1:
            lines.append(f"  max-attempts: {self.max_attempts}")
        if self.rate_share is not None:
            lines.append(f"  rate: {released_per_s:g}")
        if self.lease_timeout is not None:
            lines.append(f"  lease-timeout: {max(LEASE_TIMEOUT_MIN_S, self.lease_timeout * time_s):g}s")
        if self.unreachable:
            lines.append(f"  unreachable: {self.unreachable:g}")
        lines += ["senders:", *(sender.line(chr(ord(NAME) + i)) for i, sender in enumerate(self.senders))]
        if self.faults:
            lines += ["faults:", *(fault.line(time_s) for fault in self.faults)]
        return "\n".join(lines) + "\n"


_CASES: Final = (
    AgreementCase("equal", "four equal senders", quick=True),
    AgreementCase("uneven", "eight senders, with mean times of 0.02 to 2 s, that fail unequally often", UNEVEN),
    AgreementCase(
        "retries", "15% of the attempts fail, three attempts", (CaseSender(0.25, 40, 0.15),) * 4, 3, quick=True
    ),
    AgreementCase("rate-50", "messages released at 50% of what the senders can send", rate_share=0.5),
    AgreementCase("rate-90", "messages released at 90% of what the senders can send", rate_share=0.9),
    AgreementCase("rate-110", "messages released at 110% of what the senders can send", rate_share=1.1),
    AgreementCase("kill-early", "one of four senders killed at 10%", faults=(CaseFault("kill", 0.1),)),
    AgreementCase("kill-middle", "one of four senders killed at 50%", faults=(CaseFault("kill", 0.5),), quick=True),
    AgreementCase("kill-late", "one of four senders killed at 95%", faults=(CaseFault("kill", 0.95),)),
    AgreementCase(
        "pause",
        "one of four senders paused for 10 s, until after its leases have expired",
        lease_timeout=0.125,
        faults=(CaseFault("pause", 0.4, length=0.25),),
    ),
    AgreementCase(
        "slow",
        "the attempts of one of four senders take four times as long for 15 s",
        faults=(CaseFault("slow", 0.25, length=0.375, factor=4),),
    ),
    AgreementCase(
        "limits",
        "sixteen copies with lanes for 80 messages per second and a limit of 40",
        (CaseSender(0.25, 20, copies=16, limit_per_s=40),),
    ),
    AgreementCase(
        "limits-close",
        "two senders whose limit is as fast as their lanes, and one with a burst beside one without a limit",
        (
            CaseSender(0.25, 40, copies=2, limit_per_s=160),
            CaseSender(0.25, 40, limit_per_s=100, burst=200),
            CaseSender(0.25, 40),
        ),
    ),
    AgreementCase(
        "unreachable",
        "10% of the messages can't be reached, 15% of the other attempts fail, three attempts",
        (CaseSender(0.25, 40, 0.15),) * 4,
        max_attempts=3,
        unreachable=0.1,
    ),
    AgreementCase("thousand", "a thousand senders of two lanes", (CaseSender(2.0, 2, copies=1000),)),
)
AGREEMENT_CASES: Final = {case.name: case for case in _CASES}
