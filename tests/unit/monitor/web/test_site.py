"""What the page is answered: files, a stream, a message opened, what was gathered as a recording."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest
from tests.support.waiting import until

from oddwire.monitor import web
from oddwire.monitor.recording import read_recording
from oddwire.monitor.web.site import MOST_STREAMS

STATIC = Path(web.__file__).parent / "static"


async def test_the_files_of_the_page(page):
    for path, kind in (("/", "text/html"), ("/monitor.js", "text/javascript"), ("/monitor.css", "text/css")):
        answer = await page.ask(path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
    assert (await page.ask("/../guard.py")).status == 404


def test_the_page_asks_nobody_else_and_makes_no_markup():
    sources = {path.name: path.read_text() for path in STATIC.iterdir()}
    for text in sources.values():
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}
    script = sources["monitor.js"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    assert not re.search(r"\sstyle=|\son\w+=|<script>", sources["monitor.html"])


async def test_a_stream_begins_with_what_is_there_and_goes_on(page, say):
    await page.enter()
    page.model.take_events([say(1), say(2)])
    async with page.stream() as (status, following):
        assert status == 200
        begin, _ = await following("begin")
        rows, ident = await following("rows")
        assert [row["number"] for row in rows] == [1, 2]
        assert rows[0]["line"] == "text='<img src=x onerror=alert(1)>' number=1"
        assert ident == f"{begin['run']}-2"
        page.model.take_events([say(3)])
        rows, ident = await following("rows")
        assert [row["number"] for row in rows] == [3]
        state, _ = await following("state")
        assert state["last"] == 3
        assert len(state["received"]) == 60


async def test_a_stream_that_was_cut_goes_on_where_it_was(page, say):
    await page.enter()
    page.model.take_events([say(1), say(2)])
    async with page.stream() as (_, following):
        _, ident = await following("rows")
    page.model.take_events([say(3)])
    async with page.stream(last=ident) as (_, following):
        rows, _ = await following("rows")
        assert [row["number"] for row in rows] == [3]
    async with page.stream(last="otherrun-2") as (_, following):
        await following("begin")
        rows, _ = await following("rows")
        assert [row["number"] for row in rows] == [1, 2, 3]


async def test_a_stream_has_a_filter(page, say):
    await page.enter()
    page.model.take_events([say(1), say(2)])
    async with page.stream("?filter=number%3D2") as (_, following):
        rows, _ = await following("rows")
        assert [row["number"] for row in rows] == [2]
    assert (await page.ask("/api/check?filter=number%3D2")).json == {"error": None}
    assert "did you mean in?" in (await page.ask("/api/check?filter=direction%3Dinn")).json["error"]
    assert (await page.ask("/api/stream?filter='")).status == 400
    assert (await page.ask("/api/recording?filter='")).status == 400


async def test_streams_are_bounded_and_let_go(page):
    await page.enter()
    async with contextlib.AsyncExitStack() as streams:
        for _ in range(MOST_STREAMS):
            status, following = await streams.enter_async_context(page.stream())
            assert status == 200
            await following("state")
        assert (await page.ask("/api/stream")).status == 503

    async def free():
        async with page.stream() as (status, _):
            return status == 200

    done = False
    while not done:
        done = await free()


async def test_streams_that_are_asked_for_at_once_are_bounded_too(page):
    await page.enter()
    async with contextlib.AsyncExitStack() as streams:
        opened = [streams.enter_async_context(page.stream()) for _ in range(MOST_STREAMS + 8)]
        found = [status for status, _ in await asyncio.gather(*opened)]
    assert found.count(200) == MOST_STREAMS


async def test_a_message_is_opened(page, say):
    await page.enter()
    page.model.take_events([say(1, latency=0.5), {"event": "error", "time": 1, "message": "<b>"}])
    opened = (await page.ask("/api/messages/1")).json
    assert (opened["name"], opened["size"], opened["latency"], opened["left_out"]) == ("chat.Say", 19, 0.5, 0)
    assert opened["rows"][0]["hex"] == "8c1182a474657874a26869a66e756d62"
    assert opened["marks"]
    error = (await page.ask("/api/messages/2")).json
    assert {"path": "message", "value": "<b>", "offset": 0, "length": 0, "wrong": False} in error["marks"]
    assert (await page.ask("/api/messages/3")).status == 404
    assert (await page.ask("/api/messages/x")).status == 404


async def test_what_was_gathered_is_downloaded_as_a_recording(page, say, tmp_path):
    await page.enter()
    page.model.take_stats({"program": "talk", "pid": 1, "peers": [{"id": "02" * 33, "connected": 1}]}, 0.0)
    page.model.take_events([say(1), say(2), say(3)])
    answer = await page.ask("/api/recording?filter=number%3E1")
    assert re.fullmatch(r'attachment; filename="oddwire-[\d-]+\.jsonl"', answer.headers["content-disposition"])
    path = tmp_path / "talk.jsonl"
    path.write_bytes(answer.body)
    read = read_recording(path)
    assert read.program == "talk"
    assert [event.event for event in read.events] == ["connected", "received", "received"]
    assert json.loads(answer.text.splitlines()[2]) == say(2)


@pytest.mark.parametrize(
    "path",
    ["/api/none", "/none", "/api/messages/", "/api/messages/-1", "/api/messages/1x", f"/api/messages/{'9' * 5000}"],
)
async def test_what_there_is_not(page, path):
    await page.enter()
    assert (await page.ask(path)).status == 404


async def test_the_end_ends_streams(say):
    from tests.unit.monitor.web.conftest import Page

    from oddwire.monitor.model import Model
    from oddwire.monitor.web.serving import serving

    model = Model()
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(contextlib.AsyncExitStack())
        page = Page(model, await served.enter_async_context(serving(model, "127.0.0.1", 0)))
        await page.enter()
        _, following = await stack.enter_async_context(page.stream())
        await following("state")
        await served.aclose()
        with pytest.raises(ConnectionError):
            await page.ask("/")
    await until(lambda: True)
