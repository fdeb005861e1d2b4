"""Content is a pure function of seed, id and length bounds, has the promised form and is uniformly random."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.message import BLOCK, BLOCKS_KEPT, PHONE_BYTES, Content, Writer

SEED = 7
TOTAL = (BLOCKS_KEPT + 2) * BLOCK + 100  # more blocks than are kept; the last one is incomplete
ids_of_the_run = st.integers(0, TOTAL - 1)


def rows(content: Content) -> list[tuple[bytes, bytes]]:
    """Return the phone number and text of each message."""
    phones = [content.phone_numbers[i : i + PHONE_BYTES] for i in range(0, len(content.phone_numbers), PHONE_BYTES)]
    ends = list(accumulate(content.text_lengths, initial=0))
    assert ends[-1] == len(content.texts)
    return list(zip(phones, [content.texts[a:b] for a, b in pairwise(ends)], strict=True))


def column(ids: list[int]) -> NDArray[np.uint64]:
    return np.array(ids, np.uint64)


@pytest.fixture(scope="module")
def whole() -> list[tuple[bytes, bytes]]:
    return rows(Writer(SEED, TOTAL).stretch(0, TOTAL))


def test_a_seed_gives_the_same_content_in_every_version() -> None:
    """The version of numpy makes no difference either."""
    found = rows(Writer(SEED, 10**12, 5, 20).content(column([0, 4095, 4096, 10**12 - 1])))
    assert found == [
        (b"985-014-6612", b"BS =**"),
        (b"804-640-3270", b"Y8'@]UR11\\<F.N'YVG]Z"),
        (b"025-842-7973", b" *M:%(,C35+UXUK1+("),
        (b"987-142-5808", b"SR3B[<62"),
    ]


@given(st.lists(ids_of_the_run, max_size=50))
def test_content_is_the_same_in_any_order(whole: list[tuple[bytes, bytes]], ids: list[int]) -> None:
    assert rows(Writer(SEED, TOTAL).content(column(ids))) == [whole[i] for i in ids]


@given(st.lists(ids_of_the_run, max_size=20))
def test_content_is_the_same_in_any_partition(whole: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    writer = Writer(SEED, TOTAL)
    pieces = [rows(writer.stretch(a, b)) for a, b in pairwise([0, *sorted(cuts), TOTAL])]
    assert [row for piece in pieces for row in piece] == whole


def test_content_is_the_same_one_at_a_time(whole: list[tuple[bytes, bytes]]) -> None:
    writer = Writer(SEED, TOTAL)
    assert [rows(writer.stretch(i, i + 1))[0] for i in range(BLOCK - 9, BLOCK + 9)] == whole[BLOCK - 9 : BLOCK + 9]


def test_content_is_the_same_in_a_run_of_another_total(whole: list[tuple[bytes, bytes]]) -> None:
    assert rows(Writer(SEED, 1).stretch(0, 1)) == whole[:1]


def test_a_block_is_generated_once_for_many_small_batches() -> None:
    writer = Writer(SEED, TOTAL)
    for i in range(BLOCK):
        writer.stretch(i, i + 1)
    assert writer._block.cache_info().misses == 1


def test_only_a_few_blocks_are_kept() -> None:
    writer = Writer(SEED, 100 * BLOCK)
    writer.stretch(0, 100 * BLOCK)
    assert writer._block.cache_info().currsize == BLOCKS_KEPT


def test_an_empty_run_has_no_content() -> None:
    empty = Content(b"", b"", b"")
    assert Writer(SEED, 0).stretch(0, 0) == Writer(SEED, 0).content(column([])) == empty


def test_messages_outside_the_run_are_refused() -> None:
    for first, last in ((-1, 1), (0, 11), (11, 11), (2, 1)):
        with pytest.raises(IndexError):
            Writer(SEED, 10).stretch(first, last)


def test_ids_outside_the_run_are_refused() -> None:
    with pytest.raises(IndexError):
        Writer(SEED, 10).content(column([3, 10]))


def test_length_bounds_that_no_text_can_have_are_refused() -> None:
    for low, high in ((0, 5), (6, 5), (1, 101)):
        with pytest.raises(ValueError, match="expected 1 to 100"):
            Writer(SEED, 10, low, high)


@given(st.tuples(st.integers(1, 100), st.integers(1, 100)).map(sorted))
def test_texts_have_every_length_within_the_bounds_and_no_other(bounds: list[int]) -> None:
    low, high = bounds  # one of 100 lengths is missing among 4,096 with a chance below 100 * 0.99^4096 = 1e-16
    lengths = Writer(SEED, BLOCK, low, high).stretch(0, BLOCK).text_lengths
    assert set(lengths) == set(range(low, high + 1))


def test_phone_numbers_have_their_form(whole: list[tuple[bytes, bytes]]) -> None:
    assert all(re.fullmatch(rb"\d{3}-\d{3}-\d{4}", phone) for phone, _ in whole)


def test_texts_are_printable_ascii(whole: list[tuple[bytes, bytes]]) -> None:
    assert all(text.decode("ascii").isprintable() for _, text in whole)


def assert_uniform(values: NDArray[np.integer], kinds: int) -> None:
    """Check that chi-square is below its 5 sigma point (Wilson and Hilferty, 1931)."""
    counts = np.bincount(values, minlength=kinds)
    expected, freedom = len(values) / kinds, kinds - 1
    chi_square = float(((counts - expected) ** 2).sum()) / expected
    assert len(counts) == kinds
    assert chi_square < freedom * (1 - 2 / (9 * freedom) + 5 * (2 / (9 * freedom)) ** 0.5) ** 3


def test_characters_and_pairs_of_neighbours_are_uniform() -> None:
    texts = np.frombuffer(Writer(SEED, TOTAL).stretch(0, TOTAL).texts, np.uint8).astype(np.int64) - ord(" ")
    assert_uniform(texts, 64)
    assert_uniform(texts[:-1] * 64 + texts[1:], 64**2)


def test_lengths_are_uniform() -> None:
    lengths = np.frombuffer(Writer(SEED, 2**20).stretch(0, 2**20).text_lengths, np.uint8)
    assert_uniform(lengths - 1, 100)


def test_digits_and_pairs_of_digits_are_uniform() -> None:
    phones = np.frombuffer(Writer(SEED, TOTAL).stretch(0, TOTAL).phone_numbers, np.uint8).reshape(-1, PHONE_BYTES)
    digits = phones[:, [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]].astype(np.int64) - ord("0")
    for i in range(10):
        assert_uniform(digits[:, i], 10)
        assert_uniform(digits[:, i] * 10 + digits[:, i - 1], 100)


def test_lengths_do_not_depend_on_phone_numbers() -> None:
    content = Writer(SEED, TOTAL, 1, 10).stretch(0, TOTAL)
    last_digits = np.frombuffer(content.phone_numbers, np.uint8)[PHONE_BYTES - 1 :: PHONE_BYTES].astype(np.int64)
    assert_uniform((last_digits - ord("0")) * 10 + np.frombuffer(content.text_lengths, np.uint8) - 1, 100)


def test_phone_numbers_of_different_seeds_blocks_and_messages_differ() -> None:
    """Among these 32,768 numbers out of 10^10, 0.05 pairs are expected to be equal."""
    contents = [Writer(seed, 2 * BLOCK).stretch(0, 2 * BLOCK) for seed in (0, 1, 2, 2**63 - 1)]
    assert len({phone for content in contents for phone, _ in rows(content)}) >= 8 * BLOCK - 3
