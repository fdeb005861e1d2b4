"""Foreign text made safe to print: one line of limited length, without control characters.

Knows only text.
"""

from __future__ import annotations


def quote(got: object, width: int = 60) -> str:
    """Return a value as the user types it; quoted and escaped if it would not read as one word."""
    text = f"{got:.10g}" if isinstance(got, float) else str(got)
    if len(text) > width:
        text = text[: width - 3] + "..."
    return text if text and text.isprintable() and " " not in text else repr(text)


def escape(text: str, width: int | None = 300) -> str:
    """Return a peer's text on one line, at most `width` characters of it, with unprintable characters escaped."""
    if width is not None and len(text) > width:
        text = text[: width - 3] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
