"""`smssim certs`: a CA and certificates for trying out TLS. Not for production.

Knows trustme, which is imported when it is needed. Must not know nodes.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smssim.errors import ExitCode, UsageError, bad_value
from smssim.settings import CertsSettings

if TYPE_CHECKING:
    import trustme

CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY = "ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"
FILES: Final = (CA, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY)
VALID_DAYS: Final = 365  # of the server's and the client's certificate; the CA's own expires in 3000
EARLY_DAYS: Final = 1  # before now that certificates become valid: clocks of other machines may be behind
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
CLIENT_IDENTITY: Final = "client@smssim.invalid"  # no host name: the client's key can't impersonate a server


def serve(settings: CertsSettings) -> int:
    """Write the five files. Raises UsageError if one exists or can't be written, and then leaves no new file."""
    try:
        import trustme
    except ImportError as error:
        raise UsageError("trustme is not installed: run pip install 'smssim[tls]'") from error
    authority = trustme.CA(path_length=0, organization_name="smssim", organization_unit_name="smssim test authority")
    for host in settings.host:
        if not _takes(authority, host):
            raise bad_value("--host", host, "an IP address, or a name of letters, digits and hyphens")
    own = (name for name in _own_names() if _takes(authority, name))
    directory, hosts = Path(settings.directory), list(dict.fromkeys((*LOCAL, *own, *settings.host)))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory, _files(authority, hosts))
    except FileExistsError as error:
        raise UsageError(f"{str(error.filename)!r} already exists: remove it, or choose another directory") from error
    except OSError as error:
        raise UsageError(f"can't write {str(error.filename)!r}: {error.strerror}") from error
    print(f"Wrote {', '.join(FILES)} to {directory}, for {', '.join(hosts)}, valid for {VALID_DAYS} days")
    return ExitCode.OK


def _own_names() -> list[str]:
    """Return the names under which other machines may know this one."""
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(socket.getfqdn())
    return names


def _takes(authority: trustme.CA, host: str) -> bool:
    """Return whether a certificate can be issued for this host: names must follow the rules of IDNA 2008."""
    try:
        authority.issue_cert(host)
    except ValueError:
        return False
    return True


def _files(authority: trustme.CA, hosts: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of the files, by name. The CA's key is not saved: it never signs anything else."""
    since = datetime.now(UTC) - timedelta(days=EARLY_DAYS)
    until = datetime.now(UTC) + timedelta(days=VALID_DAYS)
    server = authority.issue_cert(*hosts, common_name="smssim test server", not_before=since, not_after=until)
    client = authority.issue_cert(CLIENT_IDENTITY, common_name="smssim test client", not_before=since, not_after=until)
    return {
        CA: authority.cert_pem.bytes(),
        SERVER: server.cert_chain_pems[0].bytes(),
        SERVER_KEY: server.private_key_pem.bytes(),
        CLIENT: client.cert_chain_pems[0].bytes(),
        CLIENT_KEY: client.private_key_pem.bytes(),
    }


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """Write all of the files or none; raises OSError, or FileExistsError if one of them exists."""
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
