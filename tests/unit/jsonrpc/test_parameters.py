"""What each kind of parameter takes, and lightningd's words for what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.jsonrpc import parameters
from oddwire.jsonrpc.parameters import Parameter, bind

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("a_string", "text", "text"),
        ("a_string", 5, "5"),
        ("a_string", None, "null"),
        ("a_string", {"a": [1]}, '{"a":[1]}'),
        ("a_bool", True, True),
        ("a_bool", "false", False),
        ("a_node_id", G, bytes.fromhex(G)),
        ("a_node_id", G.upper(), bytes.fromhex(G)),
        ("a_hex", "00Ff", b"\x00\xff"),
        ("a_hex", 1234, b"\x12\x34"),
        ("a_hex", "", b""),
        ("anything", [1, None], [1, None]),
    ],
)
def test_taken(name: str, value: Any, parsed: Any) -> None:
    for _ in range(2):  # node ids are remembered
        assert getattr(parameters, name)(value) == parsed


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("a_string", ["\ud800"], "should be a string"),
        ("a_bool", [1, "yes", None, "True"], "should be 'true' or 'false'"),
        (
            "a_node_id",
            ["", 5, None, [], {}, G[:-2], G + "00", "04" + G[2:], "02" + "ff" * 32, " " + G],
            "should be a node id",
        ),
        ("a_pubkey", ["x", "02" + "ff" * 32], "should be a compressed pubkey"),
        ("a_hex", ["0", "zz", "0x00", "00 00", None, ["00"]], "should be a hex value"),
    ],
)
def test_refused(name: str, values: list[Any], text: str) -> None:
    for value in values:
        with pytest.raises(ValueError) as caught:
            getattr(parameters, name)(value)
        assert str(caught.value) == text, value


def test_remembered_points_do_not_grow_without_end() -> None:
    from oddwire.proto import PrivateKey

    for number in range(1, 5000):
        parameters.a_node_id(PrivateKey(number.to_bytes(32, "big")).public_key().hex())
    assert len(parameters._known_points) <= 4096


def test_usage() -> None:
    assert Parameter("id", parameters.a_string).usage == "id"
    assert Parameter("port", parameters.a_bool, required=False).usage == "[port]"


TWO = (Parameter("id", parameters.a_string), Parameter("loud", parameters.a_bool, required=False, default="none"))


def parse(parameter: Parameter, value: Any) -> Any:
    return parameter.parse(value)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (["x"], ["x", "none"]),
        (("x", "true"), ["x", True]),
        (["x", None], ["x", "none"]),
        ({"loud": "false", "id": 5}, ["5", False]),
        ({"id": None}, ["null", "none"]),
    ],
)
def test_bound_in_order_or_by_name(params: Any, values: list[Any]) -> None:
    assert bind(TWO, params, parse) == values


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ([], "missing required parameter: id"),
        ([None, True], "missing required parameter: id"),
        ({"loud": True}, "missing required parameter: id"),
        (["x", True, 3, 4], "too many parameters: got 4, expected 2"),
        ("x", "Expected array or object for params"),
        (None, "Expected array or object for params"),
    ],
)
def test_not_bound(params: Any, text: str) -> None:
    with pytest.raises(NodeRefused) as caught:
        bind(TWO, params, parse)
    assert (str(caught.value), caught.value.code) == (text, -32602)


def test_an_unknown_name_is_told_with_a_hint() -> None:
    with pytest.raises(NodeRefused, match=r"^unknown parameter: di, this may be caused by .* -k flag") as caught:
        bind(TWO, {"di": 1}, parse)
    assert caught.value.code == -32602
