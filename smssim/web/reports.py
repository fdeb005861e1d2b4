"""The report of a run, as the page offers it: one HTML file to save.

The one place where the page meets the package that makes reports.
"""

from __future__ import annotations

from typing import Any

from smssim.web.assets import Content


def content(document: dict[str, Any]) -> Content:
    """Return the report of one run."""
    raise NotImplementedError
