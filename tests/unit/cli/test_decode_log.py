"""oddwire.cli.decode_log."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire import Message, message
from oddwire.cli.decode_log import decode_log
from oddwire.cli.events import Printer
from oddwire.decoding import Lexicon
from oddwire.session.wire.frames import encode_fragment

LOGS = Path(__file__).parents[2] / "vectors" / "logs"
PEER = "03359ae2c0799010e67d12673a8de525e4362fa9dc9105948a30632d75fa0223a8"
OTHER = "02" + "ab" * 32


@message(0x8CA1, codec="raw")
class Word(Message):
    text: bytes


LEXICON = Lexicon()
LEXICON.add("words", [Word])
Run = Callable[..., tuple[bool, list[str], str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Decode a log: whether all of it was, the lines of stdout, and stderr."""

    def call(
        *lines: str, as_json: bool = False, path: Path | None = None, **options: Any
    ) -> tuple[bool, list[str], str]:
        log = path or tmp_path / "log"
        if path is None:
            log.write_text("\n".join(lines) + "\n")
        out, err = io.StringIO(), io.StringIO()
        whole = decode_log(Printer(as_json, stdout=out, stderr=err), LEXICON, str(log), **options)
        return whole, out.getvalue().splitlines(), err.getvalue()

    return call


def line(payload: bytes, way: str = "IN", peer: str = PEER) -> str:
    return f"2026-12-01T10:00:32.643Z {peer}-connectd: [{way}] {payload.hex()}"


def test_each_message_has_a_line(run: Run) -> None:
    whole, out, err = run(line(b"\x8c\xa1hi"), "something else", line(b"\x8c\xa1ho", "OUT", OTHER))
    assert (whole, err) == (True, "")
    assert out == [
        "2026-12-01T10:00:32.643Z <- 03359ae2...23a8  words.Word 0x8ca1 [4 bytes] text=6869",
        "2026-12-01T10:00:32.643Z -> 02ababab...abab  words.Word 0x8ca1 [4 bytes] text=686f",
    ]


def test_what_does_not_decode_is_shown_whole(run: Run) -> None:
    whole, out, _ = run(path=LOGS / "lightningd.log", type_id=0xA45F)
    assert not whole
    assert len([text for text in out if text.startswith("2026")]) == 2
    assert any(text.strip().startswith("^^") for text in out)
    assert out[-1] == "      right: peerswap.Cancel has swap_id: bytes, message: str"


def test_filters(run: Run) -> None:
    lines = (line(b"\x8c\xa1hi"), line(b"\x8c\xa1ho", "OUT", OTHER), line(b"\0\x13\0\0"))
    assert len(run(*lines, peer="0335")[1]) == 2
    assert len(run(*lines, peer=OTHER.upper())[1]) == 1
    assert len(run(*lines, type_id=0x8CA1)[1]) == 2
    whole, out, err = run(*lines, type_id=1)
    assert (whole, out) == (False, [])
    assert "no message of this peer or type is in it" in err
    assert "lightningd's log level should be io" in run("nothing")[2]


def test_messages_in_fragments_are_put_together(run: Run) -> None:
    whole_message = b"\x8c\xa1" + bytes(range(256)) * 9
    pieces = [whole_message[at : at + 1024] for at in range(0, len(whole_message), 1024)]
    frames = [encode_fragment(1 << 32 | 2, 5, len(whole_message), 1024, n, piece) for n, piece in enumerate(pieces)]
    whole, out, _ = run(*(line(frame) for frame in frames))
    assert whole
    assert [text.split()[3] for text in out] == ["session.fragment"] * 3 + ["words.Word"]
    assert out[-1].endswith("(joined)")
    *_, joined = run(*(line(frame) for frame in frames), as_json=True)[1]
    assert (json.loads(joined)["joined"], json.loads(joined)["payload"]) == (True, whole_message.hex())
    assert len(run(*(line(frame, peer=PEER if n else OTHER) for n, frame in enumerate(frames)))[1]) == 3


def test_a_log_without_bytes_names_messages(run: Run) -> None:
    whole, out, err = run(path=LOGS / "lightningd-debug.log")
    assert whole
    assert out[0].endswith("-> 02f41af4...2931  bolt1.init 0x0010 (no bytes)")
    assert any("session frame 0xc0dd (no bytes)" in text for text in out)
    assert "not their bytes" in err
    first = json.loads(run(path=LOGS / "lightningd-debug.log", as_json=True)[1][0])
    assert (first["decoded"], first["type"], first["schema"], first["direction"]) == (False, 16, "bolt1.init", "sent")


def test_objects_of_json_have_where_and_when(run: Run) -> None:
    event = {"event": "received", "time": 1763820000.25, "peer": PEER, "payload": "8ca16869"}
    told = [json.loads(text) for text in run(line(b"\x8c\xa1hi"), json.dumps(event), as_json=True)[1]]
    assert [(one["time"], one["direction"], one["peer"]) for one in told] == [
        (1796119232.643, "received", PEER),
        (1763820000.25, "received", PEER),
    ]
    assert told[0]["logged"] == "2026-12-01T10:00:32.643Z"
    assert told[0]["schema"] == "words.Word"
    assert run(json.dumps(event))[1][0].startswith("2025-")


def test_details_of_each_and_one_message_for_all(run: Run) -> None:
    _, out, _ = run(line(b"\x8c\xa1hi"), details=True)
    assert out[1:] == ["       0  2  8ca1  type  0x8ca1 words.Word", "       2  2  6869  text  6869  (bytes)"]
    [entry] = LEXICON.entries(0x8CA1)
    assert "words.Word 0x0013" in run(line(b"\0\x13xx"), entry=entry)[1][0]


def test_what_peers_write_does_nothing_to_a_terminal(run: Run) -> None:
    _, out, _ = run(line(b"\xa4\x5f" + '{"swap_id":"%s","message":"\u202e\\u001b[31m"}'.encode() % (b"ab" * 32)))
    assert "\x1b" not in "".join(out)
    assert "\u202e" not in "".join(out)


def test_memory_does_not_grow_with_the_log(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "long.log"
    text = line(b"\x8c\xa1" + bytes(2000)) + "\n" + "2026-12-01T10:00:32.643Z DEBUG something else\n" * 20

    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def peak(copies: int) -> int:
        log.write_text(text * copies)
        tracemalloc.start()
        decode_log(Printer(stdout=Nowhere(), stderr=Nowhere()), LEXICON, str(log))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)
    assert peak(600) < peak(60) + 500_000
