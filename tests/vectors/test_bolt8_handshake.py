"""BOLT 8, Appendix A: handshakes of the initiator and of the responder."""

import json
from pathlib import Path

import pytest

from oddwire.errors import AuthenticationFailed, HandshakeFailed
from oddwire.proto.keys import PrivateKey, PublicKey
from oddwire.proto.noise import Handshake

VECTORS = json.loads(Path(__file__).with_name("bolt8.json").read_text())
# By the end of the appendix's own name for the failure
ERRORS = {
    "READ_FAILED": HandshakeFailed,
    "BAD_VERSION": HandshakeFailed,
    "BAD_PUBKEY": HandshakeFailed,
    "BAD_TAG": AuthenticationFailed,
    "BAD_CIPHERTEXT": AuthenticationFailed,
}


def make(vector):
    """The handshake of a vector, before its first step."""
    local, ephemeral = (PrivateKey(bytes.fromhex(vector[name])) for name in ("ls_priv", "e_priv"))
    assert local.public_key().hex() == vector["ls_pub"]
    assert ephemeral.public_key().hex() == vector["e_pub"]
    if "rs_pub" in vector:
        return Handshake.initiator(local, PublicKey.from_hex(vector["rs_pub"]), ephemeral)
    return Handshake.responder(local, ephemeral)


def run(vector, *, chunk):
    """Take every step of a vector, its input in pieces of ``chunk`` bytes; what is to be sent must be what it says."""
    handshake = make(vector)
    pending = handshake.start() if handshake.is_initiator else b""
    for step in vector["steps"]:
        if "output" in step:
            assert pending.hex() == step["output"], f"act {step['act']}"
            pending = b""
        else:
            assert pending == b""
            data = bytes.fromhex(step["input"])
            for at in range(0, len(data), chunk):
                pending += handshake.receive(data[at : at + chunk])
    assert pending == b""
    if not handshake.done:
        raise handshake.receive_eof()
    return handshake


def test_all_the_vectors_are_here():
    assert (len(VECTORS["initiator"]), len(VECTORS["responder"])) == (5, 10)
    assert {vector.get("error", "").split()[0].partition("_")[2] for vector in every_vector() if "error" in vector} == {
        *ERRORS
    }


def every_vector():
    return VECTORS["initiator"] + VECTORS["responder"]


@pytest.mark.parametrize("chunk", [1, 7, 100], ids="{} bytes at a time".format)
@pytest.mark.parametrize("vector", every_vector(), ids=lambda vector: vector["name"])
def test_handshake(vector, chunk):
    if "error" in vector:
        code, _, version = vector["error"].partition(" ")
        with pytest.raises(HandshakeFailed) as caught:
            run(vector, chunk=chunk)
        assert type(caught.value) is ERRORS[code.partition("_")[2]]
        assert caught.value.code == code
        assert caught.value.act == int(code[3])
        assert f"version {version}" in str(caught.value) or not version
    else:
        handshake = run(vector, chunk=chunk)
        assert handshake.sending.key.hex() == vector["sk"]
        assert handshake.receiving.key.hex() == vector["rk"]
        assert handshake.leftover == b""


def test_the_responder_learns_who_called():
    called = next(vector for vector in VECTORS["initiator"] if "error" not in vector)
    answered = next(vector for vector in VECTORS["responder"] if "error" not in vector)
    assert run(answered, chunk=50).remote_key.hex() == called["ls_pub"]
