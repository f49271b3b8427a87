"""Messages loaded from the BOLTs' CSV, against pyln-proto's own codec reading the same CSV.

The same values make the same bytes, the same bytes the same values; and where pyln-proto takes what the BOLTs forbid,
each kind is named and tested: we refuse it, and pyln-proto really does take it.
"""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyln.proto.message import Message as PylnMessage
from pyln.proto.message import MessageNamespace, TlvStreamType
from pyln.spec import bolt1, bolt2, bolt7

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.errors import MalformedMessage, NotMinimal, OutOfOrder, TrailingBytes, Truncated, UnknownRequiredRecord
from oddwire.proto.keys import ShortChannelId
from oddwire.schema import schema_of
from oddwire.schema.bolt_csv import load_csv
from oddwire.schema.kinds import Array, Maybe, Named, Nested, Octets, Opaque
from oddwire.testing import messages

# What the BOLTs' CSV has no message for: streams of their own, every integer, shapes of arrays.
OURS = """\
msgtype,in_n1,32769
msgdata,in_n1,stream,n1,
msgtype,in_n2,32771
msgdata,in_n2,stream,n2,
msgtype,numbers,32773
msgdata,numbers,s8,s8,
msgdata,numbers,s16,s16,
msgdata,numbers,s32,s32,
msgdata,numbers,s64,s64,
msgdata,numbers,big,bigsize,
msgdata,numbers,n,u32,
msgdata,numbers,m,byte,
msgdata,numbers,points,point,m
msgdata,numbers,pair,s16,2
msgdata,numbers,many,s16,n
msgdata,numbers,tlvs,numbers_tlvs,
tlvtype,numbers_tlvs,small,1
tlvdata,numbers_tlvs,small,value,tu16,
tlvtype,numbers_tlvs,flag,2
tlvdata,numbers_tlvs,flag,data,byte,
tlvtype,numbers_tlvs,bigs,253
tlvdata,numbers_tlvs,bigs,head,bigsize,
tlvdata,numbers_tlvs,bigs,tail,bigsize,...
tlvtype,numbers_tlvs,last,18446744073709551614
tlvdata,numbers_tlvs,last,key,bip340sig,
"""
SOURCES = {
    "bolt1": [*bolt1.csv, *OURS.splitlines()],
    "bolt2": bolt2.csv,
    "bolt7": bolt7.csv,
}
LOADED = {name: load_csv(lines) for name, lines in SOURCES.items()}
PYLN = {name: MessageNamespace(lines) for name, lines in SOURCES.items()}
PLANS = {
    (bolt, name): BoltCodec().compile(schema_of(cls))
    for bolt, loaded in LOADED.items()
    for name, cls in loaded.messages.items()
}
EVERY_MESSAGE = pytest.mark.parametrize(("bolt", "name"), PLANS)


def test_every_message_of_the_bolts_is_compared():
    assert [len(LOADED[bolt].messages) for bolt in SOURCES] == [5 + 3, 15, 9]


# pyln-proto's side: dicts of values


def pyln_write(bolt, name, fields):
    out = io.BytesIO()
    PylnMessage(PYLN[bolt].get_msgtype(name), **fields).write(out)
    return out.getvalue()


def pyln_read(bolt, payload):
    """Fields and values, unknown TLV records (which pyln-proto keeps under their number) left out."""
    stream = io.BytesIO(payload)
    message = PylnMessage.read(PYLN[bolt], stream)
    fields = {
        name: {key: inner for key, inner in value.items() if isinstance(key, str)}
        if is_stream(message, name)
        else value
        for name, value in message.fields.items()
    }
    return fields, stream.read()


def is_stream(message, field_name):
    return isinstance(message.messagetype.find_field(field_name).fieldtype, TlvStreamType)


def pyln_value(kind, value):
    match kind:
        case Maybe():
            return pyln_value(kind.inner, value)
        case Octets(name="bytes"):
            return list(value)
        case Opaque():
            return value.to_int() if isinstance(value, ShortChannelId) else value.to_bytes()
        case Array():
            return [pyln_value(kind.element, element) for element in value]
        case Nested():
            return pyln_fields(kind.record, value)
    return value


def pyln_fields(record, instance):
    """Leaves out absent TLV records, and length fields: pyln-proto finds each by itself."""
    lengths = {named.kind.count.field for named in named_counts(record)}
    values = {field.name: (field.kind, getattr(instance, field.name)) for field in record.fields}
    return {
        name: pyln_value(kind, value)
        for name, (kind, value) in values.items()
        if value is not None and name not in lengths
    }


def named_counts(record):
    return [field for field in record.fields if isinstance(getattr(field.kind, "count", None), Named)]


# The same values and bytes


@EVERY_MESSAGE
@given(data=st.data())
@settings(max_examples=40)
def test_the_same_values_are_the_same_bytes(bolt, name, data):
    message = data.draw(messages(LOADED[bolt].messages[name]))
    fields = pyln_fields(schema_of(message), message)
    payload = PLANS[bolt, name].encode(message)
    assert payload == pyln_write(bolt, name, fields)
    assert PLANS[bolt, name].decode(payload) == message
    assert pyln_read(bolt, payload) == (fields, b"")


@pytest.mark.parametrize("size", [0, 1, 252, 253, 254, 60000])
def test_records_of_every_length_are_the_same_bytes(size):
    loaded = LOADED["bolt1"]
    address = loaded.tlv_records["init_tlvs.remote_addr"](data=bytes(size))
    init = loaded.messages["init"](
        globalfeatures=b"", features=bytes(size % 4096), tlvs=loaded.tlv_streams["init_tlvs"](remote_addr=address)
    )
    payload = PLANS["bolt1", "init"].encode(init)
    assert payload == pyln_write("bolt1", "init", pyln_fields(schema_of(init), init))
    assert PLANS["bolt1", "init"].decode(payload) == init


@pytest.mark.parametrize("number", [0, 1, 252, 253, 65535, 65536, 0xFFFFFFFF, 0x100000000, (1 << 64) - 1])
def test_bigsizes_are_the_same_bytes(number):
    loaded = LOADED["bolt7"]
    option = loaded.tlv_records["query_channel_range_tlvs.query_option"](query_option_flags=number)
    query = loaded.messages["query_channel_range"](
        chain_hash=bytes(32),
        first_blocknum=0,
        number_of_blocks=1,
        tlvs=loaded.tlv_streams["query_channel_range_tlvs"](query_option=option),
    )
    payload = PLANS["bolt7", "query_channel_range"].encode(query)
    assert payload == pyln_write("bolt7", "query_channel_range", pyln_fields(schema_of(query), query))
    assert PLANS["bolt7", "query_channel_range"].decode(payload) == query


@st.composite
def mutated(draw, payloads):
    """A payload with some bytes changed, cut out or put in, after its type."""
    payload = bytearray(draw(payloads))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(2, len(payload)))
        how = draw(st.sampled_from(["change", "cut", "put", "end"]))
        if how == "change" and at < len(payload):
            payload[at] = draw(st.sampled_from([0, 1, 2, 0xFD, 0xFE, 0xFF]) | st.integers(0, 255))
        elif how == "cut":
            del payload[at : at + draw(st.integers(1, 8))]
        elif how == "put":
            payload[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            del payload[at:]
    return bytes(payload)


@EVERY_MESSAGE
@given(data=st.data())
@settings(max_examples=40)
def test_whatever_we_decode_pyln_decodes_to_the_same_values(bolt, name, data):
    plan = PLANS[bolt, name]
    payload = data.draw(mutated(messages(LOADED[bolt].messages[name]).map(plan.encode)))
    try:
        message = plan.decode(payload)
    except MalformedMessage as error:
        type_id = error.type_id
    else:
        fields, _ = pyln_read(bolt, payload)
        assert fields == pyln_fields(schema_of(message), message)
        return
    assert type_id == schema_of(LOADED[bolt].messages[name]).type_id


# Where pyln-proto takes what the BOLTs forbid (BOLT 1, Type-Length-Value Format), or cannot take what they allow

POINT = "023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb"
CHAIN = "11" * 32


@pytest.mark.parametrize(
    ("bolt", "payload", "error", "text"),
    [
        pytest.param("bolt1", "8001fd00010101", NotMinimal, "bigsize 1 ", id="record type not minimal"),
        pytest.param("bolt1", "800101fd000101", NotMinimal, "bigsize 1 ", id="record length not minimal"),
        pytest.param(
            "bolt7", "0107" + CHAIN + "00000000000000000103fd0001", NotMinimal, "bigsize 1 ", id="bigsize not minimal"
        ),
        pytest.param("bolt1", "80010208000000000000022601012a", OutOfOrder, "follows", id="records descend"),
        pytest.param("bolt1", "800101012a01012b", OutOfOrder, "repeats", id="records repeat"),
        pytest.param("bolt1", "80011200", UnknownRequiredRecord, "record 18 ", id="unknown even record"),
        pytest.param("bolt1", "80010209" + "00" * 9, TrailingBytes, "1 bytes more", id="record too long"),
        pytest.param("bolt1", "80010200", Truncated, "needs 8 bytes, 0 remain", id="record empty"),
        pytest.param(
            "bolt1", "8001033104" + POINT[2:] + "00" * 16, MalformedMessage, "public key should", id="no point"
        ),
    ],
)
def test_what_pyln_takes_and_we_refuse(bolt, payload, error, text):
    payload = bytes.fromhex(payload)
    message = PylnMessage.read(PYLN[bolt], io.BytesIO(payload))
    assert message is not None
    with pytest.raises(error, match=text) as caught:
        PLANS[bolt, message.messagetype.name].decode(payload)
    assert type(caught.value) is error


def test_pyln_keeps_unknown_odd_records_and_we_discard_them():
    payload = bytes.fromhex("800101012a2102abcd")
    message = PylnMessage.read(PYLN["bolt1"], io.BytesIO(payload))
    assert message.fields == {"stream": {"tlv1": {"amount_msat": 42}, 33: b"\xab\xcd"}}
    ours = PLANS["bolt1", "in_n1"].decode(payload)
    assert PLANS["bolt1", "in_n1"].encode(ours).hex() == "800101012a"


def test_pyln_leaves_what_follows_a_message_and_we_check_it_as_an_extension():
    pong = "00130000"
    for extension, error in {"2100": None, "21": Truncated, "2000": UnknownRequiredRecord}.items():
        payload = bytes.fromhex(pong + extension)
        assert pyln_read("bolt1", payload) == ({"ignored": []}, bytes.fromhex(extension))
        if error is None:
            assert PLANS["bolt1", "pong"].decode(payload) == PLANS["bolt1", "pong"].decode(bytes.fromhex(pong))
        else:
            with pytest.raises(error):
                PLANS["bolt1", "pong"].decode(payload)


def test_pyln_cannot_read_a_length_that_counts_two_arrays_and_we_can():
    lines = "msgtype,two,32775", "msgdata,two,n,byte,", "msgdata,two,x,u16,n", "msgdata,two,y,byte,n"
    two = load_csv(lines).messages["two"]
    plan, pyln = BoltCodec().compile(schema_of(two)), MessageNamespace(lines)
    message = two(n=2, x=(1, 2), y=b"\3\4")
    payload = plan.encode(message)
    assert plan.decode(payload) == message
    out = io.BytesIO()
    PylnMessage(pyln.get_msgtype("two"), x=[1, 2], y=[3, 4]).write(out)
    assert out.getvalue() == payload
    with pytest.raises(KeyError):
        PylnMessage.read(pyln, io.BytesIO(payload))
