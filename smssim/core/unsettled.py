"""Stretches of a backlog as pieces: which messages are settled, and how often the others were tried.

Knows columns and bytes. Must not know when they are written.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.stretches import STRETCH_SIZE

_BYTES: Final = STRETCH_SIZE // 8  # one bit for each message of a stretch

Flags = NDArray[np.bool_]
Tries = NDArray[np.uint8]


def pack_stretches(settled: Flags, tries: Tries) -> list[bytes]:
    """Return a piece for each stretch; `settled` and `tries` have the shape (n, STRETCH_SIZE).

    A piece holds one bit for each message, set if it is settled, then the offsets (u16) of the unsettled messages that
    were tried, and then how often each of those was tried (u8).
    """
    bits = np.packbits(settled, axis=1).tobytes()
    pieces = [bits[at : at + _BYTES] for at in range(0, len(bits), _BYTES)]
    if tries.any():
        tried = (tries > 0) & ~settled
        for at in np.flatnonzero(tried.any(axis=1)).tolist():
            offsets = np.flatnonzero(tried[at])
            pieces[at] += offsets.astype("<u2").tobytes() + tries[at][offsets].tobytes()
    return pieces


def unpack_stretches(pieces: list[bytes]) -> tuple[Flags, Tries]:
    """Return the arguments of `pack_stretches`, except for the tries of settled messages.

    Raises ValueError or IndexError if a piece is malformed.
    """
    bits = np.frombuffer(b"".join(piece[:_BYTES] for piece in pieces), np.uint8).reshape(len(pieces), _BYTES)
    tries = np.zeros((len(pieces), STRETCH_SIZE), np.uint8)
    for at, piece in enumerate(pieces):
        tried, odd = divmod(len(piece) - _BYTES, 3)
        if odd:
            raise ValueError("the attempts of a stretch are truncated")
        offsets = np.frombuffer(piece, "<u2", tried, _BYTES)
        tries[at][offsets] = np.frombuffer(piece, np.uint8, tried, _BYTES + 2 * tried)
    return np.unpackbits(bits, axis=1).astype(bool), tries
