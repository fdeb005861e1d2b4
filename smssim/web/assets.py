"""The files of the page, read once when it is opened: its HTML, scripts and styles.

Knows files. Must not know how they are sent.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
_TYPES: Final = {  # by ending; other files are not served
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
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


def load(directory: Path = STATIC) -> dict[str, Content]:
    """Return the files in a directory by their paths in it."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            body = path.read_bytes()
            packed = gzip.compress(body, _LEVEL, mtime=0)
            tag = hashlib.sha256(body).hexdigest()[:16]
            name = path.relative_to(directory).as_posix()
            found[name] = Content(_TYPES[path.suffix], body, packed if len(packed) < len(body) else None, tag)
    return found
