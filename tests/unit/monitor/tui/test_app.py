"""The monitor at a terminal, driven by textual's Pilot, on a program that is scripted."""

from __future__ import annotations

import contextlib
import json

import pytest
from tests.support.waiting import until
from tests.support.watched_program import ALICE, BOB, WatchedProgram
from textual.widgets import DataTable, Input, Static

from oddwire.errors import ConnectionClosed
from oddwire.monitor.explained import open_event
from oddwire.monitor.source import Source
from oddwire.monitor.tui.app import MonitorApp
from oddwire.monitor.tui.screens import ChooserScreen, HelpScreen, MessageScreen

SAY = "8c1182a474657874a26869a66e756d62657201"
HOSTILE = "[bold red]x[/]\x1b]0;owned\x07 [/] [link=file:///etc/passwd]y[/link] \u202e"


@contextlib.asynccontextmanager
async def monitoring(tmp_path, *, size=(80, 24), programs=("talk",)):
    """Yield the scripted program, the app and its pilot, connected."""
    async with WatchedProgram(tmp_path / "rpc") as program:
        program.connect(ALICE)

        def watch(_, model):
            return Source(tmp_path / "rpc", model, every=0.02, again=(0.02,)).watching()

        app = MonitorApp(programs, watch)
        async with app.run_test(size=size) as pilot:
            if len(programs) == 1:
                await until(lambda: app.model.state == "connected")
            yield program, app, pilot


def cells(app, name="messages"):
    table = app.screen_stack[0].query_one(f"#{name}", DataTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def shown(app, name):
    return str(app.screen_stack[0].query_one(f"#{name}", Static).render())


def screen(app):
    return app.export_screenshot()


async def test_peers_types_and_messages_are_shown(tmp_path):
    async with monitoring(tmp_path) as (program, app, _):
        program.message("received", SAY, "chat.Say", {"text": "hi", "number": 1})
        program.message("sent", "8c13ff", "chat.Heard", {"number": 1})
        await until(lambda: len(cells(app)) == 2 and len(cells(app, "types")) == 2)
        received, sent = cells(app)
        assert received[1:] == ["<-", "0279be66...1798", "chat.Say", "19", "text=hi number=1"]
        assert sent[1:] == ["->", "0279be66...1798", "chat.Heard", "3", "number=1"]
        assert cells(app, "peers")[0][:2] == ["0279be66...1798", "in"]
        assert {row[0] for row in cells(app, "types")} == {"chat.Say 0x8c11", "chat.Heard 0x8c13"}
        assert "queue 3 (2.0kB)  outbox 2" in shown(app, "bottom")
        assert "talk (run): chat 1.0" in shown(app, "title")


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (200, 60)])
async def test_it_fits_the_screen(tmp_path, size):
    async with monitoring(tmp_path, size=size) as (program, app, pilot):
        for number in range(40):
            program.message("received", SAY, "chat.Say", {"text": "hi", "number": number})
        await until(lambda: len(cells(app)) == 40)
        await pilot.pause()
        regions = [app.query_one(f"#{name}").region for name in ("title", "peers", "messages", "bottom")]
        assert all(region.height > 0 and region.right <= size[0] and region.bottom <= size[1] for region in regions)
        assert app.query_one("#messages", DataTable).region.height >= 4


async def test_text_of_peers_is_no_markup_and_controls_nothing(tmp_path):
    async with monitoring(tmp_path) as (program, app, pilot):
        program.peers[ALICE]["direction"] = HOSTILE
        program.message("received", SAY, f"chat.{HOSTILE}", {HOSTILE: HOSTILE})
        program.add({"event": "error", "message": HOSTILE, "peer": HOSTILE})
        program.more = {"program": HOSTILE, "limits": {HOSTILE: {HOSTILE: 1}}}
        await until(lambda: len(cells(app)) == 2 and "bold red" in shown(app, "title"))
        await until(lambda: len(cells(app, "types")) == 1)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, MessageScreen))
        await pilot.press("escape", "up", "enter")
        await until(lambda: isinstance(app.screen, MessageScreen))
        told = [cell for name in ("messages", "peers", "types") for row in cells(app, name) for cell in row]
        told += [shown(app, "title"), shown(app, "bottom")]
        assert any("[bold red]x[/]\\x1b]0;owned\\x07 [/]" in text for text in told)
        assert not any(character in text for text in told for character in "\x1b\x07\u202e")
        assert "\u202e" not in screen(app)


async def test_a_filter_is_typed_and_says_what_is_wrong_with_it(tmp_path):
    async with monitoring(tmp_path) as (program, app, pilot):
        program.message("received", SAY, "chat.Say", {"number": 1})
        program.message("sent", SAY, "chat.Say", {"number": 2})
        await until(lambda: len(cells(app)) == 2)
        await pilot.press("slash", *"direction=inn", "enter")
        assert "did you mean in?" in shown(app, "bottom")
        assert app.query_one("#filter", Input).has_class("open")
        await pilot.press("backspace", "enter")
        await until(lambda: [row[1] for row in cells(app)] == ["<-"])
        assert "filter direction=in" in shown(app, "bottom")
        await pilot.press("slash", "x", "escape")
        assert app.view.expression == "direction=in"
        assert not app.query_one("#filter", Input).has_class("open")
        program.message("sent", SAY, "chat.Say", {"number": 3})
        program.message("received", SAY, "chat.Say", {"number": 4})
        await until(lambda: [row[-1] for row in cells(app)] == ["number=1", "number=4"])


async def test_a_pause_gathers_what_comes(tmp_path):
    async with monitoring(tmp_path) as (program, app, pilot):
        program.message("received", SAY, "chat.Say", {"number": 1})
        await until(lambda: len(cells(app)) == 1)
        await pilot.press("space")
        program.message("received", SAY, "chat.Say", {"number": 2})
        await until(lambda: app.view.behind == 1)
        await until(lambda: "PAUSED, 1 more" in shown(app, "bottom"))
        assert len(cells(app)) == 1
        await pilot.press("space")
        await until(lambda: len(cells(app)) == 2)
        assert "PAUSED" not in shown(app, "bottom")


async def test_the_table_follows_the_newest_unless_an_older_one_is_chosen(tmp_path):
    async with monitoring(tmp_path) as (program, app, pilot):
        table = app.query_one("#messages", DataTable)
        for number in range(5):
            program.message("received", SAY, "chat.Say", {"number": number})
        await until(lambda: len(cells(app)) == 5 and table.cursor_row == 4)
        await pilot.press("up", "up")
        program.message("received", SAY, "chat.Say", {"number": 5})
        await until(lambda: len(cells(app)) == 6)
        assert table.cursor_row == 2
        await pilot.press("n")
        await until(lambda: table.cursor_row == 5)


async def test_a_message_is_opened_with_its_bytes_marked(tmp_path):
    async with monitoring(tmp_path) as (program, app, pilot):
        program.message("received", "a455" + b'{"swap_id":"aa"}'.hex())
        await until(lambda: len(cells(app)) == 1)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, MessageScreen))
        fields = app.screen.query_one("#fields", DataTable)
        assert fields.row_count == len(open_event(app.view.find(1)).marks) > 1
        await pilot.press("down")
        await pilot.pause()
        hexes = app.screen.query_one("#hex", Static).render()
        assert "a4 55 7b 22" in str(hexes)
        await pilot.press("q")
        assert not isinstance(app.screen, MessageScreen)


async def test_recording_is_begun_and_ended_by_a_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with monitoring(tmp_path) as (program, app, pilot):
        await pilot.press("r")
        await until(lambda: "REC 0" in shown(app, "bottom"))
        program.message("received", SAY, "chat.Say", {"text": "hi", "number": 1})
        await until(lambda: "REC 1" in shown(app, "bottom"))
        await pilot.press("r")
        await until(lambda: "REC" not in shown(app, "bottom"))
    [path] = tmp_path.glob("oddwire-talk-*.jsonl")
    first, present, message = map(json.loads, path.read_text().splitlines())
    assert (first["event"], first["node_id"]) == ("recording", BOB)
    assert (present["peer"], present["present"]) == (ALICE, True)
    assert message["message"] == {"text": "hi", "number": 1}


async def test_a_recording_that_cannot_be_written_is_told_of(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    async with monitoring(tmp_path) as (_, app, pilot):
        folder.rmdir()
        await pilot.press("r")
        await until(lambda: any("No such file" in each.message for each in app._notifications))


async def test_help_shows_keys_and_filters(tmp_path):
    async with monitoring(tmp_path) as (_, app, pilot):
        await pilot.press("question_mark")
        await until(lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("q")
    assert app.failure is None


async def test_a_program_is_chosen_from_a_list(tmp_path):
    async with monitoring(tmp_path, programs=("[red]one[/]", "other")) as (_, app, pilot):
        await until(lambda: isinstance(app.screen, ChooserScreen))
        await pilot.press("down", "enter")
        await until(lambda: app.model.state == "connected")


async def test_a_program_that_ends_is_shown_as_gone_and_watched_when_it_is_back(tmp_path):
    async with monitoring(tmp_path) as (program, app, _):
        await program.__aexit__()
        await until(lambda: "trying again" in shown(app, "title"))
        async with WatchedProgram(tmp_path / "rpc", pid=2) as again:
            await until(lambda: "up " in shown(app, "title"))
            again.message("received", SAY, "chat.Say", {"number": 1})
            await until(lambda: len(cells(app)) == 2)


async def test_it_ends_with_the_error_if_nobody_is_there(tmp_path):
    app = MonitorApp(["talk"], lambda _, model: Source(tmp_path / "none", model).watching())
    async with app.run_test():
        await until(lambda: app.failure is not None)
    assert isinstance(app.failure, ConnectionClosed)
