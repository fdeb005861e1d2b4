"""The scripts and styles for browsers: which there are, in which order, and how several become one.

The live page and reports share them. Knows files. Must not know what scripts do, or how they get to a browser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parents[1] / "web" / "static"
LIBRARY: Final = STATIC / "vendor" / "uPlot.iife.min.js"
STYLE: Final = STATIC / "style.css"
DRAWING: Final = tuple(
    STATIC / name for name in ("base.js", "model.js", "chart.js", "run.js", "senders.js", "view.js")
)  # one run, on the page and in reports
LIVE: Final = STATIC / "live.js"  # only for the page
REPORT: Final = Path(__file__).parent / "report" / "report.js"  # only for reports
REPORT_STYLE: Final = REPORT.with_suffix(".css")  # the same
_COMMENT: Final = re.compile(r"//|/\*.*\*/$")


def script(files: Sequence[Path]) -> str:
    """Return scripts as one, in this order; they share a scope of their own."""
    return f"(() => {{\n'use strict';\n{style(files)}}})();\n"


def style(files: Sequence[Path]) -> str:
    """Return styles as one, in this order."""
    return "".join(squeezed(file.read_text(encoding="utf-8")) for file in files)


def squeezed(source: str) -> str:
    """Return a script or style without indentation, blank lines, and lines that are a comment.

    What begins inside a template literal, or continues a string, stays as it is. A literal inside another one must end
    in its line.
    """
    lines: list[str] = []
    in_literal = continues = False
    for line in source.split("\n"):
        text = line.lstrip()
        if in_literal or continues:
            lines.append(line)
        elif text and not _COMMENT.match(text):
            lines.append(text)
        else:
            continue
        in_literal ^= line.replace("\\`", "").count("`") % 2 == 1
        continues = line.endswith("\\")
    return "".join(f"{line}\n" for line in lines)
