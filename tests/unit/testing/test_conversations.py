"""What plays the session protocol's conversations: it notices whatever goes otherwise than it should."""

import pytest

from oddwire.session.peer.reassembly import split
from oddwire.session.wire.frame_types import Ack, Cancel, Fragment, Hello, Refusal, Reply, Request, Scope, Spoken
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.testing.conversations import (
    PEER,
    Stage,
    expand,
    judge,
    payload_from_json,
    payload_to_json,
    play,
)

YOU = 77
"""The instance of the implementation."""
OTHER = 1002


class Script(Stage):
    """An implementation that sends what it was given, whatever comes: payloads, or frames to the peer."""

    def __init__(self, *payloads, result=None, happened=()):
        self.payloads = [payload if isinstance(payload, bytes) else from_you(payload) for payload in payloads]
        self.told = result
        self.happening = dict(happened)
        self.more = []
        self.sent = []
        self.calls = []

    async def connect(self):
        self.calls.append("connect")

    async def disconnect(self):
        self.calls.append("disconnect")

    async def send(self, payload):
        self.sent.append(payload)

    async def receive(self):
        return self.payloads.pop(0)

    async def begin(self, what, payload, step):
        self.calls.append((what, payload, step.get("credit")))

    async def result(self):
        return self.told

    async def happened(self, what, payload):
        return self.happening[what, payload]

    async def unexpected(self):
        return self.more


def route(to, source):
    return to << 32 | source


def from_you(frame, to=PEER, source=YOU):
    return encode(frame, route(to, source))


def from_peer(frame, source=PEER, to=YOU):
    return encode(frame, route(to, source))


GREETING = Hello(1, 1, 1, 9)
GREETED = {"you": {"kind": "hello", "flags": 1, "lowest": 1, "highest": 1, "program": "*", "extensions": "*"}}
GREETED["you"] |= {"assembles": "*", "requests": "*", "stores": "*"}


async def run(stage, *steps, preamble=(GREETED,), closing=(), **options):
    """Play steps after a greeting, that says who the implementation is."""
    if preamble == (GREETED,):
        stage.payloads.insert(0, from_you(GREETING, 0))
    await play({"name": "a talk", "steps": steps, **options}, preamble, closing, stage)


ASK = "8ca1"
REPLY = {"kind": "reply", "id": "5", "flags": 0, "content": "8ca301"}
REPLIED = Reply(5, 0, b"\x8c\xa3\1")


# What the peer says


async def test_what_the_peer_says_is_sent():
    stage = Script()
    await run(
        stage,
        {"peer": {"kind": "request", "id": "5", "credit": 0, "content": "8ca1*10", "wait": 7}},
        {"peer": {"payload": "8caf01"}},
    )
    assert stage.calls == ["connect"]
    assert stage.sent == [from_peer(Request(5, 0, expand("8ca1*10"), 7)), b"\x8c\xaf\1"]


async def test_what_the_peer_says_is_cut_as_it_should_be():
    stage = Script()
    cut = {"transfer": "3", "size": 1024, "pieces": [2, 0, 0]}
    await run(stage, {"peer": {"payload": "8caf*3000"}, "cut": cut})
    pieces = list(split(route(YOU, PEER), expand("8caf*3000"), 1024, 3))
    assert stage.sent == [pieces[2], pieces[0], pieces[0]]


CANCEL = {"kind": "cancel", "scope": 1, "id": "5"}
CANCELLING = Cancel(Scope.REQUEST, 5)


@pytest.mark.parametrize(
    ("said", "to", "source"),
    [
        ({}, YOU, PEER),
        ({"from": OTHER}, YOU, OTHER),
        ({"to": 1}, 1, PEER),
        ({"to": 0, "from": 0}, 0, 0),
        ({"to": "$instance", "from": "$instance"}, YOU, YOU),
    ],
)
async def test_a_step_says_whom_a_frame_is_for_and_from(said, to, source):
    stage = Script()
    whole = from_peer(CANCELLING, source, to)
    cut = {"transfer": "1", "size": 1024, "pieces": [1]}
    await run(
        stage,
        {"peer": CANCEL | said},
        {"peer": {"kind": 14, "rest": whole[11:-2].hex()} | said},
        {"peer": {"payload": "8caf*1025"} | said, "cut": cut},
    )
    assert stage.sent[:2] == [whole, whole[:-2]]
    assert addresses(stage.sent[2]) == (to, source)


@pytest.mark.parametrize(("said", "to"), [({}, 0), ({"to": "$instance"}, YOU), ({"to": 1}, 1)])
async def test_a_hello_is_for_all_if_it_does_not_say(said, to):
    stage = Script()
    hello = {"kind": "hello", "flags": 0, "lowest": 1, "highest": 1, "program": "5"}
    await run(stage, {"peer": hello | said}, {"peer": {"kind": 9, "rest": "00"} | said})
    assert [addresses(payload) for payload in stage.sent] == [(to, PEER)] * 2
    assert decode(stage.sent[0]) == Hello(0, 1, 1, 5)


async def test_fragments_may_have_other_addresses_than_their_frame():
    stage = Script()
    cut = {"transfer": "3", "size": 1024, "pieces": [0, 1], "from": OTHER, "to": 5}
    await run(stage, {"peer": {"kind": "request", "id": "5", "credit": 0, "content": "8ca1*2000"}, "cut": cut})
    assert [addresses(payload) for payload in stage.sent] == [(5, OTHER)] * 2
    assert addresses(decode(stage.sent[0]).content) == (YOU, PEER)


# What the implementation says


async def test_what_comes_is_compared():
    await run(Script(REPLIED), {"you": REPLY})
    await run(Script(Reply(5, 0, expand("8ca3*99"))), {"you": REPLY | {"content": "8ca3*99"}})
    await run(Script(REPLIED), {"you": REPLY | {"content": "*"}})


@pytest.mark.parametrize(
    "wrong",
    [
        Reply(6, 0, b"\x8c\xa3\1"),
        Reply(5, 1, b"\x8c\xa3\1"),
        Reply(5, 0, b"\x8c\xa3\2"),
        Request(5, 0, b"\x8c\xa3\1"),
        from_you(REPLIED, source=YOU + 1),
        from_you(REPLIED)[:-1],
        b"\xc0\xdd\x0c",
        b"\x8c\xa3" + bytes(20),
    ],
)
async def test_something_else_is_noticed(wrong):
    with pytest.raises(AssertionError) as caught:
        await run(Script(wrong), {"you": REPLY})
    assert caught.value.__notes__ == [f"in the conversation 'a talk', step 1: { ({'you': REPLY}) }"]


async def test_what_is_there_and_should_not_be_is_noticed():
    wanted = {"kind": "request", "id": "5", "credit": 0, "content": ASK}
    await run(Script(Request(5, 0, b"\x8c\xa1")), {"you": wanted})
    await run(Script(Request(5, 0, b"\x8c\xa1", 9)), {"you": wanted | {"wait": "*"}})
    with pytest.raises(AssertionError):
        await run(Script(Request(5, 0, b"\x8c\xa1", 9)), {"you": wanted})


async def test_frames_to_several_instances_may_come_in_any_order():
    to_other = from_you(Reply(6, 0, b"\x8c\xa3\1"), OTHER)
    for order in ([from_you(REPLIED), to_other], [to_other, from_you(REPLIED)]):
        for steps in ([REPLY, REPLY | {"id": "6", "to": OTHER}], [REPLY | {"id": "6", "to": OTHER}, REPLY]):
            await run(Script(*order), *({"you": step} for step in steps))


async def test_frames_to_one_instance_come_in_order():
    with pytest.raises(AssertionError):
        await run(
            Script(REPLIED, Reply(6, 0, b"\x8c\xa3\1")),
            {"you": REPLY | {"id": "6"}},
            {"you": REPLY},
        )


async def test_a_frame_to_the_wrong_instance_is_noticed():
    wrong = from_you(REPLIED, OTHER)
    with pytest.raises(IndexError) as caught:  # what this stage has where nothing comes any more
        await run(Script(wrong), {"you": REPLY})
    assert caught.value.__notes__[1].startswith("there had come, and was not waited for: ['to 1002: Reply(id=5")
    with pytest.raises(AssertionError, match=r"there came besides: \['to 1002: Reply"):
        await run(Script(wrong, REPLIED), {"you": REPLY})
    with pytest.raises(AssertionError, match="besides before the connection ended"):
        await run(Script(wrong, REPLIED), {"you": REPLY}, {"reconnect": True})


async def test_the_implementation_is_one_instance_with_one_program():
    other = from_you(Hello(0, 1, 1, 10), 0)
    named = GREETED["you"] | {"program": "$program"}
    with pytest.raises(AssertionError, match="its program should be the same"):
        await run(Script(from_you(GREETING, 0), other, from_you(GREETING, 0)), {"you": named}, {"you": named})
    with pytest.raises(AssertionError, match=f"it should be from {YOU} as before, not 78"):
        await run(Script(from_you(REPLIED, source=78)), {"you": REPLY})


async def test_a_name_stands_for_the_same_all_along():
    request = {"kind": "request", "id": "$asked", "credit": 0, "content": ASK}
    steps = {"you": request}, {"peer": REPLY | {"id": "$asked"}}
    frames = [Request(number, 0, b"\x8c\xa1") for number in (77, 77, 78)]
    stage = Script(*frames)
    await run(stage, *steps, {"you": request})
    assert stage.sent == [from_peer(Reply(77, 0, b"\x8c\xa3\1"))]
    with pytest.raises(AssertionError):
        await run(Script(frames[0], frames[2]), {"you": request}, {"you": request})


@pytest.mark.parametrize(("least", "fits"), [("76", True), ("77", False), ("$first", False)])
async def test_numbers_can_have_to_be_greater(least, fits):
    def step(name):
        return {"you": {"kind": "request", "id": name, "credit": 0, "content": ASK}}

    frame = Request(77, 0, b"\x8c\xa1")
    steps = step("$first"), step("$second") | {"greater": {"$second": least}}
    if fits:
        await run(Script(frame, frame), *steps)
    else:
        with pytest.raises(AssertionError, match="above"):
            await run(Script(frame, frame), *steps)


CREDIT = Ack(Scope.REQUEST, 0, 5, 0, 9)
SEEKING = from_you(GREETING, OTHER)
AGAIN = from_you(Hello(0, 1, 1, 9, (Spoken("x", ("1",), ()),)), 0)


@pytest.mark.parametrize("frame", [CREDIT, SEEKING, AGAIN], ids=["credit", "a hello that seeks one", "a hello anew"])
async def test_some_may_come_at_any_time(frame):
    await run(Script(frame, frame, REPLIED), {"you": REPLY})
    await run(Script(frame, REPLIED), {"you": REPLY}, {"reconnect": True})
    await run(
        Script(from_you(GREETING, OTHER), REPLIED, from_you(REPLIED, OTHER)),
        {"you": REPLY},
        {"you": REPLY | {"to": OTHER}},
    )


async def test_what_may_come_at_any_time_may_be_waited_for_too():
    await run(Script(CREDIT), {"you": payload_to_json(from_you(CREDIT))})
    await run(Script(AGAIN), {"you": GREETED["you"] | {"flags": 0, "to": 0}})
    await run(Script(SEEKING), {"you": GREETED["you"] | {"to": OTHER}})


@pytest.mark.parametrize(
    "frame",
    [
        Ack(Scope.LANE, 0, 5, 1, 9),
        from_you(Hello(0, 1, 1, 9)),
        from_you(GREETING, 0),
        from_you(Hello(2, 1, 1, 9), 0),
    ],
    ids=["an ack of a lane", "an answer", "a greeting", "a farewell"],
)
async def test_others_of_their_kinds_may_not(frame):
    with pytest.raises(AssertionError):
        await run(Script(frame, REPLIED), {"you": REPLY})


async def test_fragments_are_put_together_and_their_transfer_is_known():
    whole = from_you(Reply(5, 0, expand("8ca3*5000")))
    pieces = list(split(route(PEER, YOU), whole, 2000, 40))
    between = from_you(Reply(6, 0, b"\x8c\xa3\1"), OTHER)
    stage = Script(pieces[1], between, pieces[2], pieces[0])
    failure = {"kind": "failure", "scope": 2, "id": "$transfer", "code": 9, "text": ""}
    await run(
        stage,
        {"you": REPLY | {"content": "8ca3*5000"}, "cut": "$transfer"},
        {"peer": failure},
        {"you": REPLY | {"id": "6", "to": OTHER}},
    )
    assert stage.sent == [payload_from_json(failure | {"id": "40", "to": YOU})]


@pytest.mark.parametrize(
    "change",
    [
        lambda pieces, other: [pieces[0], pieces[0]],
        lambda pieces, other: [pieces[0], other[1]],
        lambda pieces, other: [b"\x8c\xaf" + bytes(100)],
        lambda pieces, other: [pieces[0], from_you(REPLIED)],
        lambda pieces, other: [pieces[0][:-1]],
        lambda pieces, other: [*split(route(PEER, YOU), from_you(Reply(5, 0, expand("8ca3*5000")), OTHER), 2000, 40)],
    ],
    ids=["twice", "of another transfer", "a message", "a reply between", "cut off", "with other addresses"],
)
async def test_fragments_that_are_wrong_are_noticed(change):
    whole = from_you(Reply(5, 0, expand("8ca3*5000")))
    pieces, other = ([*split(route(PEER, YOU), whole, 2000, number)] for number in (40, 41))
    with pytest.raises(AssertionError):
        await run(Script(*change(pieces, other)), {"you": REPLY | {"content": "8ca3*5000"}, "cut": "$transfer"})


async def test_a_step_is_taken_as_often_as_it_says():
    steps = (
        {"you": GREETED["you"] | {"requests": "$requests"}},
        {"peer": {"kind": "request", "id": "#", "credit": 0, "content": ASK}, "times": "$requests"},
    )
    for requests, count in ((3, 3), (None, 16)):  # 16 is what a hello means that does not say
        stage = Script(from_you(Hello(1, 1, 1, 7, (), None, requests), 0))
        await run(stage, *steps, preamble=())
        assert stage.sent == [from_peer(Request(number, 0, b"\x8c\xa1")) for number in range(1, count + 1)]


async def test_results_are_compared():
    result = {"code": 3, "text": "no", "parts": ["8ca7"]}
    await run(Script(result=result), {"result": {"code": 3, "text": "*", "parts": ["8ca7"]}})
    await run(Script(result="lost"), {"result": "lost"})
    for wanted in ({"code": 3, "text": "no"}, {"code": 4, "text": "no", "parts": ["8ca7"]}, "lost"):
        with pytest.raises(AssertionError, match="the result is"):
            await run(Script(result=result), {"result": wanted})


async def test_what_happens_is_waited_for():
    happened = {("handled", b"\x8c\xaf"): {}, ("failed", b"\x8c\xaf"): {"code": 5, "text": "full"}}
    await run(Script(happened=happened), {"handled": "8caf"}, {"failed": "8caf", "code": 5, "text": "*"})
    with pytest.raises(AssertionError, match="it failed with"):
        await run(Script(happened=happened), {"failed": "8caf", "code": 6, "text": "*"})


async def test_an_implementation_is_told_what_to_do():
    stage = Script()
    await run(
        stage,
        {"do": "stream", "payload": "8ca5*5", "credit": 4},
        {"do": "give up"},
        {"reconnect": True},
        {"disconnect": True},
        {"connect": True},
    )
    doing = [("stream", expand("8ca5*5"), 4), ("give up", b"", None)]
    assert stage.calls == ["connect", *doing, "disconnect", "connect", "disconnect", "connect"]


async def test_preamble_and_closing_are_played_too():
    before, after = {"peer": {"payload": "8caf01"}}, {"peer": {"payload": "8caf02"}}
    stage = Script()
    await run(stage, preamble=[before], closing=[after])
    assert stage.sent == [b"\x8c\xaf\1", b"\x8c\xaf\2"]
    bare = Script()
    await play({"name": "bare", "steps": [], "preamble": False}, [before], [after], bare)
    assert bare.sent == [b"\x8c\xaf\2"]


@pytest.mark.parametrize(("options", "last"), [({}, PEER), ({"last": OTHER}, OTHER)])
async def test_the_closing_is_of_the_instance_that_is_there_at_the_end(options, last):
    stage = Script(from_you(REPLIED, last))
    closing = {"peer": {"kind": "cancel", "from": "$last", "scope": 1, "id": "5"}}, {"you": REPLY | {"to": "$last"}}
    await run(stage, closing=closing, **options)
    assert stage.sent == [from_peer(Cancel(Scope.REQUEST, 5), last)]


async def test_what_happens_besides_is_noticed():
    stage = Script()
    stage.more = [("handled", b"\x8c\xaf")]
    with pytest.raises(AssertionError, match="besides"):
        await run(stage)


# How it is written


def test_bytes_are_written_short():
    assert expand("") == b""
    assert expand("8ca1") == b"\x8c\xa1"
    assert expand("8ca1*4") == b"\x8c\xa1\0\1"
    assert expand("*300") == (bytes(range(251)) * 2)[:300]


@pytest.mark.parametrize(
    "frame",
    [
        Hello(1, 1, 2, 2**64 - 1, (Spoken("a", ("1",), (5,)),), 2**40, 7, (0, 2**64 - 1)),
        Hello(1, 1, 2, 3),
        Request(5, 0, b"\x8c\xa1", 8),
        Fragment(1, 2000, 1024, 1, b"abc"),
        Ack(Scope.LANE, 1, 2, 3, 4, (Refusal(2, 1000, "no"),)),
    ],
)
def test_frames_are_written_as_json_and_read_again(frame):
    payload = encode(frame, route(2**32 - 1, 1))
    written = payload_to_json(payload)
    assert payload_from_json(written) == payload
    assert judge(payload) == {"frame": written}
    assert (written["to"], written["from"]) == (2**32 - 1, 1)
    assert all(isinstance(value, str | int | list) for value in written.values())


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        ("c0dd0b00000001000000", {"reason": "ignored"}),
        ("c0dd0b0000000100000000" + "0000000000000007", {"reason": "ignored"}),
        ("c0dd0b0000000000000001" + "0000000000000007", {"reason": "ignored"}),
        ("c0dd090000000000000001", {"reason": "malformed"}),
        ("c0dd0b0000000100000001" + "00000000000007", {"reason": "malformed"}),
        ("c0dd0b0000000100000001" + "0000000000000007", {"reason": "malformed", "subject": {"scope": 1, "id": "7"}}),
        (
            "c0dd0b0000000100000001" + "0000000000000007000000000000000200010200",
            {"reason": "not understood", "subject": {"scope": 1, "id": "7"}},
        ),
        ("c0dd030000000100000001" + "00000000000000070000000000000003ffff01", {"reason": "ignored"}),
        ("c0dd0e0000000100000001" + "03000000000000000700000000", {"reason": "ignored"}),
    ],
)
def test_what_is_no_frame_is_judged(payload, verdict):
    assert judge(bytes.fromhex(payload)) == verdict
