"""The settings of the engine, in which a producer and a monitor keep their state instead of in a journal.

Checks that they agree with each other. Must not know how an engine is reached. Must stay cheap to import:
`smssim --help` loads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import is_address, is_loopback
from smssim.settings.flags import flag, flags_of, like
from smssim.settings.rules import Rule, text, whole
from smssim.settings.shared import ServerSettings

TLS: Final = "tls"
SCHEMES: Final = ("nats", TLS)
PORT: Final = 4222
REPLICAS: Final = (1, 3, 5)

ENGINE_TOKEN_VARIABLE: Final = "SMSSIM_ENGINE_TOKEN"
ENGINE_USER_VARIABLE: Final = "SMSSIM_ENGINE_USER"
ENGINE_PASSWORD_VARIABLE: Final = "SMSSIM_ENGINE_PASSWORD"

_RUN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


def servers_of(urls: str) -> tuple[str, ...]:
    """Return each server as `scheme://host:port`. The scheme of the first one applies to those without one."""
    first = urls.split(",")[0]
    scheme = first.partition("://")[0] if "://" in first else ""
    full = (one if "://" in one else f"{scheme}://{one}" for one in urls.split(","))
    return tuple(one if re.search(r":[0-9]+$", one) else f"{one}:{PORT}" for one in full)


def _are_servers(urls: str) -> bool:
    if "@" in urls:  # `EngineSettings` refuses it, in an error that does not show the secret
        return True
    servers = servers_of(urls)
    parts = [one.partition("://") for one in servers]
    schemes = {scheme for scheme, _, _ in parts}
    return (
        len(set(servers)) == len(servers)
        and len(schemes) == 1
        and schemes <= {*SCHEMES}
        and all(is_address(address, port_min=1) for _, _, address in parts)
    )


def _are_pages(urls: str) -> bool:
    """Return whether these are the addresses of web servers, without a path."""
    parts = [one.partition("://") for one in urls.split(",")]
    return all(
        scheme in ("http", "https") and is_address(rest.removesuffix("/"), port_min=1) for scheme, _, rest in parts
    )


_URLS: Final = text(
    "nats://host:port or tls://host:port, or several different ones of one kind separated by commas", _are_servers
)
_PAGES: Final = text("http://host:port, several separated by commas", _are_pages)
_NAME: Final = text("1 to 32 characters from a-z, A-Z, 0-9, _ and -", lambda got: bool(_RUN_NAME.fullmatch(got)))
_PEM: Final = text("a PEM file", bool)
_CREDS: Final = text("a .creds file", bool)
_TOKEN: Final = text("a file that holds a token", bool)
_LOGIN: Final = text("a file that holds user:password", bool)
_REPLICAS: Final = Rule("1, 3 or 5", whole(1, 5).read, lambda got: got in REPLICAS, kind=int)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(ServerSettings):
    """A node that can keep its state in an engine, a cluster of NATS servers with JetStream."""

    variables: ClassVar[Mapping[str, str]] = {
        "engine_token": ENGINE_TOKEN_VARIABLE,
        "engine_user": ENGINE_USER_VARIABLE,
        "engine_password": ENGINE_PASSWORD_VARIABLE,
    }

    engine: str | None = flag(
        None,
        _URLS,
        "URLS",
        "Engine",
        "Keep the run's state on these NATS servers, so that another node can take over (not with --journal)",
        unset="no engine",
        in_run=False,
    )
    run_name: str | None = flag(
        None,
        _NAME,
        "NAME",
        "Engine",
        "Name of the run in the engine, the same for all its producers and monitors",
        unset="required with --engine",
        word="run",
        in_run=False,
    )
    engine_replicas: int = flag(
        3, _REPLICAS, "N", "Engine", "Number of servers that keep a copy of the state", in_run=False
    )
    engine_monitoring: str | None = flag(
        None,
        _PAGES,
        "URLS",
        "Engine",
        "Check at these monitoring addresses of the servers that each write is synced to disk",
        unset="not checked",
        in_run=False,
    )
    engine_tls_ca: str | None = flag(
        None,
        _PEM,
        "FILE",
        "Engine",
        "CA that signed the certificates of the servers",
        unset="the CAs of this machine",
        in_run=False,
    )
    engine_tls_cert: str | None = flag(
        None, _PEM, "FILE", "Engine", "TLS certificate for the servers", unset="no certificate", in_run=False
    )
    engine_tls_key: str | None = flag(
        None, _PEM, "FILE", "Engine", "Private key of --engine-tls-cert", unset="no key", in_run=False
    )
    engine_creds: str | None = flag(
        None, _CREDS, "FILE", "Engine", "Credentials for the servers", unset="none", in_run=False
    )
    engine_token_file: str | None = flag(
        None,
        _TOKEN,
        "FILE",
        "Engine",
        "Token for the servers",
        unset=f"the variable {ENGINE_TOKEN_VARIABLE}, or none",
        in_run=False,
    )
    engine_login_file: str | None = flag(
        None,
        _LOGIN,
        "FILE",
        "Engine",
        "User name and password for the servers",
        unset=f"the variables {ENGINE_USER_VARIABLE} and {ENGINE_PASSWORD_VARIABLE}, or none",
        in_run=False,
    )
    insecure: bool = like(
        ServerSettings,
        "insecure",
        purpose="Allow --listen to accept connections from other machines, and --engine to send a secret to them, "
        "without TLS.",
    )
    # These have no flags, because a list of processes would show them. The files take precedence.
    engine_token: str | None = field(default=None, repr=False)
    engine_user: str | None = None
    engine_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine is None:
            self._check_without()
            return
        if "@" in self.engine:
            files = "--engine-token-file or --engine-login-file"
            raise UsageError(f"--engine: a URL holds a secret, which other users of this machine can see: use {files}")
        if self.run_name is None:
            raise UsageError("--run is required with --engine")
        self._check_tls()
        self._check_credentials()

    @property
    def engine_servers(self) -> tuple[str, ...]:
        """The servers of the engine, each as `scheme://host:port`; none without an engine."""
        return servers_of(self.engine) if self.engine else ()

    @property
    def engine_pages(self) -> tuple[str, ...]:
        """The monitoring addresses of the servers, without a slash at the end."""
        return tuple(one.removesuffix("/") for one in (self.engine_monitoring or "").split(",") if one)

    @property
    def engine_uses_tls(self) -> bool:
        """Whether connections to the servers must be encrypted."""
        return (self.engine or "").startswith(f"{TLS}://")

    def _check_journal(self, journal: str | None) -> None:
        if journal is not None and self.engine is not None:
            raise UsageError("--journal can't be used with --engine, which keeps the run's state instead")

    def _check_without(self) -> None:
        for setting, its in flags_of(EngineSettings).items():
            if its.panel == "Engine" and getattr(self, setting) != its.default:
                raise UsageError(f"--engine is required with {its.name}")

    def _check_tls(self) -> None:
        if self.engine_tls_cert and not self.engine_tls_key:
            raise UsageError("--engine-tls-key is required with --engine-tls-cert")
        if self.engine_tls_key and not self.engine_tls_cert:
            raise UsageError("--engine-tls-cert is required with --engine-tls-key")
        for name, file in (("--engine-tls-ca", self.engine_tls_ca), ("--engine-tls-cert", self.engine_tls_cert)):
            if file and not self.engine_uses_tls:
                raise bad_value("--engine", self.engine, f"URLs that begin with tls:// because of {name}")

    def _check_credentials(self) -> None:
        user, password = self.engine_user, self.engine_password
        if bool(user) != bool(password) and not self.engine_login_file:
            names = (ENGINE_PASSWORD_VARIABLE, ENGINE_USER_VARIABLE)
            missing, given = names if user else reversed(names)
            raise UsageError(f"{missing} is required with {given}")
        kinds = (
            {"--engine-creds": self.engine_creds},
            {"--engine-token-file": self.engine_token_file, ENGINE_TOKEN_VARIABLE: self.engine_token},
            {"--engine-login-file": self.engine_login_file, ENGINE_USER_VARIABLE: user},
        )
        given_by = [next((name for name, value in kind.items() if value), "") for kind in kinds]
        used = [name for name in given_by if name]
        if len(used) > 1:
            raise UsageError(f"{used[0]} can't be used with {used[1]}: the servers get one kind of credentials")
        if used and not self.engine_creds:  # which signs a challenge and sends no secret
            self._check_secrecy()

    def _check_secrecy(self) -> None:
        """Raise UsageError if a secret would be sent to another machine without TLS."""
        if self.insecure or self.engine_uses_tls:
            return
        for server in self.engine_servers:
            if not is_loopback(server.partition("://")[2]):
                raise UsageError(f"--engine: tls:// URLs or --insecure are required to send a secret to {server}")
