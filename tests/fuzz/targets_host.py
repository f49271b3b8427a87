"""What a node's bytes meet first: the splitter of JSON documents, a plugin's reader of stdin, and the RPC client.

Whole, in portions or one byte at a time, they give the same; what is no JSON-RPC ends in the documented error.
"""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from oddwire.errors import ConnectionClosed, NodeRefused, RemoteProtocolError, TransportError
from oddwire.jsonrpc import JsonRpcClient, JsonSplitter, Oversize, encode
from oddwire.proto.keys import NodeId
from oddwire.transports.cln.reader import HostReader, Item

LIMIT = 5.0  # seconds; reached only by what hangs
SIZES = (1, 7, 100, 4096)
DEEPEST, LARGEST = 20, 3000
TOO_LARGE = b"(what is too large has not ended)"


def portions(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def split(data: bytes, size: int, **limits: int) -> tuple[list[Any], str, bytes]:
    """Return the documents, the error, if any, and what is kept of a document that has not ended."""
    splitter, found = JsonSplitter(**limits), []
    try:
        for at, piece in enumerate(portions(data, size)):
            splitter.push(piece)
            for document in splitter:
                found.append(document)  # noqa: PERF402 - those before an error count
            kept = min((at + 1) * size, len(data))
            assert len(splitter.rest) <= min(kept, limits.get("max_size", kept)), "no more is kept than may come"
    except RemoteProtocolError as error:
        for _ in range(2):
            try:
                splitter.feed(b"{}")
            except RemoteProtocolError as again:
                assert str(again) == str(error), "then and ever after"
            else:
                raise AssertionError("it went on after an error") from error
        return found, str(error), b""
    # Of what is too large, how much is kept depends on the portions
    return found, "", TOO_LARGE if splitter.oversize is not None else splitter.rest.strip(b" \t\r\n")


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def shown(found: list[Any]) -> list[Any]:
    return [repr(document) if type(document) is Oversize else document for document in found]


def check_documents(data: bytes) -> None:
    for limits in ({}, {"max_depth": DEEPEST, "max_size": LARGEST}):
        found, error, rest = split(data, len(data) or 1, **limits)
        for size in SIZES:
            others, wrong, kept = split(data, size, **limits)
            assert (shown(others), bool(wrong), kept) == (shown(found), bool(error), rest)
            assert wrong == error or limits  # what is too large may be garbage as well
        found = [document for document in found if type(document) is not Oversize]
        assert all(isinstance(document, dict | list) for document in found)
        assert all(json.loads(encode(document)) == document for document in found)
        assert rest == TOO_LARGE or data.rstrip(b" \t\r\n").endswith(rest)
    assert all(depth(document) <= DEEPEST for document in found)


# What a plugin reads


PEERS = ["02" + "11" * 32, "03" + "22" * 32]
Receive = Literal["hook", "notification"]
Read = tuple[list[Item], list[Any], list[str], bool]


def read(data: bytes, size: int, receive: Receive) -> tuple[Read, str, bool]:
    """Return what came of it, whose answers as the ids they are for; the error, if any; and whether all was whole."""
    reader = HostReader(receive)
    reader.type_ids = frozenset({0x8C01, 0x8C03})
    items: list[Item] = []
    answers: list[Any] = []
    remarks: list[str] = []
    shutdown = False
    for piece in portions(data, size):
        try:
            batch = reader.feed(piece)
        except RemoteProtocolError as error:
            return (items, answers, remarks, shutdown), str(error), False
        assert batch.size == sum(len(item[1]) for item in batch.items if isinstance(item, tuple))
        items += batch.items
        remarks += batch.remarks
        shutdown = shutdown or batch.shutdown
        for text in batch.answers.split(b"\n\n")[:-1]:
            answer = json.loads(text)
            if "error" in answer:  # to a request that is nested too deep
                assert answer["error"]["message"].startswith("request nested ")
                continue
            assert answer == {"jsonrpc": "2.0", "id": answer["id"], "result": {"result": "continue"}}
            answers.append(answer["id"])
    return (items, answers, remarks, shutdown), "", reader.is_between_documents


def check_host(data: bytes) -> None:
    data += b"\n\n"  # what does not end so, or with a brace, may be looked at later
    documents, wrong, rest = split(data, len(data) or 1)
    for receive in ("hook", "notification"):
        bytewise, error, between = read(data, 1, receive)
        items, answers, remarks, shutdown = bytewise
        assert error == wrong
        assert between is (not wrong and not rest)
        check_what_was_read(documents, bytewise, receive)
        for size in (*SIZES[1:], len(data) or 1):
            others, error, _ = read(data, size, receive)
            assert error == wrong
            if not wrong:
                assert others == bytewise
            else:  # what came together with it is not handed on
                for some, all_ in zip(others[:3], (items, answers, remarks), strict=True):
                    assert some == all_[: len(some)]
                assert shutdown or not others[3]


NONE = object()


def hook_id(document: Any) -> Any:
    """The id of a document that is a call of the hook, be it too large to be read; else `NONE`."""
    if type(document) is Oversize:
        is_call = document.member("method") == "custommsg" and document.member("id") is not None
        return document.member("id") if is_call else NONE
    return document.get("id", NONE) if isinstance(document, dict) and document.get("method") == "custommsg" else NONE


def check_what_was_read(documents: list[Any], found: Read, receive: Receive) -> None:
    """Every call of the hook is answered, whatever is in it; all that is not of the hook is handed on as it is."""
    items, answers, remarks, shutdown = found
    messages = [document for document in documents if isinstance(document, dict)]
    ours = [message for message in messages if message.get("method") == "custommsg"]
    others = [message for message in messages if message.get("method") != "custommsg"]
    assert answers == [key for key in map(hook_id, documents) if key is not NONE]
    assert [item for item in items if isinstance(item, dict)] == others
    assert shutdown is any(other.get("method") == "shutdown" and "id" not in other for other in others)
    taken = [item for item in items if not isinstance(item, dict)]
    assert len(taken) <= sum(("id" in message) is (receive == "hook") for message in ours)
    assert len(remarks) <= len(documents) - len(others)
    assert all(len(remark) < 1000 for remark in remarks)
    written = json.dumps(ours).lower()
    for item in taken:
        assert isinstance(item, tuple)
        assert isinstance(item[0], NodeId)
        assert item[1][:2] in (b"\x8c\x01", b"\x8c\x03")
        assert str(item[0]) in written
        assert item[1].hex() in written


# What a client reads


class Pretender:
    """What sits at a node's socket, says ``data`` after three calls, and hangs up."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "rpc"
        self.data, self.size = b"", 1
        self.server = self.loop.run_until_complete(asyncio.start_unix_server(self.serve, self.path))
        atexit.register(self.close)

    def close(self) -> None:
        self.server.close()
        self.loop.run_until_complete(self.server.wait_closed())
        self.loop.close()
        self.folder.cleanup()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in CALLS:
            await reader.readuntil(b"\n\n")
        # Many small portions take long: the last are what matters, as they are where an end may be
        head = self.data[: max(0, len(self.data) - 100)] if self.size == 1 else b""
        for piece in (head, *portions(self.data[len(head) :], self.size)):
            if writer.transport.is_closing():
                break
            writer.write(piece)
            await asyncio.sleep(0)
        try:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass  # the client has hung up

    def ask(self, data: bytes, size: int) -> tuple[list[Any], list[Any]]:
        """Return what became of each call, and what the client was told unasked."""
        self.data, self.size = data, size
        logging.disable(logging.WARNING)
        try:
            return self.loop.run_until_complete(self.calls())
        finally:
            logging.disable(logging.NOTSET)

    async def calls(self) -> tuple[list[Any], list[Any]]:
        told: list[Any] = []
        async with (
            asyncio.timeout(LIMIT),
            JsonRpcClient(self.path, on_notification=lambda *what: told.append(what), max_document=1 << 16) as client,
        ):
            outcomes = await asyncio.gather(*map(client.call, CALLS), return_exceptions=True)
        assert not self.faults, self.faults
        return [outcome(result) for result in outcomes], told


CALLS = ("a", "b", "c")
IDS = [f"oddwire:{method}#{number}" for number, method in enumerate(CALLS, 1)]


def outcome(result: Any) -> Any:
    match result:
        case NodeRefused():
            return "refused", result.code, str(result), result.data, result.extra
        case ConnectionClosed():
            return "closed"
        case TransportError():  # and no more than that: its answer is too large
            return "too large", str(result)
        case BaseException():
            raise result
    return "result", result


@functools.cache
def pretender() -> Pretender:
    return Pretender()


def check_client(data: bytes) -> None:
    outcomes, told = pretender().ask(data, len(data) or 1)
    assert pretender().ask(data, 1) == (outcomes, told)
    documents = [document for document in split(data, len(data) or 1)[0] if isinstance(document, dict)]
    for key, ended in zip(IDS, outcomes, strict=True):
        answers = [document for document in documents if document.get("id") == key]
        if ended[0] == "result":
            assert ended[1] == answers[0].get("result"), "the answer of that id, and no other"
            assert answers[0].get("error") is None
        elif ended[0] == "refused":
            assert answers[0]["error"] is not None
            assert type(ended[1]) is int
    for method, _ in told:
        assert isinstance(method, str)
        assert any(document.get("method") == method for document in documents)


# What nodes write


def call(key: Any, payload: str = "8c01aabb", peer: str = PEERS[0]) -> dict[str, Any]:
    params = {"payload": payload, "peer_id": peer}
    return {"jsonrpc": "2.0", "id": key, "method": "custommsg", "params": params}


def told(payload: str, peer: str = PEERS[1]) -> dict[str, Any]:
    params = {"custommsg": {"peer_id": peer, "payload": payload}}
    return {"jsonrpc": "2.0", "method": "custommsg", "params": params}


def written(*documents: object) -> bytes:
    return b"".join(map(encode, documents))


CALL = {"jsonrpc": "2.0", "id": "a#1", "method": "getinfo", "params": {}}
SHUTDOWN = {"jsonrpc": "2.0", "method": "shutdown", "params": {}}
RAW = [
    b"[" * 150 + b"]" * 150,
    b'{"a":' * 150 + b"1" + b"}" * 150,
    b'{"id":1' + b"0" * 5000 + b"}",
    b'{"id":1e999}{"id":-1E+400}',
    b'{"id":NaN}',
    b'{"text":"\xff\xfe"}',
    b'{}{"text":"\xc3\xa4 \\u00e4 \\ud800"}{"\xc3"}',
    b'{"a":"}{\\"][","b":[{},[[]]]}',
    b'{"id":"' + b"x" * 5000,
    b"hello}",
    b'"text"{}',
    b" \n\n {}\r\n\t[]\n\n\n",
]
STDIN = [
    *RAW,
    *[written(call(f"cln:custommsg#{number}", "8c01" + "ab" * number)) for number in (0, 100)],
    written(call("a#1"), call("a#2"), told("8c03"), told("8c03cc"), call("a#3", "8c05"), SHUTDOWN, call("a#4")),
    written(call('"\\\u2028\ud800'), call(None), call([1, {}]), call(2.5)),
    json.dumps(call("a#1"), indent=1).replace("\n", "\n\n").encode() + written(call("a#2"), call("a#3")),
    written(call("a", "8c0"), call("a", "zz"), call("a", "8C01"), call("a", "8c01", "02ff"), call("a", peer="é")),
    written({"id": 1, "method": "custommsg"}, {"method": "custommsg", "params": []}, [CALL], CALL),
    written(call("a#1"))[:-2] + written(call("a#2"))[:-2] + written(told("8c01"))[:-1],
]
ANSWERS = [
    *RAW,
    written({"id": IDS[1], "result": [1, None]}, {"id": IDS[0], "result": {}}, {"id": IDS[2], "result": "x"}),
    written({"id": IDS[0], "error": {"code": -32601, "message": "Unknown", "data": 1, "traceback": "t"}}),
    written({"id": IDS[0], "error": {"code": "x"}}, {"id": IDS[1], "error": []}, {"id": IDS[2], "error": None}),
    written({"id": IDS[0], "error": {"code": True, "message": {}}}, {"id": IDS[0], "result": 1}, {"id": IDS[1]}),
    written({"id": 1, "result": 1}, {"id": [IDS[0]], "result": 1}, {"id": IDS[0].upper()}, {"result": 1}, {}),
    written({"method": "message", "params": {"id": IDS[0]}}, {"method": 7}, {"method": [], "params": 1}),
    written({"id": IDS[0], "result": 1}, {"id": None, "error": {"code": -32600}}, {"id": IDS[1], "result": 1}),
    written({"id": IDS[0], "result": 1}, [{"id": IDS[1], "result": 1}], {"id": IDS[2], "result": 1}),
    written({"id": IDS[0], "result": "x" * 65000}, {"id": IDS[1], "result": "x" * 66000}),
]

TARGETS = {
    "jsonrpc: documents": (check_documents, [*STDIN, *ANSWERS]),
    "jsonrpc: client": (check_client, ANSWERS),
    "cln: what a plugin reads": (check_host, STDIN),
}
