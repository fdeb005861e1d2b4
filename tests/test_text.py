"""A fixed text is checked, identifies its run, travels once with the offer, and determines the segments of the run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from nodes_support import Stage, assert_exact, codes, play

from smssim.core.exchange import RunOffer
from smssim.core.message import Writer
from smssim.core.model import RunFacts
from smssim.core.queue import Batch
from smssim.errors import PeerError, UsageError
from smssim.journal.run_piece import about_run, check_about, run_facts, run_from, run_piece
from smssim.net import wire
from smssim.settings import PlanSettings, ProducerSettings, RunSettings
from smssim.v1 import producer_pb2

TEXT = "Don’t wait: go to higher ground now. " * 3
RUN = RunFacts("2b7bd5f5-5a41-4fd4-93ea-5c1ff9a3f7b6", 7, 1000, 3, segments=2)


# ---- Settings


def test_a_text_determines_the_segments_of_a_run_and_of_its_plan() -> None:
    settings = ProducerSettings(seed=7, text=TEXT)
    assert (settings.segments, settings.encoding) == (2, "UCS-2")
    assert run_facts(RUN.run_id, settings).segments == 2
    assert (ProducerSettings().segments, ProducerSettings().encoding) == (1, None)
    for kind in (RunSettings, PlanSettings):
        assert kind.from_flags({"text": TEXT}, None).planned().segments == 2


def test_a_limit_and_a_price_count_the_segments_of_the_text() -> None:
    senders = RunSettings.flags()["senders"].read("limit=100,burst=6,price=0.5")
    (sender,) = RunSettings.from_flags({"text": TEXT, "senders": (senders,)}, None).planned().senders
    assert sender.limit is not None
    assert (sender.limit.per_s, sender.limit.burst) == (50, 3)


def test_a_text_that_is_too_long_or_beside_lengths_is_refused() -> None:
    assert ProducerSettings(text="a" * 255 * 153).segments == 255
    for given, said in (
        ({"text": "a" * (255 * 153 + 1)}, "--text: got a text of 256 segments; expected at most 255"),
        ({"text": "a", "min_length": 5}, "--text can't be used with --min-length"),
        ({"text": "a", "max_length": 5}, "--text can't be used with --max-length"),
    ):
        with pytest.raises(UsageError) as caught:
            ProducerSettings(**given)
        assert str(caught.value) == said


# ---- Resuming


def test_a_run_resumes_with_its_text_and_refuses_another_one() -> None:
    began = ProducerSettings(seed=7, text=TEXT)
    pieces = {"run": run_piece("id", began)}
    for given in (began, ProducerSettings(), ProducerSettings(seed=7)):
        assert run_from(pieces, "it", given) == ("id", began)
        check_about(about_run(began), "it", given)
    other = ProducerSettings(text="Another")
    for refused in (lambda: run_from(pieces, "it", other), lambda: check_about(about_run(began), "it", other)):
        with pytest.raises(UsageError, match=r"^--text: got Another; expected the text in it, or no --text$"):
            refused()
    assert len(about_run(ProducerSettings(text="a" * 30_000))) < 300  # it is in each record of an engine's log


def test_a_run_with_random_texts_refuses_a_text_when_it_resumes_also_if_an_earlier_version_began_it() -> None:
    piece = run_piece("id", ProducerSettings(seed=7))
    facts = json.loads(piece)
    for name in ("text", "text_digest"):
        del facts["facts"][name]
    for run in (piece, json.dumps(facts).encode()):
        assert run_from({"run": run}, "it", ProducerSettings()) == ("id", ProducerSettings(seed=7))
        with pytest.raises(UsageError, match=r"^--text: got Hi; expected no --text: the texts in it are random$"):
            run_from({"run": run}, "it", ProducerSettings(text="Hi"))


# ---- The wire


def test_a_fixed_text_travels_with_the_offer() -> None:
    offer = RunOffer(RUN, "a:1,b:2", TEXT)
    assert wire.offer_from_proto(wire.offer_to_proto(offer)) == offer
    without = RunOffer(RUN, "a:1")  # a producer may have texts of its own, of several segments each
    assert wire.offer_from_proto(wire.offer_to_proto(without)) == without


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Go now.", "text: got 1 segments; expected 2, as the run has"),
        ("a" * 39_016, "text: got 39,016 characters; expected at most 39,015"),
    ],
)
def test_an_offered_text_of_other_segments_is_refused(text: str, said: str) -> None:
    with pytest.raises(PeerError) as caught:
        wire.offer_from_proto(wire.offer_to_proto(RunOffer(RUN, "a:1", text)))
    assert str(caught.value) == said


def batch(has_texts: bool) -> producer_pb2.Batch:
    ids = np.array([3, 4, 900])
    content = Writer(7, 1000, has_texts=has_texts).content(ids.view("u8"))
    data = wire.batch_to_bytes(Batch(ids, 1), content, np.zeros(3, np.float32), 0.0, 0)
    return producer_pb2.FetchMessageResponse.FromString(data).batch


@pytest.mark.parametrize("has_texts", [True, False])
def test_a_batch_has_texts_exactly_if_the_offer_has_none(has_texts: bool) -> None:
    assert wire.batch_from_proto(batch(has_texts), RUN, has_texts).ids.tolist() == [3, 4, 900]
    with pytest.raises(PeerError, match=r"^text_lengths: got \d bytes; expected [03] elements of 1 bytes$"):
        wire.batch_from_proto(batch(has_texts), RUN, not has_texts)
    stray: dict[str, Any] = {"texts": b"HI"}
    one = batch(has_texts=False)
    one.MergeFrom(producer_pb2.Batch(**stray))
    with pytest.raises(PeerError, match=r"^texts: their length is not the sum of text_lengths$"):
        wire.batch_from_proto(one, RUN, has_texts=False)


def test_messages_with_a_fixed_text_go_to_the_same_numbers_as_those_with_random_texts() -> None:
    shown, random = wire.texts_of(batch(has_texts=False), 2, TEXT), wire.texts_of(batch(has_texts=True), 2)
    assert shown == {number: (random[number][0], TEXT) for number in (3, 4)}
    fixed, whole = (Writer(7, 20_000, has_texts=has) for has in (False, True))
    for ids in (np.arange(4090, 8200), np.arange(0), np.array([9000, 5, 5, 4096, 19_999])):
        column = ids.astype(np.uint64)
        assert fixed.content(column).phone_numbers == whole.content(column).phone_numbers
        assert fixed.content(column).texts == fixed.content(column).text_lengths == b""
    assert fixed.stretch(7, 4100).phone_numbers == whole.stretch(7, 4100).phone_numbers


# ---- A run


@pytest.mark.usefixtures("quiet")
def test_a_run_with_a_text_says_what_it_costs_and_its_senders_show_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(40, monitor=monitor.address, text="Go\nnow’ " * 20, max_attempts=2)
            sender = stage.sender(producer.address, "me", verbose=True)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)
            summary = monitor.last(producer.run.run_id).summary
            assert summary is not None
            assert summary.segments == 3

    play(scene())
    said = [record.getMessage() for record in caplog.records]
    (text, hint) = (line for line in said if line.startswith("producer: Text: "))
    assert "Text: 3 segments, UCS-2 because of " in text
    assert hint.endswith("it would be GSM-7 and take 1 segment")
    assert any(line.endswith(r': "Go\nnow’ Go\nnow’ Go\nnow’ Go\nnow’ G..."') for line in said)
