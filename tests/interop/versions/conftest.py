"""A double of lightningd as a plugin sees it, with the habits of its versions: both ends of two pipes, and a socket.

What the versions do is from Core Lightning's changelog and from recordings; where a version's habit is not known for
sure, the double has the more awkward one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pytest

EXTENSIONS = Path(__file__).parent.parent / "extensions"
LIMIT = 30  # seconds; reached only by what hangs
OUR_ID = "020fe7e42ddfa8dd20e641dbf8489c7c61fba690e83ce7c9d9c45c532d122831a4"
HELLO = "c0dd"  # every application greets its peers so
SENT = {"status": "Message sent to connectd for delivery"}


def compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n\n"


def spacious(document: Any) -> str:
    """With line ends inside a document, empty ones too, and none but one after it."""
    return json.dumps(document, indent=3).replace("\n", "\n\n") + "\n"


def as_the_cli_writes(document: Any) -> str:
    """As lightning-cli writes, whose requests lightningd hands on as they are."""
    return json.dumps(document, separators=(" ,\t", " : ")) + "\r\n\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What differs between versions."""

    version: str
    params: Literal["flat", "both", "wrapped"] = "wrapped"
    """How the parameters of ``connect``, ``disconnect`` and ``shutdown`` look."""
    filters: bool = True
    """Whether hooks' filters are heeded."""
    tells_of_messages: bool = True
    """Whether there is a ``custommsg`` notification."""
    numeric_ids: bool = False
    write: Callable[[Any], str] = compact
    chunk: int = 1 << 30
    """How many bytes are written at a time."""


VERSIONS = (
    Habits(
        version="v23.11",
        params="flat",
        filters=False,
        tells_of_messages=False,
        numeric_ids=True,
        write=spacious,
    ),
    Habits(version="v24.02", params="both", filters=False, write=as_the_cli_writes, chunk=1),
    Habits(version="v25.09.3-modded", filters=False, chunk=7),
    Habits(version="v26.06", chunk=100),
)


class ScriptedHost:
    """One extension's process, and lightningd's end of everything that leads to it.

    ``answers`` says what the RPC methods give: a function of the parameters, whose exceptions of class `Refusal` are
    errors. ``calls`` holds the calls that nobody has taken yet.
    """

    def __init__(self, folder: Path, habits: Habits) -> None:
        self.folder = folder
        self.habits = habits
        self.manifest: dict[str, Any] = {}
        self.log: list[tuple[str, str]] = []
        self.calls: list[tuple[str, Any]] = []
        self.connections = 0
        self.answers: dict[str, Callable[[Any], Any]] = {
            "getinfo": lambda params: {"id": OUR_ID, "version": habits.version, "network": "regtest", "binding": []},
            "listpeers": self._list_peers,
            "sendcustommsg": self._send,
        }
        self.peers: dict[str, dict[str, Any]] = {}
        self.reading = asyncio.Event()
        self.reading.set()
        """Cleared, nothing of what the plugin writes is read."""
        self._answers: dict[str | int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._changed = asyncio.Event()
        self._errors: list[str] = []
        self._fault: str | None = None
        self._ended = False
        self._killed = False
        self._clients: set[asyncio.StreamWriter] = set()

    # The process ----------------------------------------------------------------------------------------

    @classmethod
    async def start(cls, folder: Path, habits: Habits, program: Path, environment: Mapping[str, str]) -> Self:
        """Start the RPC and the process, and ask it nothing yet."""
        host = cls(folder, habits)
        host._server = await asyncio.start_unix_server(host._serve, folder / "lightning-rpc")
        host.process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
                # The extensions say `env python3`: that has to be the one with oddwire
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "LIGHTNINGD_PLUGIN": "1",
                "LIGHTNINGD_VERSION": habits.version,
                **environment,
            },
            start_new_session=True,
        )
        host._tasks = [asyncio.create_task(host._read()), asyncio.create_task(host._read_errors())]
        return host

    async def aclose(self) -> None:
        """End the process and whatever it has started; fails if it has written what it should not."""
        if self.running:
            self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reading.set()
        await self.process.wait()
        await asyncio.gather(*self._tasks)
        self.drop_clients()
        self._server.close()
        await self._server.wait_closed()
        if self.process.stdin is not None:
            self.process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await self.process.stdin.wait_closed()
        assert self._fault is None, self._report(self._fault)

    async def gone(self, within: float) -> int:
        """Wait until the process has ended, and give its exit code."""
        async with self._deadline("its end", within):
            return await self.process.wait()

    async def end_of_output(self, within: float) -> None:
        """Wait until nobody is left who could write on the plugin's stdout."""
        async with self._deadline("the end of its output", within):
            await asyncio.shield(self._tasks[0])

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    # What lightningd writes -----------------------------------------------------------------------------

    def write(self, text: str) -> None:
        data = text.encode()
        assert self.process.stdin is not None
        for start in range(0, len(data), self.habits.chunk):
            self.process.stdin.write(data[start : start + self.habits.chunk])

    def hang_up(self) -> None:
        """Close the plugin's stdin, as a lightningd that is killed does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ask(self, method: str, params: Any, name: str = "") -> asyncio.Future[dict[str, Any]]:
        """Write a request; the future gives the whole answer."""
        self._last_id += 1
        key: str | int = self._last_id if self.habits.numeric_ids else f"cln:{name or method}#{self._last_id}"
        future = self._answers[key] = asyncio.get_running_loop().create_future()
        self.write(self.habits.write({"jsonrpc": "2.0", "id": key, "method": method, "params": params}))
        return future

    async def request(self, method: str, params: Any) -> dict[str, Any]:
        """Ask, and wait for the whole answer."""
        async with self._deadline(f"the answer to {method}"):
            return await self.ask(method, params)

    async def result(self, method: str, params: Any = ()) -> Any:
        """Ask, and wait for the result."""
        answer = await self.request(method, params if isinstance(params, dict) else list(params))
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, params: Any = ()) -> tuple[int, str]:
        """Ask, and wait for the error."""
        answer = await self.request(method, params if isinstance(params, dict) else list(params))
        assert "error" in answer, answer
        assert set(answer["error"]) <= {"code", "message", "data"}
        return answer["error"]["code"], answer["error"]["message"]

    async def load(self) -> dict[str, Any]:
        """Ask for the manifest."""
        self.manifest = await self.result("getmanifest", {"allow-deprecated-apis": self.habits.params != "wrapped"})
        return self.manifest

    async def init(self, options: Mapping[str, Any] | None = None, *, startup: bool = True) -> dict[str, Any]:
        """Have the plugin start, with values for some of its options; the others have their defaults."""
        values = {
            option["name"]: option["default"]
            for option in self.manifest["options"]
            if option.get("default") is not None and option["type"] != "flag"
        }
        features = "800898880a8a59a1"
        configuration = {
            "lightning-dir": str(self.folder),
            "rpc-file": "lightning-rpc",
            "startup": startup,
            "network": "regtest",
            "feature_set": {"init": features, "node": features, "channel": "", "invoice": "02000002024100"},
        }
        return await self.result("init", {"options": {**values, **(options or {})}, "configuration": configuration})

    def notify(self, topic: str, params: Mapping[str, Any]) -> None:
        """Tell of something, if the plugin wants to hear of it."""
        if topic in self.manifest["subscriptions"]:
            wrapped, flat = {topic: dict(params)}, dict(params)
            shapes = {"flat": flat, "both": {**flat, **wrapped}, "wrapped": wrapped}
            self.write(self.habits.write({"jsonrpc": "2.0", "method": topic, "params": shapes[self.habits.params]}))

    def add_peer(self, peer: str, features: str = "") -> None:
        """Have a connected peer without telling the plugin."""
        self.peers[peer] = {
            "id": peer,
            "connected": True,
            "num_channels": 0,
            "netaddr": ["127.0.0.1:9735"],
            "features": features,
        }

    def connect(self, peer: str, features: str = "") -> None:
        """Have a peer connect."""
        self.add_peer(peer, features)
        self.tell_of_connect(peer)

    def tell_of_connect(self, peer: str) -> None:
        address = {"type": "ipv4", "address": "127.0.0.1", "port": 9735}
        self.notify("connect", {"id": peer, "direction": "in", "address": address})

    def disconnect(self, peer: str) -> None:
        """Have a peer disconnect."""
        self.peers.pop(peer, None)
        self.notify("disconnect", {"id": peer})

    def shut_down(self) -> None:
        self.notify("shutdown", {})

    def hand_on(self, peer: str, payload: bytes) -> asyncio.Future[dict[str, Any]] | None:
        """Tell of a message and call the hook with it, as far as the plugin asked for that."""
        if self.habits.tells_of_messages and "custommsg" in self.manifest["subscriptions"]:
            told = {"custommsg": {"peer_id": peer, "payload": payload.hex()}}
            self.write(self.habits.write({"jsonrpc": "2.0", "method": "custommsg", "params": told}))
        for hook in self.manifest["hooks"]:
            filters = hook.get("filters") if self.habits.filters else None
            if hook["name"] == "custommsg" and (filters is None or int.from_bytes(payload[:2], "big") in filters):
                return self.ask("custommsg", {"payload": payload.hex(), "peer_id": peer})
        return None

    async def custommsg(self, peer: str, *payloads: bytes) -> None:
        """Hand on messages, each once the hook has answered for the last; the answer has to be the right one."""
        for payload in payloads:
            answer = self.hand_on(peer, payload)
            if answer is not None:
                async with self._deadline("the hook's answer"):
                    assert (await answer)["result"] == {"result": "continue"}

    async def has_read(self) -> None:
        """Wait until the plugin has read all but what its pipe holds: notifications have no answer."""
        assert self.process.stdin is not None
        transport = self.process.stdin.transport

        async def probe() -> bool:
            return transport.get_write_buffer_size() == 0

        await self.until("the plugin to read", probe)

    async def replay(self, text: str) -> None:
        """Write something recorded, if it is for this plugin; wait for the answer and see that it is a right one."""
        document = json.loads(text)
        method, params = document["method"], document["params"]
        if "id" not in document:
            if method in self.manifest["subscriptions"]:
                self.write(text)
            return
        if method == "custommsg":
            wanted = any(
                hook["name"] == "custommsg"
                and (not self.habits.filters or int(params["payload"][:4], 16) in hook["filters"])
                for hook in self.manifest["hooks"]
            )
        else:
            wanted = method in ("getmanifest", "init")
        if wanted:
            future = self._answers[document["id"]] = asyncio.get_running_loop().create_future()
            self.write(text)
            async with self._deadline(f"the answer to {document['id']}"):
                answer = await future
            if method == "getmanifest":
                self.manifest = answer["result"]
            else:
                assert answer["result"] == ({"result": "continue"} if method == "custommsg" else {})

    async def until(self, what: str, probe: Callable[[], Awaitable[Any]]) -> Any:
        """Ask again and again until the answer is something, and give it."""
        async with self._deadline(what):
            while not (answer := await probe()):
                await asyncio.sleep(0.01)
            return answer

    # What the plugin says -------------------------------------------------------------------------------

    async def sent(self, peer: str) -> bytes:
        """Wait for, and take, the next message to a peer."""
        params = await self.called("sendcustommsg", lambda params: params["node_id"] == peer)
        return bytes.fromhex(params["msg"])

    async def called(self, method: str, matches: Callable[[Any], bool] = lambda params: True) -> Any:
        """Wait for, and take, the next call of an RPC method; gives its parameters."""
        async with self._deadline(f"a call of {method}"):
            while True:
                for index, (name, params) in enumerate(self.calls):
                    if name == method and matches(params):
                        del self.calls[index]
                        return params
                await self._change(f"a call of {method}")

    async def logged(self, text: str) -> tuple[str, str]:
        """Wait for a line of log that holds this; gives its level and all of it."""
        async with self._deadline(f"{text!r} in the log"):
            while True:
                for level, line in self.log:
                    if text in line:
                        return level, line
                await self._change(f"{text!r} in the log")

    def drop_clients(self) -> None:
        """Close every connection to the RPC."""
        for writer in self._clients:
            writer.transport.abort()

    async def _change(self, what: str) -> None:
        if self._ended:
            raise AssertionError(self._report(f"ended before {what}"))
        self._changed.clear()
        await self._changed.wait()

    async def _read(self) -> None:
        rest = b""
        assert self.process.stdout is not None
        while await self.reading.wait() and (data := await self.process.stdout.read(65536)):
            *documents, rest = (rest + data).split(b"\n\n")
            for document in documents:
                try:
                    self._take(json.loads(document))
                except ValueError:
                    self._fault = f"wrote no JSON: {document[:300]!r}"
        if rest and not self._killed:
            self._fault = f"ended with something else than two line ends: {rest[:300]!r}"
        self._ended = True
        self._changed.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AssertionError(self._report("ended before it answered")))
                answer.exception()  # not every one is waited for

    def _take(self, document: Any) -> None:
        if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
            self._fault = f"wrote no JSON-RPC: {document}"
        elif "id" in document:
            answer = self._answers.pop(document["id"], None)
            if answer is None:
                self._fault = f"answered what nobody had asked: {document}"
            elif not answer.done():
                answer.set_result(document)
        elif document.get("method") == "log":
            self.log.append((document["params"]["level"], document["params"]["message"]))
        else:
            self._fault = f"sent an unknown notification: {document}"
        self._changed.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self._errors.append(line.decode(errors="replace"))

    # The RPC --------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._clients.add(writer)
        text = ""
        decoder = json.JSONDecoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                text += data.decode()
                while text := text.lstrip():
                    try:
                        request, end = decoder.raw_decode(text)
                    except json.JSONDecodeError:
                        break
                    text = text[end:]
                    writer.write(self.habits.write(self._answer(request)).encode())
        self._clients.discard(writer)
        writer.close()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        method, params = request["method"], request["params"]
        if method != "sendcustommsg" or not params["msg"].startswith(HELLO):
            self.calls.append((method, params))
        self._changed.set()
        body = {"jsonrpc": "2.0", "id": request["id"]}
        if method not in self.answers:
            return {**body, "error": {"code": -32601, "message": f"Unknown command '{method}'"}}
        try:
            return {**body, "result": self.answers[method](params)}
        except Refusal as refusal:
            return {**body, "error": {"code": refusal.code, "message": str(refusal)}}

    def _list_peers(self, params: Any) -> dict[str, Any]:
        wanted = params.get("id") if isinstance(params, dict) else next(iter(params), None)
        return {"peers": [peer for peer in self.peers.values() if wanted in (None, peer["id"])]}

    def _send(self, params: dict[str, str]) -> dict[str, str]:
        if params["node_id"] not in self.peers:
            raise Refusal(-32600, f"No such peer: {params['node_id']}")
        return SENT

    # Reports --------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _deadline(self, what: str, seconds: float = LIMIT) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise AssertionError(self._report(f"{seconds} s passed without {what}")) from None

    def _report(self, what: str) -> str:
        log = "\n".join(f"  {level} {line[:300]}" for level, line in self.log[-30:]) or "  nothing"
        calls = "\n".join(f"  {method} {str(params)[:200]}" for method, params in self.calls[-10:]) or "  none"
        return f"{what}\nlogged:\n{log}\ncalls not taken:\n{calls}\nstderr:\n{''.join(self._errors[-40:])}"


class Refusal(Exception):
    """An error that an RPC method gives."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@pytest.fixture(params=VERSIONS, ids=lambda habits: habits.version)
def habits(request: pytest.FixtureRequest) -> Habits:
    """One version after the other."""
    habits: Habits = request.param
    return habits


@pytest.fixture(params=[VERSIONS[0], VERSIONS[-1]], ids=lambda habits: habits.version)
def extreme(request: pytest.FixtureRequest) -> Habits:
    """The oldest version and the newest."""
    habits: Habits = request.param
    return habits


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
async def spawn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callable[..., Awaitable[ScriptedHost]]]:
    """Start an extension's process: ``await spawn("quote", habits)``; it is asked nothing yet."""
    async with contextlib.AsyncExitStack() as stack:

        async def spawn(extension: str | Path, habits: Habits = VERSIONS[-1], **environment: str) -> ScriptedHost:
            program = extension if isinstance(extension, Path) else EXTENSIONS / f"{extension}.py"
            host = await ScriptedHost.start(tmp_path_factory.mktemp("h"), habits, program, environment)
            stack.push_async_callback(host.aclose)
            return host

        yield spawn


@pytest.fixture
def start(spawn: Callable[..., Awaitable[ScriptedHost]]) -> Callable[..., Awaitable[ScriptedHost]]:
    """Start an extension as lightningd does: ``await start("quote", habits, options={"quote-asset": "usd"})``."""

    async def start(
        extension: str, habits: Habits = VERSIONS[-1], *, options: Mapping[str, Any] | None = None, **environment: str
    ) -> ScriptedHost:
        host = await spawn(extension, habits, **environment)
        manifest = await host.load()
        assert "disable" not in manifest, manifest
        assert await host.init(options) == {}
        return host

    return start


@pytest.fixture
def replayed() -> Callable[[str], Sequence[str]]:
    """Return what lightningd wrote in one of the recordings."""

    def replayed(recording: str) -> Sequence[str]:
        path = Path(__file__).parents[2] / "vectors" / "plugin_exchange.jsonl"
        rows = map(json.loads, path.read_text().splitlines())
        return [row["written"] for row in rows if row["recording"] == recording]

    return replayed
