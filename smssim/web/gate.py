"""Who may ask for what: the Host header, the method and the token of a request.

With a token, a browser gets in once with `/?token=TOKEN` and then shows a session instead: a random number, signed with
a key that only the token yields. So the browser does not keep the token, the server keeps nothing, and a monitor that
is started again knows the sessions of before. Knows headers. Must not know what is answered to those who may ask.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlencode

from smssim.net.access import Access
from smssim.net.hosts import Hosts

METHODS: Final = ("GET", "HEAD")
NEEDS_TOKEN: Final = (
    "This page needs the token of the node: open /?token=TOKEN once, or send the header Authorization: Bearer TOKEN"
)
_ROUNDS: Final = 100_000  # of the derivation of the key, about 30 ms: a session is no quick way to guess the token
_SALT: Final = b"smssim page"
_FIELDS_MAX: Final = 16  # of a query


@dataclass(frozen=True, slots=True)
class Turned:
    """An answer to a request that gets nothing else."""

    status: HTTPStatus
    text: str = ""  # for people
    headers: tuple[tuple[str, str], ...] = ()


class Gate:
    """Decides which requests are answered."""

    def __init__(self, hosts: Hosts, access: Access, port: int, *, secure: bool) -> None:
        """`secure`: whether browsers may send the cookie only over TLS."""
        self.cookie = f"smssim-{port}"  # cookies are the same for all ports of a host
        self._hosts = hosts
        self._access = access
        self._attributes = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        token = access.token
        self._key = b"" if token is None else hashlib.pbkdf2_hmac("sha256", token, _SALT, _ROUNDS)

    def check(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Turned | None:
        """Return the answer to a request that may not go on, and None to one that may. Names of headers are lower."""
        if not self._hosts.includes(headers.get("host", "")):
            return Turned(HTTPStatus.BAD_REQUEST, "wrong Host header; expected localhost, or the address of the page")
        if method not in METHODS:
            text = f"expected {' or '.join(METHODS)}: the page changes nothing"
            return Turned(HTTPStatus.METHOD_NOT_ALLOWED, text, (("allow", ", ".join(METHODS)), ("connection", "close")))
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return Turned(HTTPStatus.BAD_REQUEST, "expected a request without a body", (("connection", "close"),))
        given = _fields(query) if path == "/" else {}
        if "token" in given:
            return self._enter(given)
        if self._access.token is None or self._access.admits(headers.get("authorization")):
            return None
        return None if self._is_session(headers.get("cookie", "")) else _refused()

    def session(self) -> str:
        """Return a new session."""
        number = secrets.token_urlsafe(16)
        return f"{number}.{self._signed(number)}"

    def _enter(self, given: dict[str, str]) -> Turned:
        """Return the way to the page without the token in its address, with a session if the token is right."""
        token = given.pop("token")
        location = ("location", "/" + (f"?{urlencode(given)}" if given else ""))
        if self._access.token is None:
            return Turned(HTTPStatus.SEE_OTHER, headers=(location,))
        if not self._access.is_token(token):
            return _refused()
        cookie = ("set-cookie", f"{self.cookie}={self.session()}{self._attributes}")
        return Turned(HTTPStatus.SEE_OTHER, headers=(location, cookie))

    def _is_session(self, cookies: str) -> bool:
        for cookie in cookies.split(";"):
            name, _, value = cookie.strip().partition("=")
            number, _, signature = value.partition(".")
            wanted = self._signed(number)
            if name == self.cookie and hmac.compare_digest(signature.encode("utf-8", "replace"), wanted.encode()):
                return True
        return False

    def _signed(self, number: str) -> str:
        return hmac.digest(self._key, number.encode("utf-8", "replace"), "sha256").hex()


def _refused() -> Turned:
    return Turned(HTTPStatus.UNAUTHORIZED, NEEDS_TOKEN, (("www-authenticate", "Bearer"),))


def _fields(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:  # too many
        return {}
