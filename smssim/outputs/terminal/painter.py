"""A few lines at the bottom of a terminal that are painted over in place; what is written meanwhile goes above them.

Knows how to move a cursor. Must not know what the lines say. Between two paintings the cursor is shown and rests below
the lines, so that a process that is killed leaves a sound terminal behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

SIZE: Final = (80, 24)  # of a terminal that does not know its own

_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[K"  # before the text: after a full line, the cursor still is on its last character
_CLEAR_BELOW: Final = "\x1b[J"


class Painter:
    """Writes by `write`; `size` says how many characters and lines the terminal has now.

    A line is a text with its colours, and the number of characters that it takes.
    """

    def __init__(self, write: Callable[[str], None], size: Callable[[], tuple[int, int] | None]) -> None:
        self._write = write
        self._size = size
        self._painted: list[tuple[str, int]] = []
        self._width = 0  # of the terminal when they were painted

    def room(self) -> tuple[int, int]:
        """Characters and lines that may be painted; the cursor needs a line of its own."""
        width, height = self._size() or SIZE
        return width, max(1, height - 1)

    def paint(self, lines: Sequence[tuple[str, int]]) -> None:
        """Puts these lines in place of the ones before."""
        self._write(self._home() + self._content(lines))

    def above(self, text: str) -> None:
        """Writes text, in whole lines, above what is painted."""
        if text and not text.endswith("\n"):
            text += "\n"
        self._write(self._home() + _CLEAR_BELOW + text + self._content(self._painted))

    def _content(self, lines: Sequence[tuple[str, int]]) -> str:
        self._painted = list(lines)[: self.room()[1]]
        self._width = (self._size() or SIZE)[0]
        return "".join(f"{_CLEAR_LINE}{text}\n" for text, _ in self._painted) + _CLEAR_BELOW

    def _home(self) -> str:
        """Moves to where the first painted line begins, on a terminal that may have been made narrower since."""
        width, height = self._size() or SIZE
        rows = sum(-(-max(1, length) // width) if width < self._width else 1 for _, length in self._painted)
        up = min(rows, height - 1)
        resized = _CLEAR_BELOW if width != self._width else ""
        return "\r" + (_UP.format(up) if up else "") + resized
