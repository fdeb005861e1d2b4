"""Draws docs/view.svg, the terminal view during a real `smssim run`. Run by hand; uses the tests' terminal."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from view_support import Terminal  # noqa: E402 - needs the path above

COLUMNS, LINES = 100, 17
RUN = ("run", "--seed=7", "--interval=0.5")


def main() -> None:
    """Start a run, wait until two thirds of it are done, and draw the screen."""
    with Terminal(*RUN, columns=COLUMNS, lines=LINES, SMSSIM_RUN_NO_PLAN="false") as terminal:
        terminal.until(lambda: any(re.match(r"run .* 7\.\d s$", shown) for shown in terminal.lines()), "two thirds")
        text = Text("\n").join(line(terminal, y) for y in range(LINES))
        terminal.code()
    console = Console(record=True, width=COLUMNS, height=LINES, file=io.StringIO(), force_terminal=True)
    console.print(text)
    console.save_svg(str(ROOT / "docs/view.svg"), title="smssim run", unique_id="view")


def line(terminal: Terminal, y: int) -> Text:
    """Return a line of the screen with its colours."""
    text = Text()
    for x in range(COLUMNS):
        char = terminal.screen.buffer[y][x]
        colour = None if char.fg == "default" else {"brown": "yellow"}.get(char.fg, char.fg)
        text.append(char.data, Style(color=colour, bold=char.bold))
    text.rstrip()
    return text


if __name__ == "__main__":
    main()
