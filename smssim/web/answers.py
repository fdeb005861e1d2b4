"""Answers of the page over HTTP: their headers, and how they are sent to clients that read slowly.

Knows starlette. Must not know what is answered to which request.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from smssim.web.assets import Content
from smssim.web.gate import Turned

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CSP: Final = b"content-security-policy"
ON_ALL: Final = (  # headers of each answer, errors included
    (CSP, POLICY.encode()),  # unless the answer has another one
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
NO_STORE: Final = {"cache-control": "no-store"}
_KEPT: Final = {"cache-control": "no-cache"}  # kept by browsers, and used if the tag is still the same


class Sent(Response):
    """An answer whose body is sent in pieces, each when the one before has drained."""

    def __init__(self, body: bytes, piece_bytes: int, headers: dict[str, str], status: int = HTTPStatus.OK) -> None:
        super().__init__(body, status, headers)
        self._piece_bytes = piece_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await send_pieces(send, bytes(self.body), self._piece_bytes)
        await send({"type": "http.response.body", "body": b""})


def complete(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that each answer has."""
    names = {name for name, _ in headers}
    return [*headers, *((name, value) for name, value in ON_ALL if name not in names)]


async def send_pieces(send: Send, body: bytes, piece_bytes: int) -> None:
    """Send bytes, at most so many at once."""
    for start in range(0, len(body), piece_bytes):
        await send({"type": "http.response.body", "body": body[start : start + piece_bytes], "more_body": True})


def of_content(content: Content, asked: Headers, piece_bytes: int) -> Response:
    """Return the answer with some content, or without it if the client has it already."""
    headers: dict[str, Any] = dict(_KEPT if content.tag else NO_STORE)
    if content.tag:
        headers["etag"] = f'"{content.tag}"'
        if headers["etag"] in [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers |= {"content-type": content.content_type, "vary": "accept-encoding"}
    if content.policy:
        headers[CSP.decode()] = content.policy
    if content.file_name:
        headers["content-disposition"] = f'attachment; filename="{content.file_name}"'
    if content.packed is not None and _takes_gzip(asked.get("accept-encoding", "")):
        return Sent(content.packed, piece_bytes, {**headers, "content-encoding": "gzip"})
    return Sent(content.body, piece_bytes, headers)


def of_turned(turned: Turned) -> Response:
    """Return the answer to a request that may not go on."""
    return text(turned.status, turned.text, dict(turned.headers))


def text(status: HTTPStatus, says: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer for people."""
    return PlainTextResponse(f"{says}\n" if says else "", status, NO_STORE | (headers or {}))


def _takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding header names gzip, without the weight 0."""
    for one in accepted.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
