"""State as named pieces of bytes, so that a journal can keep it without knowing what it means.

A class of the core says with `changes` what is to be written since it was last asked, and takes with `restore` what was
written: state, not history. Knows names and columns. Must not know files, nor when something is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Changes = dict[str, bytes | None]  # by name: the piece as it is now, None where it is to be deleted
Pieces = Mapping[str, bytes]
DAMAGE: Final = (ValueError, LookupError, TypeError)  # what `restore` raises for pieces that `changes` did not write

Columns = dict[str, NDArray[Any]]


def pack(facts: Mapping[str, Any] | None = None, **columns: NDArray[Any]) -> bytes:
    """A piece from what JSON can hold and from one-dimensional columns: one line of JSON, then their bytes."""
    layout = {name: [column.dtype.str, len(column)] for name, column in columns.items()}
    head = json.dumps({"facts": facts or {}, "columns": layout}, separators=(",", ":")).encode()
    return b"".join([head, b"\n", *(column.tobytes() for column in columns.values())])


def unpack(piece: bytes) -> tuple[dict[str, Any], Columns]:
    """Facts and columns (read-only) of a piece; raises ValueError where it is none."""
    head, _, rest = piece.partition(b"\n")
    read = json.loads(head)
    columns, at = {}, 0
    for name, (kind, length) in read["columns"].items():
        columns[name] = np.frombuffer(rest, kind, length, at)
        at += columns[name].nbytes
    return read["facts"], columns


def put_under(name: str, changes: Changes) -> Changes:
    """The same changes, of pieces whose names begin with `name/`."""
    return {f"{name}/{piece}": value for piece, value in changes.items()}


def within(name: str, pieces: Pieces) -> dict[str, bytes]:
    """The pieces whose names begin with `name/`, by the rest of their names."""
    begin = name + "/"
    return {piece.removeprefix(begin): value for piece, value in pieces.items() if piece.startswith(begin)}


def numbered(name: str, pieces: Pieces) -> dict[int, bytes]:
    """The pieces `name/0`, `name/1` ... that there are, by number and ascending."""
    return dict(sorted((int(number), piece) for number, piece in within(name, pieces).items()))
