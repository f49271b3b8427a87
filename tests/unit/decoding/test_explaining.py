"""oddwire.decoding.explaining, and with it the readers of each codec's bytes."""

from __future__ import annotations

import zlib
from typing import Annotated, Any

import pytest
from tests.support.explaining import check_explanation

from oddwire import Message, message, u8, u16, u32, u64
from oddwire.codecs import TYPE_ID, Codec, Plan, WrappedCodec, enveloped
from oddwire.decoding import Explanation, Lexicon, explain, explain_as
from oddwire.decoding.spans import MAX_SPANS, leaves_of
from oddwire.errors import MalformedMessage, UnknownMessage
from oddwire.schema import Schema, counted, field, flag, subtype, validates


def known(*messages: type[Message], codecs: tuple[Codec, ...] = ()) -> Lexicon:
    lexicon = Lexicon(known=False)
    lexicon.add("shop", messages, codecs)
    return lexicon


def places(told: Explanation) -> list[tuple[str, int, int, Any]]:
    check_explanation(told)
    return [(span.path, span.offset, span.length, span.value) for span in told.values()]


@subtype
class Order:
    price: u16
    note: str = ""


@message(0x8C01, codec="bolt")
class Orders(Message):
    orders: Annotated[tuple[Order, ...], counted(u8)]
    left: Annotated[u8 | None, flag(u8)]
    fee: u64 | None = field(tlv=1, default=None)
    best: Order | None = field(tlv=3, default=None)


ORDERS = bytes.fromhex("8c01 01 0005 0001 61 01 07 01 08 0000000000000009 03 04 0006 0000 05 01 ff")


def test_the_fields_of_a_bolt_message() -> None:
    told = explain(ORDERS, known(Orders))
    assert (told.title, told.error, told.decoded) == ("shop.Orders 0x8c01", None, True)
    assert places(told) == [
        ("$.orders[0].price", 3, 2, 5),
        ("$.orders[0].note", 5, 3, "a"),
        ("$.left", 8, 2, 7),
        ("$.fee", 12, 8, 9),
        ("$.best.price", 22, 2, 6),
        ("$.best.note", 24, 2, ""),
    ]
    roles = [(leaf.role, leaf.offset) for leaf in told.leaves()]
    assert roles[0] == ("type", 0)
    assert ("count", 2) in roles  # of the orders
    assert ("count", 8) in roles  # the flag
    assert ("tag", 10) in roles  # TLV record 1
    assert roles[-2:] == [("tag", 26), ("ignored", 28)]  # an unknown odd one


@pytest.mark.parametrize(
    ("cut", "path", "wrong", "read"),
    [
        (7, "$.orders[0].note", (7, 0), ["$.orders[0].price"]),
        (4, "$.orders", (3, 1), []),
        (8, "$.left", (8, 0), ["$.orders[0].price", "$.orders[0].note"]),
        (15, "$", (11, 4), ["$.orders[0].price", "$.orders[0].note", "$.left"]),
        (25, "$", (21, 4), ["$.orders[0].price", "$.orders[0].note", "$.left", "$.fee"]),
    ],
)
def test_what_was_read_before_a_message_ends(cut: int, path: str, wrong: tuple[int, int], read: list[str]) -> None:
    told = explain(ORDERS[:cut], known(Orders))
    assert told.error is not None
    assert (told.error.path, told.wrong) == (path, wrong)
    assert [path for path, *_ in places(told)] == read


def test_records_before_a_wrong_one_are_read() -> None:
    told = explain(ORDERS[:26] + bytes.fromhex("02 01 ff"), known(Orders))
    assert "$.fee" in [path for path, *_ in places(told)]
    assert told.wrong is not None
    told = explain(ORDERS[:10] + bytes.fromhex("03 04 0006 0000 04 01 ff"), known(Orders))
    assert isinstance(told.error, MalformedMessage)
    assert [path for path, *_ in places(told)][-2:] == ["$.best.price", "$.best.note"]


@message(0x8C03)
class Packed(Message):
    orders: tuple[Order, ...]
    names: dict[str, u8]
    any: Any = None


PACKED = bytes.fromhex(
    "8c03 84 a66f7264657273 91 81 a57072696365 cd0100 a56e616d6573 81a161 07 a3616e79 92 01 c0 a178 91 02"
)


def test_the_fields_of_a_msgpack_message() -> None:
    told = explain(PACKED, known(Packed))
    assert told.error is None
    assert places(told) == [
        ("$.orders[0].price", 18, 3, 256),
        ("$.names['a']", 30, 1, 7),
        ("$.any[0]", 36, 1, 1),
        ("$.any[1]", 37, 1, None),
    ]
    assert [(leaf.role, leaf.path) for leaf in told.leaves()][-2:] == [("ignored", "$['x']"), ("ignored", "$['x'][0]")]


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    twice = bytes.fromhex("8c03 83 a56e616d6573 81a16107 a56e616d6573 80 a66f7264657273 90")
    told = explain(twice, known(Packed))
    assert told.message == Packed(orders=(), names={})
    check_explanation(told)
    assert [leaf.offset for leaf in told.leaves() if leaf.role == "ignored"] == [9, 12]


def test_msgpack_that_is_cut_off_or_deep() -> None:
    told = explain(PACKED[:31], known(Packed))
    assert [path for path, *_ in places(told)] == ["$.orders[0].price", "$.names['a']"]
    deep = explain(
        bytes.fromhex("8c03 83 a66f7264657273 90 a56e616d6573 80 a3616e79") + b"\x91" * 500 + b"\x01", known(Packed)
    )
    assert isinstance(deep.error, MalformedMessage)
    check_explanation(deep)


@message(0x8C05, codec="json")
class Text(Message):
    text: str
    orders: tuple[Order, ...] = ()
    any: Any = None


def text(body: str) -> Explanation:
    return explain(b"\x8c\x05" + body.encode(), known(Text))


def test_the_fields_of_a_json_message() -> None:
    told = text(' {"text" : "é€", "orders":[{"price":7}], "x":[1], "any":{"k":[true, null]}} ')
    assert told.error is None
    assert places(told) == [
        ("$.text", 13, 7, "é€"),
        ("$.orders[0].price", 41, 1, 7),
        ("$.any['k'][0]", 67, 4, True),
        ("$.any['k'][1]", 73, 4, None),
    ]


@pytest.mark.parametrize(
    ("body", "wrong", "read"),
    [
        ('{"text":"a"', (13, 0), ["$.text"]),
        ('{"text":"a","orders":[{"price":70000}]}', (33, 5), ["$.text", "$.orders[0].price"]),
        ('{"text":"a" "any":1}', (14, 1), ["$.text"]),
        ('{"text":5}', (10, 1), ["$.text"]),
        ('{"text":"a"} x', (15, 1), ["$.text"]),
        ('{"text":"a","any":NaN}', None, ["$.text", "$.any"]),
        ('{"any":1}', (2, 1), ["$.any"]),
        ("", (2, 0), []),
    ],
)
def test_json_that_is_wrong(body: str, wrong: tuple[int, int] | None, read: list[str]) -> None:
    told = text(body)
    assert told.error is not None
    assert told.wrong == wrong
    assert [path for path, *_ in places(told)] == read


def test_json_that_is_no_utf_8_is_read_up_to_there() -> None:
    told = explain(b'\x8c\x05{"any":1,"text":"\xff"}', known(Text))
    assert [path for path, *_ in places(told)] == ["$.any"]
    assert told.wrong == (19, 1)


@message(0x8C07, codec="raw")
class Raw(Message):
    data: bytes


@message(0x8C09, codec=enveloped("json", magic=b"HIVE", envelope={"type": TYPE_ID}, body="payload"))
class Wrapped(Message):
    ticket: u64


class Deflated(WrappedCodec):
    def wrap(self, body: bytes) -> bytes:
        return zlib.compress(body)

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        try:
            return zlib.decompress(data)[:max_size]
        except zlib.error as error:
            raise MalformedMessage(f"is not deflated: {error}", offset=2) from None


@message(0x8C0B, codec=Deflated("bolt"))
class Small(Message):
    number: u64


class Breaking(Codec):
    name = "breaking"

    def compile(self, schema: Schema) -> Plan:
        def decode(payload: bytes) -> Any:
            if payload[2:] == b"ok":
                return schema.build({})
            raise RuntimeError("it broke")

        return Plan(lambda _: b"", decode)


@message(0x8C0D, codec="breaking")
class Foreign(Message):
    pass


def test_raw_messages_and_codecs_around_others() -> None:
    assert places(explain(b"\x8c\x07abc", known(Raw))) == [("$.data", 2, 3, b"abc")]
    body = b'HIVE{"type":35849,"payload":{"ticket":3}}'
    assert places(explain(b"\x8c\x09" + body, known(Wrapped)))[-1] == ("$.payload.ticket", 40, 1, 3)
    wrong = explain(b"\x8c\x09HIVE{}", known(Wrapped))
    assert wrong.wrong == (6, 1)
    assert explain(b"\x8c\x09HIV", known(Wrapped)).wrong == (2, 1)


def test_what_a_codec_unpacks_is_inside() -> None:
    told = explain(b"\x8c\x0b" + zlib.compress(bytes(7) + b"\5"), known(Small))
    assert told.decoded
    assert [leaf.role for leaf in told.leaves()] == ["type", "group"]
    [inside] = told.inside
    assert places(inside) == [("$.number", 2, 8, 5)]
    cut = explain(b"\x8c\x0b" + zlib.compress(b"\5"), known(Small))
    assert not cut.decoded
    assert cut.inside[0].wrong == (2, 1)
    assert explain(b"\x8c\x0bxx", known(Small)).inside == ()


def test_a_codec_that_breaks_its_word_is_told_of() -> None:
    lexicon = known(Foreign, codecs=(Breaking(),))
    told = explain(b"\x8c\x0d..", lexicon)
    check_explanation(told)
    assert "the codec breaking raised RuntimeError: it broke" in str(told.error)
    assert explain(b"\x8c\x0dok", lexicon).decoded


@message(0x8C0F, codec="bolt")
class Even(Message):
    number: u8

    @validates("number")
    def _even(self, number: int) -> None:
        if number % 2:
            raise ValueError("should be even")


def test_a_validator_s_error_is_about_its_field() -> None:
    told = explain(b"\x8c\x0f\x03", known(Even))
    assert told.wrong == (2, 1)
    assert "should be even" in str(told.error)
    assert [path for path, *_ in places(told)] == ["$.number"]


def test_a_type_that_nobody_has() -> None:
    told = explain(bytes.fromhex("9c40abcd"))
    assert isinstance(told.error, UnknownMessage)
    assert (told.name, told.title, told.wrong, told.error.required) == ("", "type 0x9c40", (0, 2), True)
    check_explanation(told)
    claimed = explain(bytes.fromhex("a451abcd"))
    assert (claimed.protocol, claimed.encoding) == ("PeerSwap Web", "Go gob")
    assert "no schema here" in str(claimed.error)


@pytest.mark.parametrize("payload", [b"", b"\x00"])
def test_what_has_no_type(payload: bytes) -> None:
    told = explain(payload)
    assert (told.type_id, told.title, told.wrong) == (None, "no type", (len(payload), 0))
    check_explanation(told)
    [entry] = known(Even).entries(0x8C0F)
    assert explain_as(payload, entry).type_id is None


def test_all_owners_of_a_type_read_it() -> None:
    told = explain(bytes.fromhex("a455") + b'{"v":1,"kind":"cancel","session_id":"5f0c","sent_at_unix":1771000000}')
    assert told.name == "lightningos.BalancedOpen"
    assert [(other.name, other.decoded) for other in told.others] == [("peerswap.SwapInRequest", False)]
    neither = explain(bytes.fromhex("a455") + b'{"v":1}')
    assert neither.error is not None
    assert len(neither.others) == 1


def test_features_chains_and_texts_have_notes() -> None:
    init = explain(
        bytes.fromhex("0010 0000 0001 02 01 20 06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")
    )
    notes = {span.path: span.note for span in init.values()}
    assert notes["$.features"] == "option_data_loss_protect (1)"
    assert notes["$.tlvs.networks.chains[0]"] == "regtest"
    error = explain(bytes.fromhex("0011") + bytes(32) + b"\0\3no\x1b")
    assert {span.path: span.note for span in error.values()}["$.data"] == r"'no\x1b'"


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        ("bolt", (MAX_SPANS + 10).to_bytes(4, "big") + bytes(MAX_SPANS + 10)),
        ("json", b'{"numbers":[' + b",".join([b"7"] * MAX_SPANS) + b"]}"),
        ("msgpack", b"\x81\xa7numbers\xdd" + (MAX_SPANS + 10).to_bytes(4, "big") + b"\x07" * (MAX_SPANS + 10)),
    ],
)
def test_of_a_large_payload_the_first_parts_are_told_apart(codec: str, body: bytes) -> None:
    @message(0x8C61, codec=codec)
    class Numbers(Message):
        numbers: Annotated[tuple[u8, ...], counted(u32)]

    payload = b"\x8c\x61" + body
    told = explain(payload, known(Numbers))
    check_explanation(told)
    assert told.error is None
    assert told.spans[-1].role == "unread"
    assert sum(1 for _ in leaves_of(told.spans)) <= MAX_SPANS + 1
