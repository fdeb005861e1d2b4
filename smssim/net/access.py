"""Who may talk to whom: TLS, the shared token, and in words why a peer was not let in.

Knows certificates, tokens and the errors of a handshake. Must not know what is said over a connection.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from smssim.errors import UsageError, bad_value
from smssim.net import secrecy
from smssim.settings import (
    TOKEN_CHARACTERS_MAX,
    TOKEN_CHARACTERS_MIN,
    TOKEN_TAKES,
    TOKEN_VARIABLE,
    AccessSettings,
    is_loopback,
    split_address,
)

PROBE_S: Final = 2.0  # how long a peer may take to answer a probe
HEADER: Final = "authorization"
SCHEME: Final = "Bearer "

_NOT_TLS: Final = "it does not speak TLS: give it --tls-cert and --tls-key, or leave out --tls-ca here"
_TLS: Final = "it speaks TLS: takes --tls-ca here"
_NO_CLIENT: Final = "it asks for a certificate: takes --tls-cert and --tls-key here"
_WRONG_CLIENT: Final = "it does not trust the certificate in --tls-cert, which its own --tls-ca has not signed"
_FAULTS: Final = (  # what a client's gRPC says of a handshake, and what that means
    ("WRONG_VERSION_NUMBER", _NOT_TLS),
    ("Hostname Verification Check failed", "its certificate is for another host, not for {host}"),
    ("expired", "its certificate has expired"),
    ("certificate is not yet valid", "its certificate is not valid yet"),
    ("certificate", "its certificate was not signed by the authority in --tls-ca"),
    ("Tls handshake failed", "it speaks TLS in a way that is not understood here"),
)


@dataclass(frozen=True)
class Access:
    """What a node shows to others and asks of them; the contents of the files that its settings name."""

    settings: AccessSettings
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    token: bytes | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return ((HEADER, SCHEME + self.token.decode()),) if self.token else ()

    def admits(self, shown: str | bytes | None) -> bool:
        """Whether a caller with this header may come in. The time that it takes tells nothing of the token."""
        if self.token is None:
            return True
        wanted = SCHEME.encode() + self.token
        return hmac.compare_digest(shown.encode() if isinstance(shown, str) else shown or b"", wanted)

    def of_server(self) -> grpc.ServerCredentials | None:
        """None if it speaks without TLS."""
        if self.certificate is None or self.key is None:
            return None
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.ca, require_client_auth=bool(self.ca))

    def of_client(self, address: str) -> grpc.ChannelCredentials | None:
        """None to speak without TLS; raises UsageError if the token would travel so beyond this machine."""
        if self.ca is not None:
            return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        if self.token and not self.settings.insecure and not is_loopback(address):
            raise UsageError(f"--tls-ca: got nothing; the token goes to {address} with --tls-ca or --insecure only")
        return None

    async def fault(self, address: str, details: str) -> str | None:
        """What is wrong at a peer that was not reached, for this reason; None if it may be just away."""
        host, port = split_address("address", address)
        if "Socket closed" in details and "Handshake" not in details:
            return await self._probe(host, port)  # after the handshake, and gRPC does not say why
        if "Tls handshake failed" not in details and "verification" not in details:
            return None
        return next((says.format(host=host) for part, says in _FAULTS if part in details), None)

    async def _probe(self, host: str, port: int) -> str | None:
        """Asks a peer that ends connections for its reason, in a handshake that trusts everybody and says nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if self.settings.tls_cert:
            context.load_cert_chain(self.settings.tls_cert, self.settings.tls_key)
        refused = _WRONG_CLIENT if self.certificate else _NO_CLIENT
        try:
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
                if self.ca is None:
                    writer.transport.abort()
                    return _TLS
                try:
                    return None if await reader.read(1) else refused
                finally:
                    writer.transport.abort()
        except ssl.SSLError as error:
            return refused if "ALERT" in str(error.reason) else None
        except (OSError, TimeoutError):
            return None


OPEN: Final = Access(AccessSettings())  # without TLS and without a token


def load(settings: AccessSettings) -> Access:
    """Reads what the settings name; raises UsageError if it is not what it should be.

    The log warns of a secret that others can read.
    """
    ca = _pem("--tls-ca", settings.tls_ca, b"CERTIFICATE-----")
    certificate = _pem("--tls-cert", settings.tls_cert, b"CERTIFICATE-----")
    key = _pem("--tls-key", settings.tls_key, b"PRIVATE KEY-----")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ca is not None:
        try:
            context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise bad_value("--tls-ca", settings.tls_ca, "a file with a sound certificate") from error
    if settings.tls_cert and settings.tls_key:
        _check_pair(context, settings.tls_cert, settings.tls_key)
    token = _token(settings)
    secrecy.warn(settings)
    return Access(settings, ca, certificate, key, token)


def _read(flag: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a name of a file"
        raise UsageError(f"{flag}: can't read {name!r}: {why}") from error


def _pem(flag: str, name: str | None, holds: bytes) -> bytes | None:
    if name is None:
        return None
    content = _read(flag, name)
    if holds not in content:
        raise bad_value(flag, name, f"a PEM file that holds a {holds.decode().rstrip('-').lower()}")
    return content


def _check_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def no_password() -> str:
        raise bad_value("--tls-key", key, "a key without a passphrase")

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise bad_value("--tls-key", key, f"the key of the certificate in {certificate}") from error
        raise bad_value("--tls-cert", certificate, f"a sound certificate, with its key in {key}") from error


def _token(settings: AccessSettings) -> bytes | None:
    """The token; it is in no error, be it ever so wrong."""
    source, token = TOKEN_VARIABLE, (settings.token or "").encode("utf-8", "surrogateescape")
    if settings.token_file:
        source, token = f"--token-file: {settings.token_file!r}", _read("--token-file", settings.token_file).strip()
    elif not token:
        return None
    if not (TOKEN_CHARACTERS_MIN <= len(token) <= TOKEN_CHARACTERS_MAX and all(33 <= byte <= 126 for byte in token)):
        raise UsageError(f"{source}: holds no token, which takes {TOKEN_TAKES}")
    return token
