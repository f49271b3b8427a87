"""JSON Schema of messages: what is sent fits it, and what is refused does not, where JSON Schema has words for it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.changes import TYPES
from tests.support.schema_pairs import made, plan

from oddwire import SchemaError, field, max_length, u8, u16
from oddwire.contracts import Interface
from oddwire.contracts.asyncapi import asyncapi
from oddwire.contracts.examples import examples
from oddwire.contracts.json_schema import DIALECT, json_schema
from oddwire.contracts.shown import shown_json
from oddwire.errors import MalformedMessage
from oddwire.known.listing import protocols
from oddwire.schema import Message, schema_of
from oddwire.testing.strategies import messages

CODECS = ("json", "msgpack", "bolt")


def validator(*classes: type[Message]) -> Any:
    """Return a validator of the first class's messages."""
    document = json_schema(Interface(name="subject", version="1.0", messages=classes))
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == DIALECT
    reference = document["anyOf"][0]
    return jsonschema.Draft202012Validator({**document, "anyOf": [reference]})


@pytest.mark.parametrize("codec", CODECS)
def test_examples_of_each_type_fit(codec: str) -> None:
    for type_ in TYPES:
        try:
            cls = made(codec, {"x": type_})
        except SchemaError:
            continue
        check = validator(cls)
        for message, payload in examples(cls, 20):
            shown = json.loads(payload[2:]) if codec == "json" else shown_json(message)
            check.validate(shown)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_message_fits(codec: str, data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from(TYPES))
    try:
        cls = made(codec, {"x": type_, "y": (u8 | None, None)})
    except SchemaError:
        return
    message = data.draw(messages(cls))
    payload = plan(cls).encode(message)
    validator(cls).validate(json.loads(payload[2:]) if codec == "json" else shown_json(message))


FITTING = {"x": 5, "s": "abc", "t": [1, 2], "d": "00ff"}
MUTATED = [
    {"x": 0},
    {"x": 11},
    {"x": "5"},
    {"x": None},
    {"x": 1.5},
    {"s": "ABC"},
    {"s": "a" * 9},
    {"s": ""},
    {"t": [1, 2, 3]},
    {"t": [256]},
    {"t": "12"},
    {"d": "00f"},
    {"d": "zz"},
    {"d": "00ff00ff00"},
    {"d": ...},
    {"o": {"x": 1}},
]


@pytest.mark.parametrize("change", MUTATED, ids=repr)
def test_what_a_receiver_refuses_does_not_fit(change: dict[str, Any]) -> None:
    cls = made(
        "json",
        {
            "x": (u16, field(ge=1, le=10)),
            "s": (str, field(pattern="[a-z]+", length=(1, 8))),
            "t": Annotated[tuple[u8, ...], max_length(2)],
            "d": Annotated[bytes, max_length(4)],
            "o": (u8, 0),
        },
    )
    check = validator(cls)
    check.validate({**FITTING, "unknown": 1})
    mutated = {key: value for key, value in {**FITTING, **change}.items() if value is not ...}
    with pytest.raises(MalformedMessage):
        plan(cls).decode(b"\x8d\x61" + json.dumps(mutated).encode())
    assert not check.is_valid(mutated)


@pytest.mark.parametrize("protocol", [one for one in protocols() if one.name != "BOLTs"], ids=lambda one: one.name)
def test_known_protocols_have_schemas_and_examples(protocol: Any) -> None:
    interface = Interface(name=protocol.name, version="1", messages=protocol.messages)
    document = json_schema(interface)
    jsonschema.Draft202012Validator.check_schema(document)
    told = asyncapi(interface)
    assert len(told["channels"]) == len(protocol.messages)
    for cls in protocol.messages[:12]:
        (found,) = examples(cls) or [None]
        if found is not None:
            validator(cls).validate(shown_json(found[0]))
            assert found[1][:2] == schema_of(cls).type_id.to_bytes(2, "big")
