"""What a node presents to the servers of an engine: TLS certificates, and a token, a login or signed credentials.

Knows the files that hold them. Must not know NATS, or what is sent over a connection. No error contains a secret.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from smssim.errors import UsageError, bad_value
from smssim.process import secret_files
from smssim.settings import ENGINE_PASSWORD_VARIABLE, ENGINE_TOKEN_VARIABLE, ENGINE_USER_VARIABLE, EngineSettings

_CREDS_PARTS: Final = ("NATS USER JWT", "USER NKEY SEED")


@dataclass(frozen=True)
class Credentials:
    """The contents of the files and variables that the settings of an engine name. At most one kind is there."""

    tls: ssl.SSLContext | None = None  # None: connections are not encrypted
    token: str | None = field(default=None, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)
    creds: str | None = field(default=None, repr=False)  # the text of a .creds file

    @property
    def given_by(self) -> str:
        """The flags or variables to check if a server rejects them; empty if there are none."""
        if self.creds is not None:
            return "--engine-creds"
        if self.login is not None:
            return f"--engine-login-file or {ENGINE_USER_VARIABLE} and {ENGINE_PASSWORD_VARIABLE}"
        return f"--engine-token-file or {ENGINE_TOKEN_VARIABLE}" if self.token is not None else ""


def load(settings: EngineSettings) -> Credentials:
    """Read the files that the settings name, and warn of secrets that other users of this machine can read.

    Raises UsageError if one of them is unreadable or invalid.
    """
    found = Credentials(_tls(settings), _token(settings), _login(settings), _creds(settings))
    files = ("engine_tls_key", "engine_creds", "engine_token_file", "engine_login_file")
    secret_files.warn((f"--{file.replace('_', '-')}", getattr(settings, file)) for file in files)
    return found


def _tls(settings: EngineSettings) -> ssl.SSLContext | None:
    if not settings.engine_uses_tls:
        return None
    name = settings.engine_tls_ca
    ca = secret_files.read_pem("--engine-tls-ca", name, secret_files.CERTIFICATE)
    context = ssl.create_default_context() if ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if name is not None and ca is not None:
        secret_files.load_ca(context, "--engine-tls-ca", name, ca)
    if settings.engine_tls_cert and settings.engine_tls_key:
        secret_files.read_pem("--engine-tls-cert", settings.engine_tls_cert, secret_files.CERTIFICATE)
        secret_files.read_pem("--engine-tls-key", settings.engine_tls_key, secret_files.PRIVATE_KEY)
        secret_files.load_pair(context, "--engine-tls", settings.engine_tls_cert, settings.engine_tls_key)
    return context


def _text(flag: str, name: str, expected: str) -> str:
    """Return the only line of a file, which must be printable ASCII."""
    try:
        text = secret_files.read(flag, name).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise bad_value(flag, name, expected) from error
    if not (text and text.isprintable()):
        raise bad_value(flag, name, expected)
    return text


def _token(settings: EngineSettings) -> str | None:
    if settings.engine_token_file is None:
        return settings.engine_token
    return _text("--engine-token-file", settings.engine_token_file, "a file with one line, the token")


def _login(settings: EngineSettings) -> tuple[str, str] | None:
    name = settings.engine_login_file
    if name is None:
        user, password = settings.engine_user, settings.engine_password
        return (user, password) if user and password else None
    expected = "a file with one line, user:password"
    user, _, password = _text("--engine-login-file", name, expected).partition(":")
    if not (user and password):
        raise bad_value("--engine-login-file", name, expected)
    return user, password


def _creds(settings: EngineSettings) -> str | None:
    name = settings.engine_creds
    if name is None:
        return None
    import nkeys  # late, because only such files need it

    text = secret_files.read("--engine-creds", name).decode("ascii", "replace")
    lines = [line.strip() for line in text.splitlines()]
    expected = "a .creds file with a JWT and the seed of a user, as nsc writes it"
    try:
        jwt, seed = (lines[lines.index(f"-----BEGIN {part}-----") + 1] for part in _CREDS_PARTS)
        _, key = nkeys.decode_seed(bytearray(seed.encode()))
        is_valid = jwt.count(".") == 2 and nkeys.encode_seed(bytes(key), nkeys.PREFIX_BYTE_USER).decode() == seed
    except (ValueError, IndexError, nkeys.NkeysError) as error:
        raise bad_value("--engine-creds", name, expected) from error
    if not is_valid:
        raise bad_value("--engine-creds", name, expected)
    return text


def missing(library: str | None) -> UsageError:
    """Return the error about a library that is not installed."""
    return UsageError(f"--engine: {library or 'nats-py'} is not installed: run pip install 'smssim[cluster]'")
