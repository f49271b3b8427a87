import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from oddwire import AppContext, Application, Extension, NodeId, NodeRefused, PrivateKey, RpcError
from oddwire.cli.console import Console
from oddwire.cli.events import Printer
from oddwire.errors import RemoteRpcError
from oddwire.transports import MemoryTransport

NODE = NodeId(PrivateKey(bytes(31) + b"\1").public_key())


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
        "market-ask: number: should be an integer: invalid token '\"markt-ask\"'; "
        "did you mean market-ask? usage: market-ask number [asset]\n"
        "market-ask: number: should be an integer: invalid token '\"seven\"'; usage: market-ask number [asset]\n"
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
            "put: wait: should be 'true' or 'false': invalid token '\"report.pdf\"'; usage: put name path [wait]",
        ),
        (
            "put a b true false",
            "put: 'false' is one parameter too many; one with a space should be in quotes; usage: put name path [wait]",
        ),
        (
            "put a 'my report.pdf",
            (
                "put: the quote ' before 'my report.pdf' is not closed; \\' is one that is meant; "
                "usage: put name path [wait]"
            ),
        ),
        (
            "put a\\",
            "put: the backslash at the end escapes nothing; \\\\ is one that is meant; usage: put name path [wait]",
        ),
        ("count seven", "count: number: should be an integer: invalid token '\"seven\"'; usage: count number"),
        (
            "note \udcff",
            "note: text: should be a string that UTF-8 can say: invalid token '\"\\udcff\"'; usage: note [text]",
        ),
        ("tel bob", "there is no method 'tel'; did you mean tell?; there are: any, count, note, put, tell"),
        ("\x1b[2J x", "there is no method '\\x1b[2J'; there are: any, count, note, put, tell"),
    ],
)
async def test_what_does_not_fit_is_told_with_what_would(line: str, told: str) -> None:
    extension, heard = typing()
    assert await enter(extension, line) == f"{told}\n"
    assert heard == []


MISSING = "say: missing required parameter: text; usage: say text"


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
        {"event": "error", "time": 0, "method": "say", "message": MISSING, "code": -32602},
        {"event": "error", "time": 0, "method": "say", "message": "say: cancelled by itself"},
    ]
    assert err.getvalue() == f"{MISSING}\nsay: cancelled by itself\n"


def ordering() -> tuple[Extension, list[object]]:
    """Return an extension whose methods have many parameters, and what they were called with."""
    extension = Extension("ordering", version="1")
    heard: list[object] = []

    @extension.rpc("order")
    async def order(
        context: AppContext,
        size: int,
        days: int = 30,
        token: str | None = None,
        who: NodeId | None = None,
        public: bool = False,
    ) -> None:
        heard.append((size, days, token, who, public))

    @extension.rpc("buy")
    async def buy(context: AppContext, entry: dict[str, Any], sizes: list[int] | None = None, token: str = "") -> None:
        heard.append((entry, sizes, token))

    @extension.rpc("nullable")
    async def nullable(context: AppContext, method: str | None, more: Any, size: int = 5) -> None:
        heard.append((method, more, size))

    return extension, heard


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("order 5 null null null true", (5, 30, None, None, True)),
        ("order 5 7 'null' null", (5, 7, "null", None, False)),
        ("order 5 7 ''", (5, 7, "", None, False)),
        ("order 5 public=true", (5, 30, None, None, True)),
        ("order 5 7 token='a b' public=true", (5, 7, "a b", None, True)),
        ("order 5 days=7 token= public=true", (5, 7, "", None, True)),
        ("order token=null days=null size=5", (5, 30, None, None, False)),
        ("order 5 7 'public=true'", (5, 7, "public=true", None, False)),
        ("order 5 7 x=1", (5, 7, "x=1", None, False)),
        ("order 5 7 size=1", (5, 7, "size=1", None, False)),
        ('buy {"a": "b c", "d": [1, {}]}', ({"a": "b c", "d": [1, {}]}, None, "")),
        ('buy {"a": "it\'s"} [1, 2] the rest {"x"}', ({"a": "it's"}, [1, 2], 'the rest {"x"}')),
        ("buy '{\"a\": 1}' null token=T", ({"a": 1}, None, "T")),
        ('buy {\\"a\\":1}', ({"a": 1}, None, "")),
        ('buy token=T sizes=[1, 2] entry={"a": 1}', ({"a": 1}, [1, 2], "T")),
        ('buy {"a": 1} null null', ({"a": 1}, None, "null")),  # as texts of this method are never None
        ("nullable null null null", (None, "null", 5)),
    ],
)
async def test_parameters_are_left_out_named_and_pasted(line: str, expected: object) -> None:
    extension, heard = ordering()
    assert (await enter(extension, line), heard) == ("", [expected])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("order null", "size: should be an integer: invalid token '\"null\"'"),
        ("order size=5 7", "'7' should be NAME=VALUE, as the one before it is; what may be named is: days, token"),
        ("order 5 public=true size=6", "'size=6' is given already; what may be named is: days, token, who"),
        ("order 5 public=true sice=6", "'sice=6' should be NAME=VALUE"),
        ("order 5 token=a b", "'b' should be NAME=VALUE"),
        ('buy {"a": 1', "entry should be JSON: Expecting ',' delimiter"),
        ('buy {"a": 1}5', "entry should be JSON: there is '5' behind it"),
        ('buy {"a": NaN}', "entry should be JSON: NaN is not a value of JSON"),
        ("buy [1]", "entry: should be an object"),
        ("buy " + "[" * 100_000, "entry should be JSON: "),
        ("buy 5 7", "entry: should be an object"),
    ],
)
async def test_parameters_that_cannot_be_are_named(line: str, reason: str) -> None:
    extension, heard = ordering()
    printed = await enter(extension, line)
    method = line.partition(" ")[0]
    assert printed.startswith(f"{method}: {reason}")
    assert f"; usage: {method} " in printed
    assert heard == []


async def test_an_rpc_errors_code_and_data_are_shown() -> None:
    extension = Extension("refusing", version="1")

    @extension.rpc("refuse")
    async def refuse(context: AppContext, how: str) -> None:
        match how:
            case "data":
                raise RpcError(102, "stale token", {"property": "token", "of": NODE})
            case "empty":
                raise RpcError(101, "not found", {})
            case "bare":
                raise RpcError(1, "not now")
            case "deep":
                inner: list[Any] = []
                inner.append(inner)
                raise RpcError(1, "deep", inner)
            case "long":
                raise RpcError(1, "long", "x" * 5000)
            case "peer":
                raise RemoteRpcError("no", code=-32601, data=[None])
            case "node":
                raise NodeRefused("no route", code=205, data={"x": 1})
            case "value":
                raise ValueError("should be a number")
            case "empty value":
                raise ValueError
            case "inner":
                await context.app.call("refuse")

    out, err = io.StringIO(), io.StringIO()
    kinds = ("data", "empty", "bare", "deep", "long", "peer", "node", "value", "empty value", "inner")
    async with Application(extension, transport=MemoryTransport()) as app:
        text, as_json = Console(app, Printer(stderr=err)), Console(app, Printer(True, stdout=out, stderr=io.StringIO()))
        for kind in kinds:
            await text.enter(f"refuse {kind}")
            await as_json.enter(f"refuse {kind}")
    lines = err.getvalue().splitlines()
    assert lines.pop(4).startswith(f'refuse: long (code 1, data "{"x" * 1900}')
    assert lines == [
        f'refuse: stale token (code 102, data {{"property": "token", "of": "{NODE}"}})',
        "refuse: not found (code 101, data {})",
        "refuse: not now (code 1)",
        "refuse: deep (code 1)",
        "refuse: no (code -32601, data [null])",
        'refuse: no route (code 205, data {"x": 1})',
        "refuse: should be a number",
        "refuse: ValueError: ",
        "refuse: missing required parameter: how (code -32602)",
    ]
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(event["message"], event.get("code"), event.get("data")) for event in found] == [
        ("refuse: stale token", 102, found[0]["data"]),
        ("refuse: not found", 101, {}),
        ("refuse: not now", 1, None),
        ("refuse: deep", 1, None),
        ("refuse: long", 1, "x" * 5000),
        ("refuse: no", -32601, [None]),
        ("refuse: no route", 205, {"x": 1}),
        ("refuse: should be a number", None, None),
        ("refuse: ValueError: ", None, None),
        ("refuse: missing required parameter: how", -32602, None),
    ]
    assert found[0]["data"] == {"property": "token", "of": str(NODE)}


async def test_what_goes_wrong_is_printed_and_ends_nothing() -> None:
    extension = Extension("speaker", version="1")

    @extension.rpc("fail")
    async def fail(context: AppContext, text: str) -> None:
        raise KeyError(text)

    @extension.rpc("other")
    async def other(context: AppContext) -> None: ...

    printed = await enter(extension, "fail now", "fail", "other too much", "unknown")
    assert printed.splitlines()[0] == "fail: KeyError: 'now'"
    assert printed.splitlines()[1] == "fail: missing required parameter: text; usage: fail text"
    assert printed.splitlines()[2] == "other: too many parameters: got 2, expected 0; usage: other"
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
