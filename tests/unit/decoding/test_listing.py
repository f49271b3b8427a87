"""oddwire.decoding.listing."""

from __future__ import annotations

from oddwire.decoding import explain
from oddwire.decoding.listing import dump_of, rows_of

INIT = bytes.fromhex("0010 0000 0001 02 01 20 06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")


def test_a_row_for_each_value_and_what_is_around_some() -> None:
    rows = [(row.style, row.offset, row.length, row.level, row.name, row.data) for row in rows_of(explain(INIT))]
    assert rows == [
        ("type", 0, 2, 0, "type", "0010"),
        ("value", 2, 2, 0, "globalfeatures", "0000"),
        ("value", 4, 3, 0, "features", "0001 02"),
        ("group", 7, 34, 0, "tlvs", ""),
        ("group", 7, 34, 1, "networks", "0120"),
        ("group", 9, 32, 2, "chains", ""),
        ("value", 9, 32, 3, "[0]", "06226e46111a0b59caaf126043eb5bbf…"),
    ]


def test_what_is_wrong_and_what_is_not_read() -> None:
    rows = [*rows_of(explain(INIT[:6]))]
    assert [(row.style, row.name, row.data) for row in rows[2:]] == [("group", "features", "0001")]
    rows = [*rows_of(explain(INIT[:5]))]
    assert [(row.style, row.name, row.data) for row in rows[2:]] == [("unread", "not read", "00")]
    wrong = explain(b"\xa4\x5f" + b'{"swap_id":"ab","message":"no"}')
    assert [row.name for row in rows_of(wrong) if row.style == "wrong"] == ["swap_id"]


def test_the_text_of_peers_is_made_harmless() -> None:
    told = explain(b"\xa4\x5f" + '{"swap_id":"%s","message":"\x7f\u202e"}'.encode() % (b"ab" * 32))
    assert [row.text for row in rows_of(told)][-1] == r"'\x7f\u202e'"
    assert "\x7f" not in "".join(dump_of(told.payload, (70, 3)))


def test_a_dump_marks_the_wrong_bytes() -> None:
    assert [*dump_of(bytes(20), (14, 4))] == [
        "     0  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................",
        "                                                  ^^ ^^",
        "    16  00 00 00 00                                      ....",
        "        ^^ ^^",
    ]


def test_a_dump_marks_the_place_behind_the_last_byte() -> None:
    assert [*dump_of(b"ab", (2, 0))] == [
        "     0  61 62                                            ab",
        "              ^^",
    ]
    assert [*dump_of(bytes(16), (16, 0))][-2:] == ["    16", "        ^^"]


def test_a_long_dump_shows_what_is_around_the_wrong_bytes() -> None:
    lines = [*dump_of(bytes(10_000), (5000, 4000))]
    assert lines[0].strip() == "(4960 bytes before)"
    assert lines[-1].strip() == "(4896 bytes more)"
    assert len(lines) < 20
