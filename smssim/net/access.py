"""Who may talk to whom: TLS, the shared token, and in words why a peer was not let in.

Knows certificates, tokens and the errors of a handshake. Must not know what is said over a connection.
"""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from smssim.core.limits import LIMITS, Limits
from smssim.errors import UsageError, bad_value
from smssim.net import grpc_quirks, secrecy
from smssim.net.grpc_quirks import Handshake, Probed
from smssim.settings import (
    TOKEN_CHARACTERS_MAX,
    TOKEN_CHARACTERS_MIN,
    TOKEN_TAKES,
    TOKEN_VARIABLE,
    AccessSettings,
    is_loopback,
    split_address,
)

HEADER: Final = "authorization"
SCHEME: Final = "Bearer "

_TLS: Final = "it speaks TLS: takes --tls-ca here"
_NO_CLIENT: Final = "it asks for a certificate: takes --tls-cert and --tls-key here"
_WRONG_CLIENT: Final = "it does not trust the certificate in --tls-cert, which its own --tls-ca has not signed"
_FAULTS: Final = {
    Handshake.NOT_TLS: "it does not speak TLS: give it --tls-cert and --tls-key, or leave out --tls-ca here",
    Handshake.OTHER_HOST: "its certificate is for another host, not for {host}",
    Handshake.EXPIRED: "its certificate has expired",
    Handshake.NOT_YET_VALID: "its certificate is not valid yet",
    Handshake.OTHER_AUTHORITY: "its certificate was not signed by the authority in --tls-ca",
    Handshake.FAILED: "it speaks TLS in a way that is not understood here",
}


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

    async def fault(self, address: str, details: str, limits: Limits = LIMITS) -> str | None:
        """Return what is wrong at a peer that was not reached, for this reason; None if it may be just away."""
        host, port = split_address("address", address)
        failure = grpc_quirks.handshake(details)
        if failure is None:
            return None
        if failure is not Handshake.CLOSED:
            return _FAULTS[failure].format(host=host)
        cert, key = self.settings.tls_cert, self.settings.tls_key
        pair = (cert, key) if cert and key else None
        probed = await grpc_quirks.probe(host, port, pair, limits.probe_s, to_the_end=self.ca is not None)
        if probed is Probed.REFUSES:
            return _WRONG_CLIENT if self.certificate else _NO_CLIENT
        return _TLS if probed is Probed.ACCEPTS and self.ca is None else None


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
