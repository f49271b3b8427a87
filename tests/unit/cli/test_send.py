import json
import re

import pytest
from tests.support.extensions import INSTALLED

NOBODY = "02083710ef6acf2cf1cd85254dcea01cbe1b9e78f41411d952b40171b5023d0797@127.0.0.1:1"
SAY = r"its fields are: text: str, number: u32 = 0"


@pytest.fixture
async def uri(start) -> str:
    node = await start("run", "echo", "chat", "--listen", "127.0.0.1:0", "--json")
    return (await node.event("listening"))["uri"]


async def test_sends_one_message_and_prints_what_comes_back(oddwire, uri: str) -> None:
    code, out, err = await oddwire("send", uri, "chat.Say", "text=hello", "number=7", "--wait", "0.5")
    assert (code, err) == (0, "")
    assert re.search(r"^-> \S+  chat\.Say 0x8c11 \[\d+ bytes\] text='hello' number=7$", out, re.MULTILINE)
    assert re.search(r"^<- \S+  chat\.Heard 0x8c13 \[6 bytes\] number=7$", out, re.MULTILINE)
    assert not re.search(r"^-> .*chat\.Heard", out, re.MULTILINE)  # the vocabulary of chat, not its manners


async def test_prints_events_as_json(oddwire, uri: str) -> None:
    code, out, _ = await oddwire("send", uri, "echo.BoltRequest", "data=c0ffee", "note=hi", "--wait", "0.5", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["event"] == "connected"
    assert events[0]["uri"] == uri
    sent, reply = (event for event in events if event.get("type") in (0x8C05, 0x8C07))
    assert (sent["event"], sent["schema"]) == ("sent", "echo.BoltRequest")
    assert (reply["event"], reply["schema"]) == ("received", "echo.BoltReply")
    assert sent["message"] == reply["message"] == {"number": 0, "data": "c0ffee", "note": "hi"}
    assert bytes.fromhex(reply["payload"])[2:] == bytes.fromhex(sent["payload"])[2:]
    assert events[-1]["event"] == "disconnected"


async def test_what_no_extension_here_knows_is_shown_as_bytes(oddwire, uri: str) -> None:
    code, out, _ = await oddwire("send", uri, "echo.Request", "text=hi", "--wait", "0.5", "--json")
    assert code == 0
    greeting = next(e for e in map(json.loads, out.splitlines()) if e.get("type") == 0x8C11)
    assert greeting["event"] == "received"
    assert "message" not in greeting


async def test_with_a_data_dir_the_node_knows_us_again(oddwire, start, tmp_path) -> None:
    node = await start("run", "echo", "--listen", "127.0.0.1:0", "--json")
    uri = (await node.event("listening"))["uri"]
    for _ in range(2):
        await oddwire("send", uri, "echo.Request", "text=x", "--data-dir", tmp_path / "me", "--wait", "0")
    assert (await node.event("connected"))["peer"] == (await node.event("connected"))["peer"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nobody", "chat.Say", "text=x"], 2, "URI should be node_id@host:port, not 'nobody'"),
        ([NOBODY, "chat", "text=x"], 2, "message should be extension, dot, message, chat.Say for one; not 'chat'"),
        ([NOBODY, "nosuch.Say"], 2, f"no extension is called 'nosuch'; there are: {INSTALLED}"),
        ([NOBODY, "chat.Shout"], 2, "'chat' has no message 'Shout'; there are: chat.Heard, chat.Say"),
        (
            [NOBODY, "chat.Sya"],
            2,
            "'chat' has no message 'Sya', did you mean chat.Say[?]; there are: chat.Heard, chat.Say",
        ),
        ([NOBODY, "quote.Ask"], 2, "'quote'; did you mean ./quote.py[?] Then add --extension ./quote.py"),
        ([NOBODY, "chat.Say", "txet=x"], 2, f"chat.Say: there is no field 'txet', did you mean text[?]; {SAY}"),
        ([NOBODY, "chat.Say", "text=\udcff"], 2, "chat.Say: text .* lone surrogate"),
        (["\x1b\n\x9b", "chat.Say", "text=x"], 2, r"URI should be .*, not '\\x1b\\n\\x9b'"),
        (["chat.Say", "text=x"], 2, "URI should be node_id@host:port, not 'chat.Say'"),
        ([NOBODY, "chat.Say"], 2, f"chat.Say: text should be given; {SAY}"),
        ([NOBODY, "chat.Say", "words=x"], 2, f"chat.Say: there is no field 'words'; {SAY}"),
        ([NOBODY, "chat.Say", "text=x", "number=many"], 2, f"chat.Say: number .*'many'; {SAY}"),
        ([NOBODY, "chat.Say", "text=x", "--network", "fakenet"], 2, "network should be one of"),
        ([NOBODY, "chat.Say", "text=x", "--extension", "./nosuch.py"], 2, "nosuch.py does not exist"),
        ([NOBODY, "chat.Say", "text=x"], 1, "127.0.0.1:1"),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(
    oddwire, tmp_path, arguments: list[str], code: int, reason: str
) -> None:
    (tmp_path / "quote.py").write_text("")
    found, out, err = await oddwire("send", *arguments)
    assert (found, out) == (code, "")
    assert re.fullmatch(rf"oddwire: .*{reason}.*\n", err), err


async def test_another_nodes_key_does_not_answer(oddwire, uri: str) -> None:
    other = NOBODY.partition("@")[0] + "@" + uri.partition("@")[2]
    code, out, err = await oddwire("send", other, "chat.Say", "text=x")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"oddwire: .*\n", err)


EVEN = """
from oddwire import Extension, Message, message
extension = Extension("even", version="1.0", feature=515)

@extension.register
@message(0x8E02)
class Must(Message):
    text: str = ""
"""


async def test_an_even_type_is_kept_from_a_peer_that_hangs_up_on_it(oddwire, start, uri: str, tmp_path) -> None:
    (tmp_path / "even.py").write_text(EVEN)
    code, _, err = await oddwire("send", uri, "even.Must", "--extension", "even.py")
    assert code == 1
    assert re.fullmatch(r"oddwire: .*0x8e02.*disconnect: --force sends it all the same\n", err), err
    assert "force=True" not in err
    code, out, err = await oddwire("send", uri, "even.Must", "--extension", "even.py", "--force", "--wait", "5")
    assert code == 0
    assert "even.Must 0x8e02" in out
    assert "disconnected" in out
    assert "warning" in err  # BOLT 1's, which the peer sends before it hangs up
    node = await start("run", "even.py", "--listen", "127.0.0.1:0", "--json")
    knowing = (await node.event("listening"))["uri"]
    code, _, _ = await oddwire("send", knowing, "even.Must", "text=x", "--extension", "even.py", "--wait", "0")
    assert code == 0
    assert (await node.event("received"))["message"] == {"text": "x"}


SPOKEN = (
    EVEN.replace(", feature=515", "").replace("@extension.register", "")
    + """
@extension.on(Must)
async def must(context, message: Must) -> None: ...
"""
)


async def test_an_even_type_goes_to_a_peer_whose_hello_shows_that_it_speaks_the_extension(
    oddwire, start, tmp_path
) -> None:
    (tmp_path / "even.py").write_text(SPOKEN)
    node = await start("run", "even.py", "--listen", "127.0.0.1:0", "--json")
    uri = (await node.event("listening"))["uri"]
    code, out, err = await oddwire("send", uri, "even.Must", "text=x", "--extension", "even.py", "--wait", "0.2")
    assert (code, err) == (0, "")
    assert "even.Must 0x8e02" in out


TEXTS_AT_ONCE = """
from oddwire import Extension, Message, message
extension = Extension("texts", version="1.0")
@message(0x8D0B)
class Texts(Message):
"""

TEXTS = [
    "",
    " a ",
    "=",
    "a=b",
    "-5",
    "--x",
    "@x",
    "007",
    "1e3",
    "true",
    "null",
    "none",
    "[1",
    '{"a"',
    "a\\n",
    "'",
    '"q"',
]


async def test_a_text_is_what_was_typed(oddwire, uri: str, tmp_path) -> None:
    odd = ("\x1b[2J\nERROR oddwire.node: forged \x9b\u202e", "señor 東京\u3000", "x" * 2000)
    texts = {f"text{number}": text for number, text in enumerate((*TEXTS, *odd))}
    fields = "".join(f"    {name}: str\n" for name in texts)
    (tmp_path / "texts.py").write_text(TEXTS_AT_ONCE + fields + "extension.register(Texts)\n")
    typed = [f"{name}={text}" for name, text in texts.items()]
    code, out, err = await oddwire(
        "send", uri, "texts.Texts", *typed, "--extension", "./texts.py", "--wait", "0", "--json"
    )
    assert (code, err) == (0, "")
    sent = next(event for event in map(json.loads, out.splitlines()) if event["event"] == "sent")
    assert sent["message"] == texts


async def test_what_a_peer_says_does_nothing_to_a_terminal(oddwire, start) -> None:
    node = await start("run", "chat", "--listen", "127.0.0.1:0", "--verbose")
    uri = (await node.line("listening")).split()[-1]
    text = "\x1b[2J\nERROR oddwire.node: forged \x9b\u202e東京\u3000"
    shown = r"\x1b[2J\nERROR oddwire.node: forged \x9b\u202e" + "東京\u3000"
    code, out, _ = await oddwire("send", uri, "chat.Say", f"text={text}")
    assert f"text='{shown}'" in out
    await node.line(f"text='{shown}'")
    code, out, err = await node.interrupt()
    assert code == 0
    assert f"says: {shown}\n" in err
    assert not set(out + err) & set("\x1b\x9b\u202e")
    assert "\nERROR" not in out + err


async def test_a_request_ends_with_its_reply(oddwire, uri: str) -> None:
    code, out, err = await oddwire("send", uri, "echo.BoltRequest", "note=hi", "--request", "--wait", "0")
    assert (code, err) == (0, "")
    assert re.search(r"^<- \S+  echo\.BoltReply 0x8c07 .* note='hi'  \d+\.\d\d ms$", out, re.MULTILINE)


async def test_a_delivery_is_kept_until_the_peer_can_be_reached(oddwire, start, tmp_path) -> None:
    node = await start("run", "courier", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "theirs", "--json")
    uri = (await node.event("listening"))["uri"]
    assert (await node.interrupt())[0] == 0
    parcel = ("courier.Parcel", "name=a.txt", "data=c0ffee", "--reliable", "--data-dir", tmp_path / "mine", "--json")
    code, out, err = await oddwire("send", uri, *parcel, "--timeout", "0.3")
    assert code == 1
    assert "1 message of courier waits for" in err
    assert json.loads(out.splitlines()[-1])["event"] == "error"
    address = uri.partition("@")[2]
    await start("run", "courier", "--listen", address, "--data-dir", tmp_path / "theirs", "--json")
    code, out, err = await oddwire("send", uri, *parcel)
    assert code == 0
    assert "goes on with the courier.Parcel that has waited" in err
    delivered = [json.loads(line) for line in out.splitlines() if '"delivered"' in line]
    assert [(event["schema"], event["type"]) for event in delivered] == [("courier.Parcel", 0x8C21)]


async def test_ctrl_c_cancels_a_stream(start, tmp_path) -> None:
    (tmp_path / "ticks.py").write_text(TICKS)
    node = await start("run", "ticks.py", "--listen", "127.0.0.1:0", "--json")
    uri = (await node.event("listening"))["uri"]
    sending = await start("send", uri, "ticks.Start", "--stream", "--extension", "ticks.py", "--json")
    await sending.event("received", schema="ticks.Tick")
    code, _, err = await sending.interrupt()
    assert (code, err) == (130, "")
    code, _, err = await node.interrupt()
    assert code == 0
    assert "cancelled by the peer" in err


TICKS = """
import asyncio
from collections.abc import AsyncIterator
from oddwire import Context, Extension, Message, message
extension = Extension("ticks", version="1.0")

@message(0x8E21)
class Start(Message): ...

@message(0x8E23)
class Tick(Message): ...

@extension.on(Start)
async def begin(context: Context, start: Start) -> AsyncIterator[Tick]:
    try:
        yield Tick()
        await asyncio.Event().wait()
    finally:
        context.logger.info("cancelled by the peer")
"""
