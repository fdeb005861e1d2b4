"""How a value that somebody gave is shown: on one line, not too long, with nothing that a terminal would obey.

Knows text alone.
"""

from __future__ import annotations


def quote(got: object, width: int = 60) -> str:
    """A value as the user would type it; quoted and escaped where it would not read as one word."""
    text = f"{got:.10g}" if isinstance(got, float) else str(got)
    if len(text) > width:
        text = text[: width - 3] + "..."
    return text if text and text.isprintable() and " " not in text else repr(text)


def escape(text: str, width: int | None = 300) -> str:
    """What a peer wrote, as it may be printed: on one line, not too long, what is no printable character escaped."""
    if width is not None and len(text) > width:
        text = text[: width - 3] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
