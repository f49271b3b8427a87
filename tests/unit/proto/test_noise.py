"""oddwire.proto.noise. The BOLT's own vectors are in tests/vectors."""

import itertools

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from oddwire.errors import AuthenticationFailed, HandshakeFailed, LocalProtocolError
from oddwire.proto.keys import PrivateKey
from oddwire.proto.noise import ACT_SIZES, NONCES, ROTATE_AFTER, CipherState, Handshake

DIALER, LISTENER, STRANGER = (PrivateKey(bytes([n]) * 32) for n in (0x11, 0x21, 0x31))
DIALER_EPHEMERAL, LISTENER_EPHEMERAL = PrivateKey(b"\x12" * 32), PrivateKey(b"\x22" * 32)
NO_POINT = b"\x02" + b"\xff" * 32
"""The form of a compressed public key, but no x of the curve."""


def pair(*, dialed=LISTENER):
    return (
        Handshake.initiator(DIALER, dialed.public_key(), DIALER_EPHEMERAL),
        Handshake.responder(LISTENER, LISTENER_EPHEMERAL),
    )


def acts():
    """The three acts of one handshake that goes well."""
    left, right = pair()
    one = left.start()
    two = right.receive(one)
    three = left.receive(two)
    assert right.receive(three) == b""
    return {1: one, 2: two, 3: three}


def receiver(act):
    """A handshake that awaits ``act`` next."""
    left, right = pair()
    one = left.start()
    if act == 1:
        return right
    if act == 2:
        return left
    right.receive(one)
    return right


ACTS = acts()


# What goes well


def test_both_sides_end_with_the_same_keys_and_know_each_other():
    left, right = pair()
    assert not left.done
    assert not right.done
    assert right.remote_key is None
    assert right.receive(left.receive(right.receive(left.start()))) == b""
    assert left.done
    assert right.done
    assert left.sending.key == right.receiving.key
    assert left.receiving.key == right.sending.key
    assert left.sending.key != left.receiving.key
    assert left.remote_key == LISTENER.public_key()
    assert right.remote_key == DIALER.public_key()


def test_acts_have_the_sizes_of_the_bolt_and_version_0():
    assert {act: len(packet) for act, packet in ACTS.items()} == ACT_SIZES == {1: 50, 2: 50, 3: 66}
    assert all(packet[0] == 0 for packet in ACTS.values())


@pytest.mark.parametrize("act", [1, 2, 3])
def test_any_split_of_an_act_gives_the_same_answer(act):
    whole = receiver(act).receive(ACTS[act])
    for at in range(ACT_SIZES[act]):
        handshake = receiver(act)
        assert handshake.receive(ACTS[act][:at]) + handshake.receive(ACTS[act][at:]) == whole
    handshake = receiver(act)
    assert b"".join(handshake.receive(bytes([byte])) for byte in ACTS[act]) == whole


@pytest.mark.parametrize("act", [2, 3])
def test_bytes_glued_behind_the_last_act_are_left_over(act):
    handshake = receiver(act)
    assert handshake.leftover == b""
    handshake.receive(ACTS[act] + b"the first message")
    assert handshake.done
    assert handshake.leftover == b"the first message"


def test_bytes_glued_behind_act_one_are_the_start_of_act_three():
    handshake = receiver(1)
    assert handshake.receive(ACTS[1] + ACTS[3][:10]) == ACTS[2]
    assert handshake.leftover == b"", "not over yet, so nothing is left over"
    handshake.receive(ACTS[3][10:])
    assert handshake.done


def test_a_memoryview_is_taken_and_not_kept():
    handshake = receiver(1)
    buffer = bytearray(ACTS[1])
    handshake.receive(memoryview(buffer)[:49])
    buffer[:49] = bytes(49)
    assert handshake.receive(memoryview(buffer)[49:]) == ACTS[2]


# What goes wrong


@pytest.mark.parametrize("act", [1, 2, 3])
@pytest.mark.parametrize("version", [1, 0x80, 0xFF])
def test_another_version_is_refused(act, version):
    with pytest.raises(HandshakeFailed, match=f"act {act} has version {version}, should be 0") as caught:
        receiver(act).receive(bytes([version]) + ACTS[act][1:])
    assert (caught.value.act, caught.value.code) == (act, f"ACT{act}_BAD_VERSION")
    assert not isinstance(caught.value, AuthenticationFailed)


@pytest.mark.parametrize("act", [1, 2])
@pytest.mark.parametrize("key", [b"\x04" + bytes(32), bytes(33), NO_POINT], ids=["form", "zeros", "no point"])
def test_a_bad_ephemeral_key_is_refused(act, key):
    with pytest.raises(HandshakeFailed) as caught:
        receiver(act).receive(b"\0" + key + ACTS[act][34:])
    assert (caught.value.act, caught.value.code) == (act, f"ACT{act}_BAD_PUBKEY")


@pytest.mark.parametrize("act", [1, 2, 3])
def test_every_flipped_bit_is_noticed(act):
    """pyln-proto accepts a wrong MAC in acts one and two."""
    size = ACT_SIZES[act]
    for at, mask in itertools.product(range(size), (0x01, 0x80)):
        packet = bytearray(ACTS[act])
        packet[at] ^= mask
        with pytest.raises(HandshakeFailed) as caught:
            receiver(act).receive(bytes(packet))
        code = caught.value.code.partition("_")[2]
        assert caught.value.act == act
        if at == 0:
            assert code == "BAD_VERSION"
        elif act == 3:
            assert code == ("BAD_CIPHERTEXT" if at < 50 else "BAD_TAG")
        else:
            assert code in (("BAD_PUBKEY", "BAD_TAG") if at < 34 else ("BAD_TAG",))
        assert isinstance(caught.value, AuthenticationFailed) is (code in ("BAD_TAG", "BAD_CIPHERTEXT"))


def test_a_static_key_that_is_no_point_is_refused():
    """The caller may seal anything in act three: that it was sealed well does not make it a key."""
    handshake = receiver(3)
    sealed = ChaCha20Poly1305(handshake._temp_k2).encrypt(NONCES[1], NO_POINT, handshake._h)
    with pytest.raises(HandshakeFailed, match=f"act 3: public key {NO_POINT.hex()}") as caught:
        handshake.receive(b"\0" + sealed + bytes(16))
    assert (caught.value.act, caught.value.code) == (3, "ACT3_BAD_PUBKEY")
    assert not handshake.done
    assert handshake.remote_key is None


def test_dialing_another_node_id_fails_in_act_one_at_the_listener():
    left, right = pair(dialed=STRANGER)
    with pytest.raises(AuthenticationFailed, match="another node id than ours") as caught:
        right.receive(left.start())
    assert (caught.value.act, caught.value.code) == (1, "ACT1_BAD_TAG")


def test_a_listener_without_the_dialed_key_fails_in_act_two_at_the_dialer():
    left, _ = pair(dialed=STRANGER)
    left.start()
    with pytest.raises(AuthenticationFailed, match="does not hold the key of the node id we dialed") as caught:
        left.receive(ACTS[2])
    assert (caught.value.act, caught.value.code) == (2, "ACT2_BAD_TAG")


@pytest.mark.parametrize("act", [1, 2, 3])
def test_the_end_of_the_connection_at_every_byte_names_act_and_count(act):
    for size in range(ACT_SIZES[act]):
        handshake = receiver(act)
        handshake.receive(ACTS[act][:size])
        error = handshake.receive_eof()
        assert (error.act, error.code) == (act, f"ACT{act}_READ_FAILED")
        assert f"after {size} of the {ACT_SIZES[act]} bytes of act {act}" in str(error)
        with pytest.raises(LocalProtocolError):
            handshake.receive(ACTS[act][size:])


@pytest.mark.parametrize("act", [1, 2, 3])
def test_a_failed_handshake_takes_no_more(act):
    handshake = receiver(act)
    with pytest.raises(HandshakeFailed):
        handshake.receive(b"\x01" + ACTS[act][1:])
    with pytest.raises(LocalProtocolError, match="over"):
        handshake.receive(ACTS[act])
    assert not handshake.done
    assert handshake.sending is None


def test_a_finished_handshake_takes_no_more():
    handshake = receiver(3)
    handshake.receive(ACTS[3])
    with pytest.raises(LocalProtocolError):
        handshake.receive(b"x")


def test_an_initiator_starts_once_and_before_it_receives():
    left, right = pair()
    with pytest.raises(LocalProtocolError, match="has not been started"):
        left.receive(ACTS[2])
    left.start()
    for handshake in (left, right):
        with pytest.raises(LocalProtocolError, match="only an initiator starts"):
            handshake.start()


# Cipher states


def test_nonces_are_32_zero_bits_and_a_little_endian_counter():
    assert len(NONCES) == ROTATE_AFTER == 1000
    assert NONCES[0] == bytes(12)
    assert NONCES[1] == bytes(4) + b"\x01" + bytes(7)
    assert NONCES[999] == bytes(4) + b"\xe7\x03" + bytes(6)


def test_rotation_changes_the_key_and_both_ends_agree():
    ours, theirs = CipherState(b"k" * 32, b"c" * 32), CipherState(b"k" * 32, b"c" * 32)
    keys = set()
    for _ in range(3):
        keys.add(ours.key)
        ours.used = theirs.used = ROTATE_AFTER
        ours.rotate()
        theirs.rotate()
        assert ours.used == 0
        assert ours.key == theirs.key
        assert theirs.decrypt(NONCES[0], ours.encrypt(NONCES[0], b"hello", None), None) == b"hello"
    assert len(keys) == 3


def test_rotation_is_per_direction():
    """node-lightning shares one chaining key between both directions and dies after 500 messages."""
    left, right = pair()
    right.receive(left.receive(right.receive(left.start())))
    for _ in range(3):
        left.sending.rotate()
        right.receiving.rotate()
    assert left.sending.key == right.receiving.key
    assert left.receiving.key == right.sending.key
    left.receiving.rotate()
    right.sending.rotate()
    assert left.receiving.key == right.sending.key
