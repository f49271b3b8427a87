"""The session protocol's test vectors: every frame, by its bytes, and what is none."""

import json
from pathlib import Path

import pytest

from oddwire.errors import MalformedMessage, UnknownRequiredRecord
from oddwire.session.frames import UnknownFrame, decode, encode, subject
from oddwire.session.hello import Agreement, highest_common, negotiate, version_key
from oddwire.testing.conversations import frame_from_json, frame_to_json

VECTORS = json.loads(Path(__file__).with_name("session.json").read_text())


def name(vector):
    return vector["name"]


def test_all_the_vectors_are_here():
    counts = {part: len(VECTORS[part]) for part in ("frames", "refused", "versions", "pairs", "conversations")}
    assert counts == {"frames": 35, "refused": 101, "versions": 10, "pairs": 8, "conversations": 118}
    readme = Path(__file__).with_name("README.md").read_text()
    for part, count in counts.items():
        assert f"| `{part}` | {count} " in readme


@pytest.mark.parametrize("part", ["frames", "refused", "pairs", "conversations"])
def test_names_are_used_once(part):
    names = [vector["name"] for vector in VECTORS[part]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=name)
def test_a_frame_is_read(vector):
    frame = decode(bytes.fromhex(vector["bytes"]))
    assert frame_to_json(frame) == vector["frame"]
    assert frame_from_json(vector["frame"]) == frame
    assert type(frame_from_json(vector["frame"])) is type(frame)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=name)
def test_a_frame_is_written(vector):
    written = encode(frame_from_json(vector["frame"])).hex()
    assert (written == vector["bytes"]) is vector.get("same", True)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name)
def test_what_is_no_frame_is_refused_for_its_reason(vector):
    payload = bytes.fromhex(vector["bytes"])
    if vector["reason"] == "unknown":
        assert isinstance(decode(payload), UnknownFrame)
        return
    with pytest.raises(MalformedMessage) as caught:
        decode(payload)
    assert isinstance(caught.value, UnknownRequiredRecord) is (vector["reason"] == "not understood")
    about = subject(payload)
    told = None if about is None else {"scope": int(about[0]), "id": str(about[1])}
    assert told == vector.get("subject")


@pytest.mark.parametrize(("lower", "higher"), VECTORS["versions"])
def test_versions_compare(lower, higher):
    assert version_key(lower) < version_key(higher)
    assert highest_common([lower, higher], [higher, lower]) == higher


@pytest.mark.parametrize("vector", VECTORS["pairs"], ids=name)
def test_hellos_have_in_common(vector):
    ours, theirs = (decode(bytes.fromhex(payload)) for payload in vector["hellos"])
    found = None if vector["version"] is None else Agreement(vector["version"], vector["extensions"])
    assert negotiate(ours, theirs) == negotiate(theirs, ours) == found
