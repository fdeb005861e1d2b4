"""What the settings of all nodes share: the log, who may connect to whom, and how long a lost node is waited for.

Knows which of these make no sense together. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from smssim.core.limits import TIME_MAX_S
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import is_loopback
from smssim.settings.flags import Checked, flag, like, switch
from smssim.settings.rules import one_of, seconds, text

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

TOKEN_VARIABLE: Final = "SMSSIM_TOKEN"  # of every command
TOKEN_CHARACTERS_MIN: Final = 8
TOKEN_CHARACTERS_MAX: Final = 512
TOKEN_TAKES: Final = f"{TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} characters of ASCII, no spaces"

ANY_TIME: Final = seconds(0, TIME_MAX_S)

_PEM: Final = text("a PEM file", bool)
_TOKEN_FILE: Final = text(f"a file that holds {TOKEN_TAKES}", bool)


@dataclass(frozen=True, kw_only=True)
class LogSettings(Checked):
    """The log of a node or of a run."""

    log_level: str = flag("info", one_of(LOG_LEVELS), "LEVEL", "Output", "The least of what is logged")
    log_format: str = flag("text", one_of(LOG_FORMATS), "NAME", "Output", "How it is written")


@dataclass(frozen=True, kw_only=True)
class AccessSettings(LogSettings):
    """How a node shows others who it is, and whom it lets in: part of the settings of each node."""

    tls_cert: str | None = flag(
        None, _PEM, "FILE", "Security", "This node's certificate, for TLS", unset="no certificate", in_run=False
    )
    tls_key: str | None = flag(
        None, _PEM, "FILE", "Security", "The key of that certificate", unset="no key", in_run=False
    )
    tls_ca: str | None = flag(
        None, _PEM, "FILE", "Security", "Authority that signed the others' certificates", unset="no TLS", in_run=False
    )
    token_file: str | None = flag(
        None, _TOKEN_FILE, "FILE", "Security", "Shared token", unset=f"the variable {TOKEN_VARIABLE}, or none"
    )
    token: str | None = field(default=None, repr=False)  # has no flag: a list of processes would show it; the file wins
    insecure: bool = switch("Security", "Show the token to other machines without TLS, for all to read.", in_run=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_cert and not self.tls_key:
            raise UsageError("--tls-key is required with --tls-cert")
        if self.tls_key and not self.tls_cert:
            raise UsageError("--tls-cert is required with --tls-key")

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Makes settings of the values of flags and of the shared token; raises UsageError."""
        return cls(**given, token=token)


@dataclass(frozen=True, kw_only=True)
class NodeSettings(AccessSettings):
    """What every node has; in a run, all its nodes have the same."""

    give_up_s: float = flag(
        60.0, ANY_TIME, "SECONDS", "Ending", "How long to wait for a node that was met and is gone", word="give-up"
    )


@dataclass(frozen=True, kw_only=True)
class ClientSettings(NodeSettings):
    """A node that connects to others alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_cert and not self.tls_ca:
            raise UsageError("--tls-ca is required with --tls-cert")


@dataclass(frozen=True, kw_only=True)
class ServerSettings(NodeSettings):
    """A node that others connect to: with an authority it asks for their certificates too."""

    tls_ca: str | None = like(
        AccessSettings, "tls_ca", says="Authority that signed the senders' certificates", unset="any sender"
    )
    insecure: bool = like(AccessSettings, "insecure", says="Let --listen take an address others can reach without TLS.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_ca and not self.tls_cert:
            raise UsageError("--tls-cert is required with --tls-ca")

    def _check_listen(self, listen: str) -> None:
        if not (self.insecure or self.tls_cert or is_loopback(listen)):
            raise bad_value("--listen", listen, "a loopback address, or any with --tls-cert or --insecure")
