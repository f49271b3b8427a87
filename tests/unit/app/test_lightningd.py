"""A process under something that speaks as lightningd does."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.support.extensions import INSTALLED

from oddwire.app.lightningd import is_hosted, store_name
from oddwire.app.programs.claims import Claim, program_number
from oddwire.app.programs.registry import FOLDER
from oddwire.files import FileLock
from oddwire.jsonrpc.documents import JsonSplitter, encode
from oddwire.jsonrpc.server import JsonRpcServer

PATIENCE = 30.0
G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
PEER = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"

QUOTE = """
import asyncio, logging, os, sys, threading, time, warnings
from oddwire import AppContext, Context, Extension, Message, message

print("printed at import")
extension = Extension("quote", version="1.0", feature=513)

@message(0x8D01)
class Ask(Message):
    what: str

@message(0x8D03, codec="raw")
class Answer(Message):
    text: bytes

@extension.option("quote-asset")
def asset(value: str = "eur") -> str:
    if value == "jpy":
        raise KeyboardInterrupt("no yen")
    if value not in ("eur", "usd", "gen", "key", "can", "sto", "odd"):
        raise ValueError("should be eur or usd")
    return value.upper()

@extension.on_startup
async def start(context):
    if context.options["quote-asset"] == "USD":
        sys.exit("no dollars")
    if context.options["quote-asset"] in ("GEN", "KEY", "CAN", "STO", "ODD"):
        (kind,) = (kind for kind in ODD if kind.__name__.upper().startswith(context.options["quote-asset"]))
        raise kind("by hand")
    logging.getLogger("somebody").warning("starting\\nin two lines")
    logging.getLogger("somebody").debug("nobody wants to know")

@extension.on_shutdown
async def stop(context):
    with open("saved", "w") as file:
        file.write("all of it")

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Answer:
    match ask.what:
        case "exit":
            sys.exit(3)
        case "exit in a task":
            asyncio.get_running_loop().create_task(leave())
        case "interrupt in a task":
            asyncio.get_running_loop().create_task(interrupt())
        case kind if kind.startswith("raise "):
            raise {kind.__name__: kind for kind in ODD}[kind.removeprefix("raise ")]("by hand")
        case "print":
            os.write(1, b"printed in a handler\\n")
        case "block":
            context.logger.info("blocking")
            time.sleep(3600)
        case "hang":
            context.logger.info("hanging")
            await asyncio.Event().wait()
        case "stop":
            context.app.stop()
        case "warn":
            warnings.warn("this is odd", stacklevel=1)
        case "thread":
            thread = threading.Thread(target=fail, name="worker")
            thread.start()
            thread.join()
            Odd()
    return Answer(text=ask.what.encode())

async def leave():
    sys.exit(4)

async def interrupt():
    raise KeyboardInterrupt("by hand")

class Odd2(BaseException):
    pass

ODD = (GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError, StopIteration, Odd2)

def fail():
    raise ValueError("\x1b[2J\\nforged")

class Odd:
    def __repr__(self):
        return "odd"
    def __del__(self):
        fail()

@extension.rpc("quote-show")
async def show(context: AppContext, what: str = "options") -> object:
    match what:
        case "modules":
            return sorted(sys.modules)
        case "node":
            return {"id": (await context.node.call("getinfo"))["id"], "peers": context.app.peers[0].node_id}
    return dict(context.options)

if __name__ == "__main__":
    extension.run()
"""

RELIABLE = """
from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("quote", version="1.0")

@message(0x8D01)
class Ask(Message):
    what: str

@extension.on(Ask, reliable=True)
async def ask(context: Context, ask: Ask) -> None: ...

if __name__ == "__main__":
    extension.run()
"""


class Lightningd:
    """What a plugin sees of lightningd: the other ends of its stdin and stdout, and the RPC socket."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.logs: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.folder = folder
        self.raw = b""
        self._splitter = JsonSplitter()
        self._documents: list[Any] = []
        self._errors = asyncio.ensure_future(process.stderr.read())
        self.socket = f"rpc-of-{process.pid}"
        self._server = JsonRpcServer(folder / self.socket, self._called)

    def _called(self, request: Any, connection: Any) -> bytes:
        self.calls.append(request)
        result = {
            "getinfo": {"id": G, "address": [], "binding": []},
            "listpeers": {"peers": [{"id": PEER, "connected": True, "netaddr": ["127.0.0.1:1"], "features": ""}]},
            "sendcustommsg": {"status": "Message sent to connectd for delivery"},
        }[request["method"]]
        return encode({"jsonrpc": "2.0", "id": request["id"], "result": result})

    async def document(self, wanted: Callable[[Any], bool]) -> Any:
        """Read what the plugin writes, up to what is wanted."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for document in self._documents:
                        if wanted(document):
                            self._documents.remove(document)
                            return document
                    chunk = await self.process.stdout.read(65536)
                    if not chunk:
                        raise AssertionError(f"it ended: {self.logs}, {(await self._errors).decode()}")
                    self.raw += chunk
                    self._splitter.push(chunk)
                    for document in self._splitter:
                        self._documents.append(document)
                        if document.get("method") == "log":
                            self.logs.append("{level} {message}".format(**document["params"]))
        except TimeoutError:
            raise AssertionError(f"waited in vain; logged: {self.logs}") from None

    async def logged(self, text: str) -> str:
        """Read up to a line of log that is ``text``."""
        await self.document(lambda document: document.get("params", {}).get("message") == text)
        return next(line for line in self.logs if line.endswith(text))

    def write(self, method: str, params: Any, key: str | None = None) -> None:
        request = {"jsonrpc": "2.0", "method": method, "params": params}
        self.process.stdin.write(encode(request | ({} if key is None else {"id": key})))

    async def call(self, method: str, params: Any) -> Any:
        self.write(method, params, f"cln:{method}#1")
        answer = await self.document(lambda document: document.get("id") == f"cln:{method}#1")
        return answer["result"] if "result" in answer else answer["error"]

    async def start(self, **options: Any) -> Any:
        """Ask for the manifest, and have it start."""
        await self._server.start()
        manifest = await self.call("getmanifest", {"allow-deprecated-apis": False})
        if "disable" in manifest:
            return manifest
        configuration = {"lightning-dir": str(self.folder), "rpc-file": self.socket, "network": "regtest"}
        return await self.call("init", {"options": options, "configuration": configuration})

    async def say(self, what: str) -> None:
        """Bring a message, by notification and by hook: the hook is answered whatever becomes of it."""
        payload = (0x8D01).to_bytes(2, "big") + b"\x81\xa4what" + bytes([0xA0 + len(what)]) + what.encode()
        told = {"peer_id": PEER, "payload": payload.hex()}
        self.write("custommsg", {"custommsg": told})
        assert await self.call("custommsg", told) == {"result": "continue"}

    async def answered(self, text: str) -> None:
        """Wait until the peer has its answer."""
        payload = (b"\x8d\x03" + text.encode()).hex()
        async with asyncio.timeout(PATIENCE):
            while not any(c["params"].get("msg") == payload for c in self.calls if c["method"] == "sendcustommsg"):
                await asyncio.sleep(0.01)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE):
            while chunk := await self.process.stdout.read(65536):
                self._splitter.push(chunk)
                for document in self._splitter:
                    if document.get("method") == "log":
                        self.logs.append("{level} {message}".format(**document["params"]))
            return await self.process.wait()

    async def aclose(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._server.aclose()
        self.stderr = (await self._errors).decode()


Run = Callable[..., Coroutine[Any, Any, Lightningd]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Start a Python program, by default the one above, as a plugin: ``await run(QUOTE, "folder/quote.py")``."""
    nodes: list[Lightningd] = []
    hidden = ("PYTHONASYNCIODEBUG", "PYTHONUNBUFFERED")  # the first logs what is slow; of the second, see the docs
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"LIGHTNINGD_PLUGIN": "1", "LIGHTNINGD_VERSION": "v26.06"}

    async def begin(program: str = QUOTE, file: str = "quote.py") -> Lightningd:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(program)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(tmp_path / file),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment,
            cwd=tmp_path,
        )
        nodes.append(Lightningd(process, tmp_path))
        return nodes[-1]

    yield begin
    for node in nodes:
        await node.aclose()


async def test_an_extension_is_a_plugin_as_it_stands(run: Run) -> None:
    node = await run()
    assert await node.start(**{"quote-asset": "eur"}) == {}
    # Not the three that each plugin file has for its operator
    assert await node.call("quote-show", []) == {"quote-asset": "EUR"}
    assert await node.call("quote-show", {"what": "node"}) == {"id": G, "peers": PEER}
    assert await node.call("quote-show", {"waht": 1}) | {"message": ""} == {"code": -32602, "message": ""}
    assert await node.call("check", ["quote-show"]) == {"command_to_check": "quote-show"}
    await node.say("hello")
    await node.answered("hello")


async def test_all_that_is_printed_and_logged_goes_to_the_nodes_log(run: Run) -> None:
    node = await run()
    await node.start()
    await node.say("print")
    await node.say("warn")
    await node.say("thread")
    assert await node.logged("printed at import") == "info printed at import"
    assert await node.logged("printed in a handler") == "info printed in a handler"
    # A line break in a message could be a peer's: what follows it would pass for a line of its own
    text = "somebody: starting\\nin two lines"
    assert await node.logged(text) == f"unusual {text}"
    await node.document(lambda document: "UserWarning: this is odd" in document.get("params", {}).get("message", ""))
    # What Python prints on stderr would be as it is there, and that is the node's
    line = "oddwire.app: a thread, worker, ended with an exception"
    assert await node.logged(line) == f"broken {line}"
    assert await node.logged("  forged") == "broken   forged"
    ignored = "oddwire.app: an exception is ignored in: <function Odd.__del__"
    await node.document(lambda document: document.get("params", {}).get("message", "").startswith(ignored))
    assert not any("\x1b" in line for line in node.logs)
    assert not any("nobody wants to know" in line for line in node.logs)
    assert node.raw.startswith(b'{"jsonrpc":"2.0"')


@pytest.mark.parametrize("way", ["shutdown", "end of stdin", "SIGTERM", "SIGTERM twice", "SIGINT"])
async def test_every_way_to_the_end_saves_and_exits_with_0(run: Run, tmp_path: Path, way: str) -> None:
    node = await run()
    await node.start()
    if way == "SIGTERM":
        await node.say("hang")
        await node.logged("oddwire.extension.quote: hanging")
    match way:
        case "shutdown":
            node.write("shutdown", {})
        case "end of stdin":
            node.process.stdin.close()
        case "SIGTERM twice":
            for _ in range(2):
                node.process.send_signal(signal.SIGTERM)
        case _:
            node.process.send_signal(signal.Signals[way])
    assert await node.end() == 0
    assert (tmp_path / "saved").read_text() == "all of it"


async def test_a_handler_that_blocks_cannot_keep_the_process(run: Run, tmp_path: Path) -> None:
    node = await run()
    await node.start()
    await node.say("block")
    await node.logged("oddwire.extension.quote: blocking")
    await node.say("hello")  # answered all the same
    node.write("shutdown", {})
    assert await node.end() == -signal.SIGALRM
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("what", ["exit", "exit in a task", "interrupt in a task", "raise KeyboardInterrupt"])
async def test_what_would_end_a_program_ends_nothing(run: Run, what: str) -> None:
    node = await run()
    await node.start()
    await node.say(what)
    await node.document(lambda document: "app.stop()" in document.get("params", {}).get("message", ""))
    await node.say("hello")
    await node.answered("hello")


@pytest.mark.parametrize(
    "kind", ["GeneratorExit", "KeyboardInterrupt", "SystemExit", "CancelledError", "StopIteration", "Odd2"]
)
async def test_whatever_a_handler_raises_is_its_failure(run: Run, kind: str) -> None:
    node = await run()
    await node.start()
    for _ in range(2):
        await node.say(f"raise {kind}")
        await node.document(lambda document: "handler of Ask of 'quote' failed" in str(document))
        if kind != "StopIteration":
            await node.document(lambda document: f"{kind}: by hand" in str(document))
        await node.say("hello")
        await node.answered("hello")
        node.calls.clear()


@pytest.mark.parametrize(
    ("asset", "reason"),
    [
        ("gen", "an extension raised GeneratorExit: by hand"),
        ("key", "an extension raised KeyboardInterrupt: by hand"),
        ("can", "an extension raised CancelledError: by hand"),
        ("odd", "Odd2: by hand"),
        ("jpy", "an extension raised KeyboardInterrupt: no yen"),
    ],
)
async def test_whatever_startup_raises_disables_the_plugin(run: Run, asset: str, reason: str) -> None:
    node = await run()
    assert await node.start(**{"quote-asset": asset}) == {"disable": reason}
    assert await node.end() == 1
    told_before_disabled(node, f"cannot run: {reason}")


async def test_a_file_that_raises_as_it_is_loaded_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("raise KeyboardInterrupt('by hand')\n")
    node = await run(LOAD.format("'./raises.py'"))
    await node._server.start()
    assert await node.call("getmanifest", {}) == {"disable": "KeyboardInterrupt: by hand"}
    assert await node.end() == 1


async def test_stop_ends_it(run: Run) -> None:
    node = await run()
    await node.start()
    await node.say("stop")
    assert await node.end() == 0


async def test_it_waits_for_the_end_of_a_plugin_whose_node_has_died(run: Run, tmp_path: Path) -> None:
    predecessor = FileLock(tmp_path / (store_name("quote.py") + ".lock"))
    node = await run(RELIABLE)
    starting = asyncio.create_task(node.start())
    await asyncio.sleep(0.5)
    assert not starting.done()
    predecessor.release()
    assert await starting == {}


def is_claim(path: Path) -> bool:
    return path.suffix not in (".options", ".rpc", ".stats") and path.name not in ("lock", "oddwire-stats")


def claims(folder: Path) -> dict[str, Claim]:
    """What programs say of themselves, by the names of their files."""
    read = [Claim.decode(path.read_bytes()) for path in (folder / FOLDER).iterdir() if is_claim(path)]
    return {str(Path(claim.file).relative_to(folder)): claim for claim in read}


async def test_a_plugin_says_what_it_is_as_long_as_it_runs(run: Run, tmp_path: Path) -> None:
    node = await run()
    await node.start()
    assert claims(tmp_path)["quote.py"] == Claim(
        file=str(tmp_path / "quote.py"),
        process=node.process.pid,
        program=program_number(G, str(tmp_path / "quote.py")),
        store=str(tmp_path / "oddwire-quote.sqlite3"),
        stores=claims(tmp_path)["quote.py"].stores,
        extensions=("quote",),
        types=(0x8D01,),  # and not that of the answer, which it does not take
    )
    node.write("shutdown", {})
    assert await node.end() == 0
    assert claims(tmp_path) == {}


def is_ending(claim: Path) -> bool:
    """Whether a program holds its claim no longer for itself alone."""
    with claim.open("rb") as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False


PAIR = ("quote.py and {0}/other.py both have the extension 'quote'", "take messages of type 0x8d01")


async def warned(node: Lightningd, text: str) -> None:
    await node.document(lambda document: text in document.get("params", {}).get("message", ""))
    assert sum(text in line for line in node.logs) == 1
    assert all(line.startswith("unusual oddwire.app: ") for line in node.logs if text in line)


async def test_two_plugins_with_one_extension_are_both_told_of(run: Run, tmp_path: Path) -> None:
    first = await run()
    await first.start()
    second = await run(QUOTE, "other.py")
    await second.start()
    for node in (second, first):
        for text in PAIR:
            await warned(node, text.format(tmp_path))
    await second.say("hello")
    await second.answered("hello")


async def test_a_plugin_that_was_killed_is_not_told_of(run: Run, tmp_path: Path) -> None:
    first = await run()
    await first.start()
    first.process.kill()
    await first.process.wait()
    second = await run(QUOTE, "other.py")
    await second.start()
    await second.say("hello")
    await second.answered("hello")
    assert claims(tmp_path).keys() == {"other.py"}
    assert not any("other.py" in line for line in second.logs)


async def test_a_plugin_that_is_about_to_end_is_not_told_of(run: Run, tmp_path: Path) -> None:
    """Its extension has moved to another file, which starts before the last handlers have ended."""
    first = await run()
    await first.start()
    await first.say("hang")
    await first.logged("oddwire.extension.quote: hanging")
    first.write("shutdown", {})
    (claim,) = (path for path in (tmp_path / FOLDER).iterdir() if is_claim(path))
    async with asyncio.timeout(PATIENCE):
        while not is_ending(claim):
            await asyncio.sleep(0.01)
    first.process.send_signal(signal.SIGSTOP)
    second = await run(QUOTE, "other.py")
    await second.start()
    await second.say("hello")
    await second.answered("hello")
    assert claims(tmp_path).keys() == {"quote.py", "other.py"}
    first.process.send_signal(signal.SIGCONT)
    await first.end()
    assert not any("other.py" in line for node in (first, second) for line in node.logs)


async def test_a_second_plugin_of_the_same_name_is_told_whose_the_store_is(run: Run, tmp_path: Path) -> None:
    first = await run(RELIABLE)
    assert await first.start() == {}
    may_ask_urgently = "import oddwire.app.lightningd\noddwire.app.lightningd._SUCCESSION = 0.5\n"
    second = await run(may_ask_urgently + RELIABLE, "folder/quote.py")
    answer = await second.start()
    assert answer["disable"] == (
        f"oddwire-quote.sqlite3 is in use by plugin file {tmp_path}/quote.py, which has the same name as "
        f"{tmp_path}/folder/quote.py, and so the same store; give one of the two another name"
    )
    assert await second.end() == 1
    told_before_disabled(second, f"cannot run: {answer['disable']}")


def told_before_disabled(node: Lightningd, text: str) -> None:
    """See that a line is in the node's log once, and before ``disable``: lightningd kills the plugin at that."""
    assert node.logs.count(f"broken oddwire.app: {text}") == 1
    assert 0 <= node.raw.find(text.partition(":")[0].encode()) < node.raw.find(b'{"disable":')


async def test_what_a_plugin_file_of_another_name_has_kept_is_told_of_once(run: Run, tmp_path: Path) -> None:
    """When the new store is made, not at later starts."""
    former = await run(RELIABLE, "market.py")
    await former.start()
    former.write("shutdown", {})
    assert await former.end() == 0
    old, new = (tmp_path / store_name(name) for name in ("market.py", "quote.py"))
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as database:
        database.execute("INSERT INTO oddwire_values VALUES ('quote', x'00', 1, 0)")
    for expected in (1, 0):
        node = await run(RELIABLE)
        await node.start()
        node.write("shutdown", {})
        assert await node.end() == 0
        text = f"unusual oddwire.app: the store {new} is new and empty, while {old}, which no program uses, has 1 value"
        assert sum(line.startswith(text) for line in node.logs) == expected


async def test_a_store_that_is_in_use_by_no_plugin_is_told_of_as_it_is(run: Run, tmp_path: Path) -> None:
    other = FileLock(tmp_path / (store_name("quote.py") + ".lock"))
    node = await run("import oddwire.app.lightningd\noddwire.app.lightningd._SUCCESSION = 0.5\n" + RELIABLE)
    text = f"oddwire-quote.sqlite3 is in use by process {os.getpid()}; stop it, or choose another file"
    assert await node.start() == {"disable": text}
    other.release()


async def test_two_plugins_of_the_same_name_that_keep_nothing_run(run: Run, tmp_path: Path) -> None:
    first = await run()
    await first.start()
    second = await run(QUOTE, "folder/quote.py")
    await second.start()
    for node in (second, first):
        await warned(node, f"have one name, and so one store, {tmp_path}/oddwire-quote.sqlite3")
        await node.say("hello")
        await node.answered("hello")


async def test_a_folder_that_nobody_can_use_is_told_of_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    node = await run()
    await node.start()
    await warned(node, "other plugin files of this node cannot be found")
    await node.say("hello")
    await node.answered("hello")


async def test_an_option_that_will_not_do_disables_the_plugin(run: Run) -> None:
    node = await run()
    text = "option 'quote-asset' of 'quote' cannot be 'gbp': should be eur or usd"
    assert await node.start(**{"quote-asset": "gbp"}) == {"disable": text}
    assert await node.end() == 1
    told_before_disabled(node, f"cannot run: {text}")


async def test_a_startup_that_fails_disables_the_plugin(run: Run) -> None:
    node = await run()
    assert await node.start(**{"quote-asset": "usd"}) == {"disable": "SystemExit: no dollars"}
    assert await node.end() == 1
    told_before_disabled(node, "cannot run: SystemExit: no dollars")


LOAD = "from oddwire import run_plugin\nrun_plugin({})"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("'nosuch'", f"no extension is called 'nosuch'; there are: {INSTALLED}"),
        ("'echo', 'echo'", "plugin 'echo' is registered twice; it should be registered once"),
        ("'./leaving.py'", r".*leaving.py cannot be imported: it ends the program, by SystemExit\(5\)"),
        (
            "'./broken.py'",
            r"extension file .*broken.py cannot be imported: .*Error: No module named 'nope' \(broken.py, line 1\)",
        ),
    ],
)
async def test_what_cannot_be_loaded_disables_the_plugin(run: Run, tmp_path: Path, arguments: str, reason: str) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(5)\n")
    (tmp_path / "broken.py").write_text("import nope\n")
    node = await run(LOAD.format(arguments))
    answer = await node.start()
    assert re.fullmatch(reason, answer["disable"])
    assert await node.end() == 1
    told_before_disabled(node, f"cannot load: {answer['disable']}")


async def test_an_extension_that_does_nothing_is_in_the_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text("from oddwire import Extension\nextension = Extension('idle', version='1.0')\n")
    node = await run(LOAD.format("'./idle.py', 'echo'"))
    assert "disable" not in await node.start()
    node.write("shutdown", {})
    assert await node.end() == 0
    [line] = [line for line in node.logs if line.startswith("unusual oddwire.app: extension")]
    assert "'idle'" in line
    assert "does nothing" in line


async def test_a_signal_while_it_loads_ends_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "signalled.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n{QUOTE}")
    node = await run(LOAD.format("'./signalled.py'"))
    node.write("getmanifest", {}, "cln:getmanifest#1")
    assert await node.end() == 0
    assert "info oddwire.app: stopping: SIGTERM" in node.logs


async def test_what_comes_with_getmanifest_is_done_as_well(run: Run) -> None:
    node = await run()
    await node._server.start()
    node.write("getmanifest", {}, "cln:getmanifest#1")
    configuration = {"lightning-dir": str(node.folder), "rpc-file": node.socket, "network": "regtest"}
    node.write("init", {"options": {}, "configuration": configuration}, "cln:init#2")
    await node.say("hello")
    await node.answered("hello")
    for key in ("cln:getmanifest#1", "cln:init#2"):
        assert "result" in await node.document(lambda document, key=key: document.get("id") == key)


async def test_several_extensions_share_a_process(run: Run) -> None:
    node = await run(LOAD.format("'echo', 'chat', receive='notification'"))
    await node._server.start()
    manifest = await node.call("getmanifest", {})
    names = [method["name"] for method in manifest["rpcmethods"]]
    assert names == ["chat-say", "quote-stats", "oddwire-stats"]
    assert "custommsg" in manifest["subscriptions"]


async def test_nothing_is_imported_that_a_plugin_does_not_need(run: Run) -> None:
    node = await run()
    await node.start()
    modules = set(await node.call("quote-show", ["modules"]))
    assert "oddwire.app.lightningd" in modules
    unwanted = {
        "typer",
        "rich",
        "cryptography",
        "python_socks",
        "oddwire.cli",
        "oddwire.transports.bolt8.transport",
        "oddwire.node",
    }
    assert not modules & unwanted


@pytest.mark.parametrize(
    ("extension", "code", "text"),
    [
        ("'echo'", 0, "quote.py is a plugin: lightningd --plugin={path} runs it"),
        ("'eco'", 1, "quote.py is a plugin that cannot be loaded: no extension is called 'eco'; did you mean 'echo'?"),
    ],
)
async def test_without_lightningd_it_is_only_tried(extension: str, code: int, text: str, tmp_path: Path) -> None:
    """So reckless tries a plugin before it installs it."""
    (tmp_path / "quote.py").write_text(LOAD.format(extension))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "quote.py",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        cwd=tmp_path,
    )
    out, errors = await process.communicate()
    assert (process.returncode, out) == (code, b"")
    assert errors.decode() == text.format(path=tmp_path / "quote.py") + "\n"


def test_the_environment_tells_who_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNINGD_PLUGIN", raising=False)
    assert not is_hosted()
    monkeypatch.setenv("LIGHTNINGD_PLUGIN", "1")
    assert is_hosted()


def test_each_plugin_has_a_store_of_its_own() -> None:
    assert store_name("/home/node/plugins/market.py") == "oddwire-market.sqlite3"
    assert store_name("market") == "oddwire-market.sqlite3"
