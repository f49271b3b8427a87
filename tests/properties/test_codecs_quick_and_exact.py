"""Each plan's two ways do the same: generated code and the exact codecs, on random schemas, values and bytes.

The exact codecs, which share no code with what is generated, are the oracle: same payload, same message, or the same
error with the same words. And generated code alone takes every ordinary value, or it would be there for nothing.
"""

import json
import types
from enum import Enum
from typing import Annotated

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.codecs.bolt import generated as boltplan
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.reference import read_message, write_message
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack import generated as treeplan
from oddwire.codecs.msgpack.codec import MsgpackCodec, unpack
from oddwire.codecs.msgpack.scan import locate
from oddwire.errors import CodecError, EncodeError, MalformedMessage
from oddwire.schema import Message, declare, field, fields, from_dict, schema_of, subtype, to_dict
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Maybe,
    Named,
    Nested,
    Octets,
    Prefixed,
    Rest,
    Table,
    Text,
)
from oddwire.schema.source import Source
from oddwire.schema.tree import JSON, MSGPACK, dump_record, load_record
from oddwire.testing.strategies import messages

TYPE = 0x8C01
PREFIX = TYPE.to_bytes(2, "big")


class Colour(Enum):
    RED = 1
    BLUE = 200


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


INTEGERS = [
    kind_of(getattr(fields, name)) for name in ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "bigsize")
]
TRUNCATED = [kind_of(fields.tu16), kind_of(fields.tu32), kind_of(fields.tu64)]
NAMED_BYTES = [
    kind_of(getattr(fields, name)) for name in ("sha256", "signature", "short_channel_id", "sciddir_or_pubkey")
]
COUNTS = [None, *(Prefixed(integer) for integer in INTEGERS if not integer.signed)]
LIMITS = st.sampled_from([None, None, 2, 300])


# Random schemas


def class_of(contents, *bases):
    body = {name: default for name, (_, default) in contents.items() if default is not None}
    body["__annotations__"] = {name: Annotated[object, kind] for name, (kind, _) in contents.items()}
    body["__module__"] = __name__
    return types.new_class("Random", bases, exec_body=lambda namespace: namespace.update(body))


def optional(kind):
    return kind if isinstance(kind, Maybe | Anything) else Maybe(kind)


def bolt_simple():
    return st.one_of(
        st.sampled_from(INTEGERS),
        st.just(Boolean()),
        st.sampled_from(NAMED_BYTES),
        st.sampled_from([Choice("Colour", INTEGERS[0], {m.value: m for m in Colour}, Colour)]),
        st.sampled_from([Choice("Colour", INTEGERS[8], {m.value: m for m in Colour}, Colour)]),
        st.sampled_from([Choice("Side", Text(), {m.value: m for m in Side}, Side)]),
        st.builds(Octets, st.sampled_from([*COUNTS, Fixed(3)]), LIMITS.filter(lambda limit: limit != 2)),
        st.builds(Text, st.sampled_from(COUNTS), LIMITS),
    )


@st.composite
def bolt_kinds(draw, depth=2):
    if depth == 0 or draw(st.integers(0, 2)):
        return draw(bolt_simple())
    if draw(st.booleans()):
        return Nested(draw(bolt_subtypes(depth - 1)))
    element = draw(bolt_kinds(depth - 1).filter(lambda kind: not isinstance(kind, Nested) or kind.record.fields))
    python, loose = draw(st.sampled_from([(tuple, False), (list, False), (tuple, True)]))
    return Array(
        element, python, loose, draw(st.sampled_from([*COUNTS, Fixed(2)])), draw(LIMITS.filter(lambda x: x != 2))
    )


@st.composite
def bolt_subtypes(draw, depth):
    kinds = draw(st.lists(bolt_kinds(depth), min_size=1, max_size=3))
    return subtype(class_of({f"f{i}": (kind, None) for i, kind in enumerate(kinds)})).__oddwire__


@st.composite
def bolt_messages(draw):
    kinds = draw(st.lists(bolt_kinds(), max_size=5))
    contents = {f"f{i}": (kind, None) for i, kind in enumerate(kinds)}
    if draw(st.booleans()):
        count = draw(st.sampled_from([kind for kind in INTEGERS if not kind.signed]))
        contents |= {"number": (count, None), "counted": (Array(INTEGERS[1], tuple, count=Named("number")), None)}
    match draw(st.sampled_from(["nothing", "rest", "records", "records"])):
        case "rest":
            rests = [
                Octets(Rest()),
                Text(Rest()),
                Array(INTEGERS[2], tuple, count=Rest()),
                Array(Octets(), list, count=Rest()),
            ]
            contents["last"] = (draw(st.sampled_from(rests)), None)
        case "records":
            for number in draw(st.sets(st.integers(0, 70_000), min_size=1, max_size=4)):
                kind = draw(bolt_kinds() | st.sampled_from(TRUNCATED))
                default = draw(st.sampled_from(["none", "nothing"]))
                spec = field(tlv=number, default=None) if default == "none" else field(tlv=number)
                contents[f"t{number}"] = (Maybe(kind) if default == "none" or draw(st.booleans()) else kind, spec)
    return declare(class_of(contents, Message), TYPE, codec="bolt")


def tree_simple():
    return st.one_of(
        bolt_simple(),
        st.just(kind_of(int)),
        st.just(kind_of(fields.tu32)),
        st.just(Float()),
        st.just(Anything()),
        st.builds(Octets, st.sampled_from([None, Fixed(3)]), LIMITS.filter(lambda limit: limit != 2)),
    )


@st.composite
def tree_kinds(draw, depth=2):
    if depth == 0 or draw(st.integers(0, 2)):
        return draw(tree_simple())
    inner = draw(tree_kinds(depth - 1))
    match draw(st.integers(0, 3)):
        case 0:
            return Nested(draw(tree_subtypes(depth - 1)))
        case 1:
            return optional(inner)
        case 2:
            return Table(inner, draw(LIMITS))
    python, loose = draw(st.sampled_from([(tuple, False), (list, False), (tuple, True)]))
    return Array(
        inner, python, loose, draw(st.sampled_from([None, None, Fixed(2)])), draw(LIMITS.filter(lambda x: x != 2))
    )


@st.composite
def tree_fields(draw, depth):
    contents = {}
    for i, kind in enumerate(draw(st.lists(tree_kinds(depth), max_size=5))):
        if draw(st.integers(0, 2)):
            contents[f"f{i}"] = (kind, field(key=f"key {i}"))
        else:
            contents[f"f{i}"] = (optional(kind), field(default=None))
    return contents


@st.composite
def tree_subtypes(draw, depth):
    return subtype(class_of(draw(tree_fields(depth)))).__oddwire__


@st.composite
def tree_messages(draw):
    return declare(class_of(draw(tree_fields(2)), Message), TYPE, codec="msgpack")


# The two ways


def bolt_quick(schema):
    source = Source()
    with source.function("def encode(message):"):
        source.line(f"return {boltplan.dump_message(source, schema, 'message')[0]}")
    with source.function("def decode(payload):"):
        source.line(f"return {boltplan.load_message(source, schema, 'payload')}")
    return source.compile("encode", "test"), source.compile("decode", "test")


def bolt_exact(schema):
    return (lambda message: PREFIX + write_message(schema, message)), (lambda payload: read_message(schema, payload))


def tree_quick(schema):
    source = Source()
    writer = treeplan.TreeWriter(source)
    pack, unpackb = source.bind(msgpack.packb, "pack"), source.bind(msgpack.unpackb, "unpack")
    with source.function("def encode(message):"):
        tree = writer.dump_record(schema, "message")
        source.line(f"return {PREFIX!r} + {pack}({tree})")
    with source.function("def decode(payload):"):
        source.line(f"tree = {unpackb}(payload[2:])")
        source.line(f"return {writer.load_record(schema, 'tree')}")
    return source.compile("encode", "test"), source.compile("decode", "test")


def tree_exact(schema):
    def decode(payload):
        tree = unpack(payload)
        try:
            return load_record(schema, tree, MSGPACK)
        except MalformedMessage as error:
            error.offset = locate(payload, schema, error.path)
            raise

    return (lambda message: PREFIX + msgpack.packb(dump_record(schema, message, MSGPACK))), decode


def outcome(function, argument):
    """What came of it: the result, or all there is to know of the error."""
    try:
        return function(argument)
    except CodecError as error:
        return type(error), error.args, error.path, getattr(error, "offset", None)


CODECS = pytest.mark.parametrize(
    ("codec", "declared", "quick", "exact"),
    [
        pytest.param(BoltCodec(), bolt_messages(), bolt_quick, bolt_exact, id="bolt"),
        pytest.param(MsgpackCodec(), tree_messages(), tree_quick, tree_exact, id="msgpack"),
    ],
)
QUICKLY = settings(max_examples=50, deadline=None)


@CODECS
@QUICKLY
@given(data=st.data())
def test_ordinary_messages(codec, declared, quick, exact, data):
    cls = data.draw(declared)
    message = data.draw(messages(cls, max_size=5))
    schema = schema_of(cls)
    payload = exact(schema)[0](message)
    encode, decode = quick(schema)
    assert encode(message) == payload
    assert decode(payload) == message == exact(schema)[1](payload)
    plan = codec.compile(schema)
    assert (plan.encode(message), plan.decode(payload)) == (payload, message)


@CODECS
@QUICKLY
@given(data=st.data())
def test_changed_bytes(codec, declared, quick, exact, data):
    cls = data.draw(declared)
    payload = bytearray(exact(schema_of(cls))[0](data.draw(messages(cls, max_size=5))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(2, len(payload)))
        match data.draw(st.sampled_from(["cut", "insert", "change", "delete", "repeat"])):
            case "cut":
                del payload[at:]
            case "insert":
                payload[at:at] = data.draw(st.binary(min_size=1, max_size=4))
            case "change" if at < len(payload):
                payload[at] = data.draw(st.integers(0, 255))
            case "delete":
                del payload[at : at + 1]
            case "repeat":
                payload[at:at] = payload[at : at + 5]
    plan, changed = codec.compile(schema_of(cls)), bytes(payload)
    found = outcome(plan.decode, changed)
    assert found == outcome(exact(schema_of(cls))[1], changed)
    if isinstance(found, Message):
        assert repr(found)


@QUICKLY
@given(data=st.data())
def test_json(data):
    cls = declare(class_of(data.draw(tree_fields(2)), Message), TYPE, codec="json")
    message = data.draw(messages(cls, max_size=5))
    plan = JsonCodec().compile(schema_of(cls))
    payload = plan.encode(message)
    assert json.loads(payload[2:]) == dump_record(schema_of(cls), message, JSON)
    assert plan.decode(payload) == message
    assert from_dict(cls, json.loads(json.dumps(to_dict(message)))) == message
    assert plan.decode(payload[:2] + json.dumps(json.loads(payload[2:]), indent=1).encode()) == message


ODD_VALUES = st.one_of(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=40),
    st.sampled_from(
        [Colour.RED, Side.BUY, (), [], {}, (1, 2), [1, "a"], {1: 2}, {"a": b""}, "\ud800", bytearray(3), object]
    ),
)


@CODECS
@QUICKLY
@given(data=st.data())
def test_values_that_do_not_fit(codec, declared, quick, exact, data):
    cls = data.draw(declared.filter(lambda cls: schema_of(cls).fields))
    message = data.draw(messages(cls, max_size=3))
    names = [field.name for field in schema_of(cls).fields]
    values = {name: getattr(message, name) for name in names} | {
        data.draw(st.sampled_from(names)): data.draw(ODD_VALUES)
    }
    broken = cls(**values)
    found = outcome(codec.compile(schema_of(cls)).encode, broken)
    assert found == outcome(exact(schema_of(cls))[0], broken)
    assert isinstance(found, bytes) or issubclass(found[0], EncodeError)
