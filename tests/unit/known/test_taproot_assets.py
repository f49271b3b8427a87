"""oddwire.known.taproot_assets: what its vectors do not say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from oddwire import EncodeError, MalformedMessage, Message, message, schema_of
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.known.taproot_assets import Rate
from oddwire.schema import from_dict, from_strings, to_dict


@message(0x8C01, codec="bolt")
class Priced(Message):
    rate: Rate


PLAN: Any = BoltCodec().compile(schema_of(Priced))


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("0000", None),
        ("02a410", "420.00"),
        ("0001", "1"),
        ("00", "0"),
        ("03", "0.000"),
        ("ff01", "0." + "0" * 254 + "1"),
        ("00174876e800", "100000000000"),
    ],
)
def test_a_rate(written, rate):
    payload = bytes.fromhex("8c01" + written)
    if rate is None:
        with pytest.raises(MalformedMessage, match="no zeros in front"):
            PLAN.decode(payload)
        return
    found = PLAN.decode(payload)
    assert found.rate == Decimal(rate)
    assert str(found) == f"Priced 0x8c01 rate={rate}" or len(rate) > 40
    assert to_dict(found) == {"rate": rate}
    assert from_dict(Priced, {"rate": rate}) == from_strings(Priced, {"rate": rate}) == found
    assert PLAN.encode(found) == payload


def test_a_rate_has_a_scale():
    with pytest.raises(MalformedMessage, match="a byte of scale"):
        PLAN.decode(bytes.fromhex("8c01"))


def test_a_long_rate():
    payload = bytes.fromhex("8c01") + b"\x05" + b"\xff" * 30000
    found = PLAN.decode(payload)
    assert len(found.rate.as_tuple().digits) == 72248
    assert found.rate.as_tuple().exponent == -5
    assert PLAN.encode(found) == payload


@pytest.mark.parametrize(
    ("rate", "written"),
    [("1E+11", "00174876e800"), ("1E+2", "0064"), ("0E+3", "00"), ("-0.5", ""), ("NaN", ""), ("1E-256", "")],
)
def test_rates_of_ones_own(rate, written):
    priced = Priced(rate=Decimal(rate))
    if written:
        assert PLAN.encode(priced).hex() == "8c01" + written
        return
    with pytest.raises(EncodeError) as caught:
        PLAN.encode(priced)
    assert caught.value.path == "$.rate"
    assert "should be a number, not negative, of 255 decimals at most" in str(caught.value)


@pytest.mark.parametrize("text", ["", "-1", "1e5", "0x10", ".5", "1.", "\u0661", "1" * 1001])
def test_texts_that_are_no_rates(text):
    with pytest.raises(EncodeError, match=r"should be a decimal number, 0\.50 say"):
        from_strings(Priced, {"rate": text})
