"""Access control: TLS, the shared token, and the reasons why a connection was refused.

Knows certificates, tokens and the errors of a handshake. Must not know what is sent over a connection.
"""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass, field
from typing import Final

import grpc

from smssim.core.limits import LIMITS, Limits
from smssim.errors import UsageError
from smssim.net import grpc_quirks, secrecy
from smssim.net.grpc_quirks import Handshake, Probed
from smssim.process import secret_files
from smssim.settings import (
    TOKEN_CHARACTERS_MAX,
    TOKEN_CHARACTERS_MIN,
    TOKEN_EXPECTED,
    TOKEN_VARIABLE,
    AccessSettings,
    is_loopback,
    split_address,
)

HEADER: Final = "authorization"
SCHEME: Final = "Bearer "

_TLS: Final = "it requires TLS: add --tls-ca here"
_NO_CLIENT: Final = "it requires a client certificate: add --tls-cert and --tls-key here"
_WRONG_CLIENT: Final = "it rejects the certificate in --tls-cert: use one that is signed by the CA in its own --tls-ca"
_FAULTS: Final = {
    Handshake.NOT_TLS: "it does not use TLS: start it with --tls-cert and --tls-key, or remove --tls-ca here",
    Handshake.OTHER_HOST: "its certificate is not for {host}: use a name that is in it, or issue one for {host}",
    Handshake.EXPIRED: "its certificate has expired: renew it",
    Handshake.NOT_YET_VALID: "its certificate is not valid yet: check the clocks of both machines",
    Handshake.OTHER_AUTHORITY: "its certificate is not signed by the CA in --tls-ca: use the CA that signed it",
    Handshake.FAILED: "the TLS handshake failed: check the certificates and keys of both nodes",
}


@dataclass(frozen=True)
class Access:
    """What a node presents to its peers and requires of them: its settings, and the contents of the files they name."""

    settings: AccessSettings
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    token: bytes | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that is sent with each call."""
        return ((HEADER, SCHEME + self.token.decode()),) if self.token else ()

    def admits(self, shown: str | bytes | None) -> bool:
        """Return whether to accept a caller with this header. The comparison takes constant time."""
        if self.token is None:
            return True
        wanted = SCHEME.encode() + self.token
        return hmac.compare_digest(shown.encode() if isinstance(shown, str) else shown or b"", wanted)

    def of_server(self) -> grpc.ServerCredentials | None:
        """Return the credentials of a server, or None if it does not use TLS."""
        if self.certificate is None or self.key is None:
            return None
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.ca, require_client_auth=bool(self.ca))

    def of_page(self, *, asks_clients: bool) -> ssl.SSLContext | None:
        """Return the TLS context of a page, or None if the node has no certificate. Raises UsageError.

        `asks_clients`: whether to require client certificates, if there is a CA.
        """
        cert, key, ca = self.settings.tls_cert, self.settings.tls_key, self.settings.tls_ca
        if not cert or not key:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        secret_files.load_pair(context, "--tls", cert, key)
        if asks_clients and ca and self.ca is not None:
            secret_files.load_ca(context, "--tls-ca", ca, self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def of_client(self, address: str) -> grpc.ChannelCredentials | None:
        """Return the credentials of a client, or None to connect without TLS.

        Raises UsageError if the token may not be sent there.
        """
        if self.ca is not None:
            return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        self.check_client(address)
        return None

    def check_client(self, address: str) -> None:
        """Raise UsageError if a client may not send the token to this address.

        It may, if the address is on this machine, or with TLS, or if `insecure` is set.
        """
        if self.ca is None and self.token and not self.settings.insecure and not is_loopback(address):
            raise UsageError(f"--tls-ca or --insecure is required to send the token to {address}")

    def is_token(self, shown: str) -> bool:
        """Return whether this is the token. The comparison takes constant time."""
        return self.token is not None and hmac.compare_digest(shown.encode("utf-8", "replace"), self.token)

    async def fault(self, address: str, details: str, limits: Limits = LIMITS) -> str | None:
        """Return why no connection to a peer can work; None if the peer may only be unreachable for now.

        `details`: those of the call that failed. May connect to the peer to find out, which takes at most
        `Limits.probe_s`.
        """
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


def load(settings: AccessSettings, *, warns: bool = True) -> Access:
    """Read the files that the settings name; raises UsageError if one of them is unreadable or invalid.

    `warns`: whether to log a warning for each secret that other users of this machine can read.
    """
    ca = secret_files.read_pem("--tls-ca", settings.tls_ca, secret_files.CERTIFICATE)
    certificate = secret_files.read_pem("--tls-cert", settings.tls_cert, secret_files.CERTIFICATE)
    key = secret_files.read_pem("--tls-key", settings.tls_key, secret_files.PRIVATE_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if settings.tls_ca and ca is not None:
        secret_files.load_ca(context, "--tls-ca", settings.tls_ca, ca)
    if settings.tls_cert and settings.tls_key:
        secret_files.load_pair(context, "--tls", settings.tls_cert, settings.tls_key)
    token = _token(settings)
    if warns:
        secrecy.warn(settings)
    return Access(settings, ca, certificate, key, token)


def _token(settings: AccessSettings) -> bytes | None:
    """Return the token; raises UsageError if it is invalid. No error contains the token."""
    source, token = TOKEN_VARIABLE, (settings.token or "").encode("utf-8", "surrogateescape")
    if settings.token_file:
        source = f"--token-file: {settings.token_file!r}"
        token = secret_files.read("--token-file", settings.token_file).strip()
    elif not token:
        return None
    if not (TOKEN_CHARACTERS_MIN <= len(token) <= TOKEN_CHARACTERS_MAX and all(33 <= byte <= 126 for byte in token)):
        raise UsageError(f"{source} does not contain a valid token; expected {TOKEN_EXPECTED}")
    return token
