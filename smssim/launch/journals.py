"""The journals of `smssim run`: in the directory that the user names, or in one that lasts as long as the run.

Knows paths. Must not know what journals hold, or when a node needs one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from smssim.errors import JournalError

PREFIX: Final = "smssim-run-"  # of the name of a temporary directory


class Journals:
    """The directory of the journals of one run."""

    def __init__(self, wanted: str | None, needed: bool) -> None:
        """Create the directory: `wanted`, or a temporary one if there must be one. Raises JournalError."""
        self._temporary: str | None = None
        directory = wanted
        try:
            if wanted is not None:
                Path(wanted).mkdir(parents=True, exist_ok=True)
            elif needed:
                directory = self._temporary = tempfile.mkdtemp(prefix=PREFIX)
        except OSError as error:
            where = f"--journal: can't create the directory {wanted}" if wanted else "can't create a directory"
            raise JournalError(f"{where}: {error.strerror}") from error
        self._directory = None if directory is None else Path(directory)

    def of(self, node: str) -> str | None:
        """Return the path of the journal of a node; None if it has none."""
        return None if self._directory is None else str(self._directory / f"{node}.journal")

    def remove(self) -> None:
        """Remove the directory if it is temporary. Never raises. No node may run on; may be called in any thread."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
