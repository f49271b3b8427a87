"""A payload as every protocol reads it that is known to use its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oddwire.errors import MalformedMessage, Truncated
from oddwire.known import decode, lightningos, owners, peerswap
from oddwire.known.listing import MODULES, modules
from oddwire.schema import schema_of, to_dict

VECTORS = Path(__file__).parents[2] / "vectors" / "known"


def vectors(module):
    """Return the payloads, class names and fields of a protocol's vectors of whole messages."""
    classes = {cls.__name__: cls for cls in modules()[module].messages}
    for one in json.loads((VECTORS / f"{module}.json").read_text()):
        if one.get("message") in classes:
            type_id = schema_of(classes[one["message"]]).type_id.to_bytes(2, "big")
            payload = bytes.fromhex(one["hex"]) if "hex" in one else type_id + one["text"].encode()
            yield payload, one["message"], one["fields"]


@pytest.mark.parametrize("module", [name for name in MODULES if modules()[name].messages])
def test_every_vector_is_read_by_its_protocol(module):
    seen = 0
    for payload, name, fields in vectors(module):
        readings = {reading.claim.protocol: reading for reading in decode(payload)}
        if module == "bolts" and "peer storage" in readings:
            continue  # BOLT 1's two messages are that protocol's
        found = readings[modules()[module].name]
        assert (type(found.message).__name__, found.error) == (name, None)
        assert to_dict(found.message) == fields
        seen += 1
    assert seen


def test_two_protocols_of_one_number():
    of = {"peerswap": peerswap, "lightningos": lightningos}
    for module, other in (("peerswap", "lightningos"), ("lightningos", "peerswap")):
        payload = next(payload for payload, _, _ in vectors(module) if payload.startswith(b"\xa4\x55"))
        mine, theirs = (
            next(one for one in decode(payload) if one.claim.protocol == of[name].PROTOCOL.name)
            for name in (module, other)
        )
        assert type(mine.message) in of[module].PROTOCOL.messages
        assert mine.error is None
        assert theirs.message is None
        assert isinstance(theirs.error, MalformedMessage)


def test_numbers_of_nobody_and_of_protocols_without_schemas():
    assert decode(b"\x8c\x01{}") == ()
    [session] = decode(b"\xc0\xdd\x00")
    assert (session.claim.protocol, session.message, session.error) == ("oddwire", None, None)
    assert [reading.claim for reading in decode(b"\xa4\x55")] == [*owners(42069)]


def test_the_bolts_and_what_is_too_short():
    [ping] = decode(bytes.fromhex("0012 0003 0000"))
    assert ping.message.num_pong_bytes == 3
    [cut] = decode(b"\0\x12")
    assert str(cut.error).startswith("ping 0x0012, $.num_pong_bytes: ")
    for short in (b"", b"\0"):
        with pytest.raises(Truncated, match=f"a message starts with a type of 2 bytes, not {len(short)}"):
            decode(short)
