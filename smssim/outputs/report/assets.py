"""The scripts and styles of the live page that a report contains.

The page itself, `index.html`, says which there are and in which order. Knows files. Must not know what they do.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parents[2] / "web" / "static"
PAGE: Final = "index.html"
LIVE: Final = ("live.js",)  # only for the live page
REPORT: Final = ("report.js",)  # only for reports
_SCRIPT: Final = re.compile(r'<script\b[^>]*\bsrc="(?:/?static/)?([\w./-]+)"')
_STYLE: Final = re.compile(r'<link\b[^>]*\brel="stylesheet"[^>]*\bhref="(?:/?static/)?([\w./-]+)"')


@dataclass(frozen=True, slots=True)
class Assets:
    """The text of each style and script, in order."""

    styles: tuple[str, ...]
    scripts: tuple[str, ...]


@cache
def assets(directory: Path = DIRECTORY) -> Assets:
    """Return the scripts and styles of the page in a directory; none if it has no page."""
    try:
        page = (directory / PAGE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Assets((), ())
    scripts = [name for name in _SCRIPT.findall(page) if name not in (*LIVE, *REPORT)]
    scripts += [name for name in REPORT if (directory / name).exists()]
    return Assets(
        tuple((directory / name).read_text(encoding="utf-8") for name in _STYLE.findall(page)),
        tuple((directory / name).read_text(encoding="utf-8") for name in scripts),
    )


def source_of(text: str) -> str:
    """Return the source by which a policy of a page allows one inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
