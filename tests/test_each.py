"""With --verbose, a slow sender shows every message and a fast one shows some and counts the rest."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS
from smssim.core.model import Outcome
from smssim.outputs.terminal.each import EachMessage
from smssim.process.logs import node_log

LOG = node_log("one")


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smssim")


def play(shown: EachMessage, first: int, count: int, now: float, text: str = "HI") -> None:
    """Let `count` messages arrive and be sent at once."""
    ids = np.arange(first, first + count)
    shown.arrived("one", ids, lambda n: {first + i: ("111-111-1111", text) for i in range(n)}, now)
    bytes_, times = np.ones(count, np.uint8), np.full(count, 0.5, np.float32)
    shown.finished("one", Finished(ids, bytes_, bytes_ * np.uint8(Outcome.SENT), times, times), LOG, now)


def told(caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """Return how many messages have a line and how many the lines count as left out."""
    lines = [record.getMessage() for record in caplog.records]
    left_out = [re.search(r"([0-9,]+) more messages?,", line) for line in lines]
    return sum("Message " in line and "sent" in line for line in lines), sum(
        int(found[1].replace(",", "")) for found in left_out if found
    )


def test_a_slow_sender_shows_every_message(caplog: pytest.LogCaptureFixture) -> None:
    shown = EachMessage()
    for second in range(100):
        play(shown, 100 * second, 100, 1000.0 + second)
    assert told(caplog) == (10_000, 0)


def test_a_fast_sender_shows_some_messages_and_counts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    shown = EachMessage()
    for tick in range(200):
        play(shown, 30_000 * tick, 30_000, 1000.0 + tick / 20)
    shown.log_left_out(LOG, 1010.0, at_last=True)
    lines, left_out = told(caplog)
    assert lines + left_out == 200 * 30_000
    assert 500 < lines <= LIMITS.shown_at_once + 10 * LIMITS.shown_per_s
    assert sum(", too many to show" in record.getMessage() for record in caplog.records) <= 12


def test_messages_that_never_finish_are_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    shown = EachMessage()
    for second in range(100):
        shown.arrived(
            "one",
            np.arange(1000 * second, 1000 * (second + 1)),
            lambda n: {7 * n + i: ("", "") for i in range(n)},
            second,
        )
    assert len(shown._kept) <= LIMITS.shown_kept_max
    assert shown._slots.sum() == len(shown._kept)
    play(shown, 10**6, 5, 1000.0)
    assert told(caplog)[0] == 5


def test_unprintable_text_of_a_peer_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    play(EachMessage(), 1, 1, 1000.0, "a\x1b[2J\nb")
    (record,) = caplog.records
    assert record.getMessage() == r'one: Message 1 to 111-111-1111: sent after 500 ms: "a\x1b[2J\nb"'
    assert record.__dict__["fields"]["outcome"] == "sent"
