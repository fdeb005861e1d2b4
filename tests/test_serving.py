"""Requests that concern other senders, because messages may become ready for them."""

from __future__ import annotations

import numpy as np

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request, Settlements
from smssim.core.model import Outcome
from smssim.core.producer_stream import ProducerStream

NOW = 5.0
ASK = Request(credit=4, idle_lanes=4)


def serving(backlog: Backlog, name: str, request: Request = ASK) -> ProducerStream:
    """Return the stream of a sender whose first request was served."""
    stream = ProducerStream(backlog, backlog.join(name, 1.0, 4, NOW))
    concerns_others(stream, request)
    return stream


def concerns_others(stream: ProducerStream, request: Request) -> bool:
    stream.apply(request, NOW)
    stream.lease(NOW)
    return stream.concerns_others(NOW)


def settled(outcome: Outcome) -> Request:
    """Return a request that settles message 1 with this outcome and asks for one message."""
    one = np.ones(1, np.uint8)
    return Request(credit=1, settlements=Settlements(np.array([1]), outcome * one, one))


def test_a_request_that_only_takes_messages_concerns_no_other_sender() -> None:
    stream = serving(Backlog(100), "a")
    assert stream.holder.leased == 4
    assert not concerns_others(stream, ASK)
    assert not concerns_others(stream, settled(Outcome.SENT))


def test_handed_back_messages_concern_other_senders_once() -> None:
    stream = serving(Backlog(4), "a")
    assert concerns_others(stream, Request(handed_back=np.array([1, 2]), leaving=True))
    assert not concerns_others(stream, Request())


def test_a_request_that_is_left_waiting_for_a_later_release_triggers_a_distribution() -> None:
    stream = serving(Backlog(100, rate_per_s=1.0), "a")
    assert (stream.holder.leased, stream.holder.credit) == (1, 3)
    assert concerns_others(stream, Request())
