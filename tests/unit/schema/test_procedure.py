from __future__ import annotations

from typing import Annotated, Any

import pytest

from oddwire import EncodeError, MalformedMessage, SchemaError, as_text, subtype, u64
from oddwire.schema import Procedure


@subtype
class NewOrder:
    sat: Annotated[u64, as_text]
    token: str | None = None


@subtype
class Order:
    order_id: str
    channel: str | None


ORDER = Procedure("lsps1.create_order", params=NewOrder, result=Order)
LIST = Procedure("lsps0.list_protocols", result=tuple[int, ...])
BARE = Procedure("bare")


def test_parameters_are_fields_by_name() -> None:
    assert ORDER.dump_params(NewOrder(sat=5)) == {"sat": "5"}
    assert ORDER.dump_params(NewOrder(sat=5, token="x")) == {"sat": "5", "token": "x"}
    assert ORDER.load_params({"sat": "5", "more": 1}) == NewOrder(sat=5)
    assert (LIST.dump_params(None), LIST.load_params({"x": 1})) == ({}, None)


def test_results_are_of_their_type() -> None:
    assert ORDER.dump_result(Order(order_id="a", channel=None)) == {"order_id": "a", "channel": None}
    assert ORDER.load_result({"order_id": "a", "channel": None}) == Order(order_id="a", channel=None)
    assert (LIST.dump_result((1, 2)), LIST.load_result([1, 2])) == ([1, 2], (1, 2))
    assert (BARE.dump_result(None), BARE.load_result({"x": 1})) == (None, None)


@pytest.mark.parametrize(
    ("plain", "text"),
    [({"sat": 5}, "string of digits"), ({}, "is missing"), ([], "should be a map"), ({"sat": "-1"}, "should be 0 to")],
)
def test_what_is_not_of_the_type_is_malformed(plain: Any, text: str) -> None:
    with pytest.raises(MalformedMessage, match=text) as caught:
        ORDER.load_params(plain)
    assert (caught.value.path or "").startswith("$.params")
    with pytest.raises(MalformedMessage):
        ORDER.load_result(5)


def test_what_does_not_fit_is_not_written() -> None:
    with pytest.raises(EncodeError):
        ORDER.dump_params(NewOrder(sat=-1))
    with pytest.raises(EncodeError):
        ORDER.dump_params(Order(order_id="", channel=None))  # type: ignore[arg-type]


def test_it_says_what_it_is() -> None:
    assert repr(ORDER) == "<Procedure lsps1.create_order(NewOrder) -> Order>"
    assert repr(LIST) == "<Procedure lsps0.list_protocols() -> tuple[int, ...]>"


@pytest.mark.parametrize(
    ("name", "types", "text"),
    [
        ("", {}, "name should be a text"),
        ("x", {"params": int}, "class under @subtype, not <class 'int'>"),
        ("x", {"result": set[int]}, "procedure 'x': its result: "),
    ],
)
def test_what_is_no_procedure_is_refused(name: str, types: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        Procedure(name, **types)


@subtype
class Ambiguous:
    id: bytes | str


@pytest.mark.parametrize("types", [{"params": Ambiguous}, {"result": tuple[Ambiguous, ...]}, {"result": bytes | str}])
def test_unions_that_json_does_not_tell_apart_are_refused(types: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="json cannot carry bytes or str: bytes and str are both strings in JSON"):
        Procedure("x", **types)
