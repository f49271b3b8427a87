"""`Guard`: who may see the page. Only who has the token, only by the page itself, only under its own address."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

__all__ = ["Guard"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]

_PATIENCE: Final = 10.0  # seconds for a body to come
_MOST_BODY: Final = 1024  # bytes of a body, which is a token
_HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
)
"""Of every answer: nothing is loaded from elsewhere, framed, or kept."""


class Guard:
    """ASGI middleware. ``hosts`` are the names, with port, under which the page is reached.

    A request for another ``Host`` is refused (DNS rebinding), as is one that a page of another origin makes. Under
    ``/api/`` a request needs the cookie, which ``POST /session`` gives for the ``token``; scripts cannot read it, and
    no other site's page sends it.
    """

    def __init__(self, app: _App, *, hosts: Iterable[str], token: str, port: int) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._token = token.encode()
        self._cookie = f"oddwire_monitor_{port}"  # cookies are of a host, whatever the port
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            raise RuntimeError(f"the page is no {scope['type']}")
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)

        async def guarded(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(guarded, *refusal)
        elif scope["path"] == "/session":
            await self._exchange(scope, receive, guarded)
        elif scope["path"].startswith("/api/") and not self._is_known(headers):
            await _answer(guarded, 401, "the token is missing: open the address that 'oddwire monitor' printed")
        else:
            await self._app(scope, receive, guarded)

    def _refusal(self, scope: MutableMapping[str, Any], headers: dict[bytes, list[bytes]]) -> tuple[int, str] | None:
        host = b",".join(headers.get(b"host", [])).decode("latin-1").lower()
        if host not in self._hosts:
            return 421, "this page is not served under that name"
        origins = [value.decode("latin-1") for value in headers.get(b"origin", [])]
        if any(origin not in self._origins for origin in origins):
            return 403, "only the page itself may ask"
        site = b",".join(headers.get(b"sec-fetch-site", [])).decode("latin-1")
        is_page = scope["path"] == "/" and headers.get(b"sec-fetch-mode") == [b"navigate"]
        if site not in ("", "same-origin", "none") and not is_page:
            return 403, "only the page itself may ask"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "there is GET, and POST for the token"
        return None

    async def _exchange(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer a token with the cookie."""
        if scope["method"] != "POST":
            await _answer(send, 405, "the token comes by POST")
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                given = await _body(receive)
        except TimeoutError:
            await _answer(send, 408, "the token did not come")
            return
        if not compare_digest(given, self._token):
            await _answer(send, 401, "that token is not the one of this monitor: open the address that it printed")
            return
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 204, "", (b"set-cookie", cookie.encode()))

    def _is_known(self, headers: dict[bytes, list[bytes]]) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            for value in headers.get(b"cookie", []):
                cookies.load(value.decode("latin-1"))
        except CookieError:
            return False
        given = cookies.get(self._cookie)
        return given is not None and compare_digest(given.value.encode(), self._session.encode())


async def _body(receive: _Receive) -> bytes:
    """Return a request's body, or its beginning if it is longer than any token."""
    body = b""
    while True:
        message = await receive()
        more: bytes = message.get("body", b"")
        body += more
        if message["type"] != "http.request" or len(body) > _MOST_BODY or not message.get("more_body"):
            return body


async def _answer(send: _Send, status: int, text: str, *more: tuple[bytes, bytes]) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *more]
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
