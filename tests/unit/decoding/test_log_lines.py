"""oddwire.decoding.log_lines; the logs in tests/vectors are real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwire.decoding.log_lines import Logged, LogReader

LOGS = Path(__file__).parents[2] / "vectors" / "logs"
PEER = "03359ae2c0799010e67d12673a8de525e4362fa9dc9105948a30632d75fa0223a8"


def read(*lines: str, any_hex: bool = False) -> list[Logged]:
    reader = LogReader(any_hex=any_hex)
    return [*(logged for line in lines for logged in reader.read(line)), *reader.end()]


def test_a_log_of_lightningd_at_level_io() -> None:
    found = read(*(LOGS / "lightningd.log").read_text().splitlines())
    assert {logged.peer for logged in found} == {PEER}
    assert found[0].time == "2026-12-01T10:00:32.643Z"
    assert [(logged.direction, (logged.payload or b"")[:2].hex()) for logged in found] == [
        *(("out", "0010"), ("in", "0010"), ("out", "0007"), ("in", "0007"), ("in", "c0dd"), ("out", "c0dd")),
        *(("out", "8c11"), ("in", "8c11"), ("in", "c0dd"), ("out", "c0dd"), ("out", "8c13"), ("in", "8c13")),
        *(("in", "8c11"), ("out", "8c13"), ("in", "a45f"), ("in", "a45f"), ("in", "9419"), ("in", "9418")),
        ("out", "0001"),
    ]


def test_a_log_of_lightningd_at_level_debug() -> None:
    found = read(*(LOGS / "lightningd-debug.log").read_text().splitlines())
    assert found[0] == Logged(found[0].time, "out", found[0].peer, None, None, "init")
    assert [(logged.direction, logged.type_id) for logged in found[-2:]] == [("in", 35857), ("out", 35859)]
    assert 2111 not in [logged.type_id for logged in found]


@pytest.mark.parametrize(
    "before",
    [
        "Dec  1 10:00:32 box lightningd[123]: ",
        "Dec 01 10:00:32.654321 box lightningd[123]: ",
        "2026-12-01T10:00:32+0000 box lightningd[123]: ",
        "2026-12-01T10:00:32,654321+01:00 box lightningd: ",
        "bitcoin-node-1  | ",
    ],
)
def test_what_journalctl_and_compose_put_before_lines_is_no_part_of_them(before: str) -> None:
    for name in ("lightningd.log", "lightningd-debug.log"):
        lines = (LOGS / name).read_text().splitlines()
        assert read(*(before + line for line in lines)) == read(*lines) != []


def test_lightningd_s_word_to_connectd_is_no_message_of_the_peer() -> None:
    line = f"2026-12-01T10:00:32.675Z {PEER}-connectd: [IN] 083f{PEER}"
    assert read(line) == []
    assert [logged.payload for logged in read(f"{line}00")] == [bytes.fromhex(f"083f{PEER}00")]


@pytest.mark.parametrize(
    "line",
    [
        f"2026-12-01T10:00:32.675Z {PEER}-connectd: [IN] 8c1",
        f"2026-12-01T10:00:32.675Z {PEER}-connectd: [IN] 8c11\udcff",
        f"2026-12-01T10:00:32.675Z {PEER[:-2]}-connectd: [IN] 8c11",
        "2026-12-01T10:00:32.675Z jsonrpc#12: [IN] 7b226a",
        "peer_in [IN] [OUT]",
        '{"event": "received", "payload": "8c1"}',
        '{"event": "received", "payload": 7}',
        '{"event": "listening", "payload": "8c11"}',
        f"2026-12-01T10:00:32.675Z DEBUG   {PEER}-connectd: peer_in UNKNOWN 70000",
        f"2026-12-01T10:00:32.675Z DEBUG   {PEER}-connectd: peer_in UNKNOWN {'1' * 5000}",
        "{nothing",
        "[" * 100_000,
        "{" * 100_000,
        "",
    ],
)
def test_lines_that_have_none(line: str) -> None:
    assert read(line) == []


def test_an_even_message_that_was_not_known() -> None:
    line = f"2026-12-01T10:00:35.709Z UNUSUAL {PEER}-connectd: Invalid unknown even msg 9418aa"
    assert read(line) == [Logged("2026-12-01T10:00:35.709Z", "in", PEER, b"\x94\x18\xaa")]
    of_node = "2026-12-01T09:59:53.556Z UNUSUAL connectd: Invalid unknown even msg 9418aa"
    assert read(of_node) == [Logged("2026-12-01T09:59:53.556Z", "in", "", b"\x94\x18\xaa")]


def test_lines_without_a_time() -> None:
    assert read(f"{PEER}-connectd: [OUT] 8c13") == [Logged("", "out", PEER, b"\x8c\x13")]


def test_events_of_oddwire() -> None:
    line = f'{{"event": "sent", "time": 1763820000.5, "peer": "{PEER}", "type": 35841, "payload": "8c0180"}}'
    assert read(line) == [Logged("1763820000.500000", "out", PEER, b"\x8c\x01\x80")]


@pytest.mark.parametrize("time", ["1e999", "-Infinity", "NaN", "1e300", "1" * 400, "-1", "true", '"1763820000"'])
def test_an_event_whose_time_is_none_that_a_log_may_have(time: str) -> None:
    line = f'{{"event": "received", "time": {time}, "peer": "{PEER}", "payload": "8c0180"}}'
    assert read(line) == [Logged("", "in", PEER, b"\x8c\x01\x80")]


def test_hex_in_lines_of_anything() -> None:
    line = f"[12:00] got message from {PEER.upper()}: 0x8C0180, id 4f2a"
    assert read(line) == []
    assert read(line, any_hex=True) == [Logged("", "", PEER, b"\x8c\x01\x80")]
    assert read("nothing here, deadbeefx", any_hex=True) == []
