"""What people read about the text of a run: how it travels, what makes it expensive, and what to write instead.

Knows segments and words. Must not know where the lines are shown.
"""

from __future__ import annotations

import logging

from smssim.core.segments import GSM_7, name_of, saving, segments_of
from smssim.escaping import escape
from smssim.words import count, plural

Log = logging.LoggerAdapter[logging.Logger]


def log_text(log: Log, text: str) -> None:
    """Log how a text travels, and what would make it cheaper."""
    log.info("Text: %s", described(text))
    if hint := cheaper(text):
        log.info("Text: %s", hint)


def described(text: str) -> str:
    """Return how a text travels: its segments, its encoding and why, and how much room is left."""
    found = segments_of(text)
    why = "" if found.forced_by is None else f" because of {_shown(found.forced_by)} ({name_of(found.forced_by)})"
    of = f"{count(found.units)} of {count(found.units_max)} characters"
    return f"{plural(found.segments, 'segment')}, {found.encoding}{why}, {of}"


def cheaper(text: str) -> str:
    """Return what to replace so that a text takes fewer segments; empty if nothing helps."""
    found = saving(text)
    if found is None:
        return ""
    pairs = [(old, new) for old, new in found.replaced.items() if old.isprintable() and not _combines(old)]
    instead = [f"{_shown(new)} instead of {_shown(old)}" for old, new in pairs if new]
    without = [f"without {_shown(old)}" for old, new in pairs if not new]
    changes = (
        ", ".join([*(["with " + ", ".join(instead)] if instead else []), *without]) or "without invisible characters"
    )
    return f"{changes}, it would be {GSM_7} and take {plural(found.segments, 'segment')}"


def _combines(character: str) -> bool:
    from unicodedata import category  # imported late: only a text that is not GSM-7 needs it

    return category(character).startswith("M")


def _shown(text: str) -> str:
    """Return a text in quotes, with unprintable characters escaped."""
    return f'"{escape(text)}"'
