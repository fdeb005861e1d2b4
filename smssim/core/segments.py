"""How a text travels as an SMS: its encoding, how many segments it takes, and which character makes it expensive.

Follows 3GPP TS 23.038 (the GSM 7-bit default alphabet with its extension table, and UCS-2) and 3GPP TS 23.040 (140
octets per SMS, of which the header of a part of a longer message takes 6). Leaves out the national language tables,
which few gateways use. Knows text. Must stay cheap to import, because `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smssim.core.limits import SEGMENTS_MAX

GSM_7: Final = "GSM-7"
UCS_2: Final = "UCS-2"
ALONE: Final[Mapping[str, int]] = {GSM_7: 160, UCS_2: 70}  # units of an SMS that holds the whole text
PART: Final[Mapping[str, int]] = {GSM_7: 153, UCS_2: 67}  # units of each part of a longer text
CHARACTERS_MAX: Final = SEGMENTS_MAX * PART[GSM_7]  # no longer text has few enough segments

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")  # an escape and a second septet each

# What a writer means by a character that an editor has put in its place. Letters with accents follow from Unicode.
_PLAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys("‘’‚‛′´`", "'"),  # noqa: RUF001 - the characters themselves
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),  # noqa: RUF001
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f", " "),
    **dict.fromkeys("\u200b\u2060\ufeff\u00ad", ""),  # invisible
    "…": "...",
    "•": "-",
    "·": ".",
}
_HINTS_MAX: Final = 5  # different characters to replace: with more, the text is in another script


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text travels."""

    encoding: str  # GSM_7 or UCS_2
    units: int  # septets or UTF-16 code units
    segments: int
    forced_by: str | None = None  # the first character that GSM-7 lacks

    @property
    def units_max(self) -> int:
        """The units for which there is room in these segments."""
        return ALONE[self.encoding] if self.segments == 1 else self.segments * PART[self.encoding]


@dataclass(frozen=True, slots=True)
class Saving:
    """What to replace in a text so that it takes fewer segments."""

    replaced: Mapping[str, str]  # what stands in the text, and what to write instead, or nothing
    segments: int  # of the new text


def segments_of(text: str) -> Segments:
    """Return how a text travels. An empty one takes a segment too."""
    forced_by = next((c for c in text if c not in _BASIC and c not in _EXTENDED), None)
    if forced_by is None:
        return _packed(GSM_7, [1 + (c in _EXTENDED) for c in text])
    return _packed(UCS_2, [1 + (c > "\uffff") for c in text], forced_by)


def _packed(encoding: str, units: list[int], forced_by: str | None = None) -> Segments:
    """Return the segments of characters that take these units; a part never ends within a character."""
    total, segments, room = sum(units), 1, PART[encoding]
    if total <= ALONE[encoding]:
        return Segments(encoding, total, 1, forced_by)
    for some in units:
        if some > room:
            segments, room = segments + 1, PART[encoding]
        room -= some
    return Segments(encoding, total, segments, forced_by)


def saving(text: str) -> Saving | None:
    """Return what to replace so that a text becomes GSM-7 and takes fewer segments; None if nothing helps."""
    others = dict.fromkeys(c for c in text if c not in _BASIC and c not in _EXTENDED)
    if not 0 < len(others) <= _HINTS_MAX:
        return None
    replaced = {c: _plain(c) for c in others}
    if any(c.isalpha() and not new for c, new in replaced.items()):
        return None  # without its letters, nobody could read it
    now, then = segments_of(text), segments_of("".join(replaced.get(c, c) for c in text))
    return Saving(replaced, then.segments) if then.segments < now.segments else None


def _plain(character: str) -> str:
    """Return what to write in GSM-7 instead of a character; nothing if there is no substitute."""
    from unicodedata import normalize  # imported late: only a text that is not GSM-7 needs it

    if character in _PLAIN:
        return _PLAIN[character]
    base = normalize("NFKD", character)[:1]  # such as "a" for "á"
    return base if base in _BASIC or base in _EXTENDED else ""


def name_of(character: str) -> str:
    """Return what a character is called: "U+2019, RIGHT SINGLE QUOTATION MARK"."""
    from unicodedata import name  # imported late, as above

    return ", ".join(filter(None, [f"U+{ord(character):04X}", name(character, "")]))


def is_text(text: str) -> bool:
    """Return whether this can be the text of a message: not empty, and no control characters except line breaks."""
    return text != "" and not any(_is_control(c) for c in text)


def _is_control(character: str) -> bool:
    """Return whether this is a control character other than a line break, or half of a surrogate pair."""
    return (character < " " and character not in "\n\r") or "\x7f" <= character <= "\x9f" or _is_surrogate(character)


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
