"""The list of messages that nobody received, for whoever follows up: CSV, written from the ledger a stretch at a time.

Knows ids, phone numbers and bytes. Must not know where the ledger comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.ledger import Ledger
from smssim.core.message import PHONE_BYTES, Phones
from smssim.core.model import RunFacts

HEADER: Final = b"message_id,phone_number,attempts\n"


def pieces(run: RunFacts, ledger: Ledger) -> Iterator[bytes]:
    """The file, a piece for each stretch of messages.

    A message that has failed for good was tried `max_attempts` times. Of one that has no final outcome, because the
    run has ended early, nobody knows for sure whether it was tried: its attempts are left empty.
    """
    phones = Phones(run.seed)
    yield HEADER
    for ids, failed in ledger.not_sent():
        if len(ids):
            yield lines(ids, phones.column(ids), failed, run.max_attempts)


def lines(ids: NDArray[np.int64], phones: NDArray[np.void], failed: NDArray[np.bool_], attempts: int) -> bytes:
    """Lines of CSV for messages in ascending order; some 50 ns each."""
    ends = np.array([f",{attempts}\n".encode(), b",\n"], f"S{len(str(attempts)) + 2}")
    parts = []
    for digits in range(len(str(ids[0])), len(str(ids[-1])) + 1):  # all ids of so many digits at a time
        first, last = np.searchsorted(ids, [10 ** (digits - 1) if digits > 1 else 0, 10**digits])
        text = np.zeros((last - first, digits + 1 + PHONE_BYTES + ends.itemsize), np.uint8)
        rest = ids[first:last].copy()
        for place in range(digits - 1, -1, -1):
            rest, digit = np.divmod(rest, 10)
            text[:, place] = digit
        text[:, :digits] += ord("0")
        text[:, digits] = ord(",")
        text[:, digits + 1 : digits + 1 + PHONE_BYTES] = phones[first:last].view(np.uint8).reshape(-1, PHONE_BYTES)
        end = ends[np.where(failed[first:last], 0, 1)]
        text[:, digits + 1 + PHONE_BYTES :] = end.view(np.uint8).reshape(-1, ends.itemsize)
        parts.append(text[text != 0].tobytes() if not failed[first:last].all() else text.tobytes())
    return b"".join(parts)
