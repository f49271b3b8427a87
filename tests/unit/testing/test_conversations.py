"""What plays the session protocol's conversations: it notices whatever goes otherwise than it should."""

import pytest

from oddwire.session.fragments import split
from oddwire.session.frames import Ack, Hello, Refusal, Request, Scope, Spoken, encode, encode_reply, encode_request
from oddwire.testing.conversations import Stage, expand, frame_from_json, frame_to_json, play


class Script(Stage):
    """An implementation that sends what it was given, whatever comes."""

    def __init__(self, *payloads, result=None, happened=()):
        self.payloads = list(payloads)
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


async def run(stage, *steps, preamble=(), closing=(), **options):
    await play({"name": "a talk", "steps": steps, **options}, preamble, closing, stage)


ASK = "8ca1"
REPLY = {"kind": "reply", "id": "5", "flags": 0, "content": "8ca301"}


async def test_what_the_peer_says_is_sent():
    stage = Script()
    await run(
        stage,
        {"peer": {"kind": "request", "id": "5", "credit": 0, "content": "8ca1*10", "wait": 7}},
        {"peer": {"payload": "8caf01"}},
    )
    assert stage.calls == ["connect"]
    assert stage.sent == [encode_request(5, 0, expand("8ca1*10"), 7), b"\x8c\xaf\1"]


async def test_what_the_peer_says_is_cut_as_it_should_be():
    stage = Script()
    cut = {"transfer": "3", "size": 1024, "pieces": [2, 0, 0]}
    await run(stage, {"peer": {"payload": "8caf*3000"}, "cut": cut})
    pieces = list(split(expand("8caf*3000"), 1024, 3))
    assert stage.sent == [pieces[2], pieces[0], pieces[0]]


async def test_what_comes_is_compared():
    await run(Script(encode_reply(5, 0, b"\x8c\xa3\1")), {"you": REPLY})
    await run(Script(encode_reply(5, 0, expand("8ca3*99"))), {"you": REPLY | {"content": "8ca3*99"}})
    await run(Script(encode_reply(5, 0, b"\x8c\xa3\1")), {"you": REPLY | {"content": "*"}})


@pytest.mark.parametrize(
    "wrong",
    [
        encode_reply(6, 0, b"\x8c\xa3\1"),
        encode_reply(5, 1, b"\x8c\xa3\1"),
        encode_reply(5, 0, b"\x8c\xa3\2"),
        encode(Request(5, 0, b"\x8c\xa3\1")),
        b"\xc0\xdd\4",
    ],
)
async def test_something_else_is_noticed(wrong):
    with pytest.raises(AssertionError) as caught:
        await run(Script(wrong), {"you": REPLY})
    assert caught.value.__notes__ == [f"in the conversation 'a talk', step 0: { ({'you': REPLY}) }"]


async def test_what_is_there_and_should_not_be_is_noticed():
    wanted = {"kind": "request", "id": "5", "credit": 0, "content": ASK}
    await run(Script(encode(Request(5, 0, b"\x8c\xa1"))), {"you": wanted})
    await run(Script(encode(Request(5, 0, b"\x8c\xa1", 9))), {"you": wanted | {"wait": "*"}})
    with pytest.raises(AssertionError):
        await run(Script(encode(Request(5, 0, b"\x8c\xa1", 9))), {"you": wanted})


async def test_a_name_stands_for_the_same_all_along():
    request = {"kind": "request", "id": "$asked", "credit": 0, "content": ASK}
    steps = {"you": request}, {"peer": REPLY | {"id": "$asked"}}
    payloads = [encode(Request(number, 0, b"\x8c\xa1")) for number in (77, 77, 78)]
    stage = Script(*payloads)
    await run(stage, *steps, {"you": request})
    assert stage.sent == [encode_reply(77, 0, b"\x8c\xa3\1")]
    with pytest.raises(AssertionError):
        await run(Script(payloads[0], payloads[2]), {"you": request}, {"you": request})


@pytest.mark.parametrize(("least", "fits"), [("76", True), ("77", False), ("$first", False)])
async def test_numbers_can_have_to_be_greater(least, fits):
    def step(name):
        return {"you": {"kind": "request", "id": name, "credit": 0, "content": ASK}}

    payload = encode(Request(77, 0, b"\x8c\xa1"))
    steps = step("$first"), step("$second") | {"greater": {"$second": least}}
    if fits:
        await run(Script(payload, payload), *steps)
    else:
        with pytest.raises(AssertionError, match="above"):
            await run(Script(payload, payload), *steps)


async def test_credit_may_be_raised_at_any_time():
    credit = encode(Ack(Scope.REQUEST, 0, 5, 0, 9))
    await run(Script(credit, credit, encode_reply(5, 0, b"\x8c\xa3\1")), {"you": REPLY})
    ack = frame_to_json(Ack(Scope.REQUEST, 0, 5, 0, 9))
    await run(Script(credit), {"you": ack})


async def test_fragments_are_put_together_and_their_transfer_is_known():
    whole = encode_reply(5, 0, expand("8ca3*5000"))
    pieces = list(split(whole, 2000, 40))
    stage = Script(pieces[1], pieces[2], pieces[0])
    failure = {"kind": "failure", "scope": 2, "id": "$transfer", "code": 9, "text": ""}
    await run(stage, {"you": REPLY | {"content": "8ca3*5000"}, "cut": "$transfer"}, {"peer": failure})
    assert stage.sent == [encode(frame_from_json(failure | {"id": "40"}))]


@pytest.mark.parametrize(
    "change",
    [
        lambda pieces, other: [pieces[0], pieces[0]],
        lambda pieces, other: [pieces[0], other[1]],
        lambda pieces, other: [b"\x8c\xaf" + bytes(100)],
        lambda pieces, other: [pieces[0], encode_reply(5, 0, b"\x8c\xa3\1")],
        lambda pieces, other: [pieces[0][:-1]],
    ],
    ids=["twice", "of another transfer", "a message", "a reply between", "cut off"],
)
async def test_fragments_that_are_wrong_are_noticed(change):
    whole = encode_reply(5, 0, expand("8ca3*5000"))
    pieces, other = ([*split(whole, 2000, number)] for number in (40, 41))
    with pytest.raises(AssertionError):
        await run(Script(*change(pieces, other)), {"you": REPLY | {"content": "8ca3*5000"}, "cut": "$transfer"})


async def test_a_step_is_taken_as_often_as_it_says():
    hello = {"kind": "hello", "flags": 1, "lowest": 1, "highest": 1, "instance": "*", "extensions": []}
    steps = (
        {"you": hello | {"requests": "$requests"}},
        {"peer": {"kind": "request", "id": "#", "credit": 0, "content": ASK}, "times": "$requests"},
    )
    for requests, count in ((3, 3), (None, 16)):  # 16 is what a hello means that does not say
        stage = Script(encode(Hello(1, 1, 1, 7, (), None, requests)))
        await run(stage, *steps)
        assert stage.sent == [encode_request(number, 0, b"\x8c\xa1") for number in range(1, count + 1)]


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


async def test_what_happens_besides_is_noticed():
    stage = Script()
    stage.more = [("handled", b"\x8c\xaf")]
    with pytest.raises(AssertionError, match="besides"):
        await run(stage)


def test_bytes_are_written_short():
    assert expand("") == b""
    assert expand("8ca1") == b"\x8c\xa1"
    assert expand("8ca1*4") == b"\x8c\xa1\0\1"
    assert expand("*300") == (bytes(range(251)) * 2)[:300]


@pytest.mark.parametrize(
    "frame",
    [
        Hello(1, 1, 2, 2**64 - 1, (Spoken("a", ("1",), (5,)),), 2**40, 7),
        Hello(1, 1, 2, 3),
        Request(5, 0, b"\x8c\xa1", 8),
        Ack(Scope.LANE, 1, 2, 3, 4, (Refusal(2, 1000, "no"),)),
    ],
)
def test_frames_are_written_as_json_and_read_again(frame):
    written = frame_to_json(frame)
    assert frame_from_json(written) == frame
    assert all(isinstance(value, str | int | list) for value in written.values())
