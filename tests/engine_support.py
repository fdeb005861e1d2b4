"""Helpers for the tests with an engine: NATS servers with an administrator, impostors, and signed credentials.

An election among the servers takes 5 to 10 s, so tests of a file share one cluster if they can.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nats
import nats.errors
import nats_cluster
import nkeys
from nats.aio.client import Client

NOT_A_MEMBER: Final = 10044  # the answer if an earlier request has removed it

# Clients without credentials get the account APP, so that a test can also connect as an administrator.
OPEN: Final = """
accounts {
    $SYS { users: [{ user: admin, password: admin }] }
    APP { jetstream: enabled, users: [{ user: app, password: app }] }
}
no_auth_user: app
"""


class Cluster(nats_cluster.Cluster):
    """NATS servers on loopback, with an administrator."""

    def __init__(self, directory: Path, size: int = 3, *, extra: str = OPEN, **more: Any) -> None:
        super().__init__(directory, size, extra=extra, **more)

    def __exit__(self, *error: object) -> None:
        if any(error):
            print(self.story())
        super().__exit__(*error)

    async def delete_streams(self) -> None:
        """Delete all streams, so that later elections and recoveries take no longer because of them."""
        async with self._client() as client:
            streams = client.jetstream()
            for info in await streams.streams_info():
                await streams.delete_stream(info.config.name or "")

    async def remove(self, name: str) -> None:
        """Tell the cluster that the server with this name never returns, so that another one gets its copies."""
        deadline = time.monotonic() + nats_cluster.DEADLINE_S
        async with self._client(user="admin", password="admin") as client:
            while True:  # during an election, nobody answers
                try:
                    said = await client.request("$JS.API.SERVER.REMOVE", json.dumps({"peer": name}).encode(), timeout=2)
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    assert time.monotonic() < deadline, f"timed out: {name} is removed\n{self.story()}"
                    continue
                answer = json.loads(said.data)
                if answer.get("success") or (answer.get("error") or {}).get("err_code") == NOT_A_MEMBER:
                    return
                assert time.monotonic() < deadline, answer  # an earlier request may still be in progress
                await asyncio.sleep(nats_cluster.POLL_S)

    @contextlib.asynccontextmanager
    async def _client(self, **options: str) -> AsyncIterator[Client]:
        client = await nats.connect(self.servers[0].address, **options)
        try:
            yield client
        finally:
            await client.close()
            await asyncio.sleep(0.01)  # nats-py does not wait until asyncio has closed the socket


@dataclass
class Impostor:
    """Listens like a server that says `info` about itself, and keeps what clients send it until their first ping."""

    info: Mapping[str, Any]
    address: str = ""
    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client until it disconnects."""
        info = {"headers": True, "max_payload": 1 << 20, "jetstream": True, **self.info}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        with contextlib.suppress(OSError, EOFError):
            self.heard.append(await reader.readuntil(b"PING\r\n"))
            writer.write(b"PONG\r\n")
            await reader.read()
        writer.close()


@contextlib.asynccontextmanager
async def impostor(**info: Any) -> AsyncIterator[Impostor]:
    """Run an impostor."""
    it = Impostor(info)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    it.address = f"{host}:{port}"
    async with server:
        yield it


# ---- Signed credentials


class Authority:
    """An operator with an account that may use JetStream, as `nsc` would make them."""

    def __init__(self) -> None:
        operator, system, self._account = _key("operator"), _key("account"), _key("account")
        limits = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer", "subs", "data", "payload"), -1)
        limits |= dict.fromkeys(("conn", "leaf", "imports", "exports"), -1)
        accounts = {key: {"limits": limits if key is self._account else {}} for key in (system, self._account)}
        signed = {_public(key): _jwt(operator, key, {"type": "account", **more}) for key, more in accounts.items()}
        own = _jwt(operator, operator, {"type": "operator", "system_account": _public(system)})
        preload = ", ".join(f"{key}: {jwt}" for key, jwt in signed.items())
        self.config = f"operator: {own}\nsystem_account: {_public(system)}\n"
        self.config += f"resolver: MEMORY\nresolver_preload: {{ {preload} }}"

    def creds(self) -> str:
        """Return the text of a .creds file for a new user of the account."""
        user = _key("user")
        jwt = _jwt(self._account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
        parts = (("NATS USER JWT", jwt), ("USER NKEY SEED", user.seed.decode()))
        return "\n".join(f"-----BEGIN {name}-----\n{text}\n------END {name}------\n" for name, text in parts)


def _key(kind: str) -> Any:
    prefix = {
        "operator": nkeys.PREFIX_BYTE_OPERATOR,
        "account": nkeys.PREFIX_BYTE_ACCOUNT,
        "user": nkeys.PREFIX_BYTE_USER,
    }
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix[kind])))


def _public(key: Any) -> str:
    return str(key.public_key.decode())


def _jwt(issuer: Any, subject: Any, about: Mapping[str, Any]) -> str:
    now = int(time.time())
    claims = {"jti": str(now), "iat": now, "iss": _public(issuer), "name": "test", "sub": _public(subject)}
    claims["nats"] = {"version": 2, **about}
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(issuer.sign(text)).rstrip(b"=")).decode()
