"""The scripts and styles that a report contains.

Knows which of those for browsers belong in a report. Must not know what they do.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache

from smssim.outputs.browser import DRAWING, LIBRARY, REPORT, REPORT_STYLE, STYLE, script, style


@dataclass(frozen=True, slots=True)
class Assets:
    """The text of each style and script, in order."""

    styles: tuple[str, ...]
    scripts: tuple[str, ...]


@cache
def assets() -> Assets:
    """Return the scripts and styles of a report."""
    return Assets((style([STYLE, REPORT_STYLE]),), (LIBRARY.read_text(encoding="utf-8"), script([*DRAWING, REPORT])))


def source_of(text: str) -> str:
    """Return the source by which a policy of a page allows one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
