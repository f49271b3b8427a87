"""What each kind of parameter takes, and lightningd's words for what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.node import parameters
from oddwire.node.parameters import Parameter

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
        ("a_number", 5, 5),
        ("a_number", "4294967295", 2**32 - 1),
        ("a_u64", str(2**64 - 1), 2**64 - 1),
        ("a_port", 9735, 9735),
        ("a_port", "9735", 9735),
        ("a_key", "one", ("one",)),
        ("a_key", 7, ("7",)),
        ("a_key", ["a", 1, ""], ("a", "1", "")),
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
        ("a_number", [-1, 1.5, "x", "", "٣", 2**32, "9" * 5000, True, None], "should be an integer"),
        ("a_u64", [-1, 2**64], "should be an unsigned 64 bit integer"),
        ("a_port", [65536, "x"], "should be a 16-bit integer"),
        ("a_port", [0], "should be non-zero"),
        ("a_key", [[]], "should not be empty"),
        ("a_key", [{}], "should be string or array"),
        ("a_key", [[[]], ["a", {}], "nul\0", "\udc00"], "should be string"),
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
    assert Parameter("port", parameters.a_port, required=False).usage == "[port]"
