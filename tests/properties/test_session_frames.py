"""The session protocol's frames: what is written is read again, and any bytes are a frame or a documented error."""

# ruff: noqa: PT017 - whatever is raised has to be a documented error

from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.errors import MalformedMessage, UnknownRequiredRecord
from oddwire.session.constants import MAX_EXTENSIONS, SESSION_TYPE
from oddwire.session.wire.fields import clip, fit_refusals
from oddwire.session.wire.frame_types import (
    MAX_NUMBER,
    MAX_STORES,
    MAX_WINDOW,
    Ack,
    Cancel,
    Data,
    Failure,
    Fragment,
    FrameType,
    Hello,
    Refusal,
    Reply,
    Request,
    Scope,
    Spoken,
    UnknownFrame,
)
from oddwire.session.wire.frames import addresses, decode, encode, subject
from oddwire.session.wire.hello import highest_common, negotiate, version_key

ROUTE = 0x2B2B2B2B1A1A1A1A

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
u64 = st.integers(0, 2**64 - 1)
routes = u64.filter(lambda route: route & 0xFFFFFFFF)  # from an instance
hello_flags = u8.filter(lambda flags: flags & 3 != 3)
numbers = st.integers(1, MAX_NUMBER)
texts = st.text(st.characters(codec="utf-8"), max_size=300).map(clip)
messages = st.binary(min_size=2, max_size=50).filter(lambda content: content[:2] != b"\xc0\xdd")
bodies = st.builds(  # of a kind that there is, so that more of them get as far as the fields
    lambda kind, rest: b"\xc0\xdd" + bytes([kind]) + rest,
    st.sampled_from(FrameType),
    st.binary(min_size=8, max_size=80),
)
versions = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
spoken = st.builds(
    Spoken,
    names,
    st.lists(versions, min_size=1, max_size=5).map(tuple),
    st.sets(u16, max_size=20).map(lambda types: tuple(sorted(types))),
)
extensions = st.lists(spoken, max_size=5, unique_by=lambda one: one.name).map(lambda found: tuple(sorted(found)))


@st.composite
def hellos(draw):
    lowest, highest = sorted((draw(st.integers(1, 255)), draw(st.integers(1, 255))))
    told = draw(st.none() | u64), draw(st.none() | u32)
    stores = tuple(draw(st.lists(u64, max_size=MAX_STORES)))
    return Hello(draw(hello_flags), lowest, highest, draw(u64), draw(extensions), *told, stores)


@st.composite
def data(draw):
    base = draw(numbers)
    sequence = draw(st.integers(base, min(base + MAX_WINDOW - 1, MAX_NUMBER)))
    return Data(draw(u64), draw(numbers), base, sequence, draw(messages))


@st.composite
def acks(draw):
    if draw(st.booleans()):
        return Ack(Scope.REQUEST, draw(u8), draw(u64), 0, draw(numbers))
    value = draw(numbers)
    sequences = sorted(draw(st.sets(st.integers(1, value), max_size=5)))
    refusals = tuple(Refusal(sequence, draw(u16), draw(texts)) for sequence in sequences)
    return Ack(Scope.LANE, draw(u8), draw(u64), draw(numbers), value, refusals)


replies = st.builds(Reply, u64, u8.map(lambda flags: flags & ~2), messages) | st.builds(
    Reply, u64, u8.map(lambda flags: flags & ~1 | 2), st.just(b"")
)
about = st.sampled_from([Scope.REQUEST, Scope.TRANSFER])
frames = st.one_of(
    hellos(),
    st.builds(Fragment, u64, u64, u16, u32, st.binary(max_size=50)),
    st.builds(Request, u64, u32, messages, st.none() | u32),
    replies,
    st.builds(Failure, about, u64, u16, texts),
    st.builds(Cancel, about, u64),
    data(),
    acks(),
)


def read(payload):
    """Return the frame, or the error that a peer's bytes may lead to; any other is a fault."""
    try:
        return decode(payload)
    except MalformedMessage as error:
        assert error.type_id == SESSION_TYPE
        assert 0 <= error.offset <= len(payload)
        assert str(error)
        return error


@settings(deadline=None)
@given(frames, routes)
def test_a_frame_comes_back(frame, route):
    payload = encode(frame, route)
    found = decode(payload)
    assert found == frame
    assert type(found) is type(frame)
    assert addresses(payload) == (route >> 32, route & 0xFFFFFFFF)


@settings(deadline=None)
@given(frames, st.sets(st.integers(4, 2**32).map(lambda number: number * 2 + 1), max_size=3), st.binary(max_size=20))
def test_odd_records_of_later_days_change_nothing(frame, records, value):
    payload = encode(frame, ROUTE)
    for record in sorted(records):
        size = next(size for size in (1, 2, 4, 8) if record < {1: 0xFD, 2: 2**16, 4: 2**32, 8: 2**64}[size])
        head = {1: b"", 2: b"\xfd", 4: b"\xfe", 8: b"\xff"}[size]
        payload += head + record.to_bytes(size, "big") + bytes([len(value)]) + value
    assert decode(payload) == frame


@settings(deadline=None)
@given(frames, st.integers(3, 0x7E).map(lambda number: number * 2))
def test_an_even_record_of_later_days_is_told(frame, record):
    assert isinstance(read(encode(frame, ROUTE) + bytes([record, 0])), UnknownRequiredRecord)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80).map(lambda rest: b"\xc0\xdd" + rest) | bodies)
def test_any_bytes_are_a_frame_or_a_documented_error(payload):
    found = read(payload)
    if isinstance(found, tuple) and not isinstance(found, UnknownFrame):
        assert read(encode(found, ROUTE)) == found


@settings(deadline=None)
@given(frames, st.data())
def test_a_frame_with_a_byte_changed_is_a_frame_or_a_documented_error(frame, data):
    payload = bytearray(encode(frame, ROUTE))
    payload[data.draw(st.integers(2, len(payload) - 1))] = data.draw(u8)
    found = read(bytes(payload))
    if isinstance(found, tuple) and not isinstance(found, UnknownFrame):
        assert decode(encode(found, ROUTE)) == found


@settings(deadline=None)
@given(frames, st.data())
def test_a_frame_cut_short_tells_the_same_subject(frame, data):
    payload = encode(frame, ROUTE)
    cut = payload[: data.draw(st.integers(0, len(payload)))]
    assert subject(cut) == (subject(payload) if len(cut) >= 19 else None)


@settings(deadline=None)
@given(st.lists(st.text(max_size=3000), max_size=200))
def test_refusals_always_fit(told):
    refusals = tuple(Refusal(sequence, 4, text) for sequence, text in enumerate(told, 1))
    fitted = fit_refusals(refusals)
    assert [one[:2] for one in fitted] == [one[:2] for one in refusals]
    assert len(encode(Ack(Scope.LANE, 0, 1, 1, max(len(told), 1), fitted), ROUTE)) <= 65535


@settings(deadline=None)
@given(hellos(), hellos())
def test_both_ends_find_the_same_in_common(ours, theirs):
    found = negotiate(ours, theirs)
    assert found == negotiate(theirs, ours)
    assert (found is None) is (max(ours.lowest, theirs.lowest) > min(ours.highest, theirs.highest))
    if found is not None:
        assert len(found.extensions) <= min(len(ours.extensions), len(theirs.extensions)) <= MAX_EXTENSIONS


@given(versions, versions)
def test_versions_are_ordered(one, other):
    assert (version_key(one) == version_key(other)) is (one == other)
    assert highest_common([one, other], [other, one]) in (one, other)
