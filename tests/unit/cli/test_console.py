import asyncio
import io

import pytest

from oddwire import Application, Context, Extension, MemoryTransport
from oddwire.cli.console import Console
from oddwire.cli.events import Printer


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
    async def say(context: Context, text: str) -> int:
        heard.append(text)
        return len(heard)

    # The result is for who calls a method by its name
    assert await enter(extension, "hello there, it's  me", "say what", "", "   ") == "2\n"
    assert heard == ["hello there, it's  me", "what"]


async def test_the_last_parameter_takes_the_rest_of_the_line() -> None:
    extension = Extension("speaker", version="1")
    heard = []

    @extension.rpc("tell")
    async def tell(context: Context, who: str, text: str) -> None:
        heard.append((who, text))

    @extension.rpc("list")
    async def names(context: Context) -> list[str]:
        return ["ann"]

    assert await enter(extension, "tell bob good  morning", "list") == '["ann"]\n'
    assert heard == [("bob", "good  morning")]


async def test_what_goes_wrong_is_printed_and_ends_nothing() -> None:
    extension = Extension("speaker", version="1")

    @extension.rpc("fail")
    async def fail(context: Context, text: str) -> None:
        raise KeyError(text)

    @extension.rpc("other")
    async def other(context: Context) -> None: ...

    printed = await enter(extension, "fail now", "fail", "other too much", "unknown")
    assert printed.splitlines()[0] == "fail text: KeyError: 'now'"
    assert printed.splitlines()[1] == "fail text: missing required parameter: text"
    assert printed.splitlines()[2] == "other: too many parameters: got 1, expected 0"
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


@pytest.mark.parametrize("ending", ["\n", ""])
async def test_a_pipe_is_read_to_its_end_and_the_node_runs_on(start, ending: str) -> None:
    echo = await start("run", "echo", "--listen", "127.0.0.1:0", "--json")
    uri = (await echo.event("listening"))["uri"]
    chat = await start("run", "chat", "--connect", uri, "--json", stdin=asyncio.subprocess.PIPE)
    await chat.type("first\nsecond" + ending)
    chat.process.stdin.close()
    first = await chat.event("sent", schema="chat.Say", message={"text": "first", "number": 2})
    second = await chat.event("sent", schema="chat.Say", message={"text": "second", "number": 3})
    for sent in (first, second):
        received = await echo.event("received", payload=sent["payload"])
        assert received["type"] == sent["type"] == 0x8C11
    assert chat.process.returncode is None
    assert (await chat.interrupt())[0] == 0
