"""The monitor's page in Chromium: live, filtered, paused, opened; attacked by what peers say; cut off and back."""

from __future__ import annotations

import contextlib

import pytest
from tests.interop.conftest import NODE_FOLDER, PeerProcess, kept
from tests.support.waiting import until_answered
from tests.support.watched_program import ALICE, WatchedProgram

from oddwire.monitor.model import Model
from oddwire.monitor.recording import read_recording
from oddwire.monitor.source import Source
from oddwire.monitor.web.serving import serving

pytestmark = pytest.mark.interop

SAY = "8c1182a474657874a26869a66e756d62657201"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>javascript:alert(3)\"'><svg onload=alert(4)>&lt;b&gt;"


class Browser(PeerProcess):
    """A page of Chromium."""

    async def evaluate(self, expression):
        return await self.command("evaluate", expression=expression)

    async def texts(self, selector):
        return await self.evaluate(f"[...document.querySelectorAll({selector!r})].map((each) => each.textContent)")

    async def until(self, expression):
        """Wait until an expression is true in the page."""
        return await until_answered(lambda: self.evaluate(expression))

    async def rows(self, count):
        """Wait for so many messages, and return the texts of each, the newest first."""
        await self.until(f"document.querySelectorAll('#messages tr').length === {count}")
        return await self.evaluate(
            "[...document.querySelectorAll('#messages tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )


@pytest.fixture
async def browser(node, chromium, peers):
    return await kept(peers, Browser.start(*node, str(NODE_FOLDER / "monitor_browser.mjs"), chromium=chromium))


@pytest.fixture
async def watched(tmp_path):
    """The scripted program, and the page's address."""
    model = Model()
    async with (
        WatchedProgram(tmp_path / "rpc") as program,
        Source(tmp_path / "rpc", model, every=0.05, again=(0.05,)).watching(),
        serving(model, "127.0.0.1", 0) as address,
    ):
        program.connect(ALICE)
        yield program, address


async def test_the_page_shows_what_happens(browser, watched, tmp_path):
    program, address = watched
    await browser.command("open", address=address)
    await browser.until("document.getElementById('state').textContent.startsWith('up ')")
    # The token is out of the address bar, and no script sees the cookie
    assert await browser.evaluate("location.hash + location.search") == ""
    assert await browser.evaluate("document.cookie") == ""
    [cookie] = await browser.command("cookies")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

    flat = await browser.evaluate("document.getElementById('line-in').getAttribute('d')")
    program.message("received", SAY, "chat.Say", {"text": "hi", "number": 1})
    program.message("sent", "8c13ff", "chat.Heard", {"number": 1})
    program.message("received", "a455" + b'{"swap_id":"aa"}'.hex())
    _, heard, said, _ = await browser.rows(4)
    assert said[1:] == ["←", "0279be66…1798", "chat.Say", "19", "text=hi number=1"]
    assert heard[1:4] == ["→", "0279be66…1798", "chat.Heard"]
    await browser.until("document.querySelectorAll('#types tr').length === 3")
    assert (await browser.texts("#peers td"))[:2] == ["0279be66…1798", "in"]
    # The chart moves
    await browser.until(f"document.getElementById('line-in').getAttribute('d') !== {flat!r}")
    await browser.until("document.getElementById('now-in').textContent !== '0'")

    # A filter, by keyboard
    await browser.command("press", keys=["/", *"direction=inn", "Enter"])
    await browser.until("document.getElementById('wrong').textContent.includes('did you mean in?')")
    await browser.command("press", keys=["Backspace", "Enter"])
    assert [row[1] for row in await browser.rows(2)] == ["←", "←"]
    assert await browser.texts("#wrong") == [""]

    # A message with marked bytes, by keyboard
    await browser.evaluate("document.querySelector('#messages tr').focus()")
    await browser.command("press", keys=["Enter"])
    await browser.until("document.getElementById('message').open")
    await browser.evaluate("document.querySelector('#fields tr').focus()")
    assert (await browser.texts("#hex .on"))[0] == "a4"
    await browser.command("press", keys=["ArrowDown"])
    await browser.until("document.querySelectorAll('#hex .on')[0].textContent !== 'a4'")
    await browser.command("press", keys=["Escape"])
    await browser.until("!document.getElementById('message').open")

    # A pause gathers
    await browser.command("click", selector="#pause")
    program.message("received", SAY, "chat.Say", {"text": "later", "number": 2})
    await browser.until("document.getElementById('pause').textContent === 'Go on (1)'")
    assert len(await browser.rows(2)) == 2
    await browser.command("click", selector="#pause")
    assert "later" in (await browser.rows(3))[0][5]

    # What was gathered and passes the filter is a recording
    path = tmp_path / "down.jsonl"
    name = await browser.command("download", selector="#download", path=str(path))
    assert name.endswith(".jsonl")
    assert [event.event for event in read_recording(path).events] == ["connected", *["received"] * 3]
    told = await browser.command("news")
    assert told["addresses"] == [address.partition("/#")[0]]
    # A header that no answer allows is told of by no browser: everything the page has is its own
    assert told["news"] == []


async def test_what_peers_say_is_text(browser, watched):
    program, address = watched
    program.peers[ALICE].update({"direction": HOSTILE, "address": HOSTILE})
    program.more = {"program": HOSTILE, "limits": {HOSTILE: {HOSTILE: 1}}}
    await browser.command("open", address=address)
    program.message("received", SAY, HOSTILE, {HOSTILE: HOSTILE, "text": "\x1b[31m\u202e\u0000"}, peer=HOSTILE)
    program.add({"event": "error", "message": HOSTILE, "peer": HOSTILE})
    program.add({"event": "constructor", "peer": HOSTILE, "reason": HOSTILE})
    rows = await browser.rows(4)
    assert rows[0][1] == "·"
    assert HOSTILE in rows[1][5]
    assert "\u202e" not in rows[2][5]
    await browser.until("document.querySelectorAll('#types tr').length === 1")
    await browser.evaluate("document.querySelectorAll('#messages tr')[2].click()")
    await browser.until("document.getElementById('message').open")
    await browser.until("document.querySelectorAll('#fields tr').length > 0")
    assert (await browser.texts("#message-title"))[0].startswith("<img src=x")
    assert (
        await browser.evaluate("document.querySelectorAll('img, script:not([src]), main svg[onload], b').length") == 0
    )
    assert (await browser.command("news"))["news"] == []


async def test_a_wrong_token_shows_nothing(browser, watched):
    program, address = watched
    program.message("received", SAY, "chat.Say", {"text": "secret"})
    for wrong in (f"{address.partition('#')[0]}#token=wrong", address.partition("#")[0]):
        await browser.command("open", address="about:blank")
        await browser.command("open", address=wrong)
        await browser.until(
            "document.getElementById('state').textContent.includes('oddwire monitor') || "
            "document.getElementById('state').textContent.includes('it printed')"
        )
        assert await browser.texts("#messages td") == []
        assert await browser.command("cookies") == []


async def test_the_page_goes_on_where_it_was_cut(browser, tmp_path):
    """The monitor ends, and another one is started at the same address; then the program does."""
    model = Model()
    async with contextlib.AsyncExitStack() as stack:
        program = await stack.enter_async_context(WatchedProgram(tmp_path / "rpc", pid=1))
        watching = Source(tmp_path / "rpc", model, every=0.05, again=(0.05,)).watching()
        await stack.enter_async_context(watching)
        async with serving(model, "127.0.0.1", 0) as address:
            await browser.command("open", address=address)
            program.message("received", SAY, "chat.Say", {"number": 1})
            await browser.rows(1)
        await browser.until("document.getElementById('state').className === 'lost'")
        port = int(address.partition("/#")[0].rpartition(":")[2])
        async with serving(model, "127.0.0.1", port) as again:
            # The cookie was that of the monitor which has ended
            await browser.until("document.getElementById('state').textContent.includes('the token is missing')")
            await browser.command("open", address=again)
            await browser.rows(1)
            program.message("received", SAY, "chat.Say", {"number": 2})
            await browser.rows(2)
            await program.__aexit__()
            await browser.until("document.getElementById('state').textContent.includes('trying again')")
            later = await stack.enter_async_context(WatchedProgram(tmp_path / "rpc", pid=2))
            await browser.until("document.getElementById('state').textContent.startsWith('up ')")
            later.message("received", SAY, "chat.Say", {"number": 3})
            newest, missed, *_ = await browser.rows(4)
            assert (newest[5], missed[3]) == ("number=3", "missed")
