"""What `smssim plan --find` looks for: `city.copies=1..200`.

Knows the keys of senders. Must not know how a value is found. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from smssim.errors import UsageError
from smssim.settings.flags import flags_of
from smssim.settings.rules import Rule
from smssim.settings.sender import SenderSettings
from smssim.settings.senders import SENDER_KEYS
from smssim.words import listed

FIND_KEYS: Final = ("copies", "concurrency", "limit", "mean")


@dataclass(frozen=True, slots=True)
class Find:
    """A setting of a sender, and the range in which to look for its value."""

    name: str  # of the sender
    key: str  # one of FIND_KEYS
    low: float  # an int with copies and concurrency
    high: float

    def __str__(self) -> str:
        return f"{self.name}.{self.key}={self.low}..{self.high}"

    @property
    def setting(self) -> str:
        """The name of the field of `SenderSettings`."""
        return SENDER_KEYS[self.key]

    @classmethod
    def parse(cls, text: str) -> Find:
        """Return what a value of `--find` describes. Raises ValueError if it is malformed."""
        left, equals, span = text.rpartition("=")
        name, _, key = left.strip().rpartition(".")
        low, dots, high = span.partition("..")
        if not (equals and dots and name and key in FIND_KEYS):
            raise ValueError(text)
        try:
            lowest, highest = (flags_of(SenderSettings)[SENDER_KEYS[key]].read(end.strip()) for end in (low, high))
        except UsageError as error:
            raise ValueError(text) from error
        if lowest > highest:
            raise ValueError(text)
        return cls(name, key, lowest, highest)


def _near(text: str) -> str | None:
    key = text.rpartition("=")[0].strip().rpartition(".")[2]
    near = [] if key in FIND_KEYS else get_close_matches(key.lower(), FIND_KEYS, n=1)
    return near[0] if near else None


FIND: Final = Rule(
    f"NAME.KEY=LOW..HIGH, with a key of {listed(FIND_KEYS, 'or')} and two of its values, the lower one first",
    Find.parse,
    lambda got: isinstance(got, Find),
    _near,
)
