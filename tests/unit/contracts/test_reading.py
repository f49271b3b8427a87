"""A contract's file: what is written is read as it was, and what is wrong in one is named."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.support.changes import one_field

from oddwire.contracts import FORMAT, Interface, compare, contract_of, read_contract, write_contract
from oddwire.errors import ContractError
from oddwire.known.listing import protocols

WHOLE = contract_of(Interface(name="subject", version="1.0", messages=(next(one_field("json")),)), oddwire="0.1")


@pytest.mark.parametrize("codec", ["json", "bolt"])
def test_what_is_written_is_read_as_it_was(codec: str) -> None:
    for cls in one_field(codec):
        made = contract_of(Interface(name="subject", version="1.0", messages=(cls,)), oddwire="0.1")
        text = write_contract(made)
        assert read_contract(text, extension="subject") == made
        assert write_contract(read_contract(text)) == text


def test_known_protocols_have_contracts() -> None:
    for protocol in protocols():
        made = contract_of(Interface(name="x", version="1", messages=protocol.messages), oddwire="0.1")
        assert compare(read_contract(write_contract(made)), made) == []


def test_a_small_change_is_a_small_difference() -> None:
    """What a review shows is the line of the field."""
    old = write_contract(WHOLE).splitlines()
    changed = copy.deepcopy(WHOLE)
    changed["messages"][0]["fields"].append({"name": "y", "type": "u16"})
    new = write_contract(changed).splitlines()
    assert [line.strip() for line in new if line not in old] == [
        '{"name": "x", "type": "u8"},',
        '{"name": "y", "type": "u16"}',
    ]


def altered(*keys: Any, to: Any = None, lose: bool = False) -> str:
    whole = copy.deepcopy(WHOLE)
    inner: Any = whole
    for key in keys[:-1]:
        inner = inner[key]
    if lose:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return json.dumps(whole)


FIELD = ("messages", 0, "fields", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "is no contract"),
        ("[1]", "is no contract"),
        (altered("contract", to=FORMAT + 1), "is of format 2, written by oddwire '0.1'; this oddwire reads 1: update"),
        (altered("contract", to="1"), "its format should be a number from 1"),
        (altered("extension", to="other"), "is the contract of 'other', not of 'subject'"),
        (altered("messages", lose=True), "'messages' is missing"),
        (altered("mesages", to=[]), "did you mean 'messages'"),
        (altered("messages", to={}), r"\$.messages: should be a list"),
        (altered("messages", 0, "type", to="5"), r"\$.messages\[0\].type: should be a number"),
        (altered(*FIELD, "type", to="u77x"), r"fields\[0\].type: 'u77x' is not known"),
        (altered(*FIELD, "type", to="strr"), "did you mean 'str'"),
        (altered(*FIELD, to=5), "should be a field with a 'name'"),
        (altered(*FIELD, "limits", to=[{"gee": 1}]), "did you mean 'ge'"),
        (altered(*FIELD, "limits", to=[{"length": [1]}]), "should be two numbers"),
        (altered(*FIELD, "limits", to=[{"ge": "1"}]), "should be a whole number"),
        (altered(*FIELD, "limits", to=[{"pattern": "("}]), "should be a regular expression"),
        (json.dumps(WHOLE).replace('"version"', '"extension": "other", "version"', 1), "has the key 'extension' twice"),
        (altered("messages", to=WHOLE["messages"] * 2), r"messages\[1\]: should be another type than the one before"),
        (altered(*FIELD[:3], to=WHOLE["messages"][0]["fields"] * 2), "should be another name than the one before"),
        (altered("messages", 0, "codec", to="raw"), "one field of bytes, as the codec is raw"),
        (altered(*FIELD, to={"name": "x", "type": "opaque", "size": 33}), "'class' is missing"),
        (altered(*FIELD, to={"name": "x", "type": "str", "count": {"field": "n"}}), "the name of a field beside it"),
        (altered(*FIELD, to={"name": "x", "type": "bytes", "count": {"first byte": [1, "2"]}}), "should be a number"),
        (altered(*FIELD, to={"name": "x", "type": "array"}), "'of' is missing"),
        (altered(*FIELD, to={"name": "x", "type": "subtype", "class": "A"}), "one of the contract's subtypes"),
        (altered(*FIELD, to={"name": "x", "type": "bytes", "count": True}), "should be a number, an integer's type"),
        (altered(*FIELD, to={"name": "x", "type": "union", "tag_key": "t", "members": 1}), "a list of members"),
        (
            altered(*FIELD, to={"name": "x", "type": "enum", "class": "E", "of": {"type": "u8"}, "values": [1]}),
            "'value' and a 'name'",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        read_contract(text, extension="subject")


def test_types_nest_to_a_limit() -> None:
    type_: dict[str, Any] = {"type": "u8"}
    for _ in range(100):
        type_ = {"type": "optional", "of": type_}
    with pytest.raises(ContractError, match="nest more than"):
        read_contract(altered(*FIELD, to={"name": "x", **type_}))


def test_a_class_that_ends_in_itself_is_compared_to_an_end() -> None:
    endless = json.loads(altered(*FIELD, to={"name": "x", "type": "subtype", "class": "A"}))
    endless["messages"][0]["codec"] = "bolt"
    endless["subtypes"] = {"A": {"fields": [{"name": "x", "type": "subtype", "class": "A"}]}}
    read = read_contract(json.dumps(endless))
    assert compare(read, read) == []
