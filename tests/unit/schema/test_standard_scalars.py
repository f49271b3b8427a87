"""`datetime` and `Decimal` as text and as integers."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated

import pytest

from oddwire import SchemaError, as_text, s64, tu64, u8, u32, u64
from oddwire.errors import MalformedMessage, ValueOutOfRange
from oddwire.schema.annotations import kind_of
from oddwire.schema.standard_scalars import DATETIME, DECIMAL, seconds, standard_scalar
from oddwire.schema.tree import JSON, MSGPACK, dump, load

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def test_the_kinds():
    assert kind_of(datetime) is DATETIME is standard_scalar(datetime)
    assert kind_of(Decimal) is DECIMAL
    for integer in (u8, u32, u64, s64, tu64):
        assert kind_of(Annotated[datetime, integer]) == seconds(kind_of(integer))
    assert standard_scalar(date) is None
    with pytest.raises(SchemaError, match="date is not a field type"):
        kind_of(date)
    with pytest.raises(SchemaError, match="u64 beside Decimal should stand beside an Enum of integers"):
        kind_of(Annotated[Decimal, u64])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-31T12:00:00Z", NOON),
        ("2024-01-31t12:00:00z", NOON),
        ("2024-01-31T12:00:00.000Z", NOON),
        ("2024-01-31T14:30:00+02:30", NOON),
        ("2024-01-31T12:00:00-00:00", NOON),
        ("2024-01-31T12:00:00.123456Z", NOON + timedelta(microseconds=123456)),
        ("2024-01-31T12:00:00.1234567Z", NOON + timedelta(microseconds=123456)),
        ("2024-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("form", [MSGPACK, JSON], ids=lambda form: form.name)
def test_times_that_come(text, value, form):
    found = load(DATETIME, text, form)
    assert found == value
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-31", "2024-01-31 12:00:00Z", "2024-01-31T12:00:00", "2024-01-31T12:00Z", "20240131T120000Z"),
        *("2024-13-31T12:00:00Z", "2024-02-30T12:00:00Z", "2024-01-31T24:00:00Z", "2024-01-31T23:59:60Z", ""),
        *("2024-01-31T12:00:00.Z", "2024-01-31T12:00:00+2430", "2024-01-31T12:00:00+24:30", "२०२४-01-31T12:00:00Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2024-01-31T12:00:00Z\n"),
    ],
)
def test_texts_that_are_no_times(text):
    with pytest.raises(MalformedMessage, match="datetime should be like 2024-01-31T12:00:00Z, not"):
        load(DATETIME, text, JSON)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NOON, "2024-01-31T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=5))), "2024-01-31T12:00:00Z"),
        (NOON + timedelta(microseconds=50), "2024-01-31T12:00:00.000050Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_times_that_are_sent(value, text):
    assert dump(DATETIME, value, MSGPACK) == dump(DATETIME, value, JSON) == text
    assert load(DATETIME, text, JSON) == value


def test_times_that_cannot_be_sent():
    with pytest.raises(
        ValueOutOfRange, match=r"datetime should have a time zone, as datetime.now\(UTC\) has, not 2024"
    ):
        dump(DATETIME, datetime(2024, 1, 31), JSON)
    with pytest.raises(ValueOutOfRange, match="raised OverflowError"):
        dump(DATETIME, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), JSON)


def test_seconds():
    kind = kind_of(Annotated[datetime, s64])
    for value, number in (
        (NOON, 1_706_702_400),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -1),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 253_402_300_799),
    ):
        assert dump(kind, value, MSGPACK) == dump(kind, value, JSON) == number
        assert load(kind, number, MSGPACK) == value
    assert dump(kind_of(Annotated[datetime, u64, as_text]), NOON, JSON) == "1706702400"
    assert load(kind_of(Annotated[datetime, u64, as_text]), "1706702400", JSON) == NOON
    with pytest.raises(MalformedMessage, match="up to the year 9999, not 253402300800"):
        load(kind, 253_402_300_800, MSGPACK)
    with pytest.raises(MalformedMessage, match="should be seconds since 1970"):
        load(kind, (1 << 63) - 1, MSGPACK)
    with pytest.raises(ValueOutOfRange, match=r"should be a whole second, as value.replace\(microsecond=0\) is"):
        dump(kind, NOON + timedelta(microseconds=1), MSGPACK)
    with pytest.raises(ValueOutOfRange, match="u32 should be 0 to 4294967295, not -1"):
        dump(kind_of(Annotated[datetime, u32]), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), MSGPACK)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1.50"), "1.50"),
        (Decimal("-0.5"), "-0.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal(0), "0"),
        (Decimal("9" * 1000), "9" * 1000),
    ],
)
def test_decimals(value, text):
    assert dump(DECIMAL, value, JSON) == dump(DECIMAL, value, MSGPACK) == text
    assert str(load(DECIMAL, text, JSON)) in (str(value), text)
    assert load(DECIMAL, text, JSON) == value


def test_decimals_that_are_none():
    for text in ("", "1.", ".5", "1e5", "NaN", "Infinity", "+1", "1_000", " 1", "१", "9" * 1001, "--1"):
        with pytest.raises(MalformedMessage, match=r"Decimal should be like 1\.50, of 1000 digits at most, not"):
            load(DECIMAL, text, JSON)
    for value in ("NaN", "sNaN", "-Infinity"):
        with pytest.raises(ValueOutOfRange, match="Decimal should be finite, not"):
            dump(DECIMAL, Decimal(value), JSON)
    for value in ("1E+1000", "1E-1000", "1E+999999999", "9" * 1001):
        with pytest.raises(ValueOutOfRange, match="Decimal should have 1000 digits at most"):
            dump(DECIMAL, Decimal(value), JSON)


def test_what_is_read_can_be_written_again():
    for text in ("0" * 999 + "5", "-" + "0" * 998 + "5", "0." + "0" * 997 + "1", "1" * 500 + "." + "5" * 499):
        value = load(DECIMAL, text, JSON)
        assert load(DECIMAL, dump(DECIMAL, value, JSON), JSON) == value
