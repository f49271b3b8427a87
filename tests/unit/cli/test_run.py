import asyncio
import json
import os
import re
import shlex
import signal
import stat
import sys
from pathlib import Path

import pytest
from tests.support.extensions import INSTALLED

QUOTE = """
from oddwire import AppContext, Context, Extension, Message, message, u64

extension = Extension("quote", version="1.0", feature=513)

@message(0x8D01)
class Ask(Message):
    asset: str

@message(0x8D03, codec="bolt")
class Quote(Message):
    millisats: u64

@extension.on(Ask)
async def quote(context: Context, ask: Ask) -> Quote:
    if ask.asset == "fail":
        raise RuntimeError("no such asset")
    return Quote(millisats=len(ask.asset))

if __name__ == "__main__":
    extension.run()
"""
LOCAL = ("--listen", "127.0.0.1:0")
NOBODY = "02083710ef6acf2cf1cd85254dcea01cbe1b9e78f41411d952b40171b5023d0797@127.0.0.1:1"


async def test_prints_its_uri_and_ends_cleanly(start) -> None:
    node = await start("run", "echo", *LOCAL)
    line = await node.line("listening")
    assert re.search(r"\b0[23][0-9a-f]{64}@127\.0\.0\.1:[1-9]\d*$", line)
    code, out, err = await node.interrupt()
    assert (code, out, err) == (0, line + "\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_peers_connected(start, number: signal.Signals) -> None:
    echo = await start("run", "echo", *LOCAL, "--json")
    uri = (await echo.event("listening"))["uri"]
    chat = await start("run", "chat", "--connect", uri, "--json")
    node_id = (await echo.event("connected"))["peer"]
    assert (await chat.event("connected"))["uri"] == uri
    code, _, err = await echo.interrupt(number)
    assert code == 0
    assert "Traceback" not in err
    assert (await chat.event("disconnected"))["peer"] == uri.partition("@")[0]
    assert node_id != uri.partition("@")[0]
    assert (await chat.interrupt(number))[0] == 0


async def test_chat_talks_with_an_echo_node(start) -> None:
    echo = await start("run", "echo", *LOCAL)
    uri = (await echo.line("listening")).split()[-1]
    chat = await start("run", "chat", "--connect", uri, stdin=asyncio.subprocess.PIPE)
    await chat.line("-> ", "chat.Say 0x8c11", "text='hello'")
    await chat.line("<- ", "chat.Say 0x8c11", "text='hello'")
    await chat.type("how are you?\n")
    await chat.line("-> ", "text='how are you?'")
    await chat.line("<- ", "text='how are you?'")
    await chat.line("-> ", "chat.Heard 0x8c13 [6 bytes] number=2", " ms")
    await echo.line("<- ", "0x8c13 [6 bytes] 00000002")
    assert (await chat.interrupt())[0] == 0
    await echo.line("disconnected")


async def test_two_chats_hear_each_other(start) -> None:
    first = await start("run", "chat", *LOCAL, "--json")
    second = await start(
        "run", "chat", "--connect", (await first.event("listening"))["uri"], "--json", stdin=asyncio.subprocess.PIPE
    )
    await first.event("received", schema="chat.Say", message={"text": "hello", "number": 1})
    await second.event("received", schema="chat.Heard", message={"number": 1})
    await second.type("it's OK to be odd\n")
    said = await first.event("received", schema="chat.Say", message={"text": "it's OK to be odd", "number": 2})
    assert said["type"] == 0x8C11
    assert bytes.fromhex(said["payload"])[:2] == b"\x8c\x11"


async def test_several_extensions_by_name_and_by_file(start, oddwire, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(QUOTE)
    node = await start("run", "echo", "chat", "quote.py", *LOCAL, "--json")
    uri = (await node.event("listening"))["uri"]
    code, out, err = await oddwire("send", uri, "quote.Ask", "asset=eur", "--extension", "./quote.py", "--wait", "0.5")
    assert (code, err) == (0, "")
    assert re.search(r"<- .*quote\.Quote 0x8d03 \[10 bytes\] millisats=3", out)
    received = await node.event("received", schema="quote.Ask")
    assert received["message"] == {"asset": "eur"}
    assert (await node.event("sent", schema="quote.Quote"))["message"] == {"millisats": 3}


async def test_a_script_runs_itself(start, oddwire, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(QUOTE)
    node = await start(*LOCAL, "--json", program=tmp_path / "quote.py")
    uri = (await node.event("listening"))["uri"]
    code, out, _ = await oddwire("send", uri, "quote.Ask", "asset=dollar", "--extension", "quote.py", "--wait", "0.5")
    assert code == 0
    assert "millisats=6" in out
    assert (await node.interrupt())[0] == 0
    helped = await start("--help", program=tmp_path / "quote.py")
    code, out, _ = await helped.end()
    assert code == 0
    assert out.startswith("Usage: quote.py [OPTIONS]")
    assert "Run quote 1.0" in out


async def test_a_failing_handler_is_an_error_and_nothing_ends(start, oddwire, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(QUOTE)
    node = await start("run", "./quote.py", *LOCAL, "--json")
    uri = (await node.event("listening"))["uri"]
    await oddwire("send", uri, "quote.Ask", "asset=fail", "--extension", "quote.py", "--wait", "0")
    assert "RuntimeError: no such asset" in (await node.event("error"))["message"]
    code, out, _ = await oddwire("send", uri, "quote.Ask", "asset=eur", "--extension", "quote.py", "--wait", "0.5")
    assert code == 0
    assert "millisats=3" in out
    assert (await node.interrupt())[0] == 0


ODD = """
import asyncio
from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("odd", version="1.0")

@message(0x8D01)
class Do(Message):
    what: str

@message(0x8D03)
class Done(Message):
    what: str

class Own(BaseException):
    pass

KINDS = {kind.__name__: kind for kind in (GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError, Own)}

async def fail(kind):
    raise kind("by hand")

@extension.on(Do)
async def do(context: Context, do: Do) -> None:
    if do.what in KINDS:
        await fail(KINDS[do.what])

@extension.rpc("odd-do")
async def method(context: AppContext, what: str, in_a_task: bool = False) -> str:
    if in_a_task:
        asyncio.get_running_loop().create_task(fail(KINDS[what]))
        await asyncio.sleep(0)
    elif what in KINDS:
        await fail(KINDS[what])
    return what
"""


@pytest.mark.parametrize("more", [[], ["--uvloop"]], ids=["asyncio", "uvloop"])
async def test_whatever_a_method_or_a_task_raises_ends_nothing(start, tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    node = await start("run", "./odd.py", *LOCAL, "--json", *more, stdin=asyncio.subprocess.PIPE)
    await node.event("listening")
    for kind in ("GeneratorExit", "KeyboardInterrupt", "SystemExit", "CancelledError", "Own"):
        await node.type(f"odd-do {kind}\n")
        text = (await node.event("error", method="odd-do"))["message"]
        assert text.endswith("cancelled by itself" if kind == "CancelledError" else f"{kind}: by hand")
        await node.type(f"odd-do {kind} true\n")
        await node.event("result", value=kind)
    code, _, err = await node.interrupt()
    assert code == 0
    for kind in ("KeyboardInterrupt", "SystemExit"):
        assert f"a task of an extension ended with {kind}; to end the application, call app.stop()" in err


async def test_whatever_a_handler_raises_ends_nothing(start, oddwire, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    node = await start("run", "./odd.py", *LOCAL, "--json")
    uri = (await node.event("listening"))["uri"]
    for kind in ("GeneratorExit", "KeyboardInterrupt", "SystemExit"):
        await oddwire("send", uri, "odd.Do", f"what={kind}", "--extension", "odd.py", "--wait", "0")
        assert f"{kind}: by hand" in (await node.event("error"))["message"]
    assert (await node.interrupt())[0] == 0


@pytest.mark.parametrize("kind", ["GeneratorExit", "KeyboardInterrupt", "CancelledError", "Own"])
async def test_whatever_startup_raises_is_one_line(oddwire, tmp_path: Path, kind: str) -> None:
    startup = "@extension.on_startup\nasync def begin(context):\n    await fail(KINDS['NAME'])\n".replace("NAME", kind)
    (tmp_path / "odd.py").write_text(ODD + startup)
    code, _, err = await oddwire("run", "./odd.py", *LOCAL)
    assert code != 0
    (line,) = err.splitlines()
    assert f"{kind}: by hand" in line


async def test_a_file_that_raises_keyboard_interrupt_is_told_of(oddwire, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("raise KeyboardInterrupt\n")
    code, _, err = await oddwire("run", "./odd.py", *LOCAL)
    assert code == 1
    (line,) = err.splitlines()
    assert "raised KeyboardInterrupt, and no signal came" in line


async def test_the_key_lives_in_the_data_dir(start, tmp_path: Path) -> None:
    data_dir = tmp_path / "node"
    ids = set()
    for _ in range(2):
        node = await start("run", "echo", *LOCAL, "--data-dir", data_dir, "--json")
        ids.add((await node.event("listening"))["uri"].partition("@")[0])
        await node.interrupt()
    assert len(ids) == 1
    (key,) = data_dir.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_one_node_runs_with_a_data_dir_at_a_time(oddwire, start, tmp_path: Path) -> None:
    node = await start("run", "echo", *LOCAL, "--data-dir", tmp_path)
    await node.line("listening")
    code, out, err = await oddwire("run", "chat", *LOCAL, "--data-dir", tmp_path)
    assert (code, out) == (1, "")
    assert (
        err
        == f"oddwire: data directory {tmp_path} is in use by another node; stop that, or choose another --data-dir\n"
    )
    await node.interrupt(signal.SIGKILL)
    again = await start("run", "chat", *LOCAL, "--data-dir", tmp_path)
    await again.line("listening")
    await again.interrupt()


SHOP = """
from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("shop", version="1.0")

@message(0x8D05)
class Order(Message):
    text: str = ""

@extension.on(Order, reliable=True)
async def order(context: Context, order: Order) -> None: ...

@extension.rpc("shop-count")
async def count(context: AppContext) -> int:
    count = await context.store.get("count", 0) + 1
    await context.store.set("count", count)
    print("counted", count, flush=True)
    return count
"""


async def test_what_extensions_keep_lives_in_the_data_dir(start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    data_dir = tmp_path / "node"
    for count in (1, 2):
        node = await start("run", tmp_path / "shop.py", *LOCAL, "--data-dir", data_dir, stdin=asyncio.subprocess.PIPE)
        await node.line("listening")
        await node.type("shop-count\n")
        await node.line(f"counted {count}")
        await node.interrupt()
    assert (data_dir / "oddwire.sqlite3").exists()


NUMBERED = """
from oddwire import Extension

extension = Extension("numbered", version="1.0")

@extension.on_startup
async def start(context) -> None:
    print("program", context.app.program, flush=True)
"""


async def test_with_a_data_dir_it_is_the_same_program_again(start, tmp_path: Path) -> None:
    """However the folder is called; without one, or with another, it is another."""
    (tmp_path / "numbered.py").write_text(NUMBERED)
    (tmp_path / "link").symlink_to(tmp_path / "node")

    async def number(*options: str | Path) -> str:
        node = await start("run", tmp_path / "numbered.py", *LOCAL, *options)
        line = await node.line("program ")
        await node.line("listening")
        await node.interrupt()
        return line

    paths = (tmp_path / "node", tmp_path / "link", "node", "node/../node")
    assert len({await number("--data-dir", path) for path in paths}) == 1
    assert (
        len({await number(), await number(), await number("--data-dir", "node"), await number("--data-dir", "b")}) == 4
    )


async def test_without_data_dir_it_lives_in_memory(start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    for _ in range(2):
        node = await start("run", tmp_path / "shop.py", *LOCAL, stdin=asyncio.subprocess.PIPE)
        await node.line("listening")
        await node.type("shop-count\n")
        await node.line("counted 1")
        await node.interrupt()
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["shop.py"]


async def test_without_data_dir_it_says_at_its_end_what_is_lost(start, tmp_path: Path) -> None:
    (tmp_path / "parcel").write_text("goods")
    for arguments, lost in (((), True), (("--data-dir", tmp_path / "data"), False)):
        node = await start("run", "courier", *LOCAL, *arguments, stdin=asyncio.subprocess.PIPE)
        await node.line("listening")
        await node.type(f"courier-send {NOBODY.partition('@')[0]} parcel\n")
        await node.line("courier.Parcel")
        _, _, err = await node.interrupt()
        text = (
            "a reliable message that was not delivered yet: lost with this process; a store on disk (--data-dir) would"
        )
        assert (text in err) == lost


async def test_without_data_dir_the_key_is_new_and_nothing_is_written(start, tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        node = await start("run", "echo", *LOCAL, "--json")
        ids.add((await node.event("listening"))["uri"].partition("@")[0])
        await node.interrupt()
    assert len(ids) == 2
    assert list(tmp_path.iterdir()) == []


async def test_a_key_others_can_read_is_refused(oddwire, start, tmp_path: Path) -> None:
    node = await start("run", "echo", *LOCAL, "--data-dir", tmp_path)
    await node.line("listening")
    await node.interrupt()
    (key,) = tmp_path.iterdir()
    key.chmod(0o644)
    code, out, err = await oddwire("run", "echo", *LOCAL, "--data-dir", tmp_path)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"oddwire: key file .* has mode 0644: .*chmod 600 .*\n", err)
    key.chmod(0o600)
    key.write_text(key.read_text()[:-10])
    code, out, err = await oddwire("run", "echo", *LOCAL, "--data-dir", tmp_path)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"oddwire: key file .* should hold 64 hex digits, not 55 bytes; .*\n", err)


OPTIONS = """
from oddwire import AppContext, Context, Extension
extension = Extension("quote", version="1.0")
@extension.option("quote-asset")
def asset(value: str = "eur") -> str:
    \"\"\"What to quote.\"\"\"
    if value not in ("eur", "usd"):
        raise ValueError("should be eur or usd")
    return value.upper()
@extension.option("quote-loud")
def loud(value: bool = False) -> bool:
    return value
@extension.rpc("quote-show")
async def show(context: AppContext) -> dict:
    context.app.stop()
    return dict(context.options)
if __name__ == "__main__":
    extension.run()
"""


async def test_options_of_extensions_are_flags(start, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(OPTIONS)
    given = ["--quote-asset", "usd", *LOCAL, "--quote-loud"]
    for arguments, program in [(["run", "quote.py", *given], None), (given, tmp_path / "quote.py")]:
        node = await start(*arguments, program=program, stdin=asyncio.subprocess.PIPE)
        await node.line("listening")
        await node.type("quote-show\n")
        code, _, err = await node.end()
        assert (code, err) == (0, '{"quote-asset": "USD", "quote-loud": true}\n')


async def test_a_script_shows_its_options(start, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(OPTIONS)
    code, out, _ = await (await start("--help", program=tmp_path / "quote.py")).end()
    assert code == 0
    lines = ["Options of the extension:", "  --quote-asset TEXT  What to quote.  [default: eur]", "  --quote-loud\n"]
    assert "\n  ".join(lines) in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--quote-asset", "gbp"], "option 'quote-asset' of 'quote' cannot be 'gbp': should be eur or usd"),
        (["--quote-aset", "usd"], "no such option: --quote-aset; did you mean --quote-asset?"),
        (["--lisen", "x"], "no such option: --lisen; did you mean --listen?"),
        (["--quote-loud=1"], "--quote-loud is a flag and takes no value; not '1'"),
    ],
)
async def test_an_option_that_will_not_do_is_one_line(
    oddwire, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    (tmp_path / "quote.py").write_text(OPTIONS)
    assert await oddwire("run", "quote.py", *LOCAL, *arguments) == (2, "", f"oddwire: {reason}\n")
    assert await oddwire(*LOCAL, *arguments, program=tmp_path / "quote.py") == (2, "", f"oddwire: {reason}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (
            ["typo", *LOCAL],
            2,
            "no extension is called 'typo'; did you mean ./typo.py[?]",
        ),
        (["\x1b[2J\n\x9b\udcff", *LOCAL], 2, r"no extension is called '\\x1b\[2J\\n\\x9b\\udcff'; .*"),
        (["nosuch", *LOCAL], 2, f"no extension is called 'nosuch'; there are: {INSTALLED}"),
        (["./nosuch.py", *LOCAL], 2, "extension file .*nosuch.py does not exist"),
        (["./broken.py", *LOCAL], 2, "broken.py cannot be imported: ModuleNotFoundError: No module named 'nope'"),
        (["./typo.py", *LOCAL], 2, r"typo.py cannot be imported: SyntaxError: .*typo.py, line 2"),
        (["./unready.py", *LOCAL], 1, "could not start: ValueError: no password"),
        (["echo", "echo", *LOCAL], 2, "'echo' is registered twice"),
        (["echo", "./clash.py", *LOCAL], 2, r"type 35841 \(0x8c01\) is claimed by both echo .* and clash"),
        (["echo", "--connect", "nobody"], 2, "URI should be node_id@host:port, not 'nobody'"),
        (["echo", "--connect", "02ab@127.0.0.1:1"], 2, "node id should be"),
        (["echo", "--connect", f"02{'00' * 32}@127.0.0.1:1"], 2, "is not a point on secp256k1"),
        (["echo", "--listen", "127.0.0.1:web"], 2, "port should be 0 to 65535, not 'web'"),
        (["echo", "--listen", "192.0.2.1:9"], 1, "cannot listen on 192.0.2.1:9"),
        (["echo", *LOCAL, "--network", "fakenet"], 2, "network should be one of bitcoin, .*regtest, not 'fakenet'"),
        (["./empty.py", *LOCAL], 2, "'empty' .* should have an Extension, or functions marked @hookimpl"),
        (["./folder.py", *LOCAL], 2, "extension file ./folder.py is a folder without __init__.py"),
        (
            ["echo", *LOCAL, "--proxy", "socks5://a:b@tor"],
            2,
            "proxy should be host:port or socks5://user:password@host",
        ),
        (["echo", *LOCAL, "--proxy", "tor:x"], 2, "port should be 0 to 65535, not 'x'"),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(
    oddwire, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    (tmp_path / "broken.py").write_text("import nope\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "typo.py").write_text("\ndef\n")
    (tmp_path / "clash.py").write_text(QUOTE.replace("0x8D01", "0x8C01").replace('"quote"', '"clash"'))
    (tmp_path / "unready.py").write_text(
        "from oddwire import Extension\nextension = Extension('unready', version='1')\n"
        "@extension.on_startup\nasync def start(context):\n    raise ValueError('no password')\n"
    )
    found, out, err = await oddwire("run", *arguments, "--json")
    assert found == code
    assert re.fullmatch(rf"oddwire: .*{reason}.*\n", err), err
    event = json.loads(out)
    assert (event["event"], f"oddwire: {event['message']}\n") == ("error", err)


async def test_a_port_in_use_is_an_error(oddwire, start) -> None:
    node = await start("run", "echo", *LOCAL, "--json")
    address = (await node.event("listening"))["uri"].partition("@")[2]
    code, out, err = await oddwire("run", "echo", "--listen", address)
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"oddwire: cannot listen on {address}: [Aa]ddress already in use\n", err)


async def test_it_listens_on_several_addresses(start) -> None:
    node = await start("run", "echo", *LOCAL, *LOCAL, "--json")
    first, second = await node.event("listening"), await node.event("listening")
    assert first["uri"] != second["uri"]
    assert first["uri"].partition("@")[0] == second["uri"].partition("@")[0]


async def test_a_peer_that_does_not_answer_shows(start) -> None:
    node = await start("run", "chat", "--connect", NOBODY, "--json")
    assert "127.0.0.1:1" in (await node.event("error"))["message"]
    code, _, err = await node.interrupt()
    assert code == 0
    assert "127.0.0.1:1" in err
    assert "Traceback" not in err


async def test_a_type_in_use_in_the_wild_is_warned_of_in_one_line(start, tmp_path: Path) -> None:
    (tmp_path / "swap.py").write_text(QUOTE.replace("0x8D01", "42069").replace('"quote"', '"swap"'))
    node = await start("run", "swap.py", *LOCAL)
    await node.line("listening")
    code, _, err = await node.interrupt()
    assert code == 0
    assert re.fullmatch(r"warning: swap .* type 42069 is used by PeerSwap .*\n", err)


@pytest.mark.parametrize("as_json", [[], ["--json"]])
async def test_a_reader_that_leaves_ends_it_quietly(start, oddwire, as_json: list[str]) -> None:
    node = await start("run", "echo", *LOCAL, *as_json)
    uri = re.search(r"0[23]\w{64}@[\d.:]+", await node.line("listening")).group()
    node.process.stdout._transport.close()  # there is no public way to stop reading
    await oddwire("send", uri, "echo.Request", "text=x")
    assert await asyncio.wait_for(node.process.wait(), 30) == 0
    _, _, err = await node.end()
    assert err == ""


async def test_a_full_disk_ends_it_with_an_error(start) -> None:
    with Path("/dev/full").open("wb") as full:
        node = await start("run", "echo", *LOCAL, stdout=full)
    code = await asyncio.wait_for(node.process.wait(), 30)
    assert (code, (await node.end())[2]) == (1, "oddwire: stdout: No space left on device\n")


async def test_without_stdout_it_says_what_is_wrong_all_the_same() -> None:
    # Without asyncio's debug mode, which tells on stderr what a busy machine takes long for
    command = f"unset PYTHONASYNCIODEBUG; {shlex.quote(sys.executable)} -m oddwire.cli.main run nosuch >&-"
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err.count(b"\n")) == (2, 1)
    assert err.startswith(b"oddwire: no extension is called 'nosuch'")


BRIEF = """
import asyncio
from oddwire import Extension

extension = Extension("brief", version="1")

@extension.on_startup
async def start(context):
    asyncio.get_running_loop().call_later(0.1, context.app.stop)
"""


async def test_it_says_when_nobody_can_be_reached(oddwire, tmp_path: Path) -> None:
    (tmp_path / "brief.py").write_text(BRIEF)
    remark = "neither --listen nor --connect: no peer is reached but those that an extension dials\n"
    assert await oddwire("run", "./brief.py") == (0, "", remark)
    assert (await oddwire("run", "./brief.py", *LOCAL))[2] == ""


async def test_a_reader_that_is_behind_does_not_stop_the_node(start, oddwire) -> None:
    reading, writing = os.pipe()
    await start("run", "echo", *LOCAL, "--json", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as unread:
        uri = json.loads(unread.readline())["uri"]
        # Each makes two events of 120 000 bytes, a pipe holds 65 536
        for _ in range(3):
            _, out, _ = await oddwire("send", uri, "echo.BoltRequest", f"data={'00' * 60_000}", "--wait", "0.5")
            assert "<- " in out


async def test_what_is_typed_need_not_wait_for_a_peer(start) -> None:
    absent = "02083710ef6acf2cf1cd85254dcea01cbe1b9e78f41411d952b40171b5023d0797"
    arguments = ("run", "courier", "--connect", f"{absent}@127.0.0.1:1", "--json")
    courier = await start(*arguments, stdin=asyncio.subprocess.PIPE)
    Path(courier.directory, "my report.pdf").write_bytes(b"data")
    await courier.type(f"courier-send {absent} my\\ report.pdf\r\n")
    assert (await courier.event("result"))["value"] == {"name": "my report.pdf", "size": 4}
    code, out, _ = await courier.interrupt()
    assert code == 0
    assert not any(json.loads(line)["event"] == "connected" for line in out.splitlines())


async def test_through_a_proxy_that_is_not_there(start) -> None:
    node = await start("run", "chat", "--connect", NOBODY, "--proxy", "127.0.0.1:2", "--json")
    assert "proxy 127.0.0.1:2" in (await node.event("error"))["message"]


async def test_stdin_at_its_end_does_not_matter(start) -> None:
    node = await start("run", "chat", *LOCAL, stdin=os.open(os.devnull, os.O_RDONLY))
    await node.line("listening")
    assert (await node.interrupt())[0] == 0


async def test_uvloop_does_the_same(start, oddwire) -> None:
    pytest.importorskip("uvloop")
    node = await start("run", "echo", *LOCAL, "--uvloop", "--json")
    uri = (await node.event("listening"))["uri"]
    _, out, _ = await oddwire("send", uri, "echo.Request", "text=x", "--wait", "0.5")
    assert "echo.Reply" in out
    assert (await node.interrupt())[0] == 0


async def test_an_extension_that_does_nothing_is_told_of(start, tmp_path: Path) -> None:
    text = "from oddwire import Extension\nextension = Extension('idle', version='1.0')\n"
    (tmp_path / "idle.py").write_text(text)
    (tmp_path / "program.py").write_text(text + "extension.run()\n")
    for program in (await start("run", "./idle.py", "echo", *LOCAL), await start(*LOCAL, program=Path("program.py"))):
        await program.line("listening")
        _, _, err = await program.interrupt()
        assert re.search(r"^warning: extension 'idle' \(.*\) does nothing: it has no handlers", err, re.MULTILINE)
        assert "'echo'" not in err


SWALLOWS = """
import asyncio
from oddwire import Extension

extension = Extension("stubborn", version="1.0")

@extension.on_startup
async def start(context) -> None:
    print("starting", flush=True)
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        pass

@extension.on_shutdown
async def end(context) -> None:
    print("shut down", flush=True)
"""


async def test_a_signal_that_an_extension_swallows_at_the_start_ends_it_all_the_same(start, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(SWALLOWS)
    node = await start("run", tmp_path / "stubborn.py", *LOCAL)
    await node.line("starting")
    code, out, _ = await node.interrupt(signal.SIGTERM)
    assert code == 0
    assert "shut down" in out  # in the middle of a line, perhaps: "listening" is written by a thread
