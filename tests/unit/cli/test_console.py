import asyncio
import io
import json
from pathlib import Path

import pytest

from oddwire import AppContext, Application, Extension
from oddwire.cli.console import Console
from oddwire.cli.events import Printer
from oddwire.transports import MemoryTransport


async def enter(extension: Extension, *lines: str) -> str:
    err = io.StringIO()
    async with Application(extension, transport=MemoryTransport()) as app:
        console = Console(app, Printer(stderr=err))
        for line in lines:
            await console.enter(line)
    return err.getvalue()


async def test_the_only_method_needs_no_name() -> None:
    extension = Extension("speaker", version="1")
    heard = []

    @extension.rpc("say")
    async def say(context: AppContext, text: str) -> int:
        heard.append(text)
        return len(heard)

    # The result is for who calls a method by its name
    assert await enter(extension, "hello there, it's  me", "say what", "", "   ") == "2\n"
    assert heard == ["hello there, it's  me", "what"]


async def test_a_misspelt_name_of_the_only_method_is_asked_after() -> None:
    extension = Extension("asking", version="1")

    @extension.rpc("market-ask")
    async def ask(context: AppContext, number: int, asset: str = "eur") -> int:
        return number

    assert await enter(extension, "markt-ask 7", "seven eur") == (
        "market-ask number [asset]: number: should be an integer: invalid token '\"markt-ask\"'; "
        "did you mean market-ask?\n"
        "market-ask number [asset]: number: should be an integer: invalid token '\"seven\"'\n"
    )


async def test_a_forgotten_await_is_named() -> None:
    extension = Extension("forgetful", version="1")

    async def price() -> int:
        return 7

    @extension.rpc("price")
    async def show(context: AppContext) -> object:
        return {"price": price()}

    wrong = (
        "test_a_forgotten_await_is_named.<locals>.price() was called and not awaited: it should be 'await' and the call"
    )
    assert await enter(extension, "price") == f"price: TypeError: {wrong}\n"


def typing() -> tuple[Extension, list[object]]:
    """Return an extension with several methods, and what they were called with."""
    extension = Extension("typing", version="1")
    heard: list[object] = []

    @extension.rpc("tell")
    async def tell(context: AppContext, who: str, text: str = "nothing") -> None:
        heard.append((who, text))

    @extension.rpc("put")
    async def put(context: AppContext, name: str, path: Path, wait: bool = False) -> None:
        heard.append((name, str(path), wait))

    @extension.rpc("note")
    async def note(context: AppContext, text: str | None = None) -> None:
        heard.append(text)

    @extension.rpc("any")
    async def any_(context: AppContext, what) -> None:  # type: ignore[no-untyped-def]
        heard.append(what)

    @extension.rpc("count")
    async def count(context: AppContext, *, number: int) -> list[str]:
        heard.append(number)
        return ["東京", "\x9b2J\n"]

    return extension, heard


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # A last text takes the rest of the line, as it is
        ("tell bob good  morning", ("bob", "good  morning")),
        ('  tell\tbob \t don\'t say "x" #1 \\ ', ("bob", 'don\'t say "x" #1 \\ ')),
        ("tell 'bob lee' hi", ("bob lee", "hi")),
        ("tell bob", ("bob", "nothing")),
        ("tell bob ''", ("bob", "")),
        ('tell bob "hello  there"', ("bob", "hello  there")),
        ('tell bob "a" and "b"', ("bob", '"a" and "b"')),
        ("note ~/x", "~/x"),
        ("note C:\\temp", "C:\\temp"),
        ("note \xa0a\xa0", "\xa0a\xa0"),
        ("note", None),
        ("any 007", "007"),
        ("any 1e3", "1e3"),
        ("any [1, 2]", "[1, 2]"),
        # All others are a shell's words
        ("put a my\\ report.pdf", ("a", "my report.pdf", False)),
        ("put a 'my report.pdf' true", ("a", "my report.pdf", True)),
        ('put "" "my report.pdf"', ("", "my report.pdf", False)),
        ("put ~ ~/x", ("/home/ann", "/home/ann/x", False)),
        ("put '~' caf\udce9", ("~", "caf\udce9", False)),
        ("count ' 7'", None),
        ("count 7 ", 7),
    ],
)
async def test_what_is_typed_arrives(monkeypatch: pytest.MonkeyPatch, line: str, expected: object) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    extension, heard = typing()
    await enter(extension, line)
    assert heard == ([] if line == "count ' 7'" else [expected])


@pytest.mark.parametrize(
    "text",
    ['don\'t say "x" #1', " lead and trail ", "'quoted'", "--x", "\\", "tab\t", "\xa0", "a" * 100_000, "~", "\x1b"],
)
async def test_the_only_methods_only_text_is_the_line(text: str) -> None:
    extension = Extension("speaker", version="1")
    heard = []

    @extension.rpc("say")
    async def say(context: AppContext, text: str) -> None:
        heard.append(text)

    assert await enter(extension, text) == ""
    assert heard == [text]


async def test_the_only_method_may_take_words() -> None:
    extension = Extension("counter", version="1")
    heard = []

    @extension.rpc("add")
    async def add(context: AppContext, first: int, second: int = 0) -> None:
        heard.append((first, second))

    assert await enter(extension, "1 '2'", "add 3", " 4 ") == ""
    assert heard == [(1, 2), (3, 0), (4, 0)]


async def test_results_are_for_people_to_read() -> None:
    extension, _ = typing()
    assert await enter(extension, "count 1") == '["東京", "\\u009b2J\\n"]\n'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "put a my report.pdf",
            "put name path [wait]: wait: should be 'true' or 'false': invalid token '\"report.pdf\"'",
        ),
        (
            "put a b true false",
            "put name path [wait]: 'false' is one parameter too many; one with a space should be in quotes",
        ),
        (
            "put a 'my report.pdf",
            "put name path [wait]: the quote ' before 'my report.pdf' is not closed; \\' is one that is meant",
        ),
        ("put a\\", "put name path [wait]: the backslash at the end escapes nothing; \\\\ is one that is meant"),
        ("count seven", "count number: number: should be an integer: invalid token '\"seven\"'"),
        ("note \udcff", "note [text]: text: should be a string that UTF-8 can say: invalid token '\"\\udcff\"'"),
        ("tel bob", "there is no method 'tel'; did you mean tell?; there are: any, count, note, put, tell"),
        ("\x1b[2J x", "there is no method '\\x1b[2J'; there are: any, count, note, put, tell"),
    ],
)
async def test_what_does_not_fit_is_told_with_what_would(line: str, told: str) -> None:
    extension, heard = typing()
    assert await enter(extension, line) == f"{told}\n"
    assert heard == []


async def test_with_json_each_line_has_one_event() -> None:
    extension = Extension("speaker", version="1")

    @extension.rpc("say")
    async def say(context: AppContext, text: str) -> dict[str, object] | None:
        if text == "cancel":
            raise asyncio.CancelledError
        return {"said": text, "odd": float("inf")} if text else None

    out, err = io.StringIO(), io.StringIO()
    async with Application(extension, transport=MemoryTransport()) as app:
        console = Console(app, Printer(True, stdout=out, stderr=err))
        for line in ("hello", "say ''", "  ", "say", "cancel"):
            await console.enter(line)
    events = [json.loads(line) | {"time": 0} for line in out.getvalue().splitlines()]
    assert events == [
        {"event": "result", "time": 0, "method": "say", "value": {"said": "hello", "odd": "inf"}},
        {"event": "result", "time": 0, "method": "say", "value": None},
        {"event": "error", "time": 0, "method": "say", "message": "say text: missing required parameter: text"},
        {"event": "error", "time": 0, "method": "say", "message": "say: cancelled by itself"},
    ]
    assert err.getvalue() == "say text: missing required parameter: text\nsay: cancelled by itself\n"


async def test_what_goes_wrong_is_printed_and_ends_nothing() -> None:
    extension = Extension("speaker", version="1")

    @extension.rpc("fail")
    async def fail(context: AppContext, text: str) -> None:
        raise KeyError(text)

    @extension.rpc("other")
    async def other(context: AppContext) -> None: ...

    printed = await enter(extension, "fail now", "fail", "other too much", "unknown")
    assert printed.splitlines()[0] == "fail text: KeyError: 'now'"
    assert printed.splitlines()[1] == "fail text: missing required parameter: text"
    assert printed.splitlines()[2] == "other: too many parameters: got 2, expected 0"
    assert printed.splitlines()[3] == "there is no method 'unknown'; there are: fail, other"


async def test_a_terminals_foreground_reads_what_is_typed(start) -> None:
    import os
    import pty

    main, side = pty.openpty()
    try:
        echo = await start("run", "echo", "--listen", "127.0.0.1:0", "--json")
        uri = (await echo.event("listening"))["uri"]
        # Not the foreground job of this terminal, so it must not be read, or the job would be stopped
        chat = await start("run", "chat", "--connect", uri, "--json", stdin=side)
        await chat.event("connected")
        assert (await chat.interrupt())[0] == 0
    finally:
        os.close(main)
        os.close(side)


async def test_a_line_may_be_longer_than_a_read(start) -> None:
    chat = await start("run", "chat", "--listen", "127.0.0.1:0", "--json", stdin=asyncio.subprocess.PIPE)
    await chat.event("listening")
    await chat.type("x" * 300_000 + "\nchat-say again\n")
    assert (await chat.event("result"))["value"] == {"number": 1, "peers": 0}
    assert (await chat.event("result"))["value"] == {"number": 2, "peers": 0}
    assert (await chat.interrupt())[0] == 0


@pytest.mark.parametrize("ending", ["\n", ""])
async def test_a_pipe_is_read_to_its_end_and_the_node_runs_on(start, ending: str) -> None:
    echo = await start("run", "echo", "--listen", "127.0.0.1:0", "--json")
    uri = (await echo.event("listening"))["uri"]
    chat = await start("run", "chat", "--connect", uri, "--json", stdin=asyncio.subprocess.PIPE)
    await chat.event("connected")
    await chat.type("first\nsecond" + ending)
    chat.process.stdin.close()
    first = await chat.event("sent", schema="chat.Say", message={"text": "first", "number": 2})
    second = await chat.event("sent", schema="chat.Say", message={"text": "second", "number": 3})
    for sent in (first, second):
        received = await echo.event("received", payload=sent["payload"])
        assert received["type"] == sent["type"] == 0x8C11
    assert chat.process.returncode is None
    assert (await chat.interrupt())[0] == 0
