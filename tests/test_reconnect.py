"""Waiting for a lost peer: backoff with jitter, notices, giving up, and what gRPC's errors mean for it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from grpc import StatusCode, aio
from nodes_support import play

from smssim.core.limits import LIMITS
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry, Stop
from smssim.errors import GoneError, RefusedError, UsageError
from smssim.net import access
from smssim.net.reconnecting import Peer, reason_of
from smssim.process.logs import node_log
from smssim.settings import AccessSettings

AWAY = Loss(Kind.MAY_PASS, "connection refused")
UNEXPLAINED = Loss(Kind.UNEXPLAINED, "internal")
GIVE_UP_S = 60.0


def longest(_: float, most: float) -> float:
    return most


def waiting(met: bool = False) -> Reconnector:
    """Return a reconnector for a monitor that always waits for the whole backoff."""
    return Reconnector("the monitor", GIVE_UP_S, longest, met=met)


def retry(some: Reconnector, now: float, loss: Loss = AWAY) -> Retry:
    step = some.lost(loss, now)
    assert isinstance(step, Retry)
    return step


def error(some: Reconnector, now: float, loss: Loss = AWAY) -> GoneError | RefusedError:
    step = some.lost(loss, now)
    assert isinstance(step, Stop)
    return step.error


def failing(some: Reconnector, until: float) -> float:
    """Let all calls fail until this time, each after the last one's wait; return when the next one is due."""
    now = 0.0
    while now < until:
        now += retry(some, now).wait_s
    return now


def test_waits_double_up_to_two_seconds_and_start_over_once_the_peer_answers() -> None:
    some = waiting()
    waits_s = [retry(some, float(i)).wait_s for i in range(7)]
    assert waits_s == [0.1, 0.2, 0.4, 0.8, 1.6, LIMITS.backoff_max_s, LIMITS.backoff_max_s]
    some.found(7.0)
    assert retry(some, 8.0).wait_s == LIMITS.backoff_min_s


def test_jitter_shortens_a_wait_by_up_to_half() -> None:
    some = Reconnector("the monitor", GIVE_UP_S, random.Random(1).uniform)
    waits_s = [retry(some, 0.0).wait_s for _ in range(200)][5:]
    assert min(waits_s) >= LIMITS.backoff_max_s / 2
    assert max(waits_s) <= LIMITS.backoff_max_s
    assert len(set(waits_s)) == len(waits_s)


def test_waiting_for_a_peer_that_was_never_met_has_no_limit() -> None:
    failing(waiting(), 10 * GIVE_UP_S)


def test_waiting_for_a_peer_that_was_met_ends_exactly_at_the_give_up_timeout() -> None:
    some = waiting(met=True)
    assert failing(some, GIVE_UP_S) == GIVE_UP_S
    assert str(error(some, GIVE_UP_S)) == "the monitor has been unreachable for 60 s (connection refused)"


def test_the_give_up_timeout_counts_from_the_first_failure_since_the_last_answer() -> None:
    some = waiting()
    retry(some, 0.0)
    some.found(1.0)
    retry(some, 50.0)
    some.found(51.0)
    retry(some, 100.0)
    retry(some, 159.9)
    assert isinstance(error(some, 160.0), GoneError)


def test_the_last_wait_ends_at_the_give_up_timeout_and_every_wait_advances_the_clock() -> None:
    """Rounding must not lead to a wait too short for the clock, which would be repeated forever."""
    for began in (1000.0, 1234.567, 1e6 + 0.1):
        some, now, calls = Reconnector("the monitor", 15.1, random.Random(7).uniform, met=True), began, 0
        while isinstance(step := some.lost(AWAY, now), Retry):
            assert now + step.wait_s > now
            now, calls = now + step.wait_s, calls + 1
        assert now == began + 15.1
        assert calls < 30


def test_once_bound_waiting_for_a_peer_that_was_never_met_ends_after_the_give_up_timeout() -> None:
    some = waiting()
    retry(some, 0.0)
    some.bound(500.0)
    retry(some, 500.0 + GIVE_UP_S - 0.1)
    assert isinstance(error(some, 500.0 + GIVE_UP_S), GoneError)


def test_a_cap_may_shorten_a_give_up_timeout_that_is_already_running_but_never_extends_it() -> None:
    some = waiting(met=True)
    retry(some, 0.0)
    some.bound(5.0, LIMITS.drain_max_s)
    some.bound(6.0, 2 * GIVE_UP_S)
    retry(some, 9.9)
    assert isinstance(error(some, LIMITS.drain_max_s), GoneError)


def test_a_refusal_ends_the_waiting_at_once_whether_or_not_the_peer_was_met() -> None:
    for met in (True, False):
        refused = Loss(Kind.REFUSED, "version 2")
        assert str(error(waiting(met), 0.0, refused)) == "the monitor refused: version 2"
        unusable = Loss(Kind.UNUSABLE, "its certificate has expired")
        assert str(error(waiting(met), 0.0, unusable)) == "the monitor: its certificate has expired"


def test_a_call_without_a_reason_is_retried_five_times_in_a_row_without_a_notice() -> None:
    some = waiting()
    for _ in range(2):
        steps = [retry(some, 0.0, UNEXPLAINED) for _ in range(LIMITS.reasons_asked_max)]
        assert steps == [Retry(LIMITS.backoff_min_s)] * LIMITS.reasons_asked_max
        some.lost(AWAY, 0.0)
    few = Reconnector("the monitor", GIVE_UP_S, longest, replace(LIMITS, reasons_asked_max=1))
    assert [retry(few, 0.0, UNEXPLAINED).notice for _ in range(2)] == ["", "Waiting for the monitor (internal)"]


def test_a_call_without_a_reason_to_a_peer_that_was_met_counts_as_its_loss() -> None:
    assert retry(waiting(met=True), 0.0, UNEXPLAINED).notice == "Lost the monitor: retrying"


def test_notices_at_the_first_failure_during_the_wait_and_at_the_return() -> None:
    some = waiting()
    notices = {now: notice for now in range(25) if (notice := retry(some, float(now)).notice)}
    assert notices == {
        0: "Waiting for the monitor (connection refused)",
        10: "Still waiting for the monitor after 10 s (connection refused)",
        20: "Still waiting for the monitor after 20 s (connection refused)",
    }
    assert some.found(25.0) == "Connected to the monitor"
    assert some.found(26.0) == ""
    assert retry(some, 30.0).notice == "Lost the monitor: retrying"
    assert some.found(31.5) == "Reconnected to the monitor after 1.5 s"


def test_returns_counts_how_often_a_peer_that_was_met_came_back() -> None:
    some = waiting()
    retry(some, 0.0)
    for now in (1.0, 2.0):
        some.found(now)
    assert some.returns == 0
    for now in (3.0, 5.0):
        retry(some, now)
        retry(some, now + 0.1)
        some.found(now + 1.0)
    assert some.returns == 2


# -- several addresses

AT = ("a:1", "b:1", "c:1")
ALL = "the monitor a:1, b:1 or c:1"
FOREIGN = Loss(Kind.FOREIGN, "a different service listens there")
EXPIRED = Loss(Kind.UNUSABLE, "its certificate has expired")


def several(met: bool = False, addresses: tuple[str, ...] = AT) -> Reconnector:
    """Return a reconnector for a monitor with several addresses."""
    return Reconnector("the monitor", GIVE_UP_S, longest, addresses=addresses, met=met)


def test_each_loss_leads_to_the_next_address_and_only_a_whole_round_to_a_longer_wait() -> None:
    for met in (False, True):
        some = several(met)
        called, waits_s = [], []
        for i in range(15):
            called.append(some.address)
            waits_s.append(retry(some, float(i)).wait_s)
        assert called == 5 * list(AT)
        assert waits_s == [0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.4, 0.1, 0.1, 0.8, 0.1, 0.1, 1.6]


def test_an_address_that_answers_stays_and_the_next_round_begins_with_it() -> None:
    some = several()
    for i in range(7):
        retry(some, float(i))
    assert some.address == "b:1"
    some.found(7.0)
    assert (some.address, some.peer) == ("b:1", "the monitor b:1")
    assert [(retry(some, 8.0).wait_s, some.address) for _ in AT] == [(0.1, "c:1"), (0.1, "a:1"), (0.1, "b:1")]
    assert retry(some, 8.0).wait_s == 0.1
    assert [retry(some, 8.0).wait_s for _ in range(2)] == [0.1, 0.2]


def test_all_addresses_share_one_give_up_timeout() -> None:
    some = several(met=True)
    assert failing(some, GIVE_UP_S) == GIVE_UP_S
    assert str(error(some, GIVE_UP_S)) == f"{ALL} has been unreachable for 60 s (connection refused)"
    failing(several(), 10 * GIVE_UP_S)  # it was never met


def test_notices_about_several_addresses() -> None:
    some, standby = several(), Loss(Kind.MAY_PASS, "stands by: a:1 owns run alert")
    notices = {now: notice for now in range(15) if (notice := retry(some, float(now)).notice)}
    assert notices == {2: f"Waiting for {ALL} (connection refused)"} | {
        12: f"Still waiting for {ALL} after 12 s (connection refused)",
    }
    assert some.found(15.0) == "Connected to the monitor a:1"
    assert retry(some, 20.0).notice == "Lost the monitor a:1: trying b:1"
    assert some.found(26.1) == "Reconnected to the monitor b:1 after 6.1 s"
    assert retry(some, 30.0).notice == "Lost the monitor b:1: trying c:1"
    assert [retry(some, 31.0, loss).notice for loss in (standby, standby)] == [
        "",
        f"Waiting for {ALL} (a:1: {standby.reason}; b:1: connection refused; c:1: {standby.reason})",
    ]
    assert retry(some, 32.0, standby).notice == ""
    assert retry(some, 41.0, standby).notice == f"Still waiting for {ALL} after 11 s ({standby.reason})"


def test_a_refusal_at_one_address_ends_the_waiting_at_all_of_them() -> None:
    some = several()
    retry(some, 0.0)
    refused = Loss(Kind.REFUSED, "missing or wrong token")
    assert str(error(some, 0.1, refused)) == "the monitor b:1 refused: missing or wrong token"


def test_the_reason_of_a_call_is_asked_for_at_the_same_address() -> None:
    some = several()
    for _ in range(LIMITS.reasons_asked_max):
        assert retry(some, 0.0, UNEXPLAINED) == Retry(LIMITS.backoff_min_s)
        assert some.address == "a:1"
    retry(some, 0.0, UNEXPLAINED)
    assert some.address == "b:1"


def test_an_address_of_no_use_is_passed_over_until_all_are_of_no_use() -> None:
    some = several(addresses=AT[:2])
    assert [retry(some, float(now), (FOREIGN, AWAY)[now % 2]).notice for now in range(4)] == [
        "Can't use the monitor a:1 (a different service listens there): trying b:1",
        "Waiting for the monitor a:1 or b:1 (a:1: a different service listens there; b:1: connection refused)",
        "",
        "",
    ]
    retry(some, 4.0, AWAY)  # it is gone from a:1
    retry(some, 5.0, EXPIRED)
    assert str(error(some, 6.0, FOREIGN)) == (
        "the monitor b:1: its certificate has expired; the monitor a:1 refused: a different service listens there"
    )


def test_an_answer_shows_that_an_address_was_of_use() -> None:
    some = several(addresses=AT[:2])
    retry(some, 0.0, FOREIGN)
    some.found(1.0)
    retry(some, 2.0, EXPIRED)  # of the other one


def test_an_address_was_met_once_it_has_answered_or_the_give_up_timeout_applies_from_the_start() -> None:
    some = several()
    retry(some, 0.0)
    some.found(1.0)
    assert some.has_met
    retry(some, 2.0)
    assert not some.has_met
    for bound in (several(met=True), several()):
        bound.bound(0.0)
        for now in range(3):
            assert bound.has_met
            retry(bound, float(now))


# -- with gRPC


def failure(code: StatusCode, details: str = "") -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)


def peer() -> Peer:
    return Peer("producer", "127.0.0.1:1", access.OPEN, GIVE_UP_S, node_log("sender"))


def test_the_kind_of_loss_follows_from_the_status_code() -> None:
    kinds = dict.fromkeys(StatusCode, Kind.MAY_PASS) | {
        StatusCode.INTERNAL: Kind.UNEXPLAINED,
        StatusCode.UNIMPLEMENTED: Kind.FOREIGN,
        StatusCode.FAILED_PRECONDITION: Kind.REFUSED,
        StatusCode.INVALID_ARGUMENT: Kind.REFUSED,
        StatusCode.RESOURCE_EXHAUSTED: Kind.REFUSED,
        StatusCode.UNAUTHENTICATED: Kind.REFUSED,
        StatusCode.PERMISSION_DENIED: Kind.REFUSED,
    }

    async def scene() -> dict[StatusCode, Kind]:
        return {code: (await peer().loss(failure(code))).kind for code in StatusCode}

    assert play(scene()) == kinds


@pytest.mark.usefixtures("quiet")
def test_a_call_whose_reason_grpc_lost_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        producer, lost = peer(), failure(StatusCode.INTERNAL, "Internal error from Core")
        for _ in range(2):  # the reason may be lost more than once
            await producer.lost(lost)
        assert caplog.messages == []
        await producer.lost(failure(StatusCode.UNAVAILABLE, "all streams are taken"))
        assert caplog.messages == ["sender: Waiting for producer 127.0.0.1:1 (all streams are taken)"]
        for _ in range(2):
            await producer.lost(lost)
        with pytest.raises(RefusedError):
            await producer.lost(failure(StatusCode.UNAUTHENTICATED))

    play(scene())


def test_the_reason_of_a_standby_is_kept_whole_and_that_of_grpc_is_shortened_to_its_cause() -> None:
    said = {
        "stands by: 10.0.0.1:50051 owns run alert": "stands by: 10.0.0.1:50051 owns run alert",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Refused": "Refused",
    }
    assert {details: reason_of(failure(StatusCode.UNAVAILABLE, details)) for details in said} == said


def test_the_token_may_be_sent_to_each_address_or_a_peer_is_refused() -> None:
    open_to_all = access.Access(AccessSettings(), token=b"a-shared-token")
    Peer("producer", "127.0.0.1:1,localhost:2", open_to_all, GIVE_UP_S, node_log("sender"))
    with pytest.raises(UsageError, match=r"^--tls-ca or --insecure is required to send the token to 10\.0\.0\.1:3$"):
        Peer("producer", "127.0.0.1:1,10.0.0.1:3", open_to_all, GIVE_UP_S, node_log("sender"))
