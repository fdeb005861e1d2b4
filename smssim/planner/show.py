"""A page on stdout: plain text, or coloured on a terminal.

Knows stdout and styles. Must not know what a page says.
"""

from __future__ import annotations

import sys
from typing import Final

from smssim.planner.curve import Line
from smssim.planner.page import Page
from smssim.process import terminal

STYLES: Final = {  # by what a page calls them
    "": "",
    "head": "dim",
    "title": "bold",
    "number": "bold",
    "good": "green",
    "bad": "bold red",
    "mark": "bold yellow",
    "line": "bold cyan",
    "band": "cyan",
}


def write(page: Page) -> None:
    """Write the page."""
    fine = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    lines = page.lines(terminal.screen_width(), fine)
    text = coloured(lines) if terminal.is_screen() else plain(lines)
    terminal.write(text)


def plain(lines: list[Line]) -> str:
    """Return the lines as text."""
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def coloured(lines: list[Line]) -> str:
    """Return the lines with the escapes of this terminal, if it has colours and NO_COLOR is not set."""
    from rich.console import Console  # only a terminal needs it
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as captured:
        for line in lines:
            console.print(Text.assemble(*((text, STYLES[style]) for text, style in line)))
    return captured.get()
