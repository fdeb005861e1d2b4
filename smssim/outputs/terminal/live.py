"""The live view on a terminal, repainted in place once per interval; log lines and summaries appear above it.

Knows snapshots and the terminal on stdout. The layout of the screen is in `screen`.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import Final

from rich.console import Console
from rich.text import Text

from smssim.core.event import Event, Kind
from smssim.core.history import History
from smssim.core.snapshot import Snapshot
from smssim.outputs.protocol import Output
from smssim.outputs.terminal import summary
from smssim.outputs.terminal.painter import Painter
from smssim.outputs.terminal.screen import RunView, several_runs
from smssim.process import terminal

WIDE: Final = 1000  # characters; `screen` has already cut the lines to the real width
EARLY: Final = 0.5  # share of the interval that must pass before the next painting

_STYLES: Final = (  # in a summary
    (re.compile(r"^run \S+: complete\b"), "bold green"),
    (re.compile(r"^run \S+: NOT COMPLETE\b"), "bold red"),
    (re.compile(r"(?<=  )passed(?=  )"), "green"),
    (re.compile(r"(?<=  )MISSED(?=  )"), "bold red"),
    (re.compile(r"(?<= )lost(?= )"), "red"),
    (re.compile(r"^  [a-z]+( [a-z]+)?(?=  )"), "dim"),
)


class Live(Output):
    """The view of one run, or of several concurrent runs."""

    def __init__(self, interval_s: float) -> None:
        self._early_s = EARLY * interval_s
        self._console = Console(force_terminal=True, legacy_windows=False, width=WIDE)
        self._painter = Painter(terminal.write, terminal.screen_size)
        self._views: dict[str, RunView] = {}
        self._painted_at = float("-inf")
        self._log = contextlib.ExitStack()

    def open(self) -> None:
        """See Output. Also redirects the log to above the view."""
        self._log.enter_context(terminal.log_to(self._painter.above))

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        view = self._views.get(snapshot.figures.run_id)
        if view is None:
            self._views[snapshot.figures.run_id] = RunView(snapshot, history)
        else:
            view.update(snapshot, history)
        if view is None or time.monotonic() >= self._painted_at + self._early_s:
            self._paint()

    def dropped(self, run_id: str) -> None:
        """See Output."""
        if self._views.pop(run_id, None) is not None:
            self._paint()

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output. The last thing that the view of the run shows is its end; then the summary takes its place."""
        run_id = snapshot.figures.run_id
        if run_id in self._views:
            self._views[run_id].update(snapshot, history)
            self._paint()
            del self._views[run_id]
        lines = summary.page(snapshot, self._painter.room()[0])
        text = "".join(self._rendered(coloured(line))[0] + "\n" for line in ["", *lines])
        self._painter.above(text, self._lines())

    def event(self, event: Event) -> None:
        """See Output."""
        if event.kind == Kind.STOPPING:
            for run_id, view in self._views.items():
                view.is_stopping |= event.run_id in ("", run_id)
            self._paint()

    async def close(self) -> bool:
        """See Output. The views of runs whose end is unknown stay on the screen."""
        for view in self._views.values():
            view.is_followed = False
        if self._views:
            self._paint()
        self._log.close()
        return True

    def _paint(self) -> None:
        self._painter.paint(self._lines())
        self._painted_at = time.monotonic()

    def _lines(self) -> list[tuple[str, int]]:
        width, height = self._painter.room()
        views = list(self._views.values())
        lines = views[0].lines(width, height) if len(views) == 1 else several_runs(views, width, height)
        return [self._rendered(line) for line in lines]

    def _rendered(self, line: Text) -> tuple[str, int]:
        """Return a line with terminal escapes, and its width in characters."""
        with self._console.capture() as captured:
            self._console.print(line, end="", no_wrap=True, highlight=False)
        return captured.get(), line.cell_len


def coloured(line: str) -> Text:
    """Return a line of a summary with its important parts in colour."""
    text = Text(line)
    for pattern, style in _STYLES:
        text.highlight_regex(pattern, style)
    return text
