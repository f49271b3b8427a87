"""``sendcustommsg`` and ``ping``: every recorded answer of lightningd's, every type, and peers that do not read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.node.methods.messages import shortcut
from oddwire.proto import PrivateKey

VECTORS = Path(__file__).parents[3] / "vectors"
ROWS = [json.loads(line) for line in (VECTORS / "cln_sendcustommsg.jsonl").read_text().splitlines()]
REFUSED = json.loads((VECTORS / "cln_refused_types.json").read_text())["refused"]

LIMIT = 30  # seconds; reached only by what hangs

# The ids in the recordings: a connected peer, one that is known but not connected, and the node itself
CONNECTED = "020fe7e42ddfa8dd20e641dbf8489c7c61fba690e83ce7c9d9c45c532d122831a4"
KNOWN = "02cf028d8884ba64299f76124f7b21296800b392159e4c86311fe9e88f292531bf"
ITSELF = "03284bb117cd2af9e6f4268e433f199bab2a29b1b863127bbd351706b5d0ddd625"

# lightningd accepts these and dies, or cuts them, or passes on what has no type
FAULTS = {
    "bad hex",
    "bad hex with 0x",
    "odd-length hex",
    "hex with space",
    "empty msg",
    "1-byte msg",
    "1-byte msg ff",
    "1-byte msg 01",
    "length 65536 bytes incl. type",
    "length 65537 bytes incl. type",
    "length 70000 bytes incl. type",
    "length 100000 bytes incl. type",
    "msg a number",  # 12: one byte
    "msg null",
    "msg an object",
    "msg a list",
    "msg true",
    "check bad hex",
    "check empty msg",
    "check 65536 bytes",
}
BAD_MSG = "msg: should be a hex encoded message of 2 to 65535 bytes: invalid token (see logs for details)"


def request_of(row: dict[str, Any]) -> str:
    text: str = row["request"]
    return text.replace("MSG", "c0df" + "ab" * (row["bytes"] - 2)) if "bytes" in row else text


@pytest.fixture
async def lab(start_node, dial):
    """A node with a connected peer, one it keeps but cannot reach, and a bare connection to its socket."""
    node = await start_node(connect=[f"{KNOWN}@127.0.0.1:1"])
    peer = await dial(node)
    reader, writer = await asyncio.open_unix_connection(str(node.rpc_path), limit=1 << 20)
    names = {CONNECTED: peer.id, CONNECTED.upper(): peer.id.upper(), ITSELF: node.node_id}

    def translate(text: str) -> bytes:
        for name, real in names.items():
            text = text.replace(name, real)
        return text.encode()

    yield peer, reader, writer, translate
    writer.transport.abort()


def test_the_rows_are_all_there() -> None:
    assert len(ROWS) == 107
    assert {row["case"] for row in ROWS if row["crashed"]} <= FAULTS <= {row["case"] for row in ROWS}
    assert len(REFUSED) == 50


async def test_answers_as_lightningd(lab) -> None:
    """Byte for byte, but for its faults."""
    peer, reader, writer, translate = lab
    wrong = []
    for row in ROWS:
        if row["response"] is None:
            continue
        request = translate(request_of(row))
        expected = translate(row["response"])
        if row["case"] in FAULTS:
            answer = {"jsonrpc": "2.0", "id": json.loads(request)["id"], "error": {"code": -32602, "message": BAD_MSG}}
            expected = json.dumps(answer, separators=(",", ":")).encode() + b"\n\n"
        writer.write(request)
        async with asyncio.timeout(LIMIT):
            answered = await reader.readuntil(b"\n\n")
        if answered != expected:
            wrong.append((row["case"], answered[:300], expected[:300]))
        if b"Message sent" in answered and "sendcustommsg" in row["request"][:300]:
            await peer.read()
    assert not wrong


@pytest.mark.parametrize("row", [row for row in ROWS if row["response"] is None], ids=lambda row: row["case"])
async def test_what_lightningd_does_not_answer(lab, row: dict[str, Any]) -> None:
    _, reader, writer, translate = lab
    writer.write(translate(row["request"]))
    await writer.drain()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)


async def test_what_is_sent_arrives_as_it_was(lab) -> None:
    peer, reader, writer, translate = lab
    sent = []
    for row in ROWS:
        if row["response"] is None or "Message sent" not in row["response"] or row["case"] in FAULTS:
            continue
        params = json.loads(translate(request_of(row)))["params"]
        msg = params["msg"] if isinstance(params, dict) else params[1]
        sent.append(bytes.fromhex(str(msg)))
        writer.write(translate(request_of(row)))
        async with asyncio.timeout(LIMIT):
            await reader.readuntil(b"\n\n")
    assert len(sent) > 20
    assert [await peer.read() for _ in sent] == sent


# Texts of requests around the usual one; NODE and MSG stand for what is given in it
USUAL = '{"jsonrpc":"2.0","id":"a#1","method":"sendcustommsg","params":{"node_id":"NODE","msg":"MSG"}}'
UNUSUAL = [
    USUAL,
    USUAL.replace(":", ": ").replace(",", ", "),
    USUAL.replace(":", " : "),
    USUAL.replace('"id":"a#1",', "").replace("}}", '},"id":"a#1"}'),
    USUAL.replace('"id":"a#1",', ""),
    USUAL.replace("}}", '},"id":"b"}'),
    USUAL.replace("}}", '},"filter":{"status":true}}'),
    USUAL.replace("}}", '},"filter":{}}'),
    USUAL.replace("}}", '},"filter":5}'),
    USUAL.replace("}}", ',"more":1}}'),
    USUAL.replace("}}", '},"params":[]}'),
    USUAL.replace('"2.0"', '"1.0"'),
    USUAL.replace("sendcustommsg", "getlog"),
    USUAL.replace('"node_id":"NODE","msg":"MSG"', '"msg":"MSG","node_id":"NODE"'),
    USUAL.replace('"node_id"', '"nodeid"'),
    USUAL.replace("{", "[").replace("}", "]"),
    *(USUAL.replace('"a#1"', key) for key in ("0", "7", "-1", "00", "1.5", "1e3", "1" * 20, "null", "true", "[]")),
    *(USUAL.replace('"a#1"', key) for key in ('""', '"é\U0001f600"', '"\n"', '"' + "x" * 3000 + '"')),
    *(USUAL.replace('"a#1"', key) for key in (r'"\""', r'"\\"', r'"\u00e9"')),
    *(USUAL.replace("MSG", msg) for msg in ("", "80", "8001a", "80 01", "8001 ", "ABcd01", "8000", "0010", "ffff")),
    *(USUAL.replace("MSG", msg) for msg in ("c0df" + "00" * 65533, "c0df" + "00" * 65534, r"80\"01", "80\t01")),
    *(USUAL.replace("NODE", node_id) for node_id in ("02" * 33, "é" * 66, "NODE ", "NODE\\")),
]


@pytest.mark.parametrize("text", UNUSUAL, ids=lambda text: text[:150])
async def test_answers_of_the_shortcut_are_those_without_it(node, dial, text: str) -> None:
    peer = await dial(node)
    for node_id in (peer.id, peer.id.upper()):
        request = text.replace("NODE", node_id).replace("MSG", "8001aa")
        by_shortcut = shortcut(node)("\n" + request + request, 0)
        try:
            document = json.loads(request)
        except ValueError:
            assert by_shortcut is None
            continue
        answer = node.commands.dispatch(document)
        if by_shortcut is not None:
            assert by_shortcut == (answer, 1 + len(request))
            assert await peer.read() == await peer.read() == bytes.fromhex(document["params"]["msg"])
        elif b"Message sent" in answer:
            assert await peer.read()  # only once: what the shortcut does not answer, it does not send


async def test_the_shortcut_takes_the_requests_of_usual_clients(node, dial) -> None:
    peer = await dial(node)
    usual = shortcut(node)
    for text in UNUSUAL[:2] + UNUSUAL[3:4]:
        answer, _ = usual(text.replace("NODE", peer.id).replace("MSG", "8001aa"), 0)
        assert json.loads(answer)["result"] == {"status": "Message sent to connectd for delivery"}
        assert await peer.read() == bytes.fromhex("8001aa")


async def test_the_shortcut_is_closed_with_the_node(node, dial) -> None:
    peer = await dial(node)
    node.commands.closing = True
    assert shortcut(node)(USUAL.replace("NODE", peer.id).replace("MSG", "8001aa"), 0) is None


@pytest.mark.parametrize("by_name", [False, True])
async def test_all_types(client, node, dial, by_name: bool) -> None:
    """Fifty are refused, with lightningd's words; the others arrive, in order."""
    peer = await dial(node)

    async def read_all() -> list[int]:
        return [int.from_bytes(await peer.read(), "big") for _ in range(65536 - len(REFUSED))]

    reading = asyncio.create_task(read_all())
    refused: dict[str, Any] = {}
    todo = iter(range(65536))

    async def send_some() -> None:
        for type_id in todo:
            try:
                params = {"node_id": peer.id, "msg": f"{type_id:04x}"}
                await client.call("sendcustommsg", params if by_name else list(params.values()))
            except NodeRefused as error:
                refused[str(type_id)] = (error.code, str(error))

    await asyncio.gather(*(send_some() for _ in range(64)))
    assert refused == {number: (row["code"], row["message"]) for number, row in REFUSED.items()}
    arrived = await reading
    assert arrived == sorted(arrived)
    assert len(set(arrived)) == 65536 - len(REFUSED)


async def test_the_first_even_message_is_worth_a_line(client, node, dial) -> None:
    peer = await dial(node)
    for _ in range(3):
        await client.call("sendcustommsg", [peer.id, "8000"])
    told = [line for line in node.log.lines("info") if "custom even message (32768)" in line["log"]]
    assert len(told) == 1


async def test_what_a_bad_parameter_was_is_logged_and_not_told(client, node) -> None:
    with pytest.raises(NodeRefused, match=r"^node_id: should be a node id: invalid token \(see logs for details\)$"):
        await client.call("sendcustommsg", ["secret rune", "8001"])
    with pytest.raises(NodeRefused, match=r"^node_id: should be a node id: invalid token '\"secret rune\"'$"):
        await client.call("check", ["sendcustommsg", "secret rune", "8001"])
    assert any("token '\"secret rune\"'" in line["log"] for line in node.log.lines("info"))


async def test_a_peer_that_does_not_read(start_node, client_of, dial) -> None:
    """Its queue fills, then the call says so; other peers are served; once it reads, all that was accepted arrives."""
    node = await start_node(max_queued=1_000_000)
    client = await client_of(node)
    stuck, reading = await dial(node), await dial(node)
    stuck.connection.pause()
    accepted = 0
    with pytest.raises(NodeRefused) as caught:  # noqa: PT012 - how many it takes depends on the sockets
        while True:
            await client.call("sendcustommsg", [stuck.id, f"8001{accepted:08x}" + "00" * 50_000])
            accepted += 1
    assert caught.value.code == -1
    assert f"Peer {stuck.id} does not read" in str(caught.value)
    assert "bytes are queued for it, of at most 1000000" in str(caught.value)
    await client.call("sendcustommsg", [reading.id, "8001ff"])
    assert await reading.read() == bytes.fromhex("8001ff")
    stuck.connection.resume()
    for number in range(accepted):
        assert int.from_bytes((await stuck.read())[2:6], "big") == number
    await client.call("sendcustommsg", [stuck.id, "8001ff"])
    assert await stuck.read() == bytes.fromhex("8001ff")


class TestPing:
    async def test_the_pong_is_measured(self, start_node, client_of) -> None:
        one, two = await start_node("one"), await start_node("two")
        client = await client_of(one)
        await client.call("connect", [two.uris[0]])
        assert await client.call("ping", {"id": two.node_id}) == {"totlen": 132}
        assert await client.call("ping", [two.node_id, 0, 0]) == {"totlen": 4}
        assert await client.call("ping", [two.node_id, 65529, 65531]) == {"totlen": 65535}
        assert await client.call("ping", [two.node_id, 1, 65532]) == {"totlen": 0}  # BOLT 1: not answered

    async def test_one_at_a_time(self, client, node, dial) -> None:
        peer = await dial(node)
        await client.connect()
        first, second = (asyncio.create_task(client.call("ping", [peer.id])) for _ in range(2))
        with pytest.raises(NodeRefused, match="Ping already pending"):
            await second
        await peer.connection.aclose()
        with pytest.raises(NodeRefused, match="Peer disconnected before its pong"):
            await first

    @pytest.mark.parametrize(
        ("params", "code", "text"),
        [
            ([PrivateKey(b"\1" * 32).public_key().hex()], -1, "Peer not connected"),
            ([CONNECTED, 65530], -32602, "65530 would result in oversize ping"),
            ([CONNECTED, 1, 65536], -32602, "pongbytes 65536 > 65535"),
            (
                [CONNECTED, "x"],
                -32602,
                "len: should be an integer: invalid token (see logs for details)",
            ),
        ],
    )
    async def test_refusals(self, client, params: list[Any], code: int, text: str) -> None:
        with pytest.raises(NodeRefused) as caught:
            await client.call("ping", params)
        assert (caught.value.code, str(caught.value)) == (code, text)
