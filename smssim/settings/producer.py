"""The settings of `smssim producer`, each declared together with its flag, and rules that other nodes' flags share.

Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smssim.core.limits import (
    ATTEMPTS_MAX,
    COUNT_MAX,
    LEASE_TIMEOUT_MIN_S,
    RATE_MAX_PER_S,
    SEED_MAX,
    SEGMENTS_MAX,
    TEXT_LENGTH_MAX,
    TIME_MAX_S,
)
from smssim.core.segments import is_text, segments_of
from smssim.errors import UsageError, bad, bad_value
from smssim.settings.addresses import MONITOR_ADDRESS, PORT_MAX, PRODUCER_ADDRESS
from smssim.settings.engine import EngineSettings
from smssim.settings.flags import flag, flags_of, switch
from smssim.settings.rules import address, addresses, real, seconds, share, text, whole
from smssim.settings.shared import ANY_TIME

PORT: Final = whole(0, PORT_MAX)
PEER: Final = addresses(port_min=1)

_SEED: Final = whole(0, SEED_MAX, "2^63 - 1")
_LENGTH: Final = whole(1, TEXT_LENGTH_MAX)
_RATE: Final = real(1e-6, RATE_MAX_PER_S, "0.000001 to 10^12 messages per second")
_LEASE: Final = seconds(LEASE_TIMEOUT_MIN_S, TIME_MAX_S)
_HERE: Final = address(port_min=0)
_TEXT: Final = text("at least one character, and no control characters except line breaks", is_text)
_JOURNAL: Final = text("a path, created if it does not exist", bool)


@dataclass(frozen=True, kw_only=True)
class ProducerSettings(EngineSettings):
    """`smssim producer`."""

    count: int = flag(1000, whole(0, COUNT_MAX, "10^10"), "N", "Messages", "Number of messages")
    seed: int | None = flag(  # by default that of the journal, or a random one
        None,
        _SEED,
        "N",
        "Messages",
        "Random seed; if all senders are alike, the same seed gives the same counts",
        unset="random; see the log",
    )
    min_length: int = flag(1, _LENGTH, "N", "Messages", "Minimum length of a text, in characters")
    max_length: int = flag(TEXT_LENGTH_MAX, _LENGTH, "N", "Messages", "Maximum length of a text, in characters")
    text: str | None = flag(
        None,
        _TEXT,
        "TEXT",
        "Messages",
        "Text of all messages; limits and prices count its SMS segments",
        unset="random texts",
    )
    unreachable: float = flag(
        0.0, share(), "SHARE", "Messages", "Share of the messages that fail for good, whichever sender attempts them"
    )
    max_attempts: int = flag(1, whole(1, ATTEMPTS_MAX), "N", "Delivery", "Maximum number of attempts per message")
    retry_delay_s: float = flag(
        0.0, ANY_TIME, "SECONDS", "Delivery", "Delay before a message is retried", word="retry-delay"
    )
    rate_per_s: float | None = flag(
        None,
        _RATE,
        "RATE",
        "Delivery",
        "Rate at which messages are released for delivery",
        unset="all at once",
        word="rate",
    )
    lease_timeout_s: float = flag(
        10.0,
        _LEASE,
        "SECONDS",
        "Delivery",
        "Time without a request after which a sender's messages go to others",
        word="lease-timeout",
    )
    listen: str = flag(
        PRODUCER_ADDRESS, _HERE, "ADDRESS", "Network", "Address to listen on (port 0: any free port)", in_run=False
    )
    monitor: str = flag(
        MONITOR_ADDRESS, PEER, "ADDRESS", "Network", "Address at which senders reach the monitor", in_run=False
    )
    journal: str | None = flag(
        None,
        _JOURNAL,
        "FILE",
        "Crashes",
        "Save the run's state in this file and resume from it after a crash",
        unset="no journal",
        in_run=False,
    )
    linger: bool = switch(
        "Ending", "Keep running after the run is complete, for late senders, until stopped.", in_run=False
    )
    metrics_port: int | None = flag(
        None,
        PORT,
        "PORT",
        "Output",
        "Serve Prometheus metrics on this port (0: any free port)",
        unset="not served",
        in_run=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_listen(self.listen)
        self._check_journal(self.journal)
        if self.min_length > self.max_length:
            raise bad_value("--min-length", self.min_length, f"at most {self.max_length}, the value of --max-length")
        if self.text is not None:
            self._check_text(self.text)

    def _check_text(self, given: str) -> None:
        for setting in ("min_length", "max_length"):
            if getattr(self, setting) != getattr(ProducerSettings, setting):
                raise UsageError(f"--text can't be used with {flags_of(ProducerSettings)[setting].name}")
        if (number := segments_of(given).segments) > SEGMENTS_MAX:
            raise bad("--text", f"a text of {number:,} segments", f"at most {SEGMENTS_MAX}")

    @property
    def segments(self) -> int:
        """The number of segments of each message; 1 for random texts."""
        return 1 if self.text is None else segments_of(self.text).segments

    @property
    def encoding(self) -> str | None:
        """The encoding of the text; None for random texts."""
        return None if self.text is None else segments_of(self.text).encoding
