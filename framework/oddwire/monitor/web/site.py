"""The page's answers: its files, a stream of what happens, a message opened, what was gathered as a recording."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from oddwire.monitor.explained import Opened, hex_rows, open_event
from oddwire.monitor.model import Model, View
from oddwire.monitor.recording import header, line_of, present
from oddwire.monitor.watched import Watched

__all__ = ["MOST_STREAMS", "Site"]

MOST_STREAMS: Final = 16
"""Streams at once; one more is refused."""
_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final = {
    "/": ("monitor.html", "text/html"),
    "/monitor.css": ("monitor.css", "text/css"),
    "/monitor.js": ("monitor.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_LOOK: Final = 0.2  # seconds between two looks at what is new
_SILENCE: Final = 10.0  # seconds after which a stream says that it is alive
_ROWS: Final = 500  # events that a stream begins with, and that it sends at once
_DIGITS: Final = 20
_MOST_BYTES: Final = 65536  # of a payload, which has no more over BOLT 8


class Site:
    """The application for ``model``. ``run`` is a word that is another for each monitor: event numbers are its own."""

    def __init__(self, model: Model, *, run: str, opened: Callable[[Watched], Opened] = open_event) -> None:
        self._model = model
        self._run = run
        self._opened = opened
        self._streams = 0
        self.closing = False
        """Set to end the streams."""
        self.app = Starlette(
            routes=[
                *(Route(path, _file(*file)) for path, file in _FILES.items()),
                Route("/api/check", self._check),
                Route("/api/stream", self._stream),
                Route("/api/messages/{number}", self._message),
                Route("/api/recording", self._recording),
            ]
        )

    async def _check(self, request: Request) -> Response:
        """Say what is wrong with a filter."""
        try:
            self._view(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)})
        return JSONResponse({"error": None})

    async def _stream(self, request: Request) -> Response:
        """Send state and rows as they come, as server-sent events."""
        try:
            view = self._view(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        if self._streams >= MOST_STREAMS:
            return JSONResponse({"error": f"{MOST_STREAMS} pages are open already"}, 503)
        run, _, number = request.headers.get("last-event-id", "").partition("-")
        is_number = number.isascii() and number.isdigit() and len(number) < _DIGITS
        after = int(number) if run == self._run and is_number else 0
        self._streams += 1
        return _Stream(self._events(view, after), self._release)

    def _release(self) -> None:
        self._streams -= 1

    async def _events(self, view: View, after: int) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        if after == 0:
            yield _sent("begin", {"run": self._run})
        version, spoken = -1, time.monotonic()
        while not self.closing:
            if self._model.version != version:
                version, spoken = self._model.version, time.monotonic()
                rows = view.rows(_ROWS, after)
                after = self._model.last
                if rows:
                    yield _sent("rows", [_row(event) for event in rows], f"{self._run}-{after}")
                yield _sent("state", self._state())
            elif time.monotonic() - spoken > _SILENCE:
                spoken = time.monotonic()
                yield b": alive\n\n"
            await asyncio.sleep(_LOOK)

    async def _message(self, request: Request) -> Response:
        """Send a message with its fields and bytes."""
        number = request.path_params["number"]
        is_number = number.isascii() and number.isdigit() and len(number) < _DIGITS
        event = self._model.event(int(number)) if is_number else None
        if event is None:
            return JSONResponse({"error": "this message is not kept any more"}, 404)
        opened = self._opened(event)
        return JSONResponse(
            {
                **_row(event),
                "title": opened.title,
                "remark": opened.remark,
                "event": event.event,
                "latency": event.latency,
                "marks": [
                    {name: getattr(mark, name) for name in ("path", "value", "offset", "length", "wrong")}
                    for mark in opened.marks
                ],
                "rows": [
                    {"offset": row.offset, "hex": row.data.hex(), "text": row.text}
                    for row in hex_rows(event.payload[:_MOST_BYTES])
                ],
                "left_out": event.size - min(len(event.payload), _MOST_BYTES),
            }
        )

    async def _recording(self, request: Request) -> Response:
        """Send what is kept, and passes the filter, as a recording."""
        try:
            view = self._view(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        events, now = view.rows(), time.time()
        begun = min(now, events[0].time) if events else now
        first = [header(self._model.program, now=begun), *present(self._model.peers, now=begun)]
        name = f"oddwire-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        return StreamingResponse(
            _lines(first, events),
            media_type="application/jsonl",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    def _view(self, request: Request) -> View:
        view = View(self._model)
        view.filter_by(request.query_params.get("filter", ""))
        return view

    def _state(self) -> dict[str, Any]:
        model, bottom = self._model, self._model.bottom
        return {
            "program": model.program.title,
            "node_id": model.program.node_id,
            "uptime": model.program.uptime,
            "state": model.state,
            "last": model.last,
            "missed": model.missed,
            "peers": [vars(line) for line in model.peers],
            "peers_total": model.peers_total,
            "types": [vars(line) for line in model.types],
            "received": model.series("received"),
            "sent": model.series("sent"),
            "bottom": {**_defaults(bottom), **vars(bottom)},
        }


class _Stream(StreamingResponse):
    """Server-sent events; ``ended`` is called once nobody reads them any more."""

    def __init__(self, events: AsyncIterator[bytes], ended: Callable[[], object]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _defaults(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in getattr(record, "_fields", ())}


def _row(event: Watched) -> dict[str, Any]:
    return {
        "number": event.number,
        "time": event.time,
        "kind": event.event,
        "peer": event.peer,
        "name": event.title,
        "size": event.size if event.is_message else None,
        "line": event.line,
    }


def _sent(event: str, data: Any, ident: str = "") -> bytes:
    # JSON in ASCII has no line breaks of its own, so it cannot end the event
    number = f"id: {ident}\n" if ident else ""
    return f"{number}event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def _lines(first: Sequence[Mapping[str, Any]], events: Sequence[Watched]) -> Iterator[bytes]:
    yield from (line_of(data) for data in first)
    yield from (line_of(event.data) for event in events)


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    async def answer(_request: Request) -> Response:
        content = await asyncio.to_thread((_STATIC / name).read_bytes)
        return Response(content, media_type=media_type)

    return answer
