"""oddwire.proto.type_numbers."""

import importlib

import pytest

from oddwire.errors import SchemaError
from oddwire.proto.type_numbers import (
    BOLT_TYPES,
    CUSTOM_TYPES,
    KNOWN,
    REFUSED,
    check_claim,
    known_owner,
    refusal,
)


def test_the_refused_types_are_those_of_the_bolts_without_peer_storage_and_two_of_lightningds_own():
    assert len(REFUSED) == 50
    assert set(REFUSED) == set(BOLT_TYPES) - {7, 9} | {0, 137}
    for type_id in set(REFUSED) & set(BOLT_TYPES) - {80}:
        assert REFUSED[type_id] == f"WIRE_{BOLT_TYPES[type_id].upper()}"
    assert (REFUSED[80], BOLT_TYPES[80]) == ("WIRE_SPLICE", "splice_init")


@pytest.mark.parametrize("bolt", ["bolt1", "bolt2", "bolt7"])
def test_every_message_of_the_bolts_csv_is_listed_under_its_name(bolt):
    rows = [line.split(",") for line in importlib.import_module(f"pyln.spec.{bolt}").csv]
    messages = {int(row[2]): row[1] for row in rows if row[0] == "msgtype"}
    assert messages.items() <= BOLT_TYPES.items()
    assert len(messages) >= 5


def test_the_tables_are_sorted_within_16_bits_and_cannot_be_changed():
    for table in (REFUSED, BOLT_TYPES, KNOWN):
        assert list(table) == sorted(table)
        assert all(0 <= type_id <= 65535 for type_id in table)
        with pytest.raises(TypeError):
            table[1] = "x"  # type: ignore[index]
    assert all(type_id in CUSTOM_TYPES or type_id in (7, 9, 19533, 19535, 22859, 22861) for type_id in KNOWN)


def test_refusal_is_lightningds_exact_text():
    assert refusal(16) == (
        "Cannot send messages of type 16 (WIRE_INIT). It is not possible to send messages that have a type managed "
        "internally since that might cause issues with the internal state tracking."
    )
    assert [type_id for type_id in range(65536) if refusal(type_id)] == sorted(REFUSED)


def test_known_owner_names_protocol_and_message():
    assert known_owner(42071) == "PeerSwap (swap_out_request)"
    assert known_owner(42069) == "PeerSwap (swap_in_request) and LightningOS Light (balanced_open)"
    assert known_owner(7) == "peer storage (peer_storage)"
    assert known_owner(0x8C01) is None
    assert known_owner(43000) == "DLC (offer_channel)"
    assert len(KNOWN) == 90


@pytest.mark.parametrize("type_id", [32768, 0x8C01, 0x8C02, 42069, 65535])
def test_custom_types_may_be_claimed(type_id):
    check_claim(type_id)
    check_claim(type_id, spec=True)


@pytest.mark.parametrize("type_id", [7, 9, 3, 19533, 32767])
def test_types_below_32768_need_spec(type_id):
    with pytest.raises(SchemaError, match=rf"type {type_id} is kept for the BOLTs; .* or say spec=True"):
        check_claim(type_id)
    check_claim(type_id, spec=True)


@pytest.mark.parametrize("spec", [False, True])
@pytest.mark.parametrize("type_id", sorted(REFUSED))
def test_refused_types_can_never_be_claimed(type_id, spec):
    with pytest.raises(SchemaError, match=rf"app\.Init: message type {type_id} \(WIRE_\w+\) can never be sent"):
        check_claim(type_id, spec=spec, owner="app.Init")


@pytest.mark.parametrize("type_id", [-1, 65536, 1 << 64])
def test_types_have_16_bits(type_id):
    with pytest.raises(SchemaError, match="should be 0 to 65535"):
        check_claim(type_id, spec=True)


@pytest.mark.parametrize("type_id", ["33000", 33000.0, None, True, b"\x80\x01"])
def test_types_are_integers(type_id):
    with pytest.raises(SchemaError, match="should be an integer"):
        check_claim(type_id)
