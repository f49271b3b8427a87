from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire import (
    AppContext,
    Application,
    Context,
    EncodeError,
    Extension,
    ExtensionError,
    Limits,
    LocalProtocolError,
    MalformedMessage,
    Message,
    Peer,
    PeerNotConnected,
    QuotaExceeded,
    Refuse,
    ReplyTimeout,
    RpcError,
    as_text,
    hookimpl,
    message,
    subtype,
    u64,
)
from oddwire.app import CallNext, Middleware, PeerRpc, Router
from oddwire.errors import ConnectionClosed, RemoteRpcError
from oddwire.proto.keys import NodeId
from oddwire.schema import Procedure
from oddwire.testing import ScriptedTransport
from oddwire.transports import MemoryNetwork

ALICE = NodeId("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
BOB = NodeId("02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5")
OTHER = 0x9001  # a type without LSPS0's own rules


@message(0x8C11, codec="json")
class Note(Message):
    text: str


def wire(document: object, type_id: int = 37913) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return type_id.to_bytes(2, "big") + text


def request(method: object, identity: object = "1", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": identity, **more}


def answers(transport: ScriptedTransport) -> list[dict[str, Any]]:
    return [json.loads(payload[2:]) for _, payload in transport.sent]


class Raw:
    """An application with a peer that speaks for itself."""

    def __init__(self, app: Application, transport: ScriptedTransport) -> None:
        self.app = app
        self.transport = transport

    @property
    def peer(self) -> Peer:
        return self.app.peer(ALICE)

    def receive(self, document: object, type_id: int = 37913, node_id: NodeId = ALICE) -> None:
        self.transport.receive(node_id, wire(document, type_id))

    async def ask(self, document: object, type_id: int = 37913) -> dict[str, Any]:
        """Return the answer to what the peer sends, the next that goes out."""
        before = len(self.transport.sent)
        self.receive(document, type_id)
        await until(lambda: len(self.transport.sent) > before)
        return answers(self.transport)[before]

    async def sent(self, count: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.transport.sent) >= count)
        return answers(self.transport)


@asynccontextmanager
async def raw(*extensions: object, **options: Any) -> AsyncIterator[Raw]:
    transport = ScriptedTransport()
    async with Application(*extensions, transport=transport, session=False, **options) as app:
        transport.connect_peer(ALICE)
        yield Raw(app, transport)


@subtype
class Sum:
    total: Annotated[u64, as_text]


def server(type_id: int = 37913, **options: Any) -> tuple[Extension, PeerRpc]:
    extension = Extension("server", version="1.0", **options)
    rpc = PeerRpc(extension, type_id)

    @rpc.method("add", by_position=True)
    async def add(context: Context, a: Annotated[u64, as_text], b: Annotated[u64, as_text] = 1) -> Sum:
        return Sum(total=a + b)

    @rpc.method("fail")
    async def fail(context: Context, how: str) -> Any:
        match how:
            case "rpc":
                raise RpcError(100, "no \x1b[2J", {"why": [b"\xab"]})
            case "data":
                raise RpcError(100, "no", object())
            case "refuse":
                raise Refuse("not now")
            case "own":
                raise Refuse("not you", code=1234)
            case "long":
                return "x" * 65536
            case "loop":
                loop: list[Any] = []
                loop.append(loop)
                return loop
            case "object":
                return object()
            case "float":
                return float("nan")
        raise ValueError("a secret")

    return extension, rpc


# Requests of peers ---------------------------------------------------------------------------------------------------


async def test_parameters_come_by_name_or_by_position() -> None:
    async with raw(server()[0]) as peer:
        assert await peer.ask(request("add", params={"a": "3", "b": "4"})) == {
            "jsonrpc": "2.0",
            "id": "1",
            "result": {"total": "7"},
        }
        assert (await peer.ask(request("add", 7, params=["3"])))["result"] == {"total": "4"}
        assert (await peer.ask(request("add", -(1 << 63), params=["3", "4"])))["id"] == -(1 << 63)


@pytest.mark.parametrize(
    ("params", "text", "wrong", "unrecognized"),
    [
        ({"a": 3}, "a: u64 should be a string of digits, not int", "a", []),
        ({"a": "-1"}, "a: u64 should be 0 to 18446744073709551615, not -1", "a", []),
        ({}, "a is missing", "a", []),
        ({"b": "1"}, "a is missing", "a", []),
        ({"a": "1", "c": 1, "d": 2}, "there is no parameter 'c'; there are: a, b", "c", ["c", "d"]),
        (["1", "2", "3"], "there are 3 parameters; there should be 2 at most", "", []),
        (None, "params should be an object", "", []),
        ("a", "params should be an object", "", []),
        (7, "params should be an object", "", []),
    ],
)
async def test_wrong_parameters_are_named(params: object, text: str, wrong: str, unrecognized: list[str]) -> None:
    async with raw(server()[0]) as peer:
        answer = await peer.ask(request("add", params=params))
        data = {"unrecognized": unrecognized, **({"property": wrong, "message": text} if wrong else {})}
        assert answer["error"] == {"code": -32602, "message": f"Invalid params: {text}", "data": data}
        answer = await peer.ask(request("fail", params=["rpc"]))
        assert answer["error"]["message"] == (
            "Invalid params: params should be an object, with parameters by their names, not a list"
        )


async def test_parameters_may_be_left_out_altogether() -> None:
    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, 37913)

    @rpc.method("none")
    async def none(context: Context) -> None: ...

    @rpc.method("any")
    async def anything(context, what=None):  # type: ignore[no-untyped-def]
        return {"what": what, "key": context.peer.node_id}

    async with raw(extension) as peer:
        assert (await peer.ask(request("none")))["result"] is None
        assert (await peer.ask(request("any", params={"what": [1, {"a": None}]})))["result"] == {
            "what": [1, {"a": None}],
            "key": str(ALICE),
        }


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("rpc", {"code": 100, "message": "no \x1b[2J", "data": {"why": ["ab"]}}),
        ("refuse", {"code": -32000, "message": "not now"}),
        ("own", {"code": 1234, "message": "not you"}),
        *((how, {"code": -32603, "message": "Internal error"}) for how in ("raise", "data", "long", "loop")),
        *((how, {"code": -32603, "message": "Internal error"}) for how in ("object", "float")),
    ],
)
async def test_what_a_method_raises_or_returns_is_answered(how: str, error: dict[str, Any]) -> None:
    extension, _ = server()
    heard: list[BaseException] = []

    @extension.on_error
    async def told(context: AppContext, error: BaseException, message: Message | None) -> None:
        heard.append(error)

    async with raw(extension) as peer:
        assert await peer.ask(request("fail", params={"how": how})) == {"jsonrpc": "2.0", "id": "1", "error": error}
        failed = error["code"] == -32603
        await until(lambda: len(heard) == failed)
        assert peer.app.counters.failed == ({"server": 1} if failed else {})
        assert (await peer.ask(request("add", params=["1"])))["result"] == {"total": "2"}  # and it goes on


async def test_a_result_is_of_the_type_that_is_annotated() -> None:
    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, 37913)
    wrong: Any = {"total": "1"}

    @rpc.method("sum")
    async def sum_(context: Context) -> Sum:
        return wrong  # type: ignore[no-any-return]

    @rpc.method("none")
    async def none(context: Context) -> None:
        return wrong  # type: ignore[no-any-return]

    async with raw(extension) as peer:
        for method in ("sum", "none"):
            assert (await peer.ask(request(method)))["error"]["code"] == -32603


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "is not JSON: Expecting value (at byte 2)"),
        (b"{", "is not JSON: Expecting property name enclosed in double quotes (at byte 3)"),
        (b"{} {}", "is not JSON: Extra data (at byte 5)"),
        (b"\xff", "is not UTF-8: invalid start byte (at byte 2)"),
        (b'{"a":"\0"}', "is not JSON: Invalid control character at (at byte 8)"),
        (b'{"id":1,"id":2}', "the key 'id' comes twice"),
        (b'{"a":NaN}', "NaN is not JSON: numbers should be finite"),
        (b'"text"', "should be one JSON object, not a string (at byte 2)"),
        (b"7", "should be one JSON object, not a number (at byte 2)"),
        (b"null", "should be one JSON object, not null (at byte 2)"),
        (b'{"a":' * 40, "nests more than 32 levels deep (at byte 162)"),
        (b'{"a":"\\ud800"}', "str holds a lone surrogate"),
        (b'{"id":18446744073709551616}', "whole numbers should have 64 bits at most"),
        *(
            (batch, "a list is a batch, which is not accepted here: each request should be a message of its own")
            for batch in (b"[]", b" [1]", json.dumps([request("add", params=["1"])]).encode(), b"[" * 60_000)
        ),
    ],
)
async def test_what_is_no_object_is_a_parse_error(payload: bytes, text: str) -> None:
    async with raw(server()[0]) as peer:
        error = {"code": -32700, "message": f"Parse error: {text}"}
        assert await peer.ask(payload) == {"jsonrpc": "2.0", "id": None, "error": error}
        assert peer.transport.warnings == []  # it is told already
        assert (await peer.ask(b" \r\n\t" + json.dumps(request("add", params=["1"])).encode() + b" \n"))["result"]


WRONG: list[tuple[object, object, str]] = [
    ({}, None, "jsonrpc should be '2.0', not None"),
    ({"jsonrpc": "2.0"}, None, "method should be a string, not None"),
    ({"method": "add", "id": "1"}, "1", "jsonrpc should be '2.0', not None"),
    ({"jsonrpc": 2.0, "method": "add", "id": "1"}, "1", "jsonrpc should be '2.0', not 2.0"),
    (request(7), "1", "method should be a string, not 7"),
    (request(None), "1", "method should be a string, not None"),
    (request("add", None), None, "id should be a string or an integer, not None"),
    (request("add", 1.5), None, "id should be a string or an integer, not 1.5"),
    (request("add", True), None, "id should be a string or an integer, not True"),
    (request("add", ["1"]), None, "id should be a string or an integer, not ['1']"),
    (request("add", {"a": 1}), None, "id should be a string or an integer, not {'a': 1}"),
    (request("add", "x" * 1001), None, "id should have 1000 characters at most, not 1001"),
    (request("add", "x" * 1001, result=1), None, "id should have 1000 characters at most, not 1001"),
]


@pytest.mark.parametrize(("document", "identity", "text"), WRONG)
async def test_what_is_no_request_is_told_so(document: object, identity: object, text: str) -> None:
    async with raw(server(OTHER)[0]) as peer:
        error = {"code": -32600, "message": f"Invalid request: {text}"}
        assert await peer.ask(document, OTHER) == {"jsonrpc": "2.0", "id": identity, "error": error}
    async with raw(server()[0]) as peer:
        error = {"code": -32700, "message": f"Parse error: not a request: {text}"}
        assert await peer.ask(document) == {"jsonrpc": "2.0", "id": None, "error": error}


async def test_unknown_methods_are_not_found() -> None:
    extension, rpc = server()

    @rpc.notification("note")
    async def note(context: Context) -> None: ...

    async with raw(extension) as peer:
        error = {"code": -32601, "message": "Method not found: 'nothing\\x1b'"}
        assert (await peer.ask(request("nothing\x1b", 5)))["error"] == error
        assert (await peer.ask(request("note", 5)))["error"]["message"] == (
            "Method not found: 'note'; it is a notification, without an id"
        )


async def test_who_has_no_methods_answers_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """LSPS0: a client ignores what is not for it. Two clients could go on with errors about errors for ever."""
    client = Extension("client", version="1.0")
    rpc = PeerRpc(client, 37913)
    heard: list[int] = []

    @rpc.notification("seen")
    async def seen(context: Context, number: int) -> None:
        heard.append(number)

    caplog.set_level(logging.INFO)
    async with raw(client) as peer:
        peer.receive(request("add"))
        peer.receive(b"{")
        peer.receive([])
        peer.receive({"jsonrpc": "1.0"})
        peer.receive({"jsonrpc": "2.0", "method": "seen", "params": {"number": 1}})
        await until(lambda: heard == [1])
        assert peer.transport.sent == []
        assert len(peer.transport.warnings) == 2  # by the policy, for what does not decode
    assert "ignored JSON-RPC request 'add'" in caplog.text


async def test_answers_are_never_answered() -> None:
    async with raw(server()[0]) as peer:
        for strange in (
            {"jsonrpc": "2.0", "id": "1", "result": 1},
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}},
            {"jsonrpc": "2.0", "id": ["x"], "error": 7},
            {"error": None},
            {"result": None},
        ):
            peer.receive(strange)
        assert (await peer.ask(request("add", "end", params=["1"])))["id"] == "end"
        assert peer.app.counters.dropped == {"unasked_reply": 5}


# Order, concurrency and limits ---------------------------------------------------------------------------------------


async def test_requests_do_not_wait_for_each_other_and_notifications_keep_their_order() -> None:
    extension = Extension("server", version="1.0")
    rpc, gate = PeerRpc(extension, 37913), asyncio.Event()
    heard: list[object] = []

    @rpc.method("slow")
    async def slow(context: Context) -> None:
        await gate.wait()

    @rpc.method("quick")
    async def quick(context: Context) -> None: ...

    @rpc.notification("note")
    async def note(context: Context, number: int) -> None:
        await asyncio.sleep(0)
        heard.append(number)

    @extension.on(Note)
    async def plain(context: Context, message: Note) -> None:
        heard.append(message.text)

    async with raw(extension) as peer:
        peer.receive(request("slow", "slow"))
        assert (await peer.ask(request("quick", "quick")))["id"] == "quick"
        for number in range(3):
            peer.receive({"jsonrpc": "2.0", "method": "note", "params": {"number": number}})
            peer.receive({"text": str(number)}, 0x8C11)
        await until(lambda: len(heard) == 6)
        assert heard == [0, "0", 1, "1", 2, "2"]
        gate.set()
        assert (await peer.sent(2))[1]["id"] == "slow"


async def test_a_flood_of_requests_pauses_the_peer_and_loses_nothing() -> None:
    extension = Extension("server", version="1.0")
    rpc, gate = PeerRpc(extension, 37913), asyncio.Event()
    running = most = 0

    @rpc.method("slow")
    async def slow(context: Context, filling: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    async with raw(extension) as peer:
        for number in range(200):
            peer.receive(request("slow", number, params={"filling": "x" * 30_000}))
        await until(lambda: running == 32)
        assert ("pause", ALICE) in peer.transport.flow
        gate.set()
        documents = await peer.sent(200)
        assert {document["id"] for document in documents} == {*range(200)}
        assert most == 32


async def test_who_is_not_allowed_is_told() -> None:
    extension, rpc = server(allow=[BOB])
    heard: list[int] = []

    @rpc.notification("note")
    async def note(context: Context) -> None:
        heard.append(1)

    async with raw(extension) as peer:
        error = {"code": -32001, "message": "server is not allowed for this node"}
        assert (await peer.ask(request("add", params=["1"])))["error"] == error
        assert peer.app.counters.refused == {"allow": 1}
        peer.receive({"jsonrpc": "2.0", "method": "note"})
        await until(lambda: peer.app.counters.dropped == {"allow": 1})
        assert heard == []


async def test_the_limit_of_requests_is_the_extensions() -> None:
    extension = Extension("server", version="1.0", limits=Limits(requests=1))
    rpc, gate = PeerRpc(extension, 37913), asyncio.Event()

    @rpc.method("slow")
    async def slow(context: Context) -> None:
        await gate.wait()

    async with raw(extension) as peer:
        peer.receive(request("slow", 1))
        answer = await peer.ask(request("slow", 2))
        assert answer["error"] == {"code": -32000, "message": "server accepts no more from this node: requests is 1"}
        assert peer.app.counters.refused == {"requests": 1}
        gate.set()
        assert (await peer.sent(2))[1]["id"] == 1


async def test_rates_hold_and_nothing_is_lost() -> None:
    extension, _ = server(limits=Limits(messages_per_second=100))
    async with raw(extension) as peer:
        for number in range(150):
            peer.receive(request("add", number, params=["1"]))
        assert len(await peer.sent(150)) == 150
        assert peer.app.counters.throttled["messages_per_second"]


async def test_requests_wait_for_on_connect_of_their_extension_alone() -> None:
    gate = asyncio.Event()
    slow, slow_rpc = server()
    quick = Extension("quick", version="1.0")
    quick_rpc = PeerRpc(quick, 37913)

    @slow.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()

    @quick_rpc.method("quick")
    async def answer(context: Context) -> None: ...

    assert slow_rpc.message is quick_rpc.message
    async with raw(slow, quick) as peer:
        peer.receive(request("add", "add", params=["1"]))
        assert (await peer.ask(request("quick", "quick")))["id"] == "quick"
        gate.set()
        assert (await peer.sent(2))[1]["id"] == "add"


async def test_what_is_provided_is_not_the_callers() -> None:
    class Database:
        rows = 3

    class Session:
        count = 0

    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, 37913)

    @extension.provide
    def database() -> Database:
        return Database()

    @extension.provide(scope="peer")
    def session(context: Context) -> Session:
        return Session()

    @rpc.method("rows")
    async def rows(context: Context, factor: int, database: Database, session: Session) -> list[int]:
        session.count += 1
        return [database.rows * factor, session.count]

    @rpc.method("all")
    async def all_rows(context: Context, factor: int = 1, *, database: Database) -> int:
        return database.rows * factor

    async with raw(extension) as peer:
        assert (await peer.ask(request("rows", params={"factor": 2})))["result"] == [6, 1]
        assert (await peer.ask(request("rows", params={"factor": 2})))["result"] == [6, 2]
        assert (await peer.ask(request("all")))["result"] == 3
        error = (await peer.ask(request("rows", params={"factor": 2, "session": 1})))["error"]
        assert error["data"]["unrecognized"] == ["session"]


async def test_tracers_see_requests_answers_and_what_does_not_decode() -> None:
    tracer, (extension, rpc) = Tracer(), server()
    async with raw(extension, tracer) as peer:
        await peer.ask(request("add", params=["1"]))
        await peer.ask(b"{")
        call = asyncio.create_task(rpc.call(peer.peer, "theirs"))
        asked = (await peer.sent(3))[2]
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], "result": 1})
        assert await call == 1
    seen = [(event.direction, event.handled, event.latency is not None) for event in tracer.events]
    received, sent, answered = ("received", True, False), ("sent", True, True), ("received", True, True)
    assert seen == [received, sent, received, sent, ("sent", True, False), answered]
    assert isinstance(tracer.events[2].error, MalformedMessage)
    assert str(tracer.events[0].message).startswith("JsonRpc37913 0x9419 document=")


async def test_a_method_that_hangs_at_the_end_is_cancelled_and_the_application_closes() -> None:
    extension = Extension("server", version="1.0")
    rpc, begun = PeerRpc(extension, 37913), asyncio.Event()

    @rpc.method("hang")
    async def hang(context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with raw(extension, grace=0.01) as peer:
        peer.receive(request("hang"))
        await begun.wait()
    assert peer.transport.sent == []
    assert peer.app.counters.failed == {}


async def test_requests_are_cancelled_when_their_peer_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("server", version="1.0")
    rpc, begun, cancelled = PeerRpc(extension, 37913), [0], [0]

    @rpc.method("hang")
    async def hang(context: Context) -> None:
        begun[0] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled[0] += 1
            raise

    @rpc.method("echo")
    async def echo(context: Context, number: int) -> int:
        return number

    async with raw(extension) as peer:
        for number in range(40):
            peer.receive(request("hang", number))
        peer.receive(request("echo", 40, params={"number": 1}))
        peer.receive(request("none", 41))
        await until(lambda: begun[0] == 32)
        peer.transport.lose_peer(ALICE)
        peer.transport.connect_peer(ALICE)
        assert await peer.ask(request("echo", 1, params={"number": 2})) == {"jsonrpc": "2.0", "id": 1, "result": 2}
        assert (begun[0], cancelled[0], len(peer.transport.sent)) == (32, 32, 1), "what waited is not begun"
        for number in range(31):
            peer.receive(request("hang", number))
        assert (await peer.ask(request("echo", 2, params={"number": 3})))["result"] == 3
        assert peer.app._dispatcher is not None
        serving = peer.app._dispatcher.core.queues[ALICE].serving
        assert serving is not None
        assert len(serving) == 31, "what was answered is kept no longer"
        assert peer.app.counters.failed == {}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING and "hang" in str(record)] == []


async def test_a_request_whose_peer_has_gone_is_not_answered_on_its_next_connection() -> None:
    extension = Extension("server", version="1.0")
    rpc, gate, seen = PeerRpc(extension, 37913), asyncio.Event(), list[str]()

    @rpc.method("stubborn")
    async def stubborn(context: Context, how: str) -> str:
        seen.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await gate.wait()
        seen.append(how)
        if how == "raises":
            raise ValueError(how)
        if how == "refuses":
            raise RpcError(5, how)
        return how

    @rpc.method("echo")
    async def echo(context: Context) -> None: ...

    async with raw(extension) as peer:
        for how in ("returns", "raises", "refuses"):
            peer.receive(request("stubborn", 1, params={"how": how}))
        await until(lambda: len(seen) == 3)
        peer.transport.lose_peer(ALICE)
        peer.transport.connect_peer(ALICE)
        gate.set()
        await until(lambda: len(seen) == 6)
        assert (await peer.ask(request("echo", 1)))["result"] is None
        assert len(peer.transport.sent) == 1
        assert peer.app.counters.failed == {"server": 1}, "what it raises is its failure all the same"


async def test_notifications_are_handled_to_the_end() -> None:
    extension = Extension("server", version="1.0")
    rpc, gate, heard = PeerRpc(extension, 37913), asyncio.Event(), list[int]()

    @rpc.notification("note")
    async def note(context: Context, number: int) -> None:
        await gate.wait()
        heard.append(number)

    async with raw(extension) as peer:
        for number in range(3):
            peer.receive({"jsonrpc": "2.0", "method": "note", "params": {"number": number}})
        await asyncio.sleep(0)
        peer.transport.lose_peer(ALICE)
        await asyncio.sleep(0)
        gate.set()
        await until(lambda: heard == [0, 1, 2])


async def test_a_method_may_disconnect_its_peer() -> None:
    extension = Extension("server", version="1.0")
    rpc, ended = PeerRpc(extension, 37913), asyncio.Event()

    @rpc.method("bye")
    async def bye(context: Context) -> None:
        try:
            await context.app.disconnect(context.peer.node_id, "bye")
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with raw(extension) as peer:
        peer.receive(request("bye"))
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: not peer.app.peers)
        assert peer.app.counters.failed == {}


async def test_a_method_that_cancels_itself_fails_alone() -> None:
    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, 37913)

    @rpc.method("end")
    async def end(context: Context) -> None:
        raise asyncio.CancelledError

    @rpc.method("exit")
    async def leave(context: Context) -> None:
        raise SystemExit(3)

    async with raw(extension) as peer:
        for method in ("end", "exit"):
            assert (await peer.ask(request(method)))["error"]["code"] == -32603
        assert peer.app.counters.failed == {"server": 2}


async def test_a_notification_that_fails_is_told_here_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, 37913)
    heard: list[str] = []

    @rpc.notification("note", by_position=True)
    async def note(context: Context, text: str) -> None:
        if text == "fail":
            raise ValueError("in vain")
        if text == "refuse":
            raise Refuse("not now")
        heard.append(text)

    @rpc.method("method")
    async def method(context: Context) -> None:
        heard.append("called")

    async with raw(extension) as peer:
        for params in (["fail"], ["refuse"], [5], {"other": 1}, ["fine"]):
            peer.receive({"jsonrpc": "2.0", "method": "note", "params": params})
        peer.receive({"jsonrpc": "2.0", "method": "unknown\n", "params": {}})
        peer.receive({"jsonrpc": "2.0", "method": "method", "params": {}})
        await until(lambda: "method" in caplog.text.rpartition("ignored")[2])
        await until(lambda: heard == ["fine"])
        assert peer.app.counters.failed == {"server": 1}
        assert peer.transport.sent == []
    assert "handler of JSON-RPC method 'note' of 'server' failed" in caplog.text
    assert "JSON-RPC notification 'note' from 02" in caplog.text
    assert "refused: not now" in caplog.text
    assert "refused: Invalid params: text: should be str, not int" in caplog.text
    assert r"ignored JSON-RPC notification 'unknown\n'" in caplog.text


# Our calls -----------------------------------------------------------------------------------------------------------


def client(**options: Any) -> tuple[Extension, PeerRpc]:
    extension = Extension("client", version="1.0", **options)
    return extension, PeerRpc(extension, 37913)


async def test_a_call_sends_a_request_with_an_id_that_nobody_guesses() -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        calls = [asyncio.create_task(rpc.call(peer.peer, "add", a=1, key=b"\xab")) for _ in range(50)]
        documents = await peer.sent(50)
        assert documents[0] == {
            "jsonrpc": "2.0",
            "method": "add",
            "params": {"a": 1, "key": "ab"},
            "id": documents[0]["id"],
        }
        ids = [document["id"] for document in documents]
        assert len({*ids}) == 50
        assert all(len(bytes.fromhex(identity)) == 16 for identity in ids)
        for number, identity in reversed([*enumerate(ids)]):  # in another order than they were asked
            peer.receive({"jsonrpc": "2.0", "id": identity, "result": number})
        assert await asyncio.gather(*calls) == [*range(50)]


@pytest.mark.parametrize(
    ("params", "named", "sent"),
    [
        (None, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        (Sum(total=5), {}, {"total": "5"}),
        ([1, Sum(total=5)], {}, [1, {"total": "5"}]),
        ((), {}, []),
        (None, {"peer": 1, "method": 2, "params": 3, "self": 4}, {"peer": 1, "method": 2, "params": 3, "self": 4}),
    ],
)
async def test_parameters_are_keywords_or_one_thing(params: object, named: dict[str, Any], sent: object) -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        await rpc.notify(peer.peer, "note", params, **named)
        assert await peer.sent() == [{"jsonrpc": "2.0", "method": "note", "params": sent}]


async def test_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    extension, _ = server()
    with caplog.at_level(logging.INFO, "oddwire.app"):
        async with raw(extension) as peer:
            await peer.ask(request("fail", params={"how": "refuse"}))
    assert [record.message for record in caplog.records if "not now" in record.message] == [
        f"message refused by 'server': server.JsonRpc37913 0x9419 from {ALICE}, with code 4 (REFUSED): not now"
    ]


async def test_what_is_no_peer_is_refused_at_once() -> None:
    extension, rpc = server()
    async with raw(extension) as here:
        context = Context(here.app, "server", here.peer)
        for given in (ALICE, str(ALICE), here.app, here.app.context("server")):
            with pytest.raises(TypeError, match=r"PeerRpc\.call\(peer, .* takes a Peer, app\.peer\(node_id\), not "):
                rpc.call(given, "add")  # type: ignore[call-overload]
            with pytest.raises(TypeError, match=r"PeerRpc\.notify\(peer, .* takes a Peer, app\.peer\(node_id\), not "):
                await rpc.notify(given, "add")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"takes a Peer, context\.peer, not <Context of 'server' with 0279"):
            rpc.call(context, "add")  # type: ignore[call-overload]
        assert not here.transport.sent


async def test_wrong_arguments_are_refused_at_once() -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        for wrong in (5, "text", b"bytes", {1, 2}):
            with pytest.raises(TypeError, match="params of 'm' should be a mapping"):
                rpc.call(peer.peer, "m", wrong)
        with pytest.raises(TypeError, match="in one place"):
            rpc.call(peer.peer, "m", {"a": 1}, b=1)
        with pytest.raises(TypeError, match="name should be a str, not 5"):
            rpc.call(peer.peer, 5)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="result: set is not a field type"):
            rpc.call(peer.peer, "m", result=set)
        with pytest.raises(ValueError, match="timeout should be"):
            rpc.call(peer.peer, "m", timeout=-1)
        with pytest.raises(EncodeError, match=r"\$\.params: parameters of 'm': JSON cannot hold"):
            rpc.call(peer.peer, "m", {"a": object()})
        with pytest.raises(EncodeError, match=r"\$\.params\.total: should be u64, not str"):
            rpc.call(peer.peer, "m", Sum(total="5"))  # type: ignore[arg-type]
        with pytest.raises(EncodeError, match="64 bits"):
            await rpc.call(peer.peer, "m", a=1 << 70)
        with pytest.raises(EncodeError, match="has at most 65535"):
            await rpc.call(peer.peer, "m", a="x" * 65535)
        assert peer.transport.sent == []


@pytest.mark.parametrize(
    ("answer", "result", "wanted"),
    [
        ({"result": {"total": "5", "new": 1}}, Sum, Sum(total=5)),
        ({"result": None}, None, None),
        ({"result": None}, Sum | None, None),
        ({"result": ["1"]}, tuple[Annotated[int, as_text], ...], (1,)),
        ({"result": 7, "error": None}, int, 7),
        ({"result": {"total": 5}}, Sum, r"\$\.result\.total: u64 should be a string of digits, not int"),
        ({"result": 5}, None, r"\$\.result: should be null, not 5"),
        ({"result": 5, "error": {"code": 1, "message": "x"}}, Any, "has both a result and an error"),
        ({"error": None}, Any, r"\$\.error: should be an object, not None"),
        ({"error": "no"}, Any, r"\$\.error: should be an object, not 'no'"),
        ({"error": {"code": "1", "message": "x"}}, Any, r"\$\.error\.code: should be an integer, not '1'"),
        ({"error": {"code": 1}}, Any, r"\$\.error\.message: should be a string, not None"),
        ({"result": 5, "jsonrpc": "1.0"}, Any, r"\$\.jsonrpc: should be '2\.0', not '1\.0'"),
    ],
)
async def test_a_result_is_read_or_refused(answer: dict[str, Any], result: Any, wanted: object) -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        call = asyncio.create_task(rpc.call(peer.peer, "m", result=result))
        (asked,) = await peer.sent()
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], **answer})
        if isinstance(wanted, str):
            with pytest.raises(MalformedMessage, match=rf"^JsonRpc37913 0x9419.*{wanted}"):
                await call
        else:
            assert await call == wanted


async def test_a_peers_error_is_raised() -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        call = asyncio.create_task(rpc.call(peer.peer, "m"))
        (asked,) = await peer.sent()
        error = {"code": -5, "message": "no\n\x1b", "data": {"a": [1]}}
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        with pytest.raises(RemoteRpcError, match=r"^no\\n\\x1b\n") as caught:
            await call
        assert (caught.value.code, caught.value.text, caught.value.data) == (-5, "no\n\x1b", {"a": [1]})
        assert caught.value.node_id == str(ALICE)


async def test_a_peer_that_could_not_read_a_request_answers_the_one_call_that_waits() -> None:
    extension, rpc = client()
    other = Extension("other", version="1.0")
    others = PeerRpc(other, OTHER)
    # As lightning-liquidity 0.3.0-rc3 answers an LSPS5 webhook that is not HTTPS
    unread = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error", "data": None}}
    async with raw(extension, other) as peer:
        peer.receive(unread)  # nobody has asked
        elsewhere = asyncio.create_task(others.call(peer.peer, "m"))
        (before,) = await peer.sent()
        call = asyncio.create_task(rpc.call(peer.peer, "m"))
        await peer.sent(2)
        peer.receive({**unread, "result": None})  # no error alone
        peer.receive(unread)
        with pytest.raises(RemoteRpcError, match=r"^parse error\n") as caught:
            await call
        assert (caught.value.code, caught.value.node_id) == (-32700, str(ALICE))
        both = [asyncio.create_task(rpc.call(peer.peer, "m")) for _ in range(2)]
        asked = (await peer.sent(4))[2:]
        peer.receive(unread)  # of which of them, nobody can say
        for one in asked:
            peer.receive({"jsonrpc": "2.0", "id": one["id"], "result": "good"})
        peer.receive({"jsonrpc": "2.0", "id": before["id"], "result": "good"}, OTHER)
        assert await asyncio.gather(*both, elsewhere) == ["good"] * 3
        assert peer.app.counters.dropped == {"unasked_reply": 3}


async def test_guessed_foreign_late_and_repeated_answers_are_dropped() -> None:
    extension, rpc = client()
    other = Extension("other", version="1.0")
    PeerRpc(other, OTHER)
    async with raw(extension, other) as peer:
        peer.transport.connect_peer(BOB)
        call = asyncio.create_task(rpc.call(peer.peer, "m"))
        (asked,) = await peer.sent()
        good = {"jsonrpc": "2.0", "id": asked["id"], "result": "good"}
        evil = {**good, "result": "evil"}
        for identity in ("0" * 32, 1, None, True, [asked["id"]], {asked["id"]: 1}, asked["id"].upper() + " ", ""):
            peer.receive({**evil, "id": identity})
        peer.receive(evil, node_id=BOB)  # another peer
        peer.receive(evil, OTHER)  # another type
        await asyncio.sleep(0)
        assert not call.done()
        peer.receive(good)
        peer.receive(evil)  # twice, before the caller has run
        assert await call == "good"
        peer.receive(evil)
        assert peer.app.counters.dropped == {"unasked_reply": 12}
        with pytest.raises(ReplyTimeout, match=r"^no answer from 02.* within 0\.01 s to 'm'$"):
            await rpc.call(peer.peer, "m", timeout=0.01)
        late = (await peer.sent(2))[1]["id"]
        peer.receive({"jsonrpc": "2.0", "id": late, "result": "late"})
        assert peer.app.counters.dropped == {"unasked_reply": 13}
        call = asyncio.create_task(rpc.call(peer.peer, "m"))
        await peer.sent(3)
        peer.receive({"jsonrpc": "2.0", "id": late, "result": "late"})
        peer.receive({"jsonrpc": "2.0", "id": answers(peer.transport)[2]["id"], "result": "next"})
        assert await call == "next"


async def test_a_call_ends_with_its_connection_and_is_not_answered_on_the_next() -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        call = asyncio.create_task(rpc.call(peer.peer, "m", timeout=None))
        (asked,) = await peer.sent()
        peer.transport.lose_peer(ALICE)
        peer.transport.connect_peer(ALICE)
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], "result": "of another connection"})
        with pytest.raises(ConnectionClosed):
            await call
        assert peer.app.counters.dropped == {"unasked_reply": 1}
        peer.transport.lose_peer(ALICE)
        with pytest.raises(PeerNotConnected):
            await rpc.call(peer.peer, "m")
        with pytest.raises(PeerNotConnected):
            await rpc.notify(peer.peer, "m")


async def test_a_call_that_cannot_be_sent_waits_for_its_timeout_alone() -> None:
    extension, rpc = client()
    async with raw(extension) as peer:
        peer.transport.stick()
        with pytest.raises(ReplyTimeout):
            await rpc.call(peer.peer, "m", timeout=0.01)
        call = asyncio.create_task(rpc.call(peer.peer, "m", timeout=None))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        peer.transport.stuck.set()
        await asyncio.sleep(0)
        assert peer.transport.sent == []


async def test_open_calls_are_limited_by_the_application_and_the_extension() -> None:
    extension, rpc = client()
    strict, strict_rpc = Extension("strict", version="1.0", limits=Limits(open_requests=1)), None
    strict_rpc = PeerRpc(strict, 37913)
    async with raw(extension, strict, limits=Limits(open_requests=3)) as peer:
        calls = [asyncio.create_task(rpc.call(peer.peer, "m")) for _ in range(2)]
        await peer.sent(2)
        calls.append(asyncio.create_task(strict_rpc.call(peer.peer, "m")))
        documents = await peer.sent(3)
        with pytest.raises(QuotaExceeded, match="3 calls to this peer wait") as caught:
            await rpc.call(peer.peer, "m")
        assert (caught.value.limit, caught.value.extension) == ("open_requests", None)
        peer.receive({"jsonrpc": "2.0", "id": documents[0]["id"], "result": 1})
        assert await calls[0] == 1
        with pytest.raises(QuotaExceeded, match="extension 'strict'") as caught:
            await strict_rpc.call(peer.peer, "m")
        assert peer.app.counters.exceeded == {"open_requests": 2}
        for document in documents[1:]:
            peer.receive({"jsonrpc": "2.0", "id": document["id"], "result": 1})
        await asyncio.gather(*calls)


async def test_answers_pass_what_waits_and_a_paused_peer_is_read_on() -> None:
    """A method asks its peer back, while the peer has sent more than its queue holds."""
    extension = Extension("server", version="1.0")
    rpc, gate = PeerRpc(extension, 37913), asyncio.Event()
    found: list[object] = []

    @extension.on(Note)
    async def note(context: Context, message: Note) -> None:
        if message.text == "ask":
            await gate.wait()
            found.append(await rpc.call(context.peer, "back"))

    async with raw(extension) as peer:
        peer.receive({"text": "ask"}, 0x8C11)
        for _ in range(40):
            peer.receive({"text": "x" * 60_000}, 0x8C11)
        assert peer.transport.flow[-1] == ("pause", ALICE)
        gate.set()
        (asked,) = await peer.sent()
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], "result": "at last"})
        await until(lambda: found == ["at last"])


async def test_where_the_extension_is_not_loaded_it_says_so() -> None:
    extension, rpc = client()
    stranger = Extension("stranger", version="1.0")
    other_rpc = PeerRpc(stranger, OTHER)
    text = "extension 'client', with a PeerRpc of type 37913, is not loaded in this application"
    async with raw("echo") as peer:
        with pytest.raises(ExtensionError, match=text):
            await rpc.call(peer.peer, "m")
        with pytest.raises(ExtensionError, match=text):
            await rpc.notify(peer.peer, "m")
    async with raw(stranger) as peer:
        with pytest.raises(ExtensionError, match=text):
            await rpc.call(peer.peer, "m")
    async with raw(extension) as peer:
        with pytest.raises(ExtensionError, match="extension 'stranger', with a PeerRpc of type 36865, is not loaded"):
            await other_rpc.notify(peer.peer, "m")


async def test_while_the_application_starts_there_are_no_peers() -> None:
    extension, rpc = client()
    errors: list[Exception] = []

    @extension.on_startup
    async def startup(context: AppContext) -> None:
        try:
            await rpc.call(context.app.peer(ALICE), "m")
        except LocalProtocolError as error:
            errors.append(error)

    async with raw(extension):
        assert "still starting" in str(errors[0])


async def test_on_connect_may_call() -> None:
    extension, rpc = client()
    found: list[object] = []

    @extension.on_connect
    async def connected(context: Context) -> None:
        found.append(await rpc.call(context.peer, "m"))

    async with raw(extension) as peer:
        (asked,) = await peer.sent()
        peer.receive({"jsonrpc": "2.0", "id": asked["id"], "result": 5})
        await until(lambda: found == [5])


async def test_a_method_that_hangs_is_named(caplog: pytest.LogCaptureFixture) -> None:
    from oddwire.app.dispatch.policy import title_of

    _, rpc = server()
    document = {"method": "add"}
    assert title_of(rpc.message(document=document)) == "JSON-RPC method 'add'"
    assert title_of(rpc.message(document={"method": 5})) == "JSON-RPC"


async def test_a_plugin_hears_of_failures_with_the_message() -> None:
    class Plugin:
        def __init__(self) -> None:
            self.heard: list[object] = []

        @hookimpl
        def handler_failed(self, message: Message | None) -> None:
            self.heard.append(message)

    plugin, (extension, rpc) = Plugin(), server()
    async with raw(extension, plugin) as peer:
        document = request("fail", params={"how": "raise"})
        await peer.ask(document)
        assert plugin.heard == [rpc.message(document=document)]


async def test_methods_that_call_back_do_not_wait_for_each_other() -> None:
    """A request that waits for its peer has no place among those handled at once, so that what it waits for has."""
    extension = Extension("server", version="1.0")
    rpc, gate = PeerRpc(extension, 37913), asyncio.Event()
    spawned: list[asyncio.Task[Any]] = []

    @rpc.method("ask")
    async def ask(context: Context) -> Any:
        both = await asyncio.gather(rpc.call(context.peer, "back"), rpc.call(context.peer, "back"))
        return [*both]

    @rpc.method("spawn")
    async def spawn(context: Context) -> None:
        spawned.append(context.spawn(rpc.call(context.peer, "back")))
        await asyncio.sleep(0.001)  # it calls, and goes on when the request has ended

    @rpc.method("slow")
    async def slow(context: Context) -> None:
        await gate.wait()

    async with raw(extension) as peer:
        for number in range(100):
            peer.receive(request("ask", number))
        documents = await peer.sent(200)
        assert all(document["method"] == "back" for document in documents)
        for document in documents:
            peer.receive({"jsonrpc": "2.0", "id": document["id"], "result": 1})
        answered = (await peer.sent(300))[200:]
        assert {document["id"] for document in answered} == {*range(100)}
        assert all(document["result"] == [1, 1] for document in answered)
        for number in range(5):
            peer.receive(request("spawn", number))
        documents = [document for document in (await peer.sent(310))[300:] if document.get("method") == "back"]
        for document in documents:
            peer.receive({"jsonrpc": "2.0", "id": document["id"], "result": 2})
        assert await asyncio.gather(*spawned) == [2] * 5
        # As many places as before are there
        queue = peer.app._dispatcher.core.queues[ALICE]  # type: ignore[union-attr]
        await until(lambda: queue._concurrent == 0)
        for number in range(40):
            peer.receive(request("slow", number))
        await until(lambda: queue._concurrent == 32)
        gate.set()
        await peer.sent(350)
        await until(lambda: queue._concurrent == 0)


async def test_middleware_is_around_methods_and_notifications() -> None:
    class Clock:
        ticks = 0

    class Plugin:
        @hookimpl
        def register_middleware(self) -> list[Middleware]:
            return [Middleware(function=outermost)]

    seen: list[object] = []

    async def outermost(context: Context, message: Message, call_next: CallNext) -> Message | None:
        seen.append(context.extension)
        return await call_next(message)

    extension, rpc = server()
    router = Router()
    extension.include(router)

    @router.middleware
    async def of_the_router(context: Context, message: Message, call_next: CallNext) -> Message | None:
        raise AssertionError("it has no handlers")

    @extension.provide
    def clock() -> Clock:
        return Clock()

    @extension.middleware
    async def around(context: Context, message: Message, call_next: CallNext, clock: Clock) -> Message | None:
        assert isinstance(message, rpc.message)
        clock.ticks += 1
        seen.append((message.document["method"], clock.ticks))
        match message.document.get("params"):
            case ["refuse"]:
                raise RpcError(5, "not today")
            case ["nothing"]:
                return None
            case ["early"]:
                return rpc.message(document={"jsonrpc": "2.0", "id": message.document["id"], "result": "early"})
        try:
            found = await call_next(message)
        except RpcError as error:
            seen.append(error.code)
            raise
        if isinstance(found, rpc.message):
            seen.append(found.document["result"])
        return found

    @rpc.notification("note")
    async def note(context: Context) -> None:
        seen.append("noted")

    async with raw(Plugin(), extension) as peer:
        assert (await peer.ask(request("add", params=["1"])))["result"] == {"total": "2"}
        assert seen == ["server", ("add", 1), {"total": "2"}]
        assert (await peer.ask(request("add", params=["refuse"])))["error"]["code"] == 5
        assert (await peer.ask(request("add", params=["early"])))["result"] == "early"
        assert (await peer.ask(request("add", params=["nothing"])))["error"]["code"] == -32603
        assert (await peer.ask(request("add", params={})))["error"]["code"] == -32602
        assert seen[-2:] == [("add", 5), -32602]
        peer.receive({"jsonrpc": "2.0", "method": "note"})
        await until(lambda: seen[-3:] == ["server", ("note", 6), "noted"])


# Procedures -------------------------------------------------------------------------------------------


@subtype
class Two:
    a: Annotated[u64, as_text]
    b: Annotated[u64, as_text] | None = None


ADD = Procedure("add", params=Two, result=Sum)
COUNT = Procedure("count", result=int)
NOTED = Procedure("noted", params=Two)


def of_procedures() -> tuple[Extension, PeerRpc, list[Two]]:
    extension = Extension("server", version="1.0")
    rpc, noted = PeerRpc(extension, 37913), list[Two]()

    @extension.provide
    def numbers() -> list[int]:
        return [7]

    @rpc.method(ADD)
    async def add(context: Context, two: Two) -> Sum:
        return Sum(total=two.a + (two.b or 1))

    @rpc.method(COUNT)
    async def count(context: Context, numbers: list[int]) -> int:
        return numbers[0]

    @rpc.notification(NOTED)
    async def note(context: Context, two: Two) -> None:
        noted.append(two)

    return extension, rpc, noted


async def test_a_procedures_parameters_are_one_object() -> None:
    async with raw(of_procedures()[0]) as peer:
        assert (await peer.ask(request("add", params={"a": "3"})))["result"] == {"total": "4"}
        assert (await peer.ask(request("add", params={"a": "3", "b": "4"})))["result"] == {"total": "7"}
        assert (await peer.ask(request("count")))["result"] == 7
        error = (await peer.ask(request("add", params={"b": "4"})))["error"]
        assert error["message"] == "Invalid params: a is missing"
        assert error["data"] == {"unrecognized": [], "property": "a", "message": "a is missing"}
        error = (await peer.ask(request("add", params={"a": "3", "c": 5})))["error"]
        assert error["message"] == "Invalid params: there is no parameter 'c'; there are: a, b"
        assert error["data"]["unrecognized"] == ["c"]
        error = (await peer.ask(request("count", params={"c": 5})))["error"]
        assert error["message"] == "Invalid params: there is no parameter 'c'; there are: none"
        error = (await peer.ask(request("add", params={"a": 3})))["error"]
        assert error["data"]["property"] == "a"


async def test_procedures_are_called_and_notified() -> None:
    network = MemoryNetwork()
    extension, rpc, noted = of_procedures()
    async with (
        Application(extension, transport=network.transport()) as server,
        Application(extension, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await rpc.call(peer, ADD, Two(a=3)) == Sum(total=4)
        assert await rpc.call(peer, COUNT) == 7
        await rpc.notify(peer, NOTED, Two(a=3, b=4))
        await until(lambda: noted == [Two(a=3, b=4)])
        wrong: Any
        for wrong, text in (
            (lambda: rpc.call(peer, ADD), "should have params of type Two, not None"),  # type: ignore[call-overload]
            (lambda: rpc.call(peer, ADD, {"a": "3"}), "should have params of type Two, not {"),  # type: ignore[call-overload]
            (lambda: rpc.call(peer, COUNT, Two(a=3)), "should have no parameters, not Two"),  # type: ignore[call-overload]
            (lambda: rpc.call(peer, ADD, a="3"), "takes its parameters as one object, not a="),  # type: ignore[call-overload]
        ):
            with pytest.raises(TypeError, match=text):
                await wrong()


async def of_none(context: Context) -> Sum:
    raise NotImplementedError


async def of_two(context: Context, a: Two, b: Two) -> Sum:
    raise NotImplementedError


async def of_a_sum(context: Context, a: Sum) -> Sum:
    raise NotImplementedError


async def to_an_int(context: Context, a: Two) -> int:
    raise NotImplementedError


async def unsaid(context, two):  # type: ignore[no-untyped-def]
    return Sum(total=two.a)


@pytest.mark.parametrize(
    ("function", "procedure", "text"),
    [
        (of_none, ADD, "should take the context and Two, as its procedure does"),
        (of_two, ADD, "should take the context and Two, as its procedure does"),
        (of_a_sum, COUNT, "should take the context alone, and what is provided, as its procedure does"),
        (of_a_sum, ADD, "parameter 'a' should be Two, as its procedure says, not Sum"),
        (to_an_int, ADD, "its result should be Sum, as its procedure says, not int"),
    ],
)
def test_a_function_is_held_to_its_procedure(function: Any, procedure: Any, text: str) -> None:
    extension = Extension("server", version="1.0")
    PeerRpc(extension, 37913).method(procedure)(function)
    with pytest.raises(ExtensionError, match=text):
        Application(extension, transport=ScriptedTransport())


async def test_a_function_without_annotations_takes_what_its_procedure_says() -> None:
    extension = Extension("server", version="1.0")
    PeerRpc(extension, 37913).method(ADD)(unsaid)
    async with raw(extension) as peer:
        assert (await peer.ask(request("add", params={"a": "3"})))["result"] == {"total": "3"}
