"""Each plan's two ways do the same: generated code and the exact codecs, on random schemas, values and bytes.

The exact codecs, which share no code with what is generated, are the oracle: same payload, same message, or the same
error with the same words. And generated code alone takes every ordinary value, or it would be there for nothing.
"""

import json
import struct
import types
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt import generated as boltplan
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack import generated as treeplan
from oddwire.codecs.msgpack.codec import MsgpackCodec, unpack
from oddwire.codecs.msgpack.scan import locate
from oddwire.errors import CodecError, EncodeError, MalformedMessage
from oddwire.proto.keys import NodeId
from oddwire.records import replace
from oddwire.schema import (  # noqa: F401 - some are in strings
    Message,
    counted,
    declare,
    field,
    fields,
    flag,
    from_dict,
    scalar,
    schema_of,
    subtype,
    to_dict,
    u8,
    u16,
    validates,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import (
    PLAIN_INT,
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Maybe,
    Named,
    Nested,
    Octets,
    Prefixed,
    Rest,
    Sized,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.nesting import nests
from oddwire.schema.source import Source
from oddwire.schema.tree import JSON, MSGPACK, dump_record, load_record
from oddwire.schema.union_kinds import Either, Tagged, Variant, python_classes, wire_class
from oddwire.schema.value_kinds import Limited, Limits, Scalar, unlimited
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
UNSIGNED = [kind for kind in INTEGERS if not kind.signed]
RESTS = [
    Octets(Rest()),
    Text(Rest()),
    Array(INTEGERS[2], tuple, count=Rest()),
    Array(Octets(), list, count=Rest()),
]
COUNTS = [None, *map(Prefixed, UNSIGNED)]
LIMITS = st.sampled_from([None, None, 2, 300])


class Word:
    """What a scalar makes of a text."""

    def __init__(self, text):
        if "x" in text:
            raise ValueError("should have no x")
        self.text = text

    def __eq__(self, other):
        return type(other) is Word and other.text == self.text

    def __hash__(self):
        return hash(self.text)

    def __str__(self):
        return self.text


def halved(value):
    """Raise what is no `ValueError` for half of all bytes."""
    return value[::-1] if value[0] < 128 else 1 / 0


SCALARS = [
    scalar("sat", python=int, size=3),
    scalar("lots", python=int, size=8),
    scalar("word", python=Word, wire=str),
    scalar("shout", python=Word, wire=str, parse=lambda text: Word(text[:-1]), show=lambda word: f"{word}!"),
    scalar("blob", python=bytes, size=5),
    scalar("half", python=bytes, size=4, load=halved, dump=lambda value: value[::-1]),
    scalar("colour", python=Colour, wire=fields.u8),
    scalar("big", python=Word, wire=fields.bigsize, load=lambda n: Word(str(n)), dump=lambda word: int(word.text)),
    Annotated[datetime, fields.u32],
    Annotated[datetime, fields.s64],
    NodeId,
]
SCALAR_KINDS = [kind_of(annotation) for annotation in SCALARS]
TREE_SCALARS = [kind_of(datetime), kind_of(Decimal), kind_of(Annotated[datetime, fields.u64, fields.as_text])]


@st.composite
def limits(draw, kinds):
    """Return a kind within limits, of the simple ones that have an order or a length."""
    kind = draw(kinds)
    match kind:
        case Integer():
            low, high = sorted(draw(st.tuples(*[st.integers(kind.low, kind.high)] * 2)))
            named = draw(st.sampled_from([{"ge": low, "le": high}, {"ge": low}, {"le": high}]))
            if low < high:
                named = draw(st.sampled_from([named, {"gt": low}, {"lt": high}]))
            return Limited(kind, Limits(**named))
        case Float():
            return Limited(kind, Limits(gt=-1.5, le=1000))
        case Text(max_length=None, count=None):
            choices = [Limits(length=(1, 4)), Limits(length=(2, 2)), Limits(pattern="[ab]{0,3}")]
            return Limited(kind, draw(st.sampled_from(choices)))
        case Octets(max_length=None, count=None):
            return Limited(kind, draw(st.sampled_from([Limits(length=(1, 4)), Limits(length=(2, 2))])))
        case Array(max_length=None, count=None):
            return Limited(kind, Limits(length=(1, 3)))
    return kind


class Validated:
    """A base whose validators refuse some of everything."""

    __slots__ = ()

    @validates
    def check_all(self):
        values = [getattr(self, field.name) for field in type(self).__oddwire__.fields]
        if any(value in (0, b"", "", True) for value in values):
            raise ValueError("should have nothing empty")
        if any(value is None for value in values):
            raise LookupError("None")


# Random schemas


BASES = st.sampled_from([(), (), (), (), (Validated,)])


def class_of(contents, *bases):
    body = {name: default for name, (_, default) in contents.items() if default is not None}
    body["__annotations__"] = {
        name: kind if isinstance(kind, str) else Annotated[object, kind] for name, (kind, _) in contents.items()
    }
    body["__module__"] = __name__
    return types.new_class("Random", bases, exec_body=lambda namespace: namespace.update(body))


# Fields by which a class is in itself; it is called Random
POSITIONAL_SELVES = ["tuple[Random, ...]", "tuple[Annotated[Random, counted(u16)], ...]"]
POSITIONAL_SELVES += ["Annotated[Random | None, flag(u8)]", "Annotated[list[Random], ..., counted(u16)]"]
RECORD_SELVES = [
    "Random | None",
    "list[Annotated[Random, counted(u16)]] | None",
    "Annotated[Random | None, counted(u16)]",
]
TREE_SELVES = ["tuple[Random, ...]", "dict[str, Random]", "list[Random | None]", "Annotated[Random | None, flag(u8)]"]


def optional(kind):
    return kind if isinstance(kind, Maybe | Anything) else Maybe(kind)


def bolt_simple():
    return st.one_of(
        st.sampled_from(INTEGERS),
        st.just(Boolean()),
        st.just(kind_of(fields.bool8)),
        st.sampled_from(NAMED_BYTES),
        st.sampled_from([Choice("Colour", INTEGERS[0], {m.value: m for m in Colour}, Colour)]),
        st.sampled_from([Choice("Colour", INTEGERS[8], {m.value: m for m in Colour}, Colour)]),
        st.sampled_from([Choice("Side", Text(), {m.value: m for m in Side}, Side)]),
        st.builds(Octets, st.sampled_from([*COUNTS, Fixed(3)]), LIMITS.filter(lambda limit: limit != 2)),
        st.builds(Text, st.sampled_from(COUNTS), LIMITS),
        st.sampled_from(SCALAR_KINDS),
        limits(st.sampled_from([*INTEGERS, Text(), Octets()])),
    )


@st.composite
def unions(draw, subtypes, integers, lengths, *, closed=False):
    """Tagged unions: of one member up to more than are told apart by comparisons, with and without unknown ones."""
    integer, key = draw(st.sampled_from(integers)), draw(st.sampled_from(["type", "kind"]))
    number = draw(st.integers(closed, 8))
    if integer is None and draw(st.booleans()):
        tags = [f"tag {i}" for i in range(number)]
    else:
        low, high = (integer.low, min(integer.high, 70_000)) if integer else (-5, 70_000)
        tags = draw(st.lists(st.integers(low, high), min_size=number, max_size=number, unique=True))
    length = draw(st.sampled_from(lengths)) if integer else None
    unknown = not closed and (not number or draw(st.booleans()))
    variants = tuple(Variant(tag, draw(subtypes)) for tag in tags)
    return Tagged(variants, integer, length, key, unknown)


@st.composite
def bolt_kinds(draw, depth=2):
    if depth == 0 or draw(st.integers(0, 2)):
        return draw(bolt_simple())
    match draw(st.integers(0, 6)):
        case 0 | 1:
            return Nested(draw(bolt_subtypes(depth - 1)))
        case 2:
            return Maybe(draw(bolt_kinds(depth - 1)), draw(st.sampled_from([*UNSIGNED, kind_of(fields.bool8)])))
        case 3:
            return draw(bolt_sized(depth - 1))
        case 4:  # whose bodies have no end of their own: TLV streams, tu integers, the rest
            return draw(unions(ended_subtypes(depth - 1) | bolt_subtypes(depth - 1), INTEGERS, UNSIGNED))
        case 5:
            return draw(unions(bolt_subtypes(depth - 1), INTEGERS, [None], closed=True))
    element = draw(bolt_kinds(depth - 1).filter(lambda kind: not isinstance(kind, Nested) or kind.record.fields))
    python, loose = draw(st.sampled_from([(tuple, False), (list, False), (tuple, True)]))
    array = Array(
        element, python, loose, draw(st.sampled_from([*COUNTS, Fixed(2)])), draw(LIMITS.filter(lambda x: x != 2))
    )
    return draw(st.sampled_from([array, draw(limits(st.just(array)))]))


@st.composite
def bolt_sized(draw, depth):
    """Anything behind its size, also what could stand nowhere else but at an end."""
    at_ends = [*TRUNCATED, Octets(Rest()), Text(Rest()), Array(INTEGERS[2], list, count=Rest()), Octets(Fixed(3))]
    kind = draw(bolt_kinds(depth) | st.sampled_from(at_ends))
    if isinstance(kind, Sized) or isinstance(getattr(kind, "count", None), Prefixed):
        return kind
    if isinstance(kind, Nested) and draw(st.booleans()):  # a stream of records
        numbers = draw(st.sets(st.integers(0, 300), min_size=1, max_size=3))
        contents = {f"t{n}": (Maybe(draw(bolt_kinds(0))), field(tlv=n, default=None)) for n in sorted(numbers)}
        kind = Nested(subtype(class_of(contents)).__oddwire__)
    return Sized(kind, draw(st.sampled_from(UNSIGNED)))


@st.composite
def bolt_subtypes(draw, depth):
    kinds = draw(st.lists(bolt_kinds(depth), min_size=1, max_size=3))
    contents = {f"f{i}": (kind, None) for i, kind in enumerate(kinds)}
    if not draw(st.integers(0, 2)):
        contents["again"] = (draw(st.sampled_from(POSITIONAL_SELVES)), None)
    return subtype(class_of(contents, *draw(BASES))).__oddwire__


@st.composite
def ended_subtypes(draw, depth):
    """Subtypes that end where what holds them ends."""
    contents = {f"f{i}": (kind, None) for i, kind in enumerate(draw(st.lists(bolt_kinds(depth), max_size=2)))}
    match draw(st.sampled_from(["rest", "truncated", "records"])):
        case "rest":
            contents["last"] = (draw(st.sampled_from(RESTS)), None)
        case "truncated":
            contents["last"] = (draw(st.sampled_from(TRUNCATED)), None)
        case "records":
            contents |= draw(bolt_records())
    return subtype(class_of(contents)).__oddwire__


@st.composite
def bolt_records(draw):
    contents = {}
    for number in draw(st.sets(st.integers(0, 70_000), min_size=1, max_size=4)):
        kind = draw(bolt_kinds(1) | st.sampled_from(TRUNCATED))
        default = draw(st.sampled_from(["none", "nothing"]))
        spec = field(tlv=number, default=None) if default == "none" else field(tlv=number)
        is_maybe = default == "none" or draw(st.booleans())
        contents[f"t{number}"] = (Maybe(kind) if is_maybe and not isinstance(kind, Maybe) else kind, spec)
    return contents


@st.composite
def rest_subtypes(draw):
    return subtype(
        class_of({"f0": (draw(bolt_simple()), None), "last": (draw(st.sampled_from(RESTS)), None)})
    ).__oddwire__


@st.composite
def bolt_messages(draw):
    kinds = draw(st.lists(bolt_kinds(), max_size=5))
    contents = {f"f{i}": (kind, None) for i, kind in enumerate(kinds)}
    ends = draw(st.sampled_from(["nothing", "rest", "union", "records", "records"]))
    is_recursive = not draw(st.integers(0, 2))
    if is_recursive and ends != "records":  # where a class takes the rest, those in it need their size in front
        selves = POSITIONAL_SELVES if ends == "nothing" else POSITIONAL_SELVES[1:2]
        contents["again"] = (draw(st.sampled_from(selves)), None)
    if draw(st.booleans()):
        count = draw(st.sampled_from([kind for kind in INTEGERS if not kind.signed]))
        contents |= {"number": (count, None), "counted": (Array(INTEGERS[1], tuple, count=Named("number")), None)}
    match ends:
        case "rest":
            contents["last"] = (draw(st.sampled_from(RESTS)), None)
        case "union":
            contents["last"] = (draw(unions(bolt_subtypes(1) | rest_subtypes(), INTEGERS, [None])), None)
        case "records":
            contents |= draw(bolt_records())
            if is_recursive:
                contents["again"] = (draw(st.sampled_from(RECORD_SELVES)), field(tlv=70_001, default=None))
    return declare(class_of(contents, *draw(BASES), Message), TYPE, codec="bolt")


def tree_simple():
    return st.one_of(
        bolt_simple(),
        st.just(kind_of(int)),
        st.just(kind_of(fields.tu32)),
        st.just(Float()),
        st.just(Anything()),
        st.builds(Octets, st.sampled_from([None, Fixed(3)]), LIMITS.filter(lambda limit: limit != 2)),
        st.sampled_from(TREE_SCALARS),
        limits(st.sampled_from([Float(), kind_of(int), kind_of(fields.tu32)])),
    )


def clash(one, other):
    """Return whether a scalar's class does not tell its values from those of another option."""
    if not any(isinstance(unlimited(kind), Scalar) for kind in (one, other)):
        return False
    pairs = [(mine, theirs) for mine in python_classes(one) for theirs in python_classes(other)]
    return any(issubclass(mine, theirs) or issubclass(theirs, mine) for mine, theirs in pairs)


@st.composite
def eithers(draw, depth):
    """Unions that msgpack and JSON tell apart."""
    found = {}
    for kind in map(unboxed, draw(st.lists(tree_kinds(depth), min_size=2, max_size=5))):
        if not isinstance(kind, Anything | Either) and not any(clash(kind, other) for other in found.values()):
            found[wire_class(kind, hexed=True)] = kind
    either = Either((*found.values(),))  # an integer that JSON has as text may be beside another one
    return Either((Text(), PLAIN_INT)) if len(found) < 2 or either.ambiguous(hexed=False) else either


@st.composite
def tree_kinds(draw, depth=2):
    if depth == 0 or draw(st.integers(0, 2)):
        return draw(tree_simple())
    inner = draw(tree_kinds(depth - 1))
    match draw(st.integers(0, 6)):
        case 4:
            return draw(unions(tree_subtypes(depth - 1), [None, *INTEGERS], [None, *UNSIGNED]))
        case 5:
            return draw(eithers(depth - 1))
        case 6:
            return Sized(inner, INTEGERS[1])
        case 0:
            return Nested(draw(tree_subtypes(depth - 1)))
        case 1:
            return optional(inner)
        case 2:
            return Table(inner, draw(LIMITS))
    python, loose = draw(st.sampled_from([(tuple, False), (list, False), (tuple, True)]))
    array = Array(
        inner, python, loose, draw(st.sampled_from([None, None, Fixed(2)])), draw(LIMITS.filter(lambda x: x != 2))
    )
    return draw(st.sampled_from([array, draw(limits(st.just(array)))]))


@st.composite
def tree_fields(draw, depth):
    contents = {}
    for i, kind in enumerate(draw(st.lists(tree_kinds(depth), max_size=5))):
        if draw(st.integers(0, 2)):
            contents[f"f{i}"] = (kind, field(key=f"key {i}"))
        else:
            contents[f"f{i}"] = (optional(kind), field(default=None))
    if not draw(st.integers(0, 2)):
        contents["again"] = (draw(st.sampled_from(TREE_SELVES)), None)
    return contents


@st.composite
def tree_subtypes(draw, depth):
    return subtype(class_of(draw(tree_fields(depth)), *draw(BASES))).__oddwire__


@st.composite
def tree_messages(draw):
    return declare(class_of(draw(tree_fields(2)), *draw(BASES), Message), TYPE, codec="msgpack")


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
QUICKLY = settings(max_examples=30, deadline=None)


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


def without_limits(kind):
    match kind:
        case Limited():
            return without_limits(kind.inner)
        case Maybe() | Sized():
            return replace(kind, inner=without_limits(kind.inner))
        case Array():
            return replace(kind, element=without_limits(kind.element))
        case Table():
            return replace(kind, value=without_limits(kind.value))
        case Either():
            return Either(tuple(map(without_limits, kind.options)))
        case Nested() if not nests(kind.record):
            return Nested(subtype(class_of(free_fields(kind.record))).__oddwire__)
    return kind


def free_fields(record):
    contents = {}
    for known in record.fields:
        default = {} if known.required else {"default": known.default}
        contents[known.name] = (without_limits(known.kind), field(key=known.key, tlv=known.tlv, **default))
    return contents


@CODECS
@QUICKLY
@given(data=st.data())
def test_values_outside_of_limits(codec, declared, quick, exact, data):
    """What a peer sends whose fields are of the same types, and who knows of no limits and validators."""
    cls = data.draw(declared)
    free = declare(class_of(free_fields(schema_of(cls)), Message), TYPE, codec=codec.name)
    payload = exact(schema_of(free))[0](data.draw(messages(free, max_size=5)))
    found = outcome(exact(schema_of(cls))[1], payload)
    assert outcome(codec.compile(schema_of(cls)).decode, payload) == found
    if not isinstance(found, Message):
        with pytest.raises(UNUSUAL):
            quick(schema_of(cls))[1](payload)


UNUSUAL = (CodecError, Retry, ArithmeticError, LookupError, struct.error, TypeError, ValueError)


@QUICKLY
@given(data=st.data())
def test_json(data):
    cls = declare(class_of(data.draw(tree_fields(2)), *data.draw(BASES), Message), TYPE, codec="json")
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
        [
            *(Colour.RED, Side.BUY, (), [], {}, (1, 2), [1, "a"], {1: 2}, {"a": b""}, "\ud800", bytearray(3), object),
            *(Word("no number"), Decimal("NaN"), Decimal("1E+2000"), datetime(2024, 1, 1), NodeId(b"\2" * 33)),
            *(datetime(2024, 1, 1, 0, 0, 0, 1, UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)),
        ]
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
