"""Scalars, limits and validators: what they accept, refuse and say."""

from decimal import Decimal

import pytest

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.schema.kinds import Array, Float, Integer, Maybe, Octets, Table, Text
from oddwire.schema.value_kinds import Limited, Limits, Scalar, Validator, carrier, unlimited

U8 = Integer("u8", 8)


class Ticker:
    def __init__(self, text):
        if text == "none":
            raise ValueError
        if not text.isalpha():
            raise ValueError("should be letters")
        self.text = {}[text] if text == "missing" else text


TICKER = Scalar("ticker", Text(), Ticker, Ticker, lambda ticker: ticker.text, Ticker, lambda ticker: 1 // 0)


def test_scalars_convert():
    assert TICKER.from_wire("eur", "$").text == TICKER.from_text("eur", "$").text == "eur"
    assert TICKER.to_wire(Ticker("eur"), "$") == "eur"
    assert TICKER.label == "ticker"
    plain = Scalar("plain", Text(), str, str, str)
    with pytest.raises(NotImplementedError):
        plain.from_text("x", "$")
    with pytest.raises(NotImplementedError):
        plain.to_text("x", "$")


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ("5", "should be letters"),
        ("none", "ticker: Ticker raised ValueError"),
        ("missing", "ticker: Ticker raised KeyError: 'missing'"),
        (5, "ticker: Ticker raised AttributeError: 'int' object has no attribute 'isalpha'"),
    ],
)
def test_scalars_refuse_what_comes(wire, text):
    for read in (TICKER.from_wire, TICKER.from_text):
        with pytest.raises(MalformedMessage) as caught:
            read(wire, "$.x")
        assert (caught.value.args[0], caught.value.path) == (text, "$.x")


def test_scalars_refuse_what_is_sent():
    for value, name in (("eur", "str"), (None, "nil"), (True, "bool")):
        with pytest.raises(EncodeError, match=f"should be ticker, not {name}"):
            TICKER.to_wire(value, "$.x")
    with pytest.raises(EncodeError, match="should be number, not bool"):
        Scalar("number", U8, int, int, int).to_wire(True, "$")
    with pytest.raises(ValueOutOfRange, match="ticker: <lambda> raised ZeroDivisionError") as caught:
        TICKER.to_text(Ticker("eur"), "$.x")
    assert caught.value.path == "$.x"


@pytest.mark.parametrize(
    ("kind", "limits", "good", "bad", "text", "words"),
    [
        (U8, {"ge": 1}, 1, 0, "u8 should be at least 1, not 0", "at least 1"),
        (U8, {"gt": 1}, 2, 1, "u8 should be above 1, not 1", "above 1"),
        (U8, {"le": 5}, 5, 6, "u8 should be at most 5, not 6", "at most 5"),
        (U8, {"lt": 5}, 4, 5, "u8 should be below 5, not 5", "below 5"),
        (Float(), {"gt": 0.5, "le": 1.5}, 1.5, 0.5, "float should be above 0.5, not 0.5", "above 0.5, at most 1.5"),
        (Text(), {"length": (2, 2)}, "ab", "a", "str should be 2 characters, not 1", "2 characters"),
        (Octets(), {"length": (1, 2)}, b"ab", b"", "bytes should be 1 to 2 bytes, not 0", "1 to 2 bytes"),
        (Array(U8, tuple), {"length": (1, 2)}, (1,), (), "tuple should be 1 to 2 elements, not 0", "1 to 2 elements"),
        (Table(U8), {"length": (0, 1)}, {}, {"a": 1, "b": 2}, "dict should be 0 to 1 keys, not 2", "0 to 1 keys"),
        (Text(), {"pattern": "[a-z]+"}, "ab", "ab\n", r"str should be like [a-z]+, not 'ab\n'", "like [a-z]+"),
    ],
)
def test_limits(kind, limits, good, bad, text, words):
    limited = Limited(kind, Limits(**limits))
    limited.check_received(good, "$")
    limited.check_sent(good, "$")
    assert limited.limits.describe(limited.unit) == words
    for check, error in ((limited.check_received, MalformedMessage), (limited.check_sent, ValueOutOfRange)):
        with pytest.raises(error) as caught:
            check(bad, "$.x")
        assert (caught.value.args[0], caught.value.path) == (text, "$.x")
    names = {}

    def bind(value, hint):
        names[hint] = value
        return hint

    condition = limited.conditions("value", bind)
    assert eval(condition, {**names, "value": good})
    assert not eval(condition, {**names, "value": bad})
    assert limited.label == kind.label


def test_limits_are_true_if_there_are_any():
    assert not Limits()
    assert Limits(ge=0)
    assert Limits(length=(0, 0))
    assert Limits(pattern="")
    assert Limits(ge=Decimal(1), lt=2).bounds == {"ge": Decimal(1), "lt": 2}


def test_kinds_inside():
    limited = Limited(Limited(U8, Limits(ge=1)), Limits(le=4))
    assert unlimited(limited) is U8
    assert unlimited(TICKER) is TICKER
    assert carrier(Maybe(Limited(TICKER, Limits()))) == Text()
    assert limited == Limited(Limited(U8, Limits(ge=1)), Limits(le=4))
    assert hash(limited) == hash(Limited(Limited(U8, Limits(ge=1)), Limits(le=4)))
    assert limited.count is None


def test_validators_name_the_method_unless_they_say_what_is_wrong():
    class Holder:
        fee = 5

    seen = []
    Validator("check_fee", "fee", lambda self, value: seen.append((type(self), value))).check_sent(Holder(), "$")
    assert seen == [(Holder, 5)]

    def refuse(error):
        def method(self):
            raise error

        return method

    for error, text in (
        (ValueError("should be more"), "should be more"),
        (ValueError(), "check raised ValueError"),
        (KeyError("x"), "check raised KeyError: 'x'"),
    ):
        validator = Validator("check", "", refuse(error))
        for check, kind in ((validator.check_received, MalformedMessage), (validator.check_sent, ValueOutOfRange)):
            with pytest.raises(kind) as caught:
                check(Holder(), "$.order")
            assert (caught.value.args[0], caught.value.path) == (text, "$.order")
    assert Validator("check", "fee", len).path("$.order") == "$.order.fee"
