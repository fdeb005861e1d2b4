"""The limits of nodes and launches keep all rules, and each rule refuses limits that break it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

import pytest
from nodes_support import losing_after

from smssim.core.limits import COPIES_MAX, LIMITS, Limits
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits

Broken = dict[str, dict[str, Any]]  # by rule: limits that break this rule and none before it

BROKEN: Final[Broken] = {
    "a heartbeat is due within the shortest lease timeout": {"heartbeat_s": 1.5},
    "leases are checked twice within the shortest lease timeout": {"lease_check_s": 0.75},
    "lanes are checked at least once per heartbeat": {"tick_max_s": 1.0},
    "the longest wait for a report is at least a heartbeat": {"report_wait_max_s": 0.9},
    "a report is due before its sender counts as silent": {"report_wait_max_s": 2.5},
    "a sender counts as silent before it counts as lost": {"silent_after_s": 5.0},
    "a sender misses two reports before it counts as lost": {"report_wait_max_s": 2.5, "silent_after_s": 3.0},
    "the first backoff is at most the longest one": {"backoff_min_s": 2.1},
    "a wait is no longer than its backoff": {"backoff_share_min": 1.1},
    "senders return to a resumed producer within its farewell": {"backoff_max_s": 5.1},
    "a full report is no larger than the largest report": {"report_rows_full": 196_609},
    "a producer allows the credit that senders ask for": {"ahead_max": 1_600_001},
    "a monitor has room for twice what a producer leases": {"leased_max": 100_000_001},
    "a monitor has memory for the pending messages of a run": {"pending_max": 400_000_000},
    "the bound on calls of other services is at most that on all calls": {"aside_calls_max": 20_001},
    "the bound on silent calls is at most that on all calls": {"silent_calls_max": 20_001},
    "all copies of a sender fit into one connection": {"calls_per_connection_max": 1_999},
    "a connection stays open between two reports": {"connection_idle_s": 2.0},
    "a server requests enough file descriptors for all its connections": {"connections_max": 65_500},
    "a response with messages fits into a gRPC message": {"frame_rows_max": 40_000},
    "a report fits into a gRPC message": {"report_rows_max": 300_000},
    "handed-back messages fit into a gRPC message": {"handed_back_max": 524_288},
    "a history has enough samples to merge": {"history_samples_max": 3},
    "senders by time have enough steps to merge": {"heat_steps_max": 3},
    "a run is checked at least as often as a moment is noted": {"end_check_s": 0.26},
    "the shortest time between two moments is at most the longest one": {"beat_min_s": 1.1},
    "the time between two moments is no gap": {"gap_min_s": 1.0},
    "the time left follows from the rate over at most the whole run": {"left_rate_over_share": 1.1},
    "the time left follows from moments that are kept": {"left_rate_over_moments": 201},
    "a row group fits into the queue of a record": {"record_group_rows": 1_000_001},
    "viewers leave connections for other requests": {"page_viewers_max": 128},
    "descriptors are kept for the page": {"page_connections_max": 192},
    "the heap keeps the largest freed array": {"heap_free_bytes_max": (32 << 20) - 1},
    "an owner misses two renewals before a standby takes over": {"renew_s": 2.0},
    "a standby looks at the log more often than it takes over": {"poll_s": 4.0},
    "a record fits into a message of the engine": {"record_bytes_max": 1 << 20},
    "a late answer is no sign of death": {"engine_answer_s": 4.0},
    "an owner is replaced before it sends its peers away": {"cut_off_after_s": 4.0},
    "an owner repeats an append before it is replaced": {"append_retry_max_s": 2.0},
    "commits take a share of the time above 0 and up to 1": {"commit_share_max": 1.1},
}
BROKEN_AT_LAUNCH: Final[Broken] = {
    "a monitor that writes files has at least as much time as one that does not": {"files_s": 4.9},
    "senders that only report have at most as much time as those that also finish": {"last_report_s": 20.1},
    "the view has more time than the monitor waits for it to read the last figures": {"view_s": LIMITS.last_figures_s},
    "senders have enough time to finish before they are killed": {"drain_s": LIMITS.drain_max_s},
    "the records of all copies of a sender are kept": {"records_max": COPIES_MAX - 1},
}


def test_every_rule_refuses_limits_that_break_it() -> None:
    all_broken: tuple[tuple[Limits | LaunchLimits, Broken], ...] = ((LIMITS, BROKEN), (LAUNCH_LIMITS, BROKEN_AT_LAUNCH))
    for limits, all_rules in all_broken:
        assert [rule for _, rule in limits.rules()] == list(all_rules)
        for rule, broken in all_rules.items():
            with pytest.raises(ValueError, match=f"^these limits break the rule that {rule}$"):
                replace(limits, **broken)


def test_the_limits_of_nodes_and_of_runs_keep_every_rule_and_are_above_zero() -> None:
    for limits in (LIMITS, LAUNCH_LIMITS):
        assert all(holds for holds, _ in limits.rules())
        assert all(getattr(limits, field.name) > 0 for field in fields(limits))


def test_limits_that_are_all_scaled_down_keep_every_rule() -> None:
    for lost_after_s in (0.05, 0.3, 5.0):
        brief = losing_after(lost_after_s)
        assert brief.lost_after_s == lost_after_s
        assert brief.silent_after_s / LIMITS.silent_after_s == pytest.approx(lost_after_s / LIMITS.lost_after_s)
