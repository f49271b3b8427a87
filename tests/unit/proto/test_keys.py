"""oddwire.proto.keys."""

import hashlib

import coincurve
import pytest

from oddwire.proto.keys import NodeId, PrivateKey, PublicKey, Secret, ShortChannelId

ONE = PrivateKey(bytes(31) + b"\x01")
GENERATOR = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
ORDER = bytes.fromhex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
NO_POINT = b"\x02" + b"\xff" * 32
DIGEST = hashlib.sha256(b"message").digest()


# Node ids


def test_a_node_id_is_its_33_bytes():
    raw = bytes.fromhex(GENERATOR)
    for source in (raw, bytearray(raw), memoryview(raw), GENERATOR, GENERATOR.upper(), ONE.public_key(), NodeId(raw)):
        node_id = NodeId(source)
        assert type(node_id) is NodeId
        assert node_id == raw
        assert hash(node_id) == hash(raw)
    assert str(node_id) == f"{node_id}" == GENERATOR
    assert repr(node_id) == f"NodeId('{GENERATOR}')"


class Peer:
    node_id = NodeId(GENERATOR)


@pytest.mark.parametrize(("given", "told"), [(None, "not None$"), (33, "not 33$"), (Peer(), ": give its node_id$")])
def test_what_is_no_node_id_is_told_what_would_be(given, told):
    with pytest.raises(TypeError, match="node id should be 33 bytes or 66 hex digits, " + (".*" + told)):
        NodeId(given)


def test_a_node_id_is_not_made_twice():
    node_id = NodeId(GENERATOR)
    assert NodeId(node_id) is node_id


@pytest.mark.parametrize("text", ["", "02", GENERATOR + "00", "0x" + GENERATOR[2:], GENERATOR[:-1] + "g"])
def test_text_that_is_no_node_id_is_refused(text):
    with pytest.raises(ValueError, match="node id should be 66 hex digits, not"):
        NodeId(text)


def test_spaces_between_hex_digits_are_refused():
    with pytest.raises(ValueError, match="node id should be 66 hex digits, not '02 "):
        NodeId("02 " + GENERATOR[2:])


@pytest.mark.parametrize("raw", [b"", bytes(33), b"\x04" + bytes(32), b"\x02" * 32, b"\x02" * 34])
def test_bytes_that_are_no_node_id_are_refused(raw):
    with pytest.raises(ValueError, match=f"33 bytes starting with 02 or 03, not {raw.hex() or 'nothing'}"):
        NodeId(raw)


def test_a_node_id_need_not_be_a_point():
    assert NodeId(NO_POINT) == NO_POINT


# Public keys


def test_a_public_key_comes_from_bytes_hex_or_coincurve():
    key = PublicKey(bytes.fromhex(GENERATOR))
    assert key == PublicKey.from_hex(GENERATOR) == PublicKey(coincurve.PublicKey(bytes.fromhex(GENERATOR)))
    assert key == ONE.public_key()
    assert key.hex() == GENERATOR
    assert key.to_bytes() == key.serializeCompressed() == bytes(key) == bytes.fromhex(GENERATOR)
    assert (str(key), repr(key)) == (f"PublicKey[0x{GENERATOR}]", f"PublicKey('{GENERATOR}')")
    assert len({key, ONE.public_key()}) == 1
    assert key != bytes(key)
    assert key != PrivateKey(b"\x02" * 32).public_key()


@pytest.mark.parametrize("raw", [b"", b"\x02" * 32, b"\x05" + bytes(32), b"\x04" + bytes(64)])
def test_bytes_of_another_form_are_no_public_key(raw):
    with pytest.raises(ValueError, match="public key should be 33 bytes starting with 02 or 03"):
        PublicKey(raw)


def test_bytes_off_the_curve_are_no_public_key():
    with pytest.raises(ValueError, match=f"public key {NO_POINT.hex()} is not a point on secp256k1"):
        PublicKey(NO_POINT)


def test_a_public_key_does_not_come_from_text():
    with pytest.raises(TypeError, match=r"bytes or coincurve\.PublicKey, not str"):
        PublicKey(GENERATOR)
    with pytest.raises(ValueError, match="66 hex digits"):
        PublicKey.from_hex("hello")


# Signatures


def test_a_signature_is_compact_deterministic_and_verifies():
    signature = ONE.sign(DIGEST)
    assert len(signature) == 64
    assert ONE.sign(DIGEST) == signature
    assert ONE.public_key().verify(signature, DIGEST)


def test_any_change_is_noticed():
    signature = ONE.sign(DIGEST)
    for at in range(64):
        changed = bytearray(signature)
        changed[at] ^= 1
        assert not ONE.public_key().verify(bytes(changed), DIGEST)
    assert not ONE.public_key().verify(signature, hashlib.sha256(b"another").digest())
    assert not PrivateKey(b"\x02" * 32).public_key().verify(signature, DIGEST)


def test_the_high_s_twin_of_a_signature_is_refused():
    signature = ONE.sign(DIGEST)
    high = int.from_bytes(ORDER, "big") - int.from_bytes(signature[32:], "big")
    assert not ONE.public_key().verify(signature[:32] + high.to_bytes(32, "big"), DIGEST)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature_does_not_verify(signature):
    assert not ONE.public_key().verify(signature, DIGEST)


def test_a_digest_is_32_bytes():
    assert not ONE.public_key().verify(ONE.sign(DIGEST), DIGEST[:-1])
    with pytest.raises(ValueError, match="digest should be 32 bytes, not 7"):
        ONE.sign(b"message")


# Private keys and secrets


@pytest.mark.parametrize("raw", [bytes(32), ORDER, b"\xff" * 32])
def test_numbers_that_are_no_private_key_are_refused(raw):
    with pytest.raises(ValueError, match="from 1 to the order of secp256k1, less one"):
        PrivateKey(raw)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_key_is_32_bytes(size):
    with pytest.raises(ValueError, match=f"private key should be 32 bytes, not {size}"):
        PrivateKey(b"\x01" * size)


def test_a_private_key_is_not_made_of_text():
    with pytest.raises(TypeError, match="private key should be bytes, not str"):
        PrivateKey("01" * 32)


def test_the_largest_private_key():
    largest = (int.from_bytes(ORDER, "big") - 1).to_bytes(32, "big")
    assert PrivateKey(bytearray(largest)).public_key().hex()[2:] == GENERATOR[2:]


def test_private_keys_compare_by_value_and_are_never_printed():
    twin = PrivateKey(bytes(ONE))
    assert twin == ONE
    assert hash(twin) == hash(ONE)
    assert twin != PrivateKey(b"\x02" * 32)
    assert twin != bytes(twin)
    assert ONE.to_bytes() == ONE.serializeCompressed() == bytes(ONE) == bytes(31) + b"\x01"
    key = PrivateKey(b"\xab\xcd" * 16)
    assert "abcd" * 4 not in f"{key} {key!r}"
    assert repr(key) == f"PrivateKey[of {key.public_key().hex()}]"


def test_the_public_key_is_computed_once():
    assert ONE.public_key() is ONE.public_key()


def test_ecdh_is_the_same_from_both_ends_and_hashes_the_compressed_point():
    left, right = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)
    assert left.ecdh(right.public_key()) == right.ecdh(left.public_key())
    # With the key 1 the shared point is the other's public key itself
    assert ONE.ecdh(right.public_key()).data == hashlib.sha256(bytes(right.public_key())).digest()


def test_a_secret_is_32_bytes_and_never_printed():
    secret = Secret(b"\xab\xcd" * 16)
    assert secret == Secret(bytearray(b"\xab\xcd" * 16))
    assert hash(secret) == hash(Secret(bytes(secret)))
    assert secret.to_bytes() == bytes(secret) == secret.data
    assert secret != Secret(bytes(32))
    assert secret != secret.data
    assert f"{secret} {secret!r}" == "Secret[32 bytes] Secret[32 bytes]"
    with pytest.raises(ValueError, match="secret should be 32 bytes, not 31"):
        Secret(bytes(31))


# Short channel ids


@pytest.mark.parametrize("parts", [(0, 0, 0), (539268, 845, 1), (0xFFFFFF, 0xFFFFFF, 0xFFFF)])
def test_a_short_channel_id_comes_back_from_text_bytes_and_number(parts):
    scid = ShortChannelId(*parts)
    assert (scid.block, scid.txnum, scid.outnum) == parts
    assert str(scid) == "x".join(map(str, parts))
    assert repr(scid) == f"ShortChannelId[{scid}]"
    for twin in (
        ShortChannelId.from_str(str(scid)),
        ShortChannelId.from_bytes(scid.to_bytes()),
        ShortChannelId.from_bytes(bytes(scid)),
        ShortChannelId.from_int(scid.to_int()),
    ):
        assert twin == scid
        assert hash(twin) == hash(scid)


def test_a_short_channel_id_is_eight_bytes_big_endian():
    assert ShortChannelId(1, 2, 3).to_bytes().hex() == "000001" + "000002" + "0003"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((-1, 0, 0), "block should be 0 to 16777215, not -1"),
        ((1 << 24, 0, 0), "block should be"),
        ((0, 1 << 24, 0), "txnum should be 0 to 16777215, not 16777216"),
        ((0, 0, 1 << 16), "outnum should be 0 to 65535, not 65536"),
    ],
)
def test_parts_out_of_range_are_refused(parts, why):
    with pytest.raises(ValueError, match=why):
        ShortChannelId(*parts)


@pytest.mark.parametrize(
    "text", ["", "1x2", "1x2x3x4", "1:2:3", "1x2x", "ax2x3", "-1x2x3", "٣x2x3", "1x2x 3", "1x2x" + "3" * 5000]
)
def test_text_that_is_no_short_channel_id_is_refused(text):
    with pytest.raises(ValueError, match="short channel id should look like 539268x845x1, not"):
        ShortChannelId.from_str(text)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="should be 8 bytes, not 7"):
        ShortChannelId.from_bytes(bytes(7))
    for number in (-1, 1 << 64):
        with pytest.raises(ValueError, match=f"a number of 64 bits, not {number}"):
            ShortChannelId.from_int(number)


def test_short_channel_ids_sort_by_where_they_are_in_the_chain():
    texts = ["1x2x3", "1x2x4", "1x3x0", "2x0x0", "10x0x0"]
    assert [str(scid) for scid in sorted(map(ShortChannelId.from_str, reversed(texts)))] == texts
    assert ShortChannelId(1, 2, 3) != "1x2x3"
    with pytest.raises(TypeError):
        sorted([ShortChannelId(1, 2, 3), 5])


def test_a_public_key_is_a_node_id_but_its_text_is_not() -> None:
    key = PrivateKey(bytes(31) + b"\x01").public_key()
    assert NodeId(key) == key.to_bytes()
    with pytest.raises(ValueError, match=r"not 'PublicKey\[0x0279.*\]': NodeId\(key\) is that of a PublicKey"):
        NodeId(str(key))
