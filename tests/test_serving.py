"""Which requests concern other senders: those that make messages ready for them."""

from __future__ import annotations

import numpy as np

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request, Settlements
from smssim.core.model import Outcome
from smssim.core.producer_stream import ProducerStream

NOW = 5.0
ASK = Request(credit=4, idle_lanes=4)


def serving(backlog: Backlog, name: str, request: Request = ASK) -> ProducerStream:
    """A sender whose first request was served."""
    stream = ProducerStream(backlog, backlog.join(name, 1.0, 4, NOW))
    concerns_others(stream, request)
    return stream


def concerns_others(stream: ProducerStream, request: Request) -> bool:
    stream.apply(request, NOW)
    stream.lease(NOW)
    return stream.concerns_others(NOW)


def settled(outcome: Outcome) -> Request:
    """Message 1 is, with credit for no more than one."""
    one = np.ones(1, np.uint8)
    return Request(credit=1, settlements=Settlements(np.array([1]), outcome * one, one))


def test_a_request_that_only_takes_messages_concerns_nobody_else() -> None:
    stream = serving(Backlog(100), "a")
    assert stream.holder.leased == 4
    assert not concerns_others(stream, ASK)
    assert not concerns_others(stream, settled(Outcome.SENT))


def test_messages_that_are_handed_back_concern_others_once() -> None:
    stream = serving(Backlog(4), "a")
    assert concerns_others(stream, Request(handed_back=np.array([1, 2]), leaving=True))
    assert not concerns_others(stream, Request())


def test_a_sender_that_waits_for_messages_that_are_released_later_concerns_whoever_hands_them_out() -> None:
    stream = serving(Backlog(100, rate_per_s=1.0), "a")
    assert (stream.holder.leased, stream.holder.credit) == (1, 3)
    assert concerns_others(stream, Request())
