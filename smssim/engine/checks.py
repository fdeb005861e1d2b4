"""Whether servers can be an engine: their version, JetStream, and syncing each write to disk.

Each error is one line: what is wrong, then what to do. Knows what servers say about themselves. Must not know how a
connection is kept, or what is stored.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from smssim.core.limits import Limits
from smssim.engine.credentials import Credentials
from smssim.errors import UsageError, bad_value
from smssim.escaping import escape
from smssim.process.logs import Log
from smssim.settings import EngineSettings

VERSION_MIN: Final = (2, 14, 3)  # earlier ones can lose acknowledged writes or accept two conditional appends

_VERSION: Final = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)")
_PAGE_BYTES_MAX: Final = 4 << 20


class UnusableServerError(UsageError):
    """The user's fault: a server that this node can't use, which matters only if no other one can be used."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says about itself when a client connects."""

    address: str
    version: str
    has_jetstream: bool
    payload_bytes_max: int
    cluster: str = ""  # its name; empty if the server is on its own


def check_server(facts: ServerFacts, limits: Limits) -> None:
    """Raise UsageError unless this server can be part of an engine."""
    _check_version(facts.address, facts.version)
    if not facts.has_jetstream:
        raise UnusableServerError(f"--engine: {facts.address} has no JetStream: add jetstream to its configuration")
    if facts.payload_bytes_max < limits.engine_payload_bytes_min:
        expected = f"at least {limits.engine_payload_bytes_min}: change its configuration"
        raise UnusableServerError(
            f"--engine: {facts.address} has a max_payload of {facts.payload_bytes_max}; expected {expected}"
        )


def check_together(all_facts: Iterable[ServerFacts]) -> None:
    """Raise UsageError if these servers are not one engine: then each could keep a log of its own for the same run."""
    cluster, first = "", ""
    for facts in all_facts:
        if not facts.cluster:
            todo = "add cluster to its configuration, or name only servers of one cluster"
            raise UsageError(f"--engine: {facts.address} is not in a cluster: {todo}")
        if cluster and facts.cluster != cluster:
            named = f"{first} is in {escape(cluster, 40)}, {facts.address} in {escape(facts.cluster, 40)}"
            raise UsageError(f"--engine: the servers are in different clusters ({named}): name those of one cluster")
        cluster, first = facts.cluster, facts.address


def _check_version(address: str, version: str) -> None:
    found = _VERSION.match(version)
    if found is None or tuple(map(int, found.groups())) < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        raise UsageError(
            f"--engine: {address} runs nats-server {escape(version, 40)}; expected {least} or later: update it"
        )


async def check_monitoring(settings: EngineSettings, credentials: Credentials, log: Log, limits: Limits) -> None:
    """Check the servers at their monitoring addresses, and log a warning for each one that does not answer.

    Raises UsageError unless all others sync each write to disk.
    """
    pages = settings.engine_pages
    reads = (asyncio.to_thread(_varz, page, credentials.tls, limits.engine_connect_s) for page in pages)
    for page, found in zip(pages, await asyncio.gather(*reads), strict=True):
        if isinstance(found, str):
            log.warning("--engine-monitoring: %s does not answer (%s): its configuration is not checked", page, found)
        else:
            _check_varz(page, found)


def _varz(page: str, tls: ssl.SSLContext | None, timeout_s: float) -> Any:
    """Return what a server says about its configuration, or why it does not answer, as text. Runs in a thread."""
    scheme, _, address = page.partition("://")
    kind = http.client.HTTPConnection if scheme == "http" else http.client.HTTPSConnection
    more: dict[str, Any] = {"context": tls} if scheme == "https" and tls is not None else {}
    connection = kind(address, timeout=timeout_s, **more)
    try:
        connection.request("GET", "/varz")
        return json.loads(connection.getresponse().read(_PAGE_BYTES_MAX))
    except OSError as error:
        return escape(getattr(error, "strerror", None) or str(error) or type(error).__name__, 80).lower()
    except (ValueError, http.client.HTTPException):  # not JSON, or not HTTP
        return None
    finally:
        connection.close()


def _check_varz(page: str, found: Any) -> None:
    if not (isinstance(found, dict) and isinstance(found.get("version"), str)):
        raise bad_value("--engine-monitoring", page, "the monitoring address of a NATS server")
    _check_version(page, found["version"])
    jetstream = found.get("jetstream")
    config = jetstream.get("config") if isinstance(jetstream, dict) else None
    if not config:
        raise UsageError(f"--engine: {page} has no JetStream: add jetstream to its configuration")
    if not config.get("sync_always"):
        todo = "add sync_interval: always to jetstream in its configuration"
        raise UsageError(f"--engine: {page} does not sync each write to disk: {todo}")
