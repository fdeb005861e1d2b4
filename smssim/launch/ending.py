"""Decisions about the end of a run: which nodes may end alone, how long each may take, which ends are logged.

Decides from the exit codes of the nodes, and returns that of the run. Must not know processes, clocks or logs.
"""

from __future__ import annotations

from dataclasses import dataclass

from smssim.errors import ExitCode, worst
from smssim.launch.limits import LaunchLimits

Code = int | None  # an exit code, negative if a signal ended the node; None while it runs

OF_A_RUN = (ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.DISAGREE, ExitCode.THRESHOLD)  # any other code is a failure


def has_failed(code: Code) -> bool:
    """Return whether a monitor or a producer with this code has failed, rather than ended with its run."""
    return code is not None and code not in OF_A_RUN


@dataclass(frozen=True, slots=True)
class Codes:
    """The exit codes of all nodes at one moment. A node that a fault has killed and that comes back counts as running.

    So does a sender that joins later.
    """

    monitor: Code
    producer: Code
    senders: tuple[Code, ...]
    monitor_returns: bool = False  # whether a fault keeps the monitor away, for some time

    @property
    def has_senders(self) -> bool:
        """Whether a sender still runs, or will."""
        return None in self.senders

    @property
    def is_over(self) -> bool:
        """Whether the run can't continue, because its monitor, its producer or all senders have ended.

        A complete run continues until its monitor is back, because senders wait for it to report that.
        """
        waits = self.producer == ExitCode.OK and self.monitor_returns
        return self.monitor is not None or (self.producer is not None and not waits) or not self.has_senders

    @property
    def has_failed(self) -> bool:
        """Whether the monitor or the producer has failed, so that the run can't be completed."""
        return has_failed(self.monitor) or has_failed(self.producer)

    @property
    def may_end_alone(self) -> bool:
        """Whether the nodes that still run are about to end by themselves; not if every sender has ended badly."""
        return not self.has_failed and not all(self.senders)  # 0 and None are not failures

    @property
    def lacks_senders(self) -> bool:
        """Whether the producer still waits for senders, but all of them have ended."""
        return self.producer is None and not self.has_senders


def sender_s(codes: Codes, stopped: bool, limits: LaunchLimits) -> float:
    """Return the seconds that the senders may take to end, and the producer after them.

    They get the time to finish their messages, unless these no longer count: the producer or the monitor has failed, or
    the monitor has ended before the run was complete and can't receive their reports.
    """
    counts = not codes.has_failed and codes.monitor not in (ExitCode.INCOMPLETE, ExitCode.DISAGREE)
    return limits.drain_s if stopped or counts else limits.last_report_s


def monitor_s(is_slow: bool, limits: LaunchLimits) -> float:
    """Return the seconds that the monitor may take to end, after all others; far more with outputs that end slowly."""
    return limits.files_s if is_slow else limits.left_over_s


def is_reported(code: Code, shows_summary: bool) -> bool:
    """Return whether to log the end of a monitor or producer with this code: not if it has given the reason itself."""
    said = (ExitCode.INCOMPLETE, ExitCode.THRESHOLD) if shows_summary else (ExitCode.INCOMPLETE,)
    return bool(code) and code not in said


def exit_code(codes: Codes) -> ExitCode:
    """Return the exit code of the run: the worse of the monitor's and the producer's; INTERNAL if one is missing."""
    return worst(ExitCode.INTERNAL if code is None else code for code in (codes.monitor, codes.producer))


def exit_code_at_start(code: Code) -> int:
    """Return the exit code of a run that did not start, because a node ended with this code before it was ready."""
    return code if code is not None and code > 0 else ExitCode.INTERNAL
