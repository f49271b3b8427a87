"""The page, served by uvicorn on loopback, and a client that sends what a browser would, or an attacker."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from tests.support.watched_program import ALICE

from oddwire.monitor.model import Model
from oddwire.monitor.web.serving import serving


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class Page:
    def __init__(self, model: Model, address: str) -> None:
        self.model = model
        self.address = address
        parts = urlsplit(address)
        self.host, self.port = parts.hostname, parts.port
        self.token = parts.fragment.removeprefix("token=")
        self.cookie = ""

    async def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """Send a request; ``host_``, ``origin`` and so on are headers, with ``-`` for ``_``."""
        given = {name.strip("_").replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            given.setdefault("cookie", self.cookie)
        return await asyncio.to_thread(self._ask, path, method, body, given)

    def _ask(self, path: str, method: str, body: str | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    async def enter(self) -> None:
        """Get the cookie."""
        answer = await self.ask("/session", "POST", self.token)
        assert answer.status == 204
        self.cookie = answer.headers["set-cookie"].partition(";")[0]

    @contextlib.asynccontextmanager
    async def stream(self, query: str = "", last: str = ""):
        """Open a stream; yields a function that awaits its next event as (name, data, id)."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        again = f"Last-Event-ID: {last}\r\n" if last else ""
        head = (
            f"GET /api/stream{query} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nCookie: {self.cookie}\r\n{again}\r\n"
        )
        writer.write(head.encode())
        status = int((await reader.readline()).split()[1])

        async def following(wanted: str):
            found = {}
            async with asyncio.timeout(30):
                while True:
                    line = (await reader.readline()).decode().rstrip("\r\n")
                    key, _, value = line.partition(": ")
                    if key in ("event", "data", "id"):
                        found[key] = value
                    elif not line:
                        if found.get("event") == wanted:
                            return json.loads(found["data"]), found.get("id", "")
                        found = {}

        try:
            yield status, following
        finally:
            writer.close()


@pytest.fixture
async def page():
    model = Model()
    async with serving(model, "127.0.0.1", 0) as address:
        yield Page(model, address)


@pytest.fixture
def say():
    """A function that makes an event of a message."""

    def make(number: int, **more):
        message = {"text": f"<img src=x onerror=alert({number})>", "number": number}
        payload = "8c1182a474657874a26869a66e756d62657201"
        return {
            "event": "received",
            "time": 1763820000.0 + number,
            "peer": ALICE,
            "type": 0x8C11,
            "schema": "chat.Say",
            "message": message,
            "payload": payload,
            **more,
        }

    return make
