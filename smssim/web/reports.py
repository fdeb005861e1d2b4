"""Reports as the page offers them: of a run in progress, to save, and of kept runs, to read.

The one place where the page meets the packages that make reports and keep runs. Knows files. Must not know HTTP.
"""

from __future__ import annotations

from typing import Any, Final

from smssim.errors import UsageError
from smssim.outputs.kept.page import kept_report, runs_page
from smssim.outputs.report.assets import assets
from smssim.outputs.report.page import DRAW, policy, report
from smssim.web.assets import Content

HTML: Final = "text/html; charset=utf-8"


def content(document: dict[str, Any]) -> Content:
    """Return the report of one run, to save."""
    return Content(HTML, report([document]), file_name=f"smssim-{document['progress']['run_id'][:8]}.html")


def kept(directory: str) -> Content:
    """Return the list of the runs that are kept in a directory."""
    try:
        return Content(HTML, runs_page(directory).encode())
    except UsageError as error:
        return Content("text/plain; charset=utf-8", f"{error}\n".encode())


def kept_run(directory: str, run_id: str) -> Content | None:
    """Return the report of the run whose id begins like this; None if there is none, or several, or it is damaged."""
    try:
        return Content(HTML, kept_report(directory, run_id), policy=_policy())
    except (LookupError, UsageError):
        return None


def _policy() -> str:
    """Return what a report may load: its own scripts and styles only, which are inside."""
    used = assets()
    of_report = policy(used.styles, [*used.scripts, DRAW] if used.scripts else [])
    return f"{of_report}; frame-ancestors 'none'"
