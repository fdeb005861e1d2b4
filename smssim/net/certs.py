"""`smssim certs`: a certificate authority of its own, and certificates for trying TLS out. Not for the real world.

Knows the cryptography package, which is imported when it is needed. Must not know nodes.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smssim.errors import ExitCode, UsageError
from smssim.settings import CertsSettings, flags_of

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY = "ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"
FILES: Final = (CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY)
VALID_DAYS: Final = 365
EARLY_DAYS: Final = 1  # valid since: clocks of other machines may be behind
LOCAL: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey


def serve(settings: CertsSettings) -> int:
    """Writes the five files; raises UsageError, and leaves none, if one is there already or can't be written."""
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise UsageError("takes the cryptography package: pip install cryptography") from error
    for host in settings.host:
        if _alternative(host) is None:
            raise flags_of(CertsSettings)["host"].refuse(host)
    directory = Path(settings.directory)
    hosts = list(dict.fromkeys((*LOCAL, *_own_names(), *settings.host)))
    files = _make(hosts)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory, files)
    except FileExistsError as error:
        raise UsageError(f"{str(error.filename)!r} is there already, and stays as it is") from error
    except OSError as error:
        raise UsageError(f"can't write {str(error.filename)!r}: {error.strerror}") from error
    print(f"wrote {', '.join(FILES)} to {directory}, for {', '.join(hosts)}, valid for {VALID_DAYS} days")
    return ExitCode.OK


def _own_names() -> list[str]:
    """What others may call this machine."""
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(socket.getfqdn())
    return [name for name in names if _alternative(name) is not None]


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """All of the files or none; raises OSError, FileExistsError if one of them is there."""
    written: list[Path] = []
    try:
        for name, content in files.items():
            path = directory / name
            mode = 0o600 if name.endswith("-key.pem") else 0o644
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                written.append(path)
                file.write(content)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _make(hosts: Sequence[str]) -> dict[str, bytes]:
    """The files' contents. The authority's key is not among them: nothing more is ever signed with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = _certify("smssim test authority", None, [x509.BasicConstraints(ca=True, path_length=0)])
    alternatives = x509.SubjectAlternativeName([name for host in hosts if (name := _alternative(host)) is not None])
    server = _certify(
        "smssim test server", authority, [alternatives, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]
    )
    client = _certify("smssim test client", authority, [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])])
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()

    def key(pair: _Pair) -> bytes:
        return pair.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)

    return {
        CA: authority.certificate.public_bytes(pem),
        SERVER: server.certificate.public_bytes(pem),
        SERVER_KEY: key(server),
        CLIENT: client.certificate.public_bytes(pem),
        CLIENT_KEY: key(client),
    }


def _alternative(host: str) -> x509.GeneralName | None:
    """A host as it stands in a certificate; None if it can't."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode())
    except (UnicodeError, ValueError):
        return None


def _certify(name: str, issuer: _Pair | None, extensions: Sequence[x509.ExtensionType]) -> _Pair:
    """A new key and its certificate, signed by the issuer, or by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=EARLY_DAYS))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return _Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)
