"""Explanations: of any bytes there is one, it shows each byte once, and tells what decoding tells."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.targets_codecs import REGISTRY, SAMPLES
from tests.support.explaining import check_error, check_explanation, check_message

from oddwire.decoding import Lexicon, explain, explain_as
from oddwire.decoding.hex_text import HexFault, read_hex
from oddwire.decoding.log_lines import LogReader
from oddwire.errors import DecodeError

VECTORS = Path(__file__).parents[1] / "vectors"
LEXICON = Lexicon()
OWN = Lexicon(known=False)
OWN.add("samples", [type(samples[0]) for samples in SAMPLES.values()])
FRAMES = [bytes.fromhex(frame["bytes"]) for frame in json.loads((VECTORS / "session.json").read_text())["frames"]]
KNOWN = [
    entry.schema.type_id.to_bytes(2, "big") + bytes.fromhex(vector["hex"])[2:]
    for entry in LEXICON.all_entries()
    for path in [VECTORS / "known" / f"{entry.owner}.json"]
    if path.exists()
    for vector in json.loads(path.read_text())
    if vector.get("message") == entry.schema.cls.__name__ and "hex" in vector
]
LOGS = [path.read_bytes() for path in sorted((VECTORS / "logs").glob("*.log"))]


def check_payload(payload: bytes) -> None:
    check_explanation(explain(payload, LEXICON))


def check_sample(payload: bytes) -> None:
    """Read a payload of one of the samples' types as that, any other as what it is."""
    entries = OWN.entries(int.from_bytes(payload[:2], "big")) if len(payload) >= 2 else ()
    if not entries:
        check_explanation(explain(payload, OWN))
        return
    told = explain_as(payload, entries[0])
    try:
        message = entries[0].plan.decode(payload)
    except DecodeError as error:
        check_error(told, error)
    else:
        check_message(told, message)


def check_text(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        read_hex(text)
    except HexFault as fault:
        assert 0 <= fault.position <= len(text)  # noqa: PT017 - a target is told what to raise by no one


def check_log(data: bytes) -> None:
    reader = LogReader(any_hex=True)
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        for logged in reader.read(line):
            assert logged.payload is None or isinstance(logged.payload, bytes)
    assert len([*reader.end()]) <= 2


TARGETS = {
    "decoding: payloads": (check_payload, FRAMES + KNOWN),
    "decoding: samples": (check_sample, [REGISTRY.encode(one) for samples in SAMPLES.values() for one in samples]),
    "decoding: hex": (check_text, [b"0x00 12", b'"00:12"', b"\\x00\\x12"]),
    "decoding: logs": (check_log, LOGS),
}
