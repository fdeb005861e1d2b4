"""How a run ends, decided from exit codes: what it waits for, for how long, what it reports, and its exit code."""

from __future__ import annotations

from dataclasses import fields
from signal import SIGKILL

import pytest

from smssim.core.limits import LIMITS
from smssim.errors import ExitCode
from smssim.launch import ending
from smssim.launch.ending import Code, Codes
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits

LIMIT_NAMES = [field.name for field in fields(LaunchLimits)]
APART = LaunchLimits(**{name: 10_000 * i for i, name in enumerate(LIMIT_NAMES, 1)})  # each with a different value
KILLED: Code = -SIGKILL
OK, INCOMPLETE = ExitCode.OK, ExitCode.INCOMPLETE


def codes(monitor: Code = None, producer: Code = None, *senders: Code) -> Codes:
    """Return these codes; if no sender is given, one sender is running."""
    return Codes(monitor, producer, senders or (None,))


def test_a_run_continues_while_its_monitor_its_producer_and_a_sender_run() -> None:
    assert not codes().is_over
    assert not codes(None, None, KILLED, OK, None).is_over
    for over in (codes(OK), codes(None, OK), codes(None, None, OK, KILLED), Codes(None, None, ())):
        assert over.is_over


def test_a_monitor_or_a_producer_has_failed_if_its_code_is_not_that_of_a_finished_run() -> None:
    for code in (None, ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.DISAGREE, ExitCode.THRESHOLD):
        assert not codes(code, code).has_failed
    for failed in (ExitCode.INTERNAL, ExitCode.USAGE, ExitCode.INTERRUPTED, KILLED, 77):
        assert codes(failed).has_failed
        assert codes(None, failed).has_failed


def test_remaining_nodes_may_end_by_themselves_unless_a_node_or_every_sender_failed() -> None:
    for alone in (codes(OK), codes(None, OK), codes(None, INCOMPLETE, KILLED, OK), codes(OK, None, None, INCOMPLETE)):
        assert alone.may_end_alone
    for not_alone in (codes(KILLED), codes(None, ExitCode.USAGE), codes(None, None, KILLED, INCOMPLETE)):
        assert not not_alone.may_end_alone


def test_a_running_producer_lacks_senders_when_all_have_ended() -> None:
    assert codes(None, None, KILLED, OK).lacks_senders
    assert not codes(None, OK, OK).lacks_senders
    assert not codes(OK, None, None, OK).lacks_senders


@pytest.mark.parametrize("stopped", [False, True])
def test_senders_may_finish_their_messages_only_if_they_still_count(stopped: bool) -> None:
    for counts in (
        codes(),
        codes(OK, OK),
        codes(None, None, KILLED),
        codes(ExitCode.THRESHOLD),
        codes(None, INCOMPLETE),
    ):
        assert ending.sender_s(counts, stopped, APART) == APART.drain_s
    for in_vain in (codes(INCOMPLETE), codes(ExitCode.DISAGREE), codes(KILLED), codes(None, KILLED)):
        assert ending.sender_s(in_vain, stopped, APART) == (APART.drain_s if stopped else APART.last_report_s)


def test_a_monitor_that_writes_files_gets_more_time_to_end() -> None:
    assert ending.monitor_s(True, APART) == APART.files_s
    assert ending.monitor_s(False, APART) == APART.left_over_s


def test_an_exit_code_is_reported_unless_the_node_has_given_the_reason_itself() -> None:
    assert [code for code in (None, *ExitCode, KILLED) if ending.is_reported(code, shows_summary=True)] == [
        *(ExitCode.INTERNAL, ExitCode.USAGE, ExitCode.DISAGREE, ExitCode.INTERRUPTED, KILLED)
    ]
    assert ending.is_reported(ExitCode.THRESHOLD, shows_summary=False)
    assert not ending.is_reported(ExitCode.INCOMPLETE, shows_summary=False)


@pytest.mark.parametrize(
    ("monitor", "producer", "code"),
    [
        (OK, OK, OK),
        (ExitCode.THRESHOLD, OK, ExitCode.THRESHOLD),
        (ExitCode.THRESHOLD, INCOMPLETE, INCOMPLETE),
        (ExitCode.DISAGREE, INCOMPLETE, ExitCode.DISAGREE),
        (OK, ExitCode.USAGE, ExitCode.USAGE),
        (ExitCode.INTERRUPTED, OK, INCOMPLETE),
        (OK, KILLED, ExitCode.INTERNAL),
        (KILLED, INCOMPLETE, ExitCode.INTERNAL),
        (255, OK, ExitCode.INTERNAL),
        (None, OK, ExitCode.INTERNAL),
    ],
)
def test_a_run_exits_with_the_worst_code_of_both_and_unknown_ones_count_as_internal(
    monitor: Code, producer: Code, code: ExitCode
) -> None:
    assert ending.exit_code(codes(monitor, producer, KILLED)) == code


def test_a_node_that_fails_before_it_is_ready_ends_the_run_with_its_code() -> None:
    assert ending.exit_code_at_start(ExitCode.USAGE) == ExitCode.USAGE
    for code in (OK, KILLED, None):
        assert ending.exit_code_at_start(code) == ExitCode.INTERNAL


def test_a_run_waits_longer_for_its_nodes_than_they_need() -> None:
    assert LAUNCH_LIMITS.left_over_s > LIMITS.last_figures_s


def test_a_complete_run_continues_until_its_monitor_is_back_while_senders_wait_for_it() -> None:
    assert not Codes(None, OK, (None, KILLED), monitor_returns=True).is_over
    for over in (
        Codes(None, OK, (OK, KILLED), monitor_returns=True),  # nobody waits
        Codes(None, INCOMPLETE, (None,), monitor_returns=True),
        Codes(None, KILLED, (None,), monitor_returns=True),
        Codes(KILLED, OK, (None,), monitor_returns=True),
        Codes(None, OK, (None,)),
    ):
        assert over.is_over
