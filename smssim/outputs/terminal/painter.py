"""A block of lines at the bottom of a terminal that is repainted in place; other text is written above it.

Knows how to move a cursor. Must not know what the lines contain. Between two paintings the cursor is visible and below
the lines, so that a killed process leaves the terminal usable.

Lines are erased one by one. Erasing all of a screen at once, from its top, would also keep a copy: tmux then moves the
screen into its history (its option scroll-on-clear).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

SIZE: Final = (80, 24)  # columns and lines of a terminal that reports no size

_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[K"  # written before the text: after a full line, the cursor is still on its last character
_CLEAR_BELOW: Final = "\x1b[J"  # only where the screen has just been painted or erased above


class Painter:
    """Paints with `write`; `size` returns the columns and lines of the terminal at this moment, or None.

    A line is a pair: its text with colour escapes, and its width in characters.
    """

    def __init__(self, write: Callable[[str], None], size: Callable[[], tuple[int, int] | None]) -> None:
        self._write = write
        self._size = size
        self._painted: list[tuple[str, int]] = []
        self._width = 0  # of the terminal at the last painting

    def room(self) -> tuple[int, int]:
        """Return how many columns and lines may be painted. One line is left for the cursor."""
        width, height = self._size() or SIZE
        return width, max(1, height - 1)

    def paint(self, lines: Sequence[tuple[str, int]]) -> None:
        """Replace the painted lines with these."""
        is_resized = (self._size() or SIZE)[0] != self._width
        self._write((self._erased() if is_resized or not lines else self._home()) + self._content(lines))

    def above(self, text: str, lines: Sequence[tuple[str, int]] | None = None) -> None:
        """Write text above the painted lines, ending it with a newline if it has none.

        With `lines`, replace the painted lines with these at the same time.
        """
        if text and not text.endswith("\n"):
            text += "\n"
        self._write(self._erased() + text + self._content(self._painted if lines is None else lines))

    def _content(self, lines: Sequence[tuple[str, int]]) -> str:
        self._painted = list(lines)[: self.room()[1]]
        self._width = (self._size() or SIZE)[0]
        return "".join(f"{_CLEAR_LINE}{text}\n" for text, _ in self._painted) + _CLEAR_BELOW

    def _home(self) -> str:
        """Return the escapes that move the cursor to the start of the first painted line."""
        return "\r" + self._up()

    def _erased(self) -> str:
        """Return the escapes that erase the painted lines, and leave the cursor at the start of the first one."""
        return self._home() + f"{_CLEAR_LINE}\n" * self._rows() + _CLEAR_BELOW + self._up()

    def _up(self) -> str:
        return _UP.format(rows) if (rows := self._rows()) else ""

    def _rows(self) -> int:
        """Return how many rows of the screen the painted lines take.

        The terminal may have become narrower since, so that a painted line takes several.
        """
        width, height = self._size() or SIZE
        rows = sum(-(-max(1, length) // width) if width < self._width else 1 for _, length in self._painted)
        return min(rows, height - 1)
