"""The session protocol's test vectors: every frame, by its bytes, and what is none."""

import json
from pathlib import Path

import pytest

from oddwire.session.wire.frame_types import UnknownFrame
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.session.wire.hello import Agreement, highest_common, negotiate, version_key
from oddwire.testing.conversations import judge, payload_from_json, payload_to_json

VECTORS = json.loads(Path(__file__).with_name("session.json").read_text())


def name(vector):
    return vector["name"]


def test_all_the_vectors_are_here():
    counts = {part: len(VECTORS[part]) for part in ("frames", "refused", "versions", "pairs", "conversations")}
    assert counts == {"frames": 45, "refused": 149, "versions": 10, "pairs": 8, "conversations": 175}
    readme = Path(__file__).with_name("README.md").read_text()
    for part, count in counts.items():
        assert f"| `{part}` | {count} " in readme


@pytest.mark.parametrize("part", ["frames", "refused", "pairs", "conversations"])
def test_names_are_used_once(part):
    names = [vector["name"] for vector in VECTORS[part]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=name)
def test_a_frame_is_read(vector):
    payload = bytes.fromhex(vector["bytes"])
    assert payload_to_json(payload) == vector["frame"]
    assert judge(payload) == {"frame": vector["frame"]}
    assert addresses(payload) == (vector["frame"]["to"], vector["frame"]["from"])


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=name)
def test_a_frame_is_written(vector):
    written = payload_from_json(vector["frame"])
    assert (written.hex() == vector["bytes"]) is vector.get("same", True)
    assert decode(written) == decode(bytes.fromhex(vector["bytes"]))
    to, source = addresses(written)
    assert encode(decode(written), to << 32 | source) == written


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name)
def test_what_is_no_frame_is_refused_for_its_reason(vector):
    wanted = {key: vector[key] for key in ("reason", "subject") if key in vector}
    assert judge(bytes.fromhex(vector["bytes"])) == wanted


def test_a_kind_of_the_draft_before_is_unknown():
    of_draft = [bytes.fromhex(vector["bytes"]) for vector in VECTORS["refused"] if "draft" in vector["name"]]
    assert {payload[2] for payload in of_draft} == set(range(1, 9))
    for payload in of_draft:
        assert decode(payload) == UnknownFrame(payload[2])


@pytest.mark.parametrize(("lower", "higher"), VECTORS["versions"])
def test_versions_compare(lower, higher):
    assert version_key(lower) < version_key(higher)
    assert highest_common([lower, higher], [higher, lower]) == higher


@pytest.mark.parametrize("vector", VECTORS["pairs"], ids=name)
def test_hellos_have_in_common(vector):
    ours, theirs = (decode(bytes.fromhex(payload)) for payload in vector["hellos"])
    found = None if vector["version"] is None else Agreement(vector["version"], vector["extensions"])
    assert negotiate(ours, theirs) == negotiate(theirs, ours) == found
