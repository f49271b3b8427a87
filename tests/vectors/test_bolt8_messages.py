"""BOLT 8, Appendix A: 1002 encrypted messages, over two key rotations."""

import json
from pathlib import Path

import pytest

from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.noise import CipherState

MESSAGES = json.loads(Path(__file__).with_name("bolt8.json").read_text())["messages"]
PLAINTEXT = bytes.fromhex(MESSAGES["plaintext"])
COUNT = 1002


def cipher():
    return CipherState(bytes.fromhex(MESSAGES["sk"]), bytes.fromhex(MESSAGES["ck"]))


@pytest.fixture(scope="module")
def frames():
    sender = FrameSender(cipher())
    return [sender.frame(PLAINTEXT) for _ in range(COUNT)]


def test_all_the_vectors_are_here():
    assert list(MESSAGES["outputs"]) == ["0", "1", "500", "501", "1000", "1001"]


@pytest.mark.parametrize("number", MESSAGES["outputs"])
def test_sealed(frames, number):
    assert frames[int(number)].hex() == MESSAGES["outputs"][number]


def test_opened(frames):
    received = []
    FrameReceiver(cipher(), received.append).feed(b"".join(frames))
    assert received == [PLAINTEXT] * COUNT
