"""The list of undelivered messages, for follow-up: a CSV file, written from the ledger in pieces.

Knows ids and phone numbers. Must not know where the ledger comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.ledger import Ledger
from smssim.core.limits import LIMITS, Limits
from smssim.core.message import Phones
from smssim.core.model import Ids, RunFacts
from smssim.core.reach import Reach
from smssim.outputs.files import check_writable, empty
from smssim.outputs.protocol import Output
from smssim.process.logs import Log

FLAG: Final = "--failed"
HEADER: Final = "message_id,phone_number,attempts\n"


class UndeliveredList(Output):
    """The file of `--failed`: emptied at the start, written at the end of a run."""

    ends_slowly = True

    def __init__(self, path: str, log: Log, _resumes: bool = False, limits: Limits = LIMITS) -> None:
        self._path = path
        self._log = log
        self._limits = limits
        self._is_whole = True

    def check(self) -> None:
        """See Output."""
        check_writable(FLAG, self._path)

    def open(self) -> None:
        """See Output."""
        empty(FLAG, self._path)

    async def list_messages(self, run: RunFacts, ledger: Ledger) -> None:
        """See Output."""
        try:
            with open(self._path, "wb") as file:  # noqa: ASYNC230 - a local file, some messages at a time
                for piece in pieces(run, ledger, self._limits.lines_at_once):
                    file.write(piece.encode())
                    await asyncio.sleep(0)  # let other tasks answer peers
        except OSError as error:
            self._log.error("%s: stopped writing to %s, which is incomplete: %s", FLAG, self._path, error.strerror)
            self._is_whole = False

    async def close(self) -> bool:
        """See Output."""
        return self._is_whole


def pieces(run: RunFacts, ledger: Ledger, at_once: int) -> Iterator[str]:
    """Yield the text of the list, `at_once` messages at a time.

    A failed message was attempted `max_attempts` times, or once if it is unreachable. If a message has no final
    outcome, because the run ended early, its number of attempts is not known for certain and is left empty.
    """
    phones, reach = Phones(run.seed), Reach(run.seed, run.unreachable)
    yield HEADER
    for ids, failed in ledger.not_sent():
        for first in range(0, len(ids), at_once):
            some = slice(first, first + at_once)
            attempts = np.where(reach.missing(ids[some].astype(np.uint64)), "1", str(run.max_attempts))
            yield lines(ids[some], phones.column(ids[some]), np.where(failed[some], attempts, ""))


def lines(ids: Ids, phones: NDArray[np.void], tried: NDArray[np.str_]) -> str:
    """Return the lines of these messages. Columns have shape (n,). Takes about 600 ns per message."""
    numbers = phones.view(f"S{phones.itemsize}").astype(str).tolist()
    return "".join([f"{i},{number},{n}\n" for i, number, n in zip(ids.tolist(), numbers, tried.tolist(), strict=True)])
