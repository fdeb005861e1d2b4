"""Records: what the entries of a replicated log contain, and how they are laid out as bytes.

A record is a checksum, a line of JSON, and a body. The body is a part of a commit, which is compressed as a whole. Each
record names the one before it by its checksum, so that a reader notices if one is missing. Knows bytes. Must not know
who may append a record, or where it is kept.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from smssim.core.pieces import Changes
from smssim.errors import DamagedLogError

FORMAT: Final = 1
_CHECK_BYTES: Final = 4
_LEVEL: Final = 1  # of zlib: the fastest


class Kind(StrEnum):
    """The kinds of records."""

    TAKE = "take"  # a node becomes the owner
    CHANGES = "changes"  # a commit: pieces that changed; without any, it shows that the owner is alive
    STATE = "state"  # a checkpoint: all pieces, which replace those of the records before
    RELEASED = "released"  # the owner has left, and the run goes on
    ENDED = "ended"  # the run is over


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log."""

    kind: Kind
    owner: str  # the name of the node that wrote it, for people
    writer: str  # the id of that node's ownership: unique
    epoch: int  # how many times the log was taken, this time included
    number: int  # 1, 2, 3 and so on, over all records
    before: int  # the checksum of the previous record; 0 for the first
    owned_s: float  # for how long the owner has owned the log
    parts_left: int = 0  # further parts of the same commit that follow
    is_first: bool = True  # whether it is the first part of its commit
    about: str = ""  # what the owner says about its run, for nodes that stand by
    code: int = 0  # of a run that is over: the owner's exit code
    reason: str = ""  # of a run that is over: one line for people
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return this record as bytes."""
        facts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "body"}
        rest = json.dumps({"format": FORMAT, **facts}, separators=(",", ":")).encode() + b"\n" + self.body
        return zlib.crc32(rest).to_bytes(_CHECK_BYTES, "little") + rest

    @classmethod
    def decoded(cls, data: bytes) -> Record:
        """Return the record with these bytes; raises DamagedLogError."""
        rest = data[_CHECK_BYTES:]
        if zlib.crc32(rest) != check_of(data):
            raise DamagedLogError("a record is damaged: its checksum is wrong")
        head, _, body = rest.partition(b"\n")
        try:
            facts: dict[str, Any] = json.loads(head)
            if facts.pop("format") != FORMAT:
                raise DamagedLogError("a record was written by another version of smssim")
            return cls(**{**facts, "kind": Kind(facts["kind"])}, body=body)
        except (ValueError, LookupError, TypeError) as error:
            raise DamagedLogError(f"a record is damaged ({error})") from error


def check_of(data: bytes) -> int:
    """Return the checksum that begins the bytes of a record."""
    return int.from_bytes(data[:_CHECK_BYTES], "little")


def packed(changes: Changes) -> bytes:
    """Return changes as the compressed body of a commit; empty if there are none."""
    if not changes:
        return b""
    lengths = {name: None if piece is None else len(piece) for name, piece in changes.items()}
    head = json.dumps(lengths, separators=(",", ":")).encode()
    return zlib.compress(b"".join([head, b"\n", *(piece for piece in changes.values() if piece)]), _LEVEL)


def unpacked(body: bytes) -> Changes:
    """Return the changes of a commit; raises DamagedLogError."""
    if not body:
        return {}
    try:
        head, _, rest = zlib.decompress(body).partition(b"\n")
        changes: Changes = {}
        at = 0
        for name, length in json.loads(head).items():
            changes[name] = None if length is None else rest[at : at + length]
            at += length or 0
    except (ValueError, LookupError, TypeError, AttributeError, zlib.error) as error:
        raise DamagedLogError(f"a commit is damaged ({error})") from error
    return changes


def in_parts(body: bytes, bytes_max: int) -> Iterator[tuple[bytes, bool, int]]:
    """Yield the parts of a body, each with whether it is the first one, and how many follow. Yields one if empty."""
    starts = range(0, max(1, len(body)), bytes_max)
    for at, start in enumerate(starts):
        yield body[start : start + bytes_max], at == 0, len(starts) - at - 1
