"""The JSON codec: its text, as bLIP-50 and PeerSwap have it, and its strictness."""

import contextlib
import json
import tracemalloc
from typing import Any

import pytest

from oddwire.codecs import json as codec
from oddwire.codecs.base import MAX_VALUES
from oddwire.codecs.json import LONGEST_NUMBER, JsonCodec, _next
from oddwire.errors import EncodeError, MalformedMessage, PayloadTooLarge, ValueOutOfRange
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.records import replace
from oddwire.schema import Message, field, message, point, schema_of, short_channel_id, subtype, u8, u64
from oddwire.schema.kinds import Nested

KEY = PrivateKey(b"\1" * 32).public_key()


@message(37913, codec="json", spec=True)
class Lsps0(Message):
    """bLIP-50: JSON-RPC 2.0, a request or an answer."""

    jsonrpc: str = "2.0"
    id: str | None = None
    method: str | None = None
    params: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


@subtype
class Order:
    price: u8


@message(0x8C01, codec="json")
class Whole(Message):
    name: str = field(key="the name")
    amount: u64 = 0
    key: point | None = None
    place: short_channel_id | None = field(default=None, key="scid")
    data: bytes = b""
    rate: float = 1.0
    orders: tuple[Order, ...] = ()


LSPS0, PLAN = JsonCodec().compile(schema_of(Lsps0)), JsonCodec().compile(schema_of(Whole))


def test_a_request_of_blip_50():
    request = Lsps0(id="df3", method="lsps0.list_protocols", params={})
    text = '{"jsonrpc":"2.0","id":"df3","method":"lsps0.list_protocols","params":{}}'
    assert LSPS0.encode(request) == b"\x94\x19" + text.encode()
    assert LSPS0.decode(LSPS0.encode(request)) == request
    answer = b'\x94\x19 {"result": {"protocols": [1, 2]}, "id": "df3", "jsonrpc": "2.0"} \n'
    assert LSPS0.decode(answer) == Lsps0(id="df3", result={"protocols": [1, 2]})


def test_text_is_compact_and_utf8():
    whole = Whole(name="é\n", amount=2**64 - 1, key=KEY, place=ShortChannelId(1, 2, 3), data=b"\xff", rate=0.5)
    text = (
        f'{{"the name":"é\\n","amount":18446744073709551615,"key":"{KEY.hex()}","scid":"1x2x3",'
        '"data":"ff","rate":0.5,"orders":[]}'
    )
    assert PLAN.encode(whole) == b"\x8c\x01" + text.encode()
    assert PLAN.decode(PLAN.encode(whole)) == whole


def test_fields_are_written_as_declared_as_signed_json_needs():
    @message(0x8C09, codec="json")
    class Signed(Message):
        a: u8
        b: u8 | None = None
        c: u8 = 7

    plan = JsonCodec().compile(schema_of(Signed))
    assert plan.encode(Signed(a=1, b=2, c=3)) == b'\x8c\x09{"a":1,"b":2,"c":3}'
    assert plan.encode(Signed(a=1, c=3)) == b'\x8c\x09{"a":1,"c":3}'


def test_unknown_keys_are_ignored():
    assert PLAN.decode(b'\x8c\x01{"the name":"x","name":7,"more":[{}]}') == Whole(name="x")


BROKEN = {
    "nothing": (b"", "$", 2, "is not JSON: Expecting value"),
    "no object": (b"[]", "$", 2, "should be a map, not list"),
    "cut off": (b'{"the name":"x', "$", 14, "is not JSON: Unterminated string"),
    "more": (b'{"the name":"x"}{}', "$", 18, "is not JSON: Extra data"),
    "not UTF-8": (b'{"the name":"\xff"}', "$", 15, "is not UTF-8"),
    "byte order mark": (b'\xef\xbb\xbf{"the name":"x"}', "$", 2, "is not JSON"),
    "missing": (b"{}", "$.name", 2, "is missing and has no default"),
    "wrong type": (b'{ "the name" : 7}', "$.name", 17, "should be str, not int"),
    "deep inside": (
        '{"é":[1,{"a":[]}],"the name":"x","orders":[{"price":1}, {"price":300}]}'.encode(),
        "$.orders[1].price",
        68,
        "0 to 255",
    ),
    "key twice": (b'{"the name":"x","the name":"y"}', "$", None, "the key 'the name' comes twice"),
    "key twice inside": (b'{"the name":"x","z":[{"a":1,"a":1}]}', "$", None, "the key 'a' comes twice"),
    "NaN": (b'{"the name":"x","rate":NaN}', "$", None, "NaN is not JSON"),
    "infinity": (b'{"the name":"x","rate":-Infinity}', "$", None, "-Infinity is not JSON"),
    "huge float": (b'{"the name":"x","rate":1e999}', "$.rate", 25, "finite"),
    "large int": (b'{"the name":"x","amount":18446744073709551616}', "$.amount", 27, "u64 should be 0 to"),
    "huge int": (
        b'{"the name":"x","amount":' + b"1" * (LONGEST_NUMBER + 1) + b"}",
        "$",
        None,
        "a number of 1001 digits",
    ),
    "enormous int": (b'{"the name":"x","z":-' + b"1" * 60_000 + b"}", "$", None, "a number of 60001 digits"),
    "float for int": (b'{"the name":"x","amount":1.0}', "$.amount", 27, "should be u64, not float"),
    "bool for int": (b'{"the name":"x","amount":true}', "$.amount", 27, "should be u64, not bool"),
    "surrogate": (b'{"the name":"\\ud800"}', "$.name", 14, "lone surrogate"),
    "hex": (b'{"the name":"x","data":"0g"}', "$.data", 25, "should be hex digits"),
    "deep": (b'{"the name":"x","z":' + b"[" * 60_000, "$", 53, "nests more than 32 levels deep"),
    "deep objects": (b'{"a":' * 10_000, "$", 162, "nests more than 32 levels deep"),
}


@pytest.mark.parametrize(("body", "path", "offset", "text"), BROKEN.values(), ids=BROKEN)
def test_broken_payloads(body, path, offset, text):
    with pytest.raises(MalformedMessage) as caught:
        PLAN.decode(b"\x8c\x01" + body)
    assert text in str(caught.value)
    assert (caught.value.type_id, caught.value.path, caught.value.offset) == (0x8C01, path, offset)


def test_brackets_in_strings_do_not_nest():
    name = '[{"' * 40 + "\\"
    assert PLAN.decode(PLAN.encode(Whole(name=name))) == Whole(name=name)


@pytest.mark.parametrize("most", [100, 65534, 65535, 65536, 200_000])
def test_the_largest_payload(most):
    plan = JsonCodec().compile(replace(schema_of(Whole), max_size=most))
    spare = most - len(PLAN.encode(Whole(name="")))
    largest = Whole(name="x" * spare)
    assert len(plan.encode(largest)) == most
    assert plan.decode(plan.encode(largest)) == largest
    with pytest.raises(PayloadTooLarge) as caught:
        plan.encode(Whole(name="x" * (spare + 1)))
    assert str(caught.value) == f"Whole 0x8c01: {most + 1} bytes; Whole has at most {most}, its type included"
    with pytest.raises(MalformedMessage, match=f"{most + 1} bytes; Whole has at most {most}"):
        plan.decode(plan.encode(largest) + b" ")


def test_a_long_payload_holds_so_many_values_at_most():
    plan = JsonCodec().compile(replace(schema_of(Lsps0), max_size=1 << 30))
    fits = Lsps0(params={"a": [1] * (MAX_VALUES - 8)})
    assert plan.decode(plan.encode(fits)) == fits
    with pytest.raises(PayloadTooLarge, match=r"\w+ 0x9419: holds more than 262144 values; bulk data should be bytes"):
        plan.encode(Lsps0(params={"a": [1] * MAX_VALUES}))
    for tree in (b"1," * MAX_VALUES + b"1", b"{}," * (MAX_VALUES // 2) + b"{}"):
        with pytest.raises(MalformedMessage, match="holds more than 262144 values"):
            plan.decode(b'\x94\x19{"params":{"a":[' + tree + b"]}}")


BOMBS = {
    "commas in a string": b'{"params":{"a":"' + b"," * 4_000_000 + b'"}}',
    "backslashes": b'{"params":{"a":"' + b"\\" * 4_000_000,
    "empty objects": b'{"params":{"a":[' + b"{}," * 2_000_000,
    "keys that come twice": b"{" + b",".join(b'"%d":1' % number for number in range(130_000)) + b',"129999":1}',
    "hex digits": b'{"params":{"a":"' + b"ab" * 4_000_000 + b'"}}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bombs(bomb):
    plan = JsonCodec().compile(replace(schema_of(Lsps0), max_size=1 << 25))
    tracemalloc.start()
    try:
        with contextlib.suppress(MalformedMessage):
            plan.decode(b"\x94\x19" + bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(bomb) + 30_000_000


def test_strings_side_by_side_are_not_counted_forever():
    with pytest.raises(MalformedMessage, match="holds more than 262144 values"):
        JsonCodec().compile(replace(schema_of(Lsps0), max_size=1 << 25)).decode(b"\x94\x19" + b'"' * 4_000_000)


def test_bytes_are_hex_digits_and_nothing_else():
    for text in ("0 0 ", " 00", "0\u0660", "\u0660\u0660", "0x00"):
        with pytest.raises(MalformedMessage, match=r"\$.data: bytes should be hex digits"):
            PLAN.decode(b"\x8c\x01" + json.dumps({"the name": "x", "data": text}).encode())


def test_what_cannot_be_sent():
    with pytest.raises(ValueOutOfRange, match=r"\w+ 0x8c01, \$.amount: u64 should be 0 to"):
        PLAN.encode(Whole(name="x", amount=-1))
    with pytest.raises(EncodeError, match=r"\$.params\['a'\]: json cannot carry bytes"):
        LSPS0.encode(Lsps0(params={"a": b"x"}))
    with pytest.raises(ValueOutOfRange, match="lone surrogate"):
        PLAN.encode(Whole(name="\udfff"))


def test_white_space_is_passed_in_one_step():
    class Letters(str):
        def __getitem__(self, place):
            raise AssertionError("one letter after the other")

    assert _next(Letters(" \t\r\n" * 1000 + "{"), 0) == 4000
    assert _next(Letters("{}"), 2) == 2


@message(0x8C03, codec="json")
class Folder(Message):
    size: int = 0
    folders: tuple["Folder", ...] = ()


@pytest.mark.parametrize("levels", [1, 14])
def test_an_offset_takes_steps_by_the_number_of_values_however_deep_it_is(levels, monkeypatch):
    read = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, text, at=0):
            value, end = super().raw_decode(text, at)
            read.append(end - at)
            return value, end

    monkeypatch.setattr(codec, "_DECODER", Counting())
    node = {"a": "]", "z": [["}"] * 100] * 40, "size": "x"}
    for _ in range(levels):
        node = {"folders": [node]}
    text = json.dumps(node)
    at = codec._locate(text, schema_of(Folder), "$" + ".folders[0]" * levels + ".size")
    assert text[at:].startswith('"x"')
    assert sum(read) < 100 + 20 * levels


def test_the_depth_of_a_class_is_found_in_steps_by_the_number_of_classes(monkeypatch):
    step, steps = codec._depth, []
    monkeypatch.setattr(codec, "_depth", lambda *arguments: steps.append(1) or step(*arguments))
    inner = Order
    for level in range(20):
        body = {"__annotations__": {"x": inner, "y": tuple[inner, ...]}, "__module__": __name__}
        inner = subtype(type(f"Level{level}", (), body))
    assert codec._depth(Nested(inner.__oddwire__), {}) == 2 * 20 + 1
    assert len(steps) < 20 * 4
