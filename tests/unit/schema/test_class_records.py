"""What is known of a class and its fields, and building instances past the constructor."""

import pytest

from oddwire.schema import Message, Schema, field, message, schema_of, u8


@message(0x8C01, name="Sample")
class Sample(Message):
    first: u8
    second: u8 = 7
    third: list[u8] = field(default_factory=list, key="3rd")
    fourth: u8 | None = None


SCHEMA = schema_of(Sample)


def test_a_schema_says_what_was_declared():
    assert isinstance(SCHEMA, Schema)
    assert (SCHEMA.type_id, SCHEMA.name, SCHEMA.codec, SCHEMA.spec) == (0x8C01, "Sample", "msgpack", False)
    assert (SCHEMA.cls, SCHEMA.module, SCHEMA.qualified_name) == (Sample, __name__, f"{__name__}.Sample")
    assert [field.name for field in SCHEMA.fields] == ["first", "second", "third", "fourth"]
    assert [field.key for field in SCHEMA.fields] == ["first", "second", "3rd", "fourth"]


def test_defaults():
    first, second, third, fourth = SCHEMA.fields
    assert [f.required for f in SCHEMA.fields] == [True, False, False, False]
    assert second.make_default() == 7
    assert third.make_default() == []
    assert third.make_default() is not third.make_default()
    assert fourth.make_default() is None
    assert [f.omitted_if_none for f in (first, second, third, fourth)] == [False, False, False, True]


def test_when_an_absent_record_means_none():
    @message(0x8C03, codec="bolt")
    class Records(Message):
        required: u8 | None = field(tlv=1)
        none: u8 | None = field(tlv=3, default=None)
        seven: u8 | None = field(tlv=5, default=7)
        always: u8 = field(tlv=7)

    assert [f.none_is_absent for f in schema_of(Records).fields] == [True, True, False, False]


def test_finding_a_field():
    assert SCHEMA.field("second") is SCHEMA.fields[1]
    assert SCHEMA.field("3rd") is None


def test_building_an_instance():
    built = SCHEMA.build({"first": 1, "second": 2, "third": [3], "fourth": None})
    assert type(built) is Sample
    assert built == Sample(first=1, second=2, third=[3])
    assert SCHEMA.values(built) == (1, 2, [3], None)
    with pytest.raises(AttributeError):
        built.first = 3


def test_a_blank_instance_is_not_frozen_until_it_is_one():
    blank = SCHEMA.blank()
    blank.first = 1
    blank.first = 2
    blank.__class__ = Sample
    assert blank.first == 2
    with pytest.raises(AttributeError):
        blank.first = 3
