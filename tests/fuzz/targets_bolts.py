"""The BOLTs' own messages and TLV streams: bytes give one or a documented error, and what was read can be written.

What is written is then read as the same again. Seeds are the vectors.
"""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.errors import MalformedMessage, UnknownMessage
from oddwire.known import bolts

VECTORS = Path(__file__).parents[1] / "vectors"
MESSAGES = json.loads((VECTORS / "known" / "bolts.json").read_text())
PARTS = json.loads((VECTORS / "bolts_parts.json").read_text())


def check_message(payload: bytes) -> None:
    try:
        message = bolts.decode(payload)
    except UnknownMessage as error:
        assert error.type_id == int.from_bytes(payload[:2], "big")
    except MalformedMessage as error:
        assert error.offset is None or 0 <= error.offset <= len(payload)
    else:
        assert bolts.decode(bolts.encode(message)) == message


def check_part(name: str) -> Callable[[bytes], None]:
    cls = getattr(bolts, name)

    def check(data: bytes) -> None:
        try:
            value = decode_subtype(cls, data)
        except MalformedMessage as error:
            assert error.type_id is None
            assert error.offset is None or 0 <= error.offset <= len(data)
        else:
            assert decode_subtype(cls, encode_subtype(value)) == value

    return check


TARGETS = {"bolts: messages": (check_message, [bytes.fromhex(vector["hex"]) for vector in MESSAGES])} | {
    f"bolts: {name}": (
        check_part(name),
        [bytes.fromhex(vector["hex"]) for vector in PARTS if vector["name"] == name],
    )
    for name in ("OnionmsgTlv", "Invoice", "EncryptedDataTlv", "BlindedPath")
}
