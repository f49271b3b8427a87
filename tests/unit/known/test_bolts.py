"""oddwire.known.bolts."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import oddwire.known
from oddwire import Message, SchemaError, message, schema_of, u8
from oddwire.errors import EncodeError, MalformedMessage, Truncated, UnknownMessage
from oddwire.known import bolts
from oddwire.proto.type_numbers import BOLT_TYPES
from oddwire.schema.bolt_csv import dump_csv

FOLDER = Path(oddwire.known.__file__).parent
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.csv"))}
GROUPS = ("messages", "subtypes", "tlv_streams", "tlv_records")
INIT = bytes.fromhex("0010 0000 0002 8202 0120" + "00" * 31 + "6f")


def test_messages_are_those_of_the_table_of_types() -> None:
    assert {schema_of(cls).type_id: schema_of(cls).name for cls in bolts.PROTOCOL.messages} == {**BOLT_TYPES}


def test_failure_messages_are_apart() -> None:
    named = {number: schema_of(cls).name for number, cls in bolts.FAILURES.items()}
    assert named[0x2002] == "temporary_node_failure"
    assert named[0xC005] == "invalid_onion_hmac"
    assert named[18] == "final_incorrect_cltv_expiry"
    assert len(named) == 22
    assert not {*bolts.FAILURES.values()} & {*bolts.PROTOCOL.messages}
    assert len(named) + len(bolts.PROTOCOL.messages) == len(bolts.NAMESPACE.messages)


def test_classes_have_names_and_documentation() -> None:
    classes = [(name, cls) for group in GROUPS for name, cls in getattr(bolts.NAMESPACE, group).items()]
    assert len({cls.__name__ for _, cls in classes}) == len(classes)
    for name, cls in classes:
        assert getattr(bolts, cls.__name__) is cls
        assert cls.__module__ == "oddwire.known.bolts"
        assert re.fullmatch(rf"The [\w ]+ ``{re.escape(name)}`` of BOLT (1|2|4|7|12)\.", cls.__doc__ or "")
    assert bolts.Invoice.__doc__ == "The TLV stream ``invoice`` of BOLT 12."
    assert bolts.Witness.__doc__ == "The subtype ``witness`` of BOLT 2."
    assert bolts.InitTlvsNetworks.__doc__ == "The TLV record ``init_tlvs.networks`` of BOLT 1."
    assert not hasattr(bolts, "Nothing")


def test_a_message_read_and_written() -> None:
    found = bolts.decode(INIT)
    assert type(found) is bolts.Init
    assert found.tlvs.networks.chains == (bytes(31) + b"\x6f",)
    assert bolts.encode(found) == INIT
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found


def test_one_number_is_two_messages() -> None:
    assert type(bolts.decode(bytes.fromhex("0013 0000"))) is bolts.Pong
    failure = bolts.decode_failure(bytes.fromhex("0013 00000000000003e8"))
    assert failure == bolts.FinalIncorrectHtlcAmount(incoming_htlc_amt=1000)
    assert bolts.encode(failure).hex() == "001300000000000003e8"


@pytest.mark.parametrize("extra", ["01", "0000", "fd00", "ff" * 20, "0500 0300", "0102"])
def test_extra_bytes_of_a_failure_message_are_ignored(extra: str) -> None:
    """BOLT 4, Receiving Failure Codes: the origin node MUST ignore any extra bytes in ``failuremsg``."""
    details = bolts.decode_failure(bytes.fromhex("400f 00000000000003e8 000c3500" + extra))
    assert details == bolts.IncorrectOrUnknownPaymentDetails(htlc_msat=1000, height=800000)
    assert bolts.decode_failure(bytes.fromhex("2002" + extra)) == bolts.TemporaryNodeFailure()
    update = bolts.decode_failure(bytes.fromhex("1007 0002 abcd" + extra))
    assert update == bolts.TemporaryChannelFailure(channel_update=b"\xab\xcd")


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        ("", Truncated, "a message starts with a type of 2 bytes, not 0"),
        ("00", Truncated, "a message starts with a type of 2 bytes, not 1"),
        ("9c41", UnknownMessage, "no message of the BOLTs has this number"),
        ("2002", UnknownMessage, "no message of the BOLTs has this number"),
        ("0010 0000 0002 82", MalformedMessage, "init 0x0010, $.features: bytes needs 2 bytes, 1 remain"),
        ("0010 0000 0000 0400", MalformedMessage, "TLV record 4 is unknown and even"),
    ],
)
def test_what_is_no_message(payload: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        bolts.decode(bytes.fromhex(payload))
    assert text in str(caught.value)


def test_what_is_no_failure_message() -> None:
    with pytest.raises(UnknownMessage, match="no failure message of the BOLTs has this number") as caught:
        bolts.decode_failure(bytes.fromhex("0010 0000 0000"))
    assert (caught.value.type_id, caught.value.required) == (16, True)
    with pytest.raises(Truncated, match="a failure message starts with a type of 2 bytes"):
        bolts.decode_failure(b"")
    with pytest.raises(Truncated, match=r"payment_details 0x400f, \$.htlc_msat: u64 needs 8 bytes, 1 remain") as found:
        bolts.decode_failure(bytes.fromhex("400f 00"))
    assert (found.value.path, found.value.offset) == ("$.htlc_msat", 2)


def test_what_is_not_written() -> None:
    @message(0x8D95, codec="bolt", name="init")
    class Other(Message):
        number: u8

    with pytest.raises(EncodeError, match=r"Other is not a message of the BOLTs"):
        bolts.encode(Other(number=5))
    with pytest.raises(SchemaError, match="is not a message"):
        bolts.encode(bolts.Witness(witness_data=b""))
    with pytest.raises(EncodeError, match=r"init 0x0010, \$\.features: should be bytes"):
        bolts.encode(bolts.Init(globalfeatures=b"", features="82"))


def test_the_files_say_whose_they_are() -> None:
    assert [*TEXTS] == ["bolt01", "bolt02", "bolt04", "bolt07", "bolt12"]
    for text in TEXTS.values():
        head = text.partition("\n\n")[0]
        assert "https://github.com/lightning/bolts" in head
        assert "at commit a377265" in head
        assert "https://creativecommons.org/licenses/by/4.0/" in head


def test_they_are_written_back_as_they_are() -> None:
    assert rows(dump_csv(bolts.NAMESPACE)) == rows("".join(TEXTS.values()))


def rows(text: str) -> set[str]:
    """Return the rows that define fields and records; u8 and byte are the same."""
    lines = {line.rstrip(",").replace(",u8", ",byte") for line in text.splitlines()}
    return {line for line in lines if line and line[0] != "#" and not line.startswith("msgtype,")}


def test_no_plugin_loads_it() -> None:
    code = """if True:
        import sys, oddwire, oddwire.known, oddwire.app.lightningd
        from oddwire.known import owners, peer_storage
        assert owners(42069) and owners(7) and not owners(5)
        assert "oddwire.known.bolts" not in sys.modules and "oddwire.schema.bolt_csv" not in sys.modules
        assert owners(16)[0].message.__name__ == "Init"
        assert "oddwire.known.bolts" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
