"""State as named pieces of bytes, so that a journal can keep it without knowing what it means.

A class with such state has two methods: `changes` returns the pieces that changed since its last call, and `restore`
loads the pieces that were written. Knows names and columns. Must not know files, or when pieces are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Changes = dict[str, bytes | None]  # by name: the piece as it is now, or None to delete it
Pieces = Mapping[str, bytes]
DAMAGE: Final = (ValueError, LookupError, TypeError)  # raised by `restore` for pieces that `changes` did not write

Columns = dict[str, NDArray[Any]]


def pack(facts: Mapping[str, Any] | None = None, **columns: NDArray[Any]) -> bytes:
    """Return a piece of JSON-compatible facts and one-dimensional columns: a line of JSON, then the columns' bytes."""
    layout = {name: [column.dtype.str, len(column)] for name, column in columns.items()}
    head = json.dumps({"facts": facts or {}, "columns": layout}, separators=(",", ":")).encode()
    return b"".join([head, b"\n", *(column.tobytes() for column in columns.values())])


def unpack(piece: bytes) -> tuple[dict[str, Any], Columns]:
    """Return the facts and the (read-only) columns of a piece; raises DAMAGE if it is malformed."""
    head, _, rest = piece.partition(b"\n")
    read = json.loads(head)
    columns, at = {}, 0
    for name, (kind, length) in read["columns"].items():
        columns[name] = np.frombuffer(rest, kind, length, at)
        at += columns[name].nbytes
    return read["facts"], columns


def put_under(name: str, changes: Changes) -> Changes:
    """Return the changes with `name/` in front of the name of each piece."""
    return {f"{name}/{piece}": value for piece, value in changes.items()}


def within(name: str, pieces: Pieces) -> dict[str, bytes]:
    """Return the pieces whose names begin with `name/`, by the rest of their names."""
    begin = name + "/"
    return {piece.removeprefix(begin): value for piece, value in pieces.items() if piece.startswith(begin)}


def numbered(name: str, pieces: Pieces) -> dict[int, bytes]:
    """Return the pieces `name/0`, `name/1` and so on that exist, by number in ascending order."""
    return dict(sorted((int(number), piece) for number, piece in within(name, pieces).items()))
