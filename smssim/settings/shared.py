"""The settings that all nodes share: the log, TLS and tokens, and how long to wait for a lost node.

Checks that they agree with each other. Must stay cheap to import: `smssim --help` loads it.
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

TOKEN_VARIABLE: Final = "SMSSIM_TOKEN"  # used by every command
TOKEN_CHARACTERS_MIN: Final = 8
TOKEN_CHARACTERS_MAX: Final = 512
TOKEN_EXPECTED: Final = f"{TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} ASCII characters without spaces"

ANY_TIME: Final = seconds(0, TIME_MAX_S)

_PEM: Final = text("a PEM file", bool)
_TOKEN_FILE: Final = text(f"a file that holds {TOKEN_EXPECTED}", bool)


@dataclass(frozen=True, kw_only=True)
class LogSettings(Checked):
    """The settings of the log of a node or a run."""

    log_level: str = flag("info", one_of(LOG_LEVELS), "LEVEL", "Output", "Lowest level to log")
    log_format: str = flag("text", one_of(LOG_FORMATS), "NAME", "Output", "Format of the log")


@dataclass(frozen=True, kw_only=True)
class AccessSettings(LogSettings):
    """How a node authenticates itself and its peers: part of the settings of each node."""

    tls_cert: str | None = flag(
        None, _PEM, "FILE", "Security", "TLS certificate of this node", unset="no certificate", in_run=False
    )
    tls_key: str | None = flag(
        None, _PEM, "FILE", "Security", "Private key of --tls-cert", unset="no key", in_run=False
    )
    tls_ca: str | None = flag(
        None, _PEM, "FILE", "Security", "CA that signed the certificates of the servers", unset="no TLS", in_run=False
    )
    token_file: str | None = flag(
        None,
        _TOKEN_FILE,
        "FILE",
        "Security",
        "Token that all nodes share",
        unset=f"the variable {TOKEN_VARIABLE}, or none",
    )
    # Has no flag, because a list of processes would show it. The file takes precedence.
    token: str | None = field(default=None, repr=False)
    insecure: bool = switch(
        "Security", "Send the token to other machines without TLS, readable by anyone on the network.", in_run=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_cert and not self.tls_key:
            raise UsageError("--tls-key is required with --tls-cert")
        if self.tls_key and not self.tls_cert:
            raise UsageError("--tls-cert is required with --tls-key")

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Return the settings for these values of flags and this shared token. Raises UsageError."""
        return cls(**given, token=token)


@dataclass(frozen=True, kw_only=True)
class NodeSettings(AccessSettings):
    """Settings that every node has, and that are the same for all nodes of `smssim run`."""

    give_up_s: float = flag(
        60.0, ANY_TIME, "SECONDS", "Ending", "How long to wait for a lost node before giving up", word="give-up"
    )


@dataclass(frozen=True, kw_only=True)
class ClientSettings(NodeSettings):
    """A node that only connects to others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_cert and not self.tls_ca:
            raise UsageError("--tls-ca is required with --tls-cert")


@dataclass(frozen=True, kw_only=True)
class ServerSettings(NodeSettings):
    """A node that others connect to. With a CA, it requires certificates of its clients."""

    tls_ca: str | None = like(
        AccessSettings, "tls_ca", purpose="Require client certificates signed by this CA", unset="not required"
    )
    insecure: bool = like(
        AccessSettings, "insecure", purpose="Allow --listen to accept connections from other machines without TLS."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tls_ca and not self.tls_cert:
            raise UsageError("--tls-cert is required with --tls-ca")

    def _check_listen(self, listen: str) -> None:
        if not (self.insecure or self.tls_cert or is_loopback(listen)):
            raise bad_value("--listen", listen, "a loopback address, or any address with --tls-cert or --insecure")
