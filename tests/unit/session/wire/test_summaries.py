from __future__ import annotations

import pytest

from oddwire.session.wire.frame_types import (
    Ack,
    Cancel,
    Code,
    Data,
    Failure,
    Fragment,
    Frame,
    Hello,
    HelloFlag,
    Refusal,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    Spoken,
)
from oddwire.session.wire.frames import encode
from oddwire.session.wire.summaries import summary

ROUTE = 0x0A << 32 | 0x0B
ASK = b"\x8c\x01hello"


def title_of(type_id: int) -> str:
    return f"shop.Ask {type_id:#06x}"


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            Hello(HelloFlag.ANSWER, 1, 1, 255, (Spoken("shop", ("1.0", "2.0"), (0x8C01,)),)),
            "hello answer, program 00000000000000ff: shop 1.0|2.0",
        ),
        (Hello(0, 1, 1, 255), "hello, program 00000000000000ff: no extensions"),
        (Request(7, 0, ASK), "request 7: shop.Ask 0x8c01 [7 bytes]"),
        (
            Request(7, 4, ASK, 1500, True),
            "request 7, urgent, a stream with credit 4, waits 1500 ms: shop.Ask 0x8c01 [7 bytes]",
        ),
        (Reply(7, 0, ASK), "reply of 7: shop.Ask 0x8c01 [7 bytes]"),
        (Reply(7, ReplyFlag.PART, ASK), "part of 7: shop.Ask 0x8c01 [7 bytes]"),
        (Reply(7, ReplyFlag.END, b""), "end of stream 7"),
        (Failure(Scope.REQUEST, 7, Code.QUOTA, "a\nb"), "failure of request 7, code 5 (QUOTA): a\\nb"),
        (Cancel(Scope.TRANSFER, 9), "cancel of transfer 9"),
        (Fragment(3, 100_000, 60_000, 1, b"x" * 40_000), "fragment of transfer 3, piece 1 of 100000 bytes"),
        (Data(5, 1, 2, 3, ASK), "data 3 of lane 0000000000000005, epoch 1, base 2: shop.Ask 0x8c01 [7 bytes]"),
        (Ack(Scope.LANE, 0, 5, 1, 3, (Refusal(2, Code.REFUSED, "no"),)), "ack of lane 5 up to 3, 1 refused"),
        (Ack(Scope.REQUEST, 0, 5, 0, 3), "ack of stream 5 up to 3"),
    ],
)
def test_each_kind_of_frame_says_what_it_is(frame: Frame, text: str) -> None:
    payload = encode(frame, ROUTE)
    assert summary(payload, title_of) == f"{text}; {len(payload)} bytes from 0000000b to 0000000a"


def test_what_cannot_be_read_says_why() -> None:
    whole = encode(Request(7, 0, ASK), ROUTE)
    assert summary(whole[:5], title_of).startswith("unreadable frame of 5 bytes: ")
    assert summary(whole[:-3], title_of).startswith(f"unreadable frame of {len(whole) - 3} bytes: ")
    unknown = whole[:2] + b"\x63" + bytes(4) + whole[7:]
    assert summary(unknown, title_of).startswith("frame of an unknown kind; 34 bytes from 0000000b to all")
