"""The files of the page, read once when it is opened: its HTML, scripts and styles.

Knows files. Must not know how they are sent.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smssim.outputs.browser import DRAWING, LIBRARY, LIVE, STATIC, STYLE, script, style

INDEX: Final = "index.html"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_LINK_TO_KEPT: Final = '<a href="/runs">Kept runs</a>\n'
_LEVEL: Final = 9  # of the compression: it is done once


@dataclass(frozen=True, slots=True)
class Content:
    """What is sent to a client."""

    content_type: str
    body: bytes
    packed: bytes | None = None  # the same, compressed with gzip, if that is shorter
    tag: str = ""  # changes with the content; empty if it is not to be kept
    file_name: str = ""  # to save it under, if it is to be saved
    policy: str = ""  # what it may load, if that is not the usual


def load(*, keeps: bool = True) -> dict[str, Content]:
    """Return what browsers load, by path: the page, and below /static/ its scripts and styles.

    `keeps`: whether runs are kept, so that the page has a link to them.
    """
    index = (STATIC / INDEX).read_text(encoding="utf-8")
    texts = {
        INDEX: index if keeps else index.replace(_LINK_TO_KEPT, ""),
        LIBRARY.relative_to(STATIC).as_posix(): LIBRARY.read_text(encoding="utf-8"),
        STYLE.name: style([STYLE]),
        "page.js": script([*DRAWING, LIVE]),
    }
    return {name: _content(name, text.encode()) for name, text in texts.items()}


def _content(name: str, body: bytes) -> Content:
    packed = gzip.compress(body, _LEVEL, mtime=0)
    tag = hashlib.sha256(body).hexdigest()[:16]
    return Content(_TYPES[Path(name).suffix], body, packed if len(packed) < len(body) else None, tag)
