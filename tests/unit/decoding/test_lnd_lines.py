"""oddwire.decoding.lnd_lines, as part of what reads logs."""

from __future__ import annotations

from pathlib import Path

from oddwire.decoding.log_lines import Logged, LogReader

PEER = "03359ae2c0799010e67d12673a8de525e4362fa9dc9105948a30632d75fa0223a8"
OTHER = "02" + "ab" * 32
TIME = "2026-12-01 10:31:07.123"


def read(text: str) -> list[Logged]:
    reader = LogReader()
    return [*(logged for line in text.split("\n") for logged in reader.read(line)), *reader.end()]


def summary(way: str, what: str, peer: str = PEER) -> str:
    word = "from" if way == "Received" else "to"
    return f"{TIME} [DBG] PEER: Peer({peer}): {way} {what} {word} {peer}@127.0.0.1:9735\n"


def dump(way: str, data: bytes, peer: str = PEER) -> str:
    made = f"{TIME} [TRC] PEER: Peer({peer}): {way} peer: (*lnwire.Custom)(0xc000a4c2e0)({{\n"
    made += " Type: (lnwire.MessageType) <unknown>,\n"
    made += f" Data: ([]uint8) (len={len(data)} cap={len(data)}) {{\n"
    for at in range(0, len(data), 16):
        line = data[at : at + 16]
        shown = " ".join(f"{byte:02x}" + (" " if place == 7 else "") for place, byte in enumerate(line))
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        made += f"  {at:08x}  {shown:<49} |{text}|\n"
    return made + " }\n})\n\n"


def test_the_type_is_in_one_line_and_the_bytes_in_the_next() -> None:
    text = summary("Received", "custom(type=35857)") + dump("readMessage from", bytes(range(40)))
    assert read(text) == [Logged(TIME, "in", PEER, b"\x8c\x11" + bytes(range(40)), 35857, "")]
    text = summary("Sending", "custom(type=35859)") + dump("writeMessage to", b"\0\0\0\1")
    assert read(text) == [Logged(TIME, "out", PEER, b"\x8c\x13\0\0\0\1", 35859, "")]


def test_lines_of_other_peers_and_parts_may_be_between() -> None:
    text = summary("Received", "custom(type=35857)") + summary("Received", "custom(type=35859)", OTHER)
    text += f"{TIME} [INF] LTND: something else\n"
    text += dump("readMessage from", b"one") + dump("readMessage from", b"two", OTHER)
    found = [logged for logged in read(text) if logged.payload is not None]
    assert [(logged.peer, logged.payload) for logged in found] == [(PEER, b"\x8c\x11one"), (OTHER, b"\x8c\x13two")]


def test_a_dump_ends_with_the_next_record() -> None:
    text = summary("Received", "custom(type=35857)") + dump("readMessage from", b"a")[:-10]
    text += f"{TIME} [INF] LTND: |00 11|\n"
    assert [logged.payload for logged in read(text)] == [b"\x8c\x11a"]


def test_a_message_without_bytes_is_all_that_level_debug_has() -> None:
    text = summary("Received", "custom(type=35857)") + summary("Received", "Init()") + summary("Sending", "Ping(x=1)")
    assert [(logged.direction, logged.payload, logged.type_id, logged.name) for logged in read(text)] == [
        ("in", None, 35857, ""),
        ("in", None, None, "init"),
        ("out", None, None, "ping"),
    ]


def test_a_dump_whose_type_was_cut_off_has_none() -> None:
    assert read(dump("readMessage from", b"abc")) == [Logged(TIME, "in", PEER, None, None, "custom")]


def test_an_empty_message() -> None:
    assert [one.payload for one in read(summary("Received", "custom(type=40001)") + dump("readMessage from", b""))] == [
        b"\x9c\x41"
    ]


def test_a_dump_with_lines_missing_is_no_payload() -> None:
    whole = summary("Received", "custom(type=35857)") + dump("readMessage from", bytes(48))
    lines = whole.split("\n")
    for cut in ([*lines[:5], *lines[6:]], lines[:5], lines[:2]):
        assert [(one.payload, one.type_id) for one in read("\n".join(cut))] == [(None, 35857)]


def test_numbers_that_are_too_long_are_none() -> None:
    assert read(summary("Received", f"custom(type={'1' * 5000})")) == [Logged(TIME, "in", PEER, None, None, "")]
    text = dump("readMessage from", b"\0" * 8).replace("len=8 ", f"len={'8' * 5000} ")
    named = summary("Received", "custom(type=35857)")
    assert read(named + text) == [Logged(TIME, "in", PEER, None, 35857, "")]


def test_a_type_below_the_range_that_lnd_conf_lets_through() -> None:
    text = summary("Sending", "<unknown>(type=515)") + dump("writeMessage to", b"abc")
    assert read(text) == [Logged(TIME, "out", PEER, b"\x02\x03abc", 515, "")]


def test_lnds_names_are_told_as_the_bolts_have_them() -> None:
    named = {"MsgOpenChannel": "open_channel", "CommitSig": "commitment_signed", "UpdateAddHTLC": "update_add_htlc"}
    named |= {"QueryShortChanIDs": "query_short_channel_ids", "NodeAnnouncement1": "node_announcement"}
    named |= {"GossipTimestampRange": "gossip_timestamp_filter", "AnnounceSignatures": "announcement_signatures"}
    for lnds, name in named.items():
        assert [one.name for one in read(summary("Received", f"{lnds}(a=1)"))] == [name]


def test_other_forms_of_a_record() -> None:
    text = summary("Received", "custom(type=35857)") + dump("readMessage from", b"one")
    with_place = text.replace("PEER: ", "PEER brontide.go:2885: ")
    assert read(with_place) == read(text)
    without_time = text.replace(f"{TIME} ", "")
    assert read(without_time) == [one._replace(time="") for one in read(text)]


def test_a_real_log() -> None:
    log = Path(__file__).parents[2] / "vectors" / "logs" / "lnd.log"
    found = read(log.read_text())
    assert {one.peer for one in found} == {"022e6f2ac21d0f0d0ee5fd1cb06728db2ca7af8ff9f5d436991fcc353c88c79b91"}
    named = [(one.direction, one.name) for one in found if one.payload is None]
    assert named[:3] == [("out", "init"), ("in", "init"), ("out", "query_channel_range")]
    payloads = [(one.direction, one.payload) for one in found if one.payload is not None]
    assert [(way, payload[:2].hex(), len(payload)) for way, payload in payloads] == [
        *(("in", "8c11", 27), ("out", "8c13", 6), ("out", "a45f", 101), ("in", "8000", 2), ("in", "0203", 5)),
        *(("out", "a45f", 41), ("in", "9419", 72)),
    ]
    assert payloads[4] == ("in", b"\x02\x03abc")
