import asyncio
import re

import pytest


async def test_a_script_by_a_pipe_is_run(start, oddwire) -> None:
    node = await start("run", "echo", "chat", "--listen", "127.0.0.1:0", "--json")
    uri = (await node.event("listening"))["uri"]
    shell = await start("shell", uri, "--extension", "echo", stdin=asyncio.subprocess.PIPE)
    await shell.type(
        "reply = await peer.request(Request(text='hi'), Reply)\nreply.text, node_id == app.node_id\n1 / 0\n"
    )
    shell.process.stdin.close()
    code, out, err = await shell.end()
    assert (code, out) == (1, "('hi', True)\n")
    assert "<- " in err  # the greeting of chat, which is not mixed with what the script prints
    assert 'File "<stdin>", line 3' in err
    assert "ZeroDivisionError" in err


async def test_a_signal_ends_what_a_script_waits_for(start) -> None:
    shell = await start("shell", "--listen", "127.0.0.1:0", stdin=asyncio.subprocess.PIPE)
    await shell.type("print(app.uris)\nawait asyncio.sleep(1000)\n")
    shell.process.stdin.close()
    await shell.line("@127.0.0.1:")
    code, _, err = await shell.interrupt()
    assert code == 130
    assert re.fullmatch(r"listening .*\n", err)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nobody"], 2, "URI should be node_id@host:port"),
        (["--known", "peerswp"], 2, "did you mean peerswap?"),
        (["--known", "nosuch"], 2, "there are: peer_storage, "),
        (["--extension", "nosuch"], 2, "no extension is called 'nosuch'"),
        (["02083710ef6acf2cf1cd85254dcea01cbe1b9e78f41411d952b40171b5023d0797@127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(oddwire, arguments: list[str], code: int, reason: str) -> None:
    found, out, err = await oddwire("shell", *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert reason in err
