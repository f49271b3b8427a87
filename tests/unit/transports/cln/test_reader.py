"""From lightningd's bytes to answers and payloads: the quick way and the long way are the same way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import RemoteProtocolError
from oddwire.jsonrpc.documents import encode
from oddwire.proto.keys import NodeId
from oddwire.transports.cln.reader import Batch, HostReader

PEERS = ["02" + "11" * 32, "03" + "22" * 32]
RECORDED = Path(__file__).parents[3] / "vectors" / "plugin_exchange.jsonl"


def hook_call(number: int, payload: str, peer: str = PEERS[0]) -> bytes:
    """As lightningd writes it, byte for byte."""
    return (
        f'{{"jsonrpc":"2.0","id":"cln:custommsg#{number}","method":"custommsg",'
        f'"params":{{"payload":"{payload}","peer_id":"{peer}"}}}}\n\n'
    ).encode()


def told(payload: str, peer: str = PEERS[0]) -> bytes:
    return (
        '{"jsonrpc":"2.0","method":"custommsg","params":{"custommsg":'
        f'{{"peer_id":"{peer}","payload":"{payload}"}}}}}}\n\n'
    ).encode()


def reader_for(*type_ids: int, receive="hook") -> HostReader:
    reader = HostReader(receive)
    reader.type_ids = frozenset(type_ids)
    return reader


def answered(batch: Batch) -> list[object]:
    """The ids that were told to continue."""
    documents = [json.loads(text) for text in batch.answers.split(b"\n\n")[:-1]]
    assert all(document["result"] == {"result": "continue"} for document in documents)
    assert all(set(document) == {"jsonrpc", "id", "result"} for document in documents)
    return [document["id"] for document in documents]


def test_hook_calls_are_answered_and_their_payloads_taken() -> None:
    reader = reader_for(0x8C01)
    batch = reader.feed(b"".join(hook_call(number, f"8c01{number:04x}", PEERS[number % 2]) for number in range(5)))
    assert answered(batch) == [f"cln:custommsg#{number}" for number in range(5)]
    assert batch.items == [(NodeId(PEERS[number % 2]), bytes.fromhex(f"8c01{number:04x}")) for number in range(5)]
    assert batch.size == 20
    assert all(type(peer) is NodeId for peer, _ in batch.items)


@pytest.mark.parametrize("payload", ["8c03ff", "8c", "", "0007"])
def test_types_that_are_not_ours_are_answered_and_left(payload: str) -> None:
    reader = reader_for(0x8C01)
    for _ in range(2):  # the long way, then the quick one
        batch = reader.feed(hook_call(1, payload))
        assert answered(batch) == ["cln:custommsg#1"]
        assert batch.items == []


@pytest.mark.parametrize("call_id", ["a", 7, -1, 1.5, None, True, ["x"], {"a": "}"}, 'q"\\', "ü\n", "\ud800"])
def test_an_id_may_be_anything(call_id: object) -> None:
    reader = reader_for(0x8C01)
    call = {"id": call_id, "method": "custommsg", "params": {"peer_id": PEERS[0], "payload": "8c01"}, "jsonrpc": "2.0"}
    batch = reader.feed(encode(call))
    assert answered(batch) == [call_id]
    assert batch.items == [(NodeId(PEERS[0]), b"\x8c\x01")]


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        {},
        "x",
        {"peer_id": PEERS[0]},
        {"peer_id": PEERS[0], "payload": "8c0"},
        {"peer_id": PEERS[0], "payload": "8c 01"},
        {"peer_id": PEERS[0], "payload": None},
        {"peer_id": PEERS[0], "payload": "8c01é"},
        {"peer_id": "zz", "payload": "8c01"},
        {"peer_id": "z" * 100_000, "payload": "8c01"},
        {"peer_id": 10**12, "payload": "8c01"},
        {"peer_id": "04" + "11" * 32, "payload": "8c01"},
    ],
)
def test_what_cannot_be_read_is_answered_all_the_same(params: object) -> None:
    batch = reader_for(0x8C01).feed(encode({"jsonrpc": "2.0", "id": "x", "method": "custommsg", "params": params}))
    assert answered(batch) == ["x"]
    assert batch.items == []
    [remark] = batch.remarks
    assert len(remark) < 500


def test_other_documents_come_in_between_in_order() -> None:
    reader = reader_for(0x8C01)
    connect = {"jsonrpc": "2.0", "method": "connect", "params": {"id": PEERS[0]}}
    call = {"jsonrpc": "2.0", "id": "1", "method": "quote", "params": []}
    batch = reader.feed(hook_call(1, "8c01") + encode(connect) + hook_call(2, "8c01") + encode(call))
    peer = NodeId(PEERS[0])
    assert batch.items == [(peer, b"\x8c\x01"), connect, (peer, b"\x8c\x01"), call]
    assert not batch.shutdown


def test_shutdown() -> None:
    assert reader_for().feed(b'{"jsonrpc":"2.0","method":"shutdown","params":{"shutdown":{}}}\n\n').shutdown
    assert not reader_for().feed(b'{"jsonrpc":"2.0","id":1,"method":"shutdown","params":{}}\n\n').shutdown


def test_documents_need_no_space_between_them() -> None:
    reader = reader_for(0x8C01)
    batch = reader.feed(hook_call(1, "8c01").strip() + hook_call(2, "8c01").strip())
    assert answered(batch) == ["cln:custommsg#1", "cln:custommsg#2"]
    assert reader.is_between_documents
    assert answered(reader.feed(b"\n" + hook_call(3, "8c01"))) == ["cln:custommsg#3"]


def test_an_empty_line_within_a_document() -> None:
    reader = reader_for(0x8C01)
    batch = reader.feed(b'{"method":"a",\n\n"params":[1,\n\n2]}\n\n' + hook_call(1, "8c01"))
    assert batch.items[0] == {"method": "a", "params": [1, 2]}
    assert answered(batch) == ["cln:custommsg#1"]


@pytest.mark.parametrize("receive", ["hook", "notification"])
def test_the_largest_payload_in_pieces(receive) -> None:
    payload = "8c01" + "ab" * 65533
    data = hook_call(1, payload) if receive == "hook" else told(payload)
    reader = reader_for(0x8C01, receive=receive)
    items = []
    for _ in range(2):
        for start in range(0, len(data), 5000):
            batch = reader.feed(data[start : start + 5000])
            items += batch.items
            assert reader.is_between_documents is (start + 5000 >= len(data))
    assert items == [(NodeId(PEERS[0]), bytes.fromhex(payload))] * 2


def test_a_document_of_megabytes() -> None:
    reader = reader_for()
    document = {"id": 1, "method": "x", "params": ["y\n\n" * 100_000] * 10}
    data = encode(document)
    items = []
    for start in range(0, len(data), 65536):
        items += reader.feed(data[start : start + 65536]).items
    assert items == [document]


def test_notifications_are_taken_if_asked_for_and_calls_then_only_answered() -> None:
    reader = reader_for(0x8C01, receive="notification")
    flat = {"jsonrpc": "2.0", "method": "custommsg", "params": {"peer_id": PEERS[1], "payload": "8c0103"}}
    batch = reader.feed(told("8c0101") + told("8c0102") + hook_call(1, "8c0101") + told("8c03") + encode(flat))
    assert [payload for _, payload in batch.items] == [b"\x8c\x01\x01", b"\x8c\x01\x02", b"\x8c\x01\x03"]
    assert answered(batch) == ["cln:custommsg#1"]
    batch = reader_for(0x8C01).feed(told("8c01"))
    assert (batch.items, batch.answers) == ([], b"")


def test_garbage_is_refused_for_good() -> None:
    reader = reader_for()
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"hello}\n\n")
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"{}\n\n")


@pytest.mark.parametrize("chunk", [1 << 30, 1000])
def test_what_is_too_large_is_refused_alone(monkeypatch, chunk) -> None:
    """The application lives on, as does lightningd: a custommsg call is answered continue whatever its size."""
    monkeypatch.setenv("ODDWIRE_MAX_DOCUMENT", "2000")
    reader = reader_for(0x8C01)
    large = [
        {"jsonrpc": "2.0", "id": "x/cln:quote#1", "method": "quote", "params": ["y" * 5000]},
        {"jsonrpc": "2.0", "id": "cln:custommsg#2", "method": "custommsg", "params": {"payload": "8c01" * 5000}},
        {"jsonrpc": "2.0", "method": "sold", "params": ["y" * 5000]},
    ]
    data = b"".join(map(encode, large)) + encode({"jsonrpc": "2.0", "method": "connect", "params": {}})
    batches = [reader.feed(data[at : at + chunk]) for at in range(0, len(data), chunk)]
    refused, told_to_go_on = map(json.loads, b"".join(batch.answers for batch in batches).split(b"\n\n")[:-1])
    assert refused["id"] == "x/cln:quote#1"
    text = "bytes, of at most 2000 (ODDWIRE_MAX_DOCUMENT in the node's environment allows more)"
    assert refused["error"]["message"].startswith("request of 50")
    assert refused["error"]["message"].endswith(text)
    assert told_to_go_on == {"jsonrpc": "2.0", "id": "cln:custommsg#2", "result": {"result": "continue"}}
    remarks = [remark for batch in batches for remark in batch.remarks]
    assert len(remarks) == 3
    assert all(text in remark for remark in remarks)
    assert [item["method"] for batch in batches for item in batch.items] == ["connect"]


def test_an_array_is_remarked_on() -> None:
    batch = reader_for().feed(b"[1]\n\n")
    assert (batch.items, len(batch.remarks)) == ([], 1)


@pytest.mark.parametrize("receive", ["hook", "notification"])
def test_recorded_nodes(receive) -> None:
    """What lightningd really wrote, in the order it wrote it."""
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    sent = [line["written"].encode() for line in lines if "written" in line]
    assert len(sent) > 10
    reader = reader_for(*range(65536), receive=receive)
    batch = reader.feed(b"".join(sent))
    documents = [json.loads(raw) for raw in sent]
    assert answered(batch) == [d["id"] for d in documents if d["method"] == "custommsg" and "id" in d]
    assert [item for item in batch.items if isinstance(item, dict)] == [
        d for d in documents if d["method"] != "custommsg"
    ]


pieces = st.lists(
    st.one_of(
        st.builds(hook_call, st.integers(0, 9), st.sampled_from(["8c01aa", "8c03", "8c0", "8c01zz", "", "8C01"])),
        st.builds(told, st.sampled_from(["8c01bb", "8c03", "x"]), st.sampled_from(PEERS)),
        st.builds(
            lambda space, key: json.dumps(
                {
                    "jsonrpc": "2.0",
                    "id": key,
                    "method": "custommsg",
                    "params": {"payload": "8c01", "peer_id": PEERS[1]},
                },
                separators=space,
            ).encode(),
            st.sampled_from([(",", ":"), (", ", ": "), (",\n\n", ":\n\n")]),
            st.one_of(st.text(), st.integers(), st.none()),
        ),
        st.sampled_from([b"\n", b"\n\n", b" ", b'{"method":"connect","params":{}}\n\n']),
    ),
    max_size=12,
)


@given(pieces, st.sampled_from(["hook", "notification"]), st.lists(st.integers(1, 400), max_size=20))
def test_quick_and_long_ways_agree_wherever_bytes_are_split(parts, receive, cuts) -> None:
    data = b"".join(parts)
    decoder, at, text = json.JSONDecoder(strict=False), 0, data.decode()
    expected_answers, expected_items = [], []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        if document["method"] != "custommsg":
            expected_items.append(document)
            continue
        if "id" in document:
            expected_answers.append(document["id"])
        params = document["params"].get("custommsg", document["params"])
        digits = params["payload"].lower()
        whole = len(digits) % 2 == 0 and all(digit in "0123456789abcdef" for digit in digits)
        if ("id" in document) is (receive == "hook") and whole and digits.startswith("8c01"):
            expected_items.append((NodeId(params["peer_id"]), bytes.fromhex(digits)))
    reader = reader_for(0x8C01, receive=receive)
    answers, items, start = [], [], 0
    for end in [*sorted(cuts), len(data)]:
        if end > start:
            batch = reader.feed(data[start:end])
            answers += answered(batch)
            items += batch.items
            start = end
    assert (answers, items) == (expected_answers, expected_items)
