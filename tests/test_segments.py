"""A text becomes the segments that 3GPP TS 23.038 and 23.040 prescribe, and people read what makes it expensive."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smssim.core.segments import GSM_7, UCS_2, Segments, is_text, saving, segments_of
from smssim.outputs.text_lines import cheaper, described

WAVE = "\U0001f30a"  # two UTF-16 code units
ALPHABET = (  # rows of the table in TS 23.038, 6.2.1, without the escape
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
)


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", GSM_7, 0, 1),
        ("a" * 160, GSM_7, 160, 1),
        ("a" * 161, GSM_7, 161, 2),
        ("a" * 306, GSM_7, 306, 2),  # twice 153
        ("a" * 307, GSM_7, 307, 3),
        ("€" * 80, GSM_7, 160, 1),  # an escape and a septet each
        ("a" * 159 + "€", GSM_7, 161, 2),
        ("a" * 152 + "€" + "a" * 152, GSM_7, 306, 3),  # 306 would fit, but not with the pair on one side of the edge
        ("a" * 151 + "€" + "a" * 153, GSM_7, 306, 2),
        ("a\fb\nc\rd", GSM_7, 8, 1),  # only the form feed needs an escape
        ("`", UCS_2, 1, 1),
        ("ç", UCS_2, 1, 1),  # only the capital letter is in the alphabet
        ("\x1b", UCS_2, 1, 1),
        ("’" * 70, UCS_2, 70, 1),
        ("’" * 71, UCS_2, 71, 2),
        ("’" * 134, UCS_2, 134, 2),  # twice 67
        ("’" * 135, UCS_2, 135, 3),
        (WAVE * 35, UCS_2, 70, 1),
        ("a" * 66 + WAVE + "a" * 66, UCS_2, 134, 3),  # as above: the surrogate pair stays together
        ("a" * 65 + WAVE + "a" * 67, UCS_2, 134, 2),
    ],
)
def test_a_text_takes_the_segments_of_the_standard(text: str, encoding: str, units: int, segments: int) -> None:
    found = segments_of(text)
    assert (found.encoding, found.units, found.segments) == (encoding, units, segments)
    assert found.units <= found.units_max


def test_exactly_the_alphabet_and_its_extension_are_gsm_7() -> None:
    one = {c for row in ALPHABET for c in row}
    two = set("\f^{}\\[~]|€")
    units = {c: segments_of(c).units for c in map(chr, range(0xD800)) if segments_of(c).encoding == GSM_7}
    assert len(one) == 127
    assert units == dict.fromkeys(one, 1) | dict.fromkeys(two, 2)


def test_the_first_character_that_forces_ucs_2_is_named() -> None:
    assert segments_of(f"It’s {WAVE}") == Segments(UCS_2, 7, 1, "’")
    assert segments_of("It's").forced_by is None


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["a" * 9, "€", "’", WAVE]), min_size=20, max_size=60))
def test_no_way_to_split_a_text_between_characters_takes_fewer_segments(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = segments_of(text)
    room, two = (153, "€") if found.encoding == GSM_7 else (67, WAVE)
    ends = list(accumulate((2 if character == two else 1 for character in text), initial=0))
    fewest = [0]
    for i in range(1, len(ends)):
        fewest.append(1 + min(fewest[j] for j in range(max(0, i - room), i) if ends[i] - ends[j] <= room))
    alone = ends[-1] <= (160 if found.encoding == GSM_7 else 70)
    assert (found.units, found.segments) == (ends[-1], 1 if alone else fewest[-1])


def test_the_text_of_a_message_is_not_empty_and_has_no_control_characters_except_line_breaks() -> None:
    assert all(map(is_text, ["a", " ", "\n", "a\r\nb", "’", WAVE, "\u200d", "\u202e"]))
    assert not any(map(is_text, ["", "\t", "\x00", "a\x1b[2J", "\x7f", "\x85", "\x9f", "\ud83c", "a\udc80"]))


def test_a_saving_names_what_to_replace_and_the_segments_that_are_left() -> None:
    assert saving("Don’t go. " * 8) is not None
    for text, replaced, segments in (
        ("Don’t go. " * 8, {"’": "'"}, 1),
        ("“No” … – á" * 9, {"“": '"', "”": '"', "…": "...", "–": "-", "á": "a"}, 1),
        (f"Flood {WAVE}\ufe0f " * 20, {WAVE: "", "\ufe0f": ""}, 1),
    ):
        found = saving(text)
        assert found is not None
        assert (found.replaced, found.segments) == (replaced, segments)
    assert saving("Don’t") is None  # one segment either way
    assert saving("a" * 500) is None
    assert saving("Внимание! " * 20) is None  # another script
    assert saving("中" * 100) is None  # nothing would remain


def test_people_read_what_a_text_costs_and_what_would_make_it_cheaper() -> None:
    text = "Don’t wait. " * 7
    assert described(text) == "UCS-2".join(
        ["2 segments, ", ' because of "’" (U+2019, RIGHT SINGLE QUOTATION MARK), 84 of 134 characters']
    )
    assert cheaper(text) == """with "'" instead of "’", it would be GSM-7 and take 1 segment"""
    assert described("Flood {1}") == "1 segment, GSM-7, 11 of 160 characters"
    assert cheaper("Flood {1}") == ""
    assert cheaper(f"Flood {WAVE}\ufe0f " * 20) == f'without "{WAVE}", it would be GSM-7 and take 1 segment'
    assert cheaper("a\u200b" * 80) == "without invisible characters, it would be GSM-7 and take 1 segment"
    assert described("\u202e").isprintable()
