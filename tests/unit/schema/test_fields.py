"""The words an author writes: what each alias holds, and what `field` passes on."""

from dataclasses import MISSING

import pytest

from oddwire.proto.keys import PrivateKey, PublicKey, ShortChannelId
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Boolean, Fixed, Integer, Led, Octets, Opaque, Rest

# BOLT 1, Fundamental Types
RANGES = {
    "u8": (0, 255),
    "u16": (0, 65535),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "byte": (0, 255),
    "s8": (-128, 127),
    "s16": (-32768, 32767),
    "s32": (-(2**31), 2**31 - 1),
    "s64": (-(2**63), 2**63 - 1),
    "tu16": (0, 65535),
    "tu32": (0, 2**32 - 1),
    "tu64": (0, 2**64 - 1),
    "bigsize": (0, 2**64 - 1),
}
SIZES = {"sha256": 32, "chain_hash": 32, "channel_id": 32, "signature": 64, "bip340sig": 64}


@pytest.mark.parametrize(("name", "bounds"), RANGES.items())
def test_integers(name, bounds):
    kind = kind_of(getattr(fields, name))
    assert isinstance(kind, Integer)
    assert (kind.low, kind.high) == bounds
    assert kind.name == name.replace("byte", "u8")


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_bytes_of_fixed_size(name, size):
    assert kind_of(getattr(fields, name)) == Octets(Fixed(size), name=name)


def test_a_node_or_a_channel_with_its_direction():
    assert kind_of(fields.sciddir_or_pubkey) == Octets(Led((9, 9, 33, 33)), name="sciddir_or_pubkey")


def test_a_bool_of_scodec():
    assert kind_of(fields.bool8) == Boolean("bool8", true=255)


def test_points_and_channels_are_objects():
    point, channel = kind_of(fields.point), kind_of(fields.short_channel_id)
    assert isinstance(point, Opaque)
    assert isinstance(channel, Opaque)
    key = PrivateKey(b"\1" * 32).public_key()
    assert (point.python, point.size) == (PublicKey, 33)
    assert point.load(point.dump(key)) == point.parse(point.show(key)) == key
    place = ShortChannelId(539268, 845, 1)
    assert (channel.python, channel.size) == (ShortChannelId, 8)
    assert channel.load(channel.dump(place)) == channel.parse(channel.show(place)) == place
    assert channel.show(place) == "539268x845x1"


@pytest.mark.parametrize("name", ["point", "short_channel_id"])
def test_what_travels_can_be_read_without_a_call(name):
    kind = kind_of(getattr(fields, name))
    sample = PrivateKey(b"\1" * 32).public_key() if name == "point" else ShortChannelId(539268, 845, 1)
    stored = getattr(sample, kind.stored)
    assert (stored.to_bytes(8, "big") if kind.numeric else stored) == kind.dump(sample)


def test_points_are_remembered_and_no_more_than_so_many_channels():
    point, channel = kind_of(fields.point), kind_of(fields.short_channel_id)
    raw = PrivateKey(b"\1" * 32).public_key().to_bytes()
    assert point.load(raw) is point.load(raw)
    for _ in range(2):  # what is no point is not remembered either
        with pytest.raises(ValueError, match="not a point"):
            point.load(b"\x02" + b"\xff" * 32)
    first = channel.load(bytes(8))
    assert channel.load(bytes(8)) is first
    for number in range(1, 4097):
        assert channel.load(number.to_bytes(8, "big")).to_int() == number
    assert channel.load(bytes(8)) is not first
    assert channel.load(bytes(8)) == first


def test_what_stands_beside_a_type():
    assert fields.fixed(3) == Fixed(3)
    assert fields.rest == Rest()
    assert fields.counted(fields.u32).integer is fields.u32
    assert fields.max_length(9).size == 9


def test_field_says_what_it_was_told():
    def make():
        return []

    spec = fields.field(default_factory=make, tlv=3, count=fields.u8, max_length=4, key="other")
    assert spec == fields.FieldSpec(MISSING, make, 3, fields.u8, 4, "other")
    assert fields.field() == fields.FieldSpec(MISSING, MISSING)
    assert fields.field(default=None).default is None
