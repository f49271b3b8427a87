from __future__ import annotations

from oddwire.session.peer.shared import OwnHello
from oddwire.session.wire.frame_types import Hello, HelloFlag, Spoken
from oddwire.session.wire.frames import addresses, decode

HELLO = Hello(0, 1, 1, program=70, extensions=(Spoken("a", ("2",), (5,)),))


def test_says_who_we_are_to_all_or_to_one() -> None:
    own = OwnHello(HELLO, 7)
    assert [addresses(frame) for frame in (own.to_all, own.answer(), own.leaving())] == [(0, 7)] * 3
    assert [addresses(frame) for frame in (own.asking(9), own.answer(9), own.leaving(9))] == [(9, 7)] * 3
    assert decode(own.asking(9)) == HELLO._replace(flags=HelloFlag.ANSWER)
    assert decode(own.answer(9)) == HELLO
    assert decode(own.leaving(9)) == HELLO._replace(flags=HelloFlag.LEAVING, extensions=())


def test_says_something_else_once_it_is_told() -> None:
    own = OwnHello(HELLO, 7)
    own.set(HELLO._replace(stores=(5, 6)))
    for frame in (own.to_all, own.asking(9), own.answer(9), own.leaving(9)):
        assert decode(frame).stores == (5, 6)
