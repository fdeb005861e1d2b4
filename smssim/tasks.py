"""What a command is told that starts no node.

Knows settings, as far as they are checked alike. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smssim.settings import Checked


@dataclass(frozen=True)
class TraceSettings:
    """`smssim trace`."""

    file: str
    message_id: int


@dataclass(frozen=True)
class BenchSettings(Checked):
    """`smssim bench`."""

    quick: bool = False
    case: tuple[str, ...] = ()  # all that --quick allows
    repeat: int | None = None  # 3, or 1 with --quick
    json: bool = False
    figures: str | None = None  # where the pictures of the scaling study go, if it is wanted


@dataclass(frozen=True)
class CertsSettings(Checked):
    """`smssim certs`."""

    directory: str
    host: tuple[str, ...] = ()  # beside this machine's names
