"""oddwire.schema.bolt_csv. Against pyln-proto's codec: tests/properties/test_bolt_csv_against_pyln.py."""

import importlib
import io
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.registry import Registry
from oddwire.errors import SchemaError
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.proto.type_numbers import BOLT_TYPES
from oddwire.schema import (
    Message,
    counted,
    field,
    fixed,
    message,
    point,
    rest,
    scalar,
    schema_of,
    sha256,
    subtype,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.bolt_csv import Namespace, dump_csv, load_csv
from oddwire.schema.csv_rows import MAX_NESTING
from oddwire.schema.kinds import Array, Fixed, Integer, Maybe, Named, Nested, Octets, Opaque, Prefixed, Rest, Text

OWNER = PrivateKey(bytes(31) + b"\1").public_key()
BOLTS = ["bolt1", "bolt2", "bolt7"]


def pyln_lines(bolt):
    return importlib.import_module(f"pyln.spec.{bolt}").csv


def kinds(cls):
    return {field.name: field.kind for field in cls.__oddwire__.fields}


ORDERS = """
# An order book.
msgtype,order_book,40001,option_orders
msgdata,order_book,asset_len,byte,
msgdata,order_book,asset,utf8,asset_len
msgdata,order_book,key,byte,32
msgdata,order_book,owner,point,
msgdata,order_book,num_orders,bigsize,
msgdata,order_book,orders,order,num_orders
msgdata,order_book,tlvs,order_book_tlvs,
subtype,order
subtypedata,order,price,u32,
subtypedata,order,memo,byte,4
tlvtype,order_book_tlvs,fee,1
tlvdata,order_book_tlvs,fee,amount_msat,tu64,
tlvtype,order_book_tlvs,urgent,2
tlvtype,order_book_tlvs,extra,65537
tlvdata,order_book_tlvs,extra,best,order,
tlvdata,order_book_tlvs,extra,data,byte,...
"""


def test_messages_subtypes_and_streams_become_classes():
    loaded = load_csv(ORDERS, module="shop.orders")
    book = loaded.messages["order_book"]
    schema = schema_of(book)
    assert (schema.type_id, schema.name, schema.codec, schema.spec) == (40001, "order_book", "bolt", True)
    assert (book.__module__, book.__qualname__) == ("shop.orders", "OrderBook")
    order, stream = loaded.subtypes["order"], loaded.tlv_streams["order_book_tlvs"]
    u8_kind = Integer("u8", 8)
    found = kinds(book)
    assert isinstance(found.pop("owner"), Opaque)
    assert found == {
        "asset": Text(Prefixed(u8_kind)),
        "key": Octets(Fixed(32)),
        "orders": Array(Nested(order.__oddwire__), tuple, count=Prefixed(Integer("bigsize", 64, form="bigsize"))),
        "tlvs": Nested(stream.__oddwire__),
    }
    assert kinds(order) == {"price": Integer("u32", 32), "memo": Octets(Fixed(4))}
    assert {entry.name: entry.tlv for entry in stream.__oddwire__.fields} == {"fee": 1, "urgent": 2, "extra": 65537}
    fee, urgent, extra = (loaded.tlv_records[f"order_book_tlvs.{name}"] for name in ("fee", "urgent", "extra"))
    assert [entry.kind for entry in stream.__oddwire__.fields] == [
        Maybe(Nested(cls.__oddwire__)) for cls in (fee, urgent, extra)
    ]
    assert kinds(fee) == {"amount_msat": Integer("tu64", 64, form="truncated")}
    assert kinds(urgent) == {}
    assert kinds(extra) == {"best": Nested(order.__oddwire__), "data": Octets(Rest())}
    assert loaded.options == {"order_book": "option_orders"}
    assert loaded.lengths == {"order_book.asset": "asset_len", "order_book.orders": "num_orders"}


def test_streams_default_to_empty_and_records_to_none():
    loaded = load_csv("msgtype,a,1\nmsgdata,a,x,u16,\nmsgdata,a,tlvs,s,\ntlvtype,s,r,1\ntlvdata,s,r,y,u16,")
    made = loaded.messages["a"](x=1)
    assert made.tlvs == loaded.tlv_streams["s"]()
    assert made.tlvs.r is None
    with pytest.raises(TypeError):
        loaded.messages["a"]()


def test_a_length_that_counts_several_arrays_or_stands_apart_is_a_field():
    loaded = load_csv(
        "msgtype,a,1\nmsgdata,a,n,u16\nmsgdata,a,x,u32,n\nmsgdata,a,y,byte,n\nmsgdata,a,m,byte\nmsgdata,a,z,byte\nmsgdata,a,w,u16,m"
    )
    assert kinds(loaded.messages["a"]) == {
        "n": Integer("u16", 16),
        "x": Array(Integer("u32", 32), tuple, count=Named("n")),
        "y": Octets(Named("n")),
        "m": Integer("u8", 8),
        "z": Integer("u8", 8),
        "w": Array(Integer("u16", 16), tuple, count=Named("m")),
    }
    assert loaded.lengths == {}
    assert "msgdata,a,x,u32,n\nmsgdata,a,y,byte,n\n" in dump_csv(loaded)


@pytest.mark.parametrize("bolt", BOLTS)
def test_every_message_of_the_bolts_loads_under_its_number(bolt):
    lines = pyln_lines(bolt)
    loaded = load_csv(lines)
    numbers = {name: schema_of(cls).type_id for name, cls in loaded.messages.items()}
    assert numbers == {row[1]: int(row[2]) for line in lines if (row := line.split(","))[0] == "msgtype"}
    assert all(BOLT_TYPES[number] == name for name, number in numbers.items())


@pytest.mark.parametrize("bolt", BOLTS)
def test_what_was_loaded_is_written_back_row_by_row(bolt):
    lines = pyln_lines(bolt)
    text = dump_csv(load_csv(lines))
    assert sorted(text.splitlines()) == sorted(lines)
    assert dump_csv(load_csv(text)) == text


def test_writing_back_does_not_depend_on_how_the_rows_were_written():
    lines = [line for line in ORDERS.splitlines() if line and line[0] != "#"]
    text = dump_csv(load_csv(lines))
    assert sorted(text.splitlines()) == sorted(lines)
    data_first = sorted(lines, key=lambda line: "data," not in line)
    again = dump_csv(load_csv([line.replace("byte", "u8").replace(",", " , ") + " # why" for line in data_first]))
    assert sorted(again.splitlines()) == sorted(lines)
    assert dump_csv(load_csv(again)) == again


def test_rows_of_every_kind_are_written_back():
    lines = [
        "msgtype,a,32768",
        "msgdata,a,b0,byte,",
        "msgdata,a,n1,u32,",
        "msgdata,a,flag,byte,",
        "msgdata,a,x,s16,n1",
        "msgdata,a,y,sha256,n1",
        "msgdata,a,z,signature,2",
        "msgdata,a,first_node_id,sciddir_or_pubkey,",
        "msgdata,a,none,byte,0",
        "msgdata,a,letter,utf8,1",
        "msgdata,a,count,bigsize,",
        "msgdata,a,pairs,pair,count",
        "msgdata,a,len,u16,,opt_len",
        "msgdata,a,text,utf8,len,opt_text",
        "msgdata,a,tail,pair,...,opt_tail",
        "subtype,pair",
        "subtypedata,pair,left,short_channel_id,",
        "subtypedata,pair,right,bip340sig,",
        "tlvtype,unused,deep,0",
        "tlvdata,unused,deep,inner,inner_tlvs,",
        "tlvtype,inner_tlvs,text,18446744073709551615",
        "tlvdata,inner_tlvs,text,words,utf8,...",
    ]
    assert dump_csv(load_csv(lines)).splitlines() == lines


# What the classes are good for


def test_loaded_messages_are_carried_by_the_bolt_codec():
    loaded = load_csv(ORDERS)
    order = loaded.subtypes["order"]
    book = loaded.messages["order_book"](
        asset="eur", key=bytes(32), owner=OWNER, orders=(order(price=7, memo=b"asap"), order(price=8, memo=b"late"))
    )
    plan = BoltCodec().compile(schema_of(book))
    payload = plan.encode(book)
    fixed_part = "9c4103657572" + "00" * 32 + OWNER.hex() + "020000000761736170000000086c617465"
    assert payload.hex() == fixed_part
    assert plan.decode(payload) == book
    records = plan.decode(payload + bytes.fromhex("010204000200fe00010001090000000966617374ff")).tlvs
    assert (records.fee.amount_msat, records.urgent is not None) == (1024, True)
    assert (records.extra.best, records.extra.data) == (order(price=9, memo=b"fast"), b"\xff")


def test_types_nested_as_deep_as_they_may_be_are_carried():
    rows = ["msgtype,a,40001", "msgdata,a,x,level0,"]
    for depth in range(MAX_NESTING):
        inner = f"level{depth + 1}" if depth < MAX_NESTING - 1 else "u16"
        rows += [f"tlvtype,level{depth},r,1", f"tlvdata,level{depth},r,x,{inner},"]
    loaded = load_csv(rows)
    plan = BoltCodec().compile(schema_of(loaded.messages["a"]))
    value = 7
    for depth in reversed(range(MAX_NESTING)):
        stream = loaded.tlv_streams[f"level{depth}"]
        value = stream(r=loaded.tlv_records[f"level{depth}.r"](x=value))
    message = loaded.messages["a"](x=value)
    assert plan.decode(plan.encode(message)) == message


def test_no_registry_takes_a_message_that_nodes_handle_themselves():
    init = load_csv(pyln_lines("bolt1")).messages["init"]
    assert BoltCodec().compile(schema_of(init)).decode(bytes.fromhex("00100000000108")).features == b"\x08"
    with pytest.raises(SchemaError, match=r"message type 16 \(WIRE_INIT\) can never be sent"):
        Registry().register(init)


def test_a_registry_takes_other_loaded_messages():
    registry = Registry()
    book = load_csv(ORDERS).messages["order_book"]
    registry.register(book, "orders")
    message = book(asset="", key=bytes(32), owner=OWNER, orders=())
    assert registry.decode(registry.encode(message)) == message


# What authors write themselves


class Side(IntEnum):
    BUY = 0
    SELL = 1


@subtype
class Level:
    price: u32
    side: Annotated[Side, u8]


@message(0x8C11, codec="bolt")
class Book(Message):
    asset: str
    digest: sha256
    levels: Annotated[tuple[Level, ...], counted(u8)]
    blob: Annotated[bytes, fixed(3)]
    live: bool
    fee: tu64 = field(tlv=3, default=0)
    best: Level | None = field(tlv=1, default=None)
    note: bytes | None = field(tlv=5, default=None)


@message(0x8C13, codec="bolt")
class Tail(Message):
    who: point
    data: Annotated[bytes, rest]


BOOK = """\
msgtype,Book,35857
msgdata,Book,asset_len,u16,
msgdata,Book,asset,utf8,asset_len
msgdata,Book,digest,sha256,
msgdata,Book,levels_len,byte,
msgdata,Book,levels,Level,levels_len
msgdata,Book,blob,byte,3
msgdata,Book,live,byte,
msgdata,Book,tlvs,Book_tlvs,
subtype,Level
subtypedata,Level,price,u32,
subtypedata,Level,side,byte,
tlvtype,Book_tlvs,fee,3
tlvdata,Book_tlvs,fee,fee,tu64,
tlvtype,Book_tlvs,best,1
tlvdata,Book_tlvs,best,price,u32,
tlvdata,Book_tlvs,best,side,byte,
tlvtype,Book_tlvs,note,5
tlvdata,Book_tlvs,note,note,byte,...
msgtype,Tail,35859
msgdata,Tail,who,point,
msgdata,Tail,data,byte,...
"""


def test_an_authors_own_messages_can_be_published_as_csv():
    assert dump_csv([Book, Tail]) == BOOK
    assert dump_csv(Namespace(messages={"Book": Book, "Tail": Tail})) == BOOK
    assert dump_csv(load_csv(BOOK)) == BOOK


def test_names_that_oddwire_makes_up_give_way_to_the_authors():
    @message(0x8C15, codec="bolt")
    class Crowded(Message):
        data: bytes
        data_len: u16
        tlvs: u16
        fee: tu64 = field(tlv=3, default=0)

    assert dump_csv([Crowded]).splitlines()[1:] == [
        "msgdata,Crowded,data_len_,u16,",
        "msgdata,Crowded,data,byte,data_len_",
        "msgdata,Crowded,data_len,u16,",
        "msgdata,Crowded,tlvs,u16,",
        "msgdata,Crowded,tlvs_,Crowded_tlvs,",
        "tlvtype,Crowded_tlvs,fee,3",
        "tlvdata,Crowded_tlvs,fee,fee,tu64,",
    ]


def test_two_types_of_one_name_are_written_as_two():
    def another():
        @subtype
        class Level:
            depth: u8

        return Level

    other = another()

    @subtype
    class u16:  # noqa: N801
        x: u8

    @message(0x8C1D, codec="bolt")
    class Levels(Message):
        first: Level
        second: other  # type: ignore[valid-type]
        third: u16

    text = dump_csv([Levels])
    assert text.splitlines()[:4] == [
        "msgtype,Levels,35869",
        "msgdata,Levels,first,Level,",
        "msgdata,Levels,second,Level_,",
        "msgdata,Levels,third,u16_,",
    ]
    assert dump_csv(load_csv(text)) == text


def test_what_csv_cannot_say_is_refused():
    @message(0x8C17)
    class Packed(Message):
        text: str

    with pytest.raises(SchemaError, match=r"Packed has codec 'msgpack': CSV can only say codec='bolt'"):
        dump_csv([Packed])

    @message(0x8C19, codec="bolt")
    class Lines(Message):
        lines: tuple[str, ...]

    with pytest.raises(
        SchemaError, match=r"Lines\.lines: CSV has no word for .*: put what it is made of into a @subtype"
    ):
        dump_csv([Lines])

    @message(0x8C1B, codec="bolt", name="dotted.name")
    class Dotted(Message):
        x: u16

    with pytest.raises(SchemaError, match=r"a name in CSV should be a letter, .*, not 'dotted\.name'"):
        dump_csv([Dotted])

    with pytest.raises(SchemaError, match="is not a message"):
        dump_csv([Level])


# Bad CSV


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("msgtype,a", r"line 1: should be msgtype,name,number"),
        ("msgtype,a,1\nmsgdata,a,x,u17,", r"line 2: type of a\.x should be fundamental, .*, not 'u17'"),
        ("msgtype,a,1\nmsgdata,a,x,byte,n", r"line 2: count of a\.x should be a number, \.\.\. or a field before it"),
        (
            "msgtype,a,1\nmsgdata,a,x,byte,0\nmsgdata,a,y,s,2\nsubtype,s\nsubtypedata,s,z,u16,0",
            r"line 1: .*A\.y: .*no bytes",
        ),
    ],
)
def test_bad_csv_is_a_schema_error_with_its_line(text, error):
    with pytest.raises(SchemaError, match=error):
        load_csv(text)


rows = st.one_of(
    st.builds("msgtype,{},{}".format, st.sampled_from("abc"), st.integers(-1, 3)),
    st.builds("subtype,{}".format, st.sampled_from("stu")),
    st.builds("tlvtype,{},{},{}".format, st.sampled_from("vw"), st.sampled_from("pqr"), st.integers(0, 3)),
    st.builds(
        "{},{},{},{}".format,
        st.sampled_from(["msgdata,a", "msgdata,b", "subtypedata,s", "subtypedata,t", "tlvdata,v,p", "tlvdata,w,q"]),
        st.sampled_from(["x", "y", "z", "n", "import", ""]),
        st.sampled_from(["byte", "u16", "tu32", "bigsize", "point", "utf8", "s", "t", "u", "v", "w", "nothing"]),
        st.sampled_from(["", "", "", "...", "3", "n", "x", "70000"]),
    ),
)


@given(st.lists(rows, max_size=14))
def test_rows_load_compile_and_come_back_or_are_a_schema_error(lines):
    try:
        loaded = load_csv(lines)
    except SchemaError as error:
        text = str(error)
    else:
        for cls in loaded.messages.values():
            BoltCodec().compile(schema_of(cls))
        text = dump_csv(loaded)
        assert dump_csv(load_csv(text)) == text
        return
    assert text.startswith("line ")


@given(st.text() | st.text(alphabet="msgtypedaulv,0123456789.#\n ", max_size=200))
def test_garbage_is_never_anything_but_a_schema_error(text):
    try:
        load_csv(text)
    except SchemaError as error:
        what = str(error)
    else:
        return
    assert what.startswith("line ")


def test_scalars_and_limits_are_written_as_what_carries_them():
    @message(0x8C31, codec="bolt")
    class Valued(Message):
        small: Annotated[int, scalar("small", python=int, size=1)] = field(ge=1)
        three: Annotated[int, scalar("three", python=int, size=3)]
        sat: Annotated[int, scalar("sat", python=int, size=8)]
        tag: Annotated[bytes, scalar("tag", python=bytes, size=4)]
        at: Annotated[datetime, u32]
        node: NodeId
        word: Annotated[UUID, scalar("uuid", python=UUID, wire=str)]
        items: tuple[Annotated[u16, field(ge=1)], ...] = field(length=(1, 2))
        times: tuple[Annotated[datetime, u64], ...]
        last: bytes = field(tlv=1, length=(1, 2))

    text = dump_csv([Valued])
    assert (
        text
        == """\
msgtype,Valued,35889
msgdata,Valued,small,byte,
msgdata,Valued,three,byte,3
msgdata,Valued,sat,u64,
msgdata,Valued,tag,byte,4
msgdata,Valued,at,u32,
msgdata,Valued,node,point,
msgdata,Valued,word_len,u16,
msgdata,Valued,word,utf8,word_len
msgdata,Valued,items_len,u16,
msgdata,Valued,items,u16,items_len
msgdata,Valued,times_len,u16,
msgdata,Valued,times,u64,times_len
msgdata,Valued,tlvs,Valued_tlvs,
tlvtype,Valued_tlvs,last,1
tlvdata,Valued_tlvs,last,last,byte,...
"""
    )
    loaded = load_csv(text).messages["Valued"]
    node = NodeId(OWNER.to_bytes())
    now = datetime(2024, 1, 31, tzinfo=UTC)
    values = {"small": 1, "three": 2, "sat": 3, "tag": b"abcd", "at": now, "node": node, "word": UUID(int=4)}
    sent = Valued(**values, items=(5,), times=(now,), last=b"6")
    payload = BoltCodec().compile(schema_of(Valued)).encode(sent)
    plan = BoltCodec().compile(schema_of(loaded))
    assert plan.encode(plan.decode(payload)) == payload

    @message(0x8C33, codec="bolt")
    class Wide(Message):
        threes: tuple[Annotated[int, scalar("three", python=int, size=3)], ...]

    with pytest.raises(SchemaError, match=r"Wide.threes: CSV has no word for three: put what it is made of into a"):
        dump_csv([Wide])


def test_several_texts_make_one_namespace():
    offers = "tlvtype,offer,paths,16\ntlvdata,offer,paths,paths,blinded_path,...\n"
    onion = [
        "msgtype,om,0x0201",
        "msgdata,om,offer,offer",
        "subtype,blinded_path",
        "subtypedata,blinded_path,key,point",
    ]
    for loaded in (
        load_csv(offers, onion),
        load_csv(onion, offers),
        load_csv([offers, "\n".join(onion)]),
        load_csv(line for line in [*offers.splitlines(keepends=True), *onion]),
    ):
        offer, path = loaded.tlv_streams["offer"], loaded.subtypes["blinded_path"]
        paths = loaded.tlv_records["offer.paths"]
        value = loaded.messages["om"](offer=offer(paths=paths(paths=(path(key=OWNER),))))
        plan = BoltCodec().compile(schema_of(loaded.messages["om"]))
        assert plan.encode(value).hex() == "02011021" + OWNER.hex()
        assert plan.decode(plan.encode(value)) == value


def test_an_error_in_a_class_names_its_text():
    with pytest.raises(SchemaError, match=r"^text 2, line 2: name should be"):
        load_csv("msgtype,a,1\nmsgtype,c,5", "msgtype,b,3\nmsgdata,b,_x,u8")
    with pytest.raises(SchemaError, match=r"^line 2: type of a.x .* not 'node_id'; another text may define it"):
        load_csv("msgtype,a,1\nmsgdata,a,x,node_id")


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ((), "load_csv should have a text, or several"),
        ((b"msgtype,a,1",), "load_csv takes texts, each a string or lines, not bytes, .decode() them"),
        (("msgtype,a,1", bytearray(b"x")), "not bytearray, .decode() them"),
        (([b"msgtype,a,1"],), "not bytes, .decode() them"),
        ((["msgtype,a,1", 5],), "not int"),
        ((None,), "not NoneType"),
        ((5,), "not int"),
        (([["msgtype,a,1"]],), "not list"),
        ((Path("bolt1.csv"),), "Path, read the file: .read_text()"),
    ],
)
def test_what_is_no_text(sources, text):
    with pytest.raises(SchemaError) as caught:
        load_csv(*sources)
    assert text in str(caught.value)


def test_lines_from_anything_that_has_them():
    for lines in (["msgtype,a,1\n"], ("msgtype,a,1",), iter(["msgtype,a,1"]), io.StringIO("msgtype,a,1\n")):
        assert [*load_csv(lines).messages] == ["a"]
    assert load_csv("").messages == {}


@pytest.mark.parametrize("what", [5, None, Message])
def test_what_dump_csv_cannot_be_given(what):
    with pytest.raises(SchemaError, match="dump_csv takes a Namespace or message classes, "):
        dump_csv(what)


def test_messages_of_different_texts_may_share_a_number():
    loaded = load_csv("msgtype,ping,18", "msgtype,too_soon,18")
    assert {name: schema_of(cls).type_id for name, cls in loaded.messages.items()} == {
        "ping": 18,
        "too_soon": 18,
    }
