"""The session's frames: bytes of a peer give a frame or a documented error, and what was read is written the same."""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

import json
from pathlib import Path

from oddwire.errors import MalformedMessage, UnknownRequiredRecord
from oddwire.session.constants import SESSION_TYPE, SESSION_TYPE_BYTES
from oddwire.session.wire.frame_types import FrameType, Hello, Scope, UnknownFrame
from oddwire.session.wire.frames import addresses, decode, encode, subject
from oddwire.session.wire.hello import MAX_STRANGE, digest, negotiate

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())
SEEDS = [bytes.fromhex(vector["bytes"])[2:] for vector in VECTORS["frames"]]
HELLOS = [seed for seed in SEEDS if seed[0] == FrameType.HELLO]
OURS = decode(SESSION_TYPE_BYTES + HELLOS[1])


def check_frame(body: bytes) -> None:
    payload = SESSION_TYPE_BYTES + body
    try:
        frame = decode(payload)
    except MalformedMessage as error:
        assert error.type_id == SESSION_TYPE
        assert error.offset is not None
        assert 0 <= error.offset <= len(payload)
        assert isinstance(error, UnknownRequiredRecord) or str(error)
        about = subject(payload)
        assert about is None or about == (
            Scope.REQUEST if body[0] == FrameType.REQUEST else Scope.TRANSFER,
            int.from_bytes(body[9:17]),
        )
        return
    assert len(repr(frame)) < 20 * len(payload) + 300
    if not isinstance(frame, UnknownFrame):
        to, source = addresses(payload)
        written = encode(frame, to << 32 | (source or 1))
        assert decode(written) == frame
        assert addresses(written) == (to, source or 1)
        assert len(written) <= len(payload)


def check_hello(body: bytes) -> None:
    try:
        theirs = decode(SESSION_TYPE_BYTES + bytes([FrameType.HELLO]) + body)
    except MalformedMessage:
        return
    assert isinstance(theirs, Hello)
    assert isinstance(OURS, Hello)
    assert negotiate(OURS, theirs) == negotiate(theirs, OURS)
    assert len(digest(OURS, theirs)) <= len(OURS.extensions) + MAX_STRANGE


TARGETS = {
    "session: frames": (check_frame, SEEDS),
    "session: hello": (check_hello, [seed[1:] for seed in HELLOS]),
}
