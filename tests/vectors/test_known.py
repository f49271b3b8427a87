"""Each message of `oddwire.known`, byte for byte: vectors published, made by hand, or written by another program."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from oddwire import Message, describe, schema_of
from oddwire.codecs.base import Plan
from oddwire.codecs.registry import builtin_codecs
from oddwire.known.listing import MODULES, modules
from oddwire.schema import Procedure, from_dict, to_dict

FOLDER = Path(__file__).parent / "known"
CODECS = {codec.name: codec for codec in builtin_codecs()}
PARTS = {"message", "source", "note", "hex", "text", "fields", "encoded"}
PARTS_OF_JSON = {"procedure", "part", "subtype", "source", "note", "text", "encoded"}
SOURCES = ("published: ", "made by hand from ", "written by ")

Vector = dict[str, Any]


def vectors(module: str) -> list[Vector]:
    found: list[Vector] = json.loads((FOLDER / f"{module}.json").read_text())
    return found


ALL = [(module, number, vector) for module in MODULES for number, vector in enumerate(vectors(module))]
VECTORS = [one for one in ALL if "message" in one[2]]
OF_JSON = [one for one in ALL if "message" not in one[2]]


def class_of(module: str, vector: Vector) -> type[Message]:
    [cls] = [cls for cls in modules()[module].messages if cls.__name__ == vector["message"]]
    return cls


def plan_of(cls: type[Message]) -> Plan:
    schema = schema_of(cls)
    codec: Any = schema.own_codec or CODECS[schema.codec]
    plan: Plan = codec.compile(schema)
    return plan


def payload_of(cls: type[Message], vector: Vector, part: str = "") -> bytes:
    """Return the bytes of ``hex``; or the text of ``text`` behind the type."""
    if part:
        return payload_of(cls, vector[part])
    if "text" in vector:
        return schema_of(cls).type_id.to_bytes(2, "big") + str(vector["text"]).encode()
    return bytes.fromhex(vector["hex"])


@pytest.mark.parametrize(("module", "number", "vector"), VECTORS, ids=lambda value: str(value)[:20])
def test_a_vector(module: str, number: int, vector: Vector) -> None:
    cls = class_of(module, vector)
    payload = payload_of(cls, vector)
    assert int.from_bytes(payload[:2], "big") == schema_of(cls).type_id
    plan = plan_of(cls)
    message = plan.decode(payload)
    assert to_dict(message) == vector["fields"]
    assert from_dict(cls, vector["fields"]) == message
    encoded = payload_of(cls, vector, "encoded") if "encoded" in vector else payload
    assert plan.encode(message).hex() == encoded.hex()
    assert plan.decode(encoded) == message
    assert describe(message, len(payload)).startswith(f"{schema_of(cls).name} 0x")


@pytest.mark.parametrize(("module", "number", "vector"), VECTORS, ids=lambda value: str(value)[:20])
def test_a_vector_says_where_it_comes_from(module: str, number: int, vector: Vector) -> None:
    assert vector.keys() <= PARTS
    assert ("hex" in vector) != ("text" in vector)
    assert vector["source"].startswith(SOURCES)
    assert "encoded" not in vector or "note" in vector


@pytest.mark.parametrize(("module", "number", "vector"), OF_JSON, ids=lambda value: str(value)[:20])
def test_a_vector_of_json(module: str, number: int, vector: Vector) -> None:
    """What a JSON-RPC method takes or returns, or a part of that: whitespace and the order of keys say nothing."""
    plain = json.loads(vector["text"])
    encoded = json.loads(vector["encoded"]["text"]) if "encoded" in vector else plain
    if "subtype" in vector:
        part = Procedure("part", result=getattr(import_module(f"oddwire.known.{module}"), vector["subtype"]))
        assert part.dump_result(part.load_result(plain)) == encoded
        return
    [procedure] = [one for one in modules()[module].procedures if one.name == vector["procedure"]]
    if vector["part"] == "params":
        assert procedure.dump_params(procedure.load_params(plain)) == encoded
    else:
        assert procedure.dump_result(procedure.load_result(plain)) == encoded


@pytest.mark.parametrize(("module", "number", "vector"), OF_JSON, ids=lambda value: str(value)[:20])
def test_a_vector_of_json_says_where_it_comes_from(module: str, number: int, vector: Vector) -> None:
    assert vector.keys() <= PARTS_OF_JSON
    assert ("procedure" in vector) != ("subtype" in vector)
    assert vector["source"].startswith(SOURCES)
    assert "encoded" not in vector or "note" in vector


@pytest.mark.parametrize("module", MODULES)
def test_each_message_has_a_vector(module: str) -> None:
    found = vectors(module)
    assert {one["message"] for one in found if "message" in one} == {cls.__name__ for cls in modules()[module].messages}
    for procedure in modules()[module].procedures:
        parts = {one["part"] for one in found if one.get("procedure") == procedure.name}
        assert ("params" in parts) == (procedure.record is not None)
        same = [one.name for one in modules()[module].procedures if one.result is procedure.result]
        assert procedure.kind is None or any(
            one.get("part") == "result" and one["procedure"] in same for one in found if "procedure" in one
        )


def test_there_are_no_other_vectors() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{module}.json" for module in MODULES}
