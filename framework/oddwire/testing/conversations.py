"""Conversations of the session protocol, played against an implementation of it.

They are in ``tests/vectors/session.json``; the README beside it describes their form. An implementation in any language
is connected by a `Stage`.
"""

# ruff: noqa: S101 - a test kit uses assertions

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from oddwire.errors import MalformedMessage, UnknownRequiredRecord
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.session.peer.reassembly import split
from oddwire.session.wire import frame_types
from oddwire.session.wire.frame_types import (
    DEFAULT_REQUESTS,
    MIN_PIECE,
    Ack,
    Fragment,
    Frame,
    FrameType,
    Hello,
    HelloFlag,
    Refusal,
    Scope,
    Spoken,
    UnknownFrame,
)
from oddwire.session.wire.frames import addresses, decode, encode, subject

__all__ = ["PEER", "Json", "Stage", "expand", "judge", "payload_from_json", "payload_to_json", "play"]

Json = Mapping[str, Any]
"""A step, a frame, or a part of one, in the form of the vectors."""

PEER = 1001
"""The peer's instance if a step names none."""

_LONG = {"program", "assembles", "transfer", "total", "id", "lane", "epoch", "base", "sequence", "value"}
_HELLO = FrameType.HELLO.name.lower()
_LEAST = 11  # bytes of a frame up to the end of its addresses
_ROW = bytes(range(251))


class Stage(ABC):
    """The adapter of an implementation of the session protocol, which runs the application of the vectors.

    Payloads are whole messages with their types. Methods should fail by themselves after a time. The peer may consist
    of several programs: a frame contains its own addresses, so the stage need not know them.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Connect the implementation to the peer that the kit plays."""

    @abstractmethod
    async def disconnect(self) -> None:
        """End the connection; return when both sides have noticed."""

    @abstractmethod
    async def send(self, payload: bytes) -> None:
        """Send a payload to the implementation."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Return the next payload from the implementation."""

    @abstractmethod
    async def begin(self, what: str, payload: bytes, step: Json) -> None:
        """Begin an action: ``request``, ``stream``, ``send reliably``, or ``give up`` the request or stream under way.

        ``step`` may have a stream's ``credit``, and in ``used`` how many parts to consume before `result` is called.
        """

    @abstractmethod
    async def result(self) -> object:
        """Return the result of the request or stream, in the form of the vectors."""

    @abstractmethod
    async def happened(self, what: str, payload: bytes) -> Json:
        """Wait until a payload was ``handled``, ``cancelled``, ``delivered`` or ``failed``; return the failure."""

    @abstractmethod
    async def unexpected(self) -> Sequence[object]:
        """Return what was handled, was delivered or has failed, but was not awaited by `happened`."""


async def play(talk: Json, preamble: Sequence[Json], closing: Sequence[Json], stage: Stage) -> None:
    """Play one conversation. Raises `AssertionError`, with a note, if the implementation deviates from it.

    A conversation with ``limits`` is to be played with an implementation configured with them.
    """
    values = {"$last": str(talk.get("last", PEER))}
    player = _Player(stage, values)
    await stage.connect()
    for number, step in enumerate([*(preamble if talk.get("preamble", True) else ()), *talk["steps"], *closing]):
        try:
            await player.play(step)
        except Exception as error:
            error.add_note(f"in the conversation {talk['name']!r}, step {number}: {str(step)[:500]}")
            if left := player.left:
                error.add_note(f"there had come, and was not waited for: {left}")
            raise
    assert not player.left, f"in the conversation {talk['name']!r} there came besides: {player.left}"
    more = await stage.unexpected()
    assert not more, f"in the conversation {talk['name']!r} there happened besides: {more}"


class _Player:
    def __init__(self, stage: Stage, values: dict[str, str]) -> None:
        self._stage = stage
        self._values = values  # the values that the implementation chose, by name
        self._came: dict[int, deque[bytes]] = {}  # payloads that no step has received yet, by addressee

    async def play(self, step: Json) -> None:
        """Play a step, with its number of repetitions: ``#`` in it is the repetition's number, from 1 on."""
        if "times" not in step:
            await self._play(step)
            return
        once = {name: value for name, value in step.items() if name != "times"}
        for turn in range(1, int(self._values[step["times"]]) + 1):
            self._values["#"] = str(turn)
            await self._play(once)

    @property
    def left(self) -> list[str]:
        """The payloads that no step has received, except frames that may come at any time."""
        return [
            f"to {to}: {frame}"
            for to, payloads in self._came.items()
            for frame in map(_read, payloads)
            if not _may_come(frame, to)
        ]

    async def _play(self, step: Json) -> None:
        stage = self._stage
        match step:
            case {"peer": sent}:
                for payload in self._payloads(sent, step.get("cut")):
                    await stage.send(payload)
            case {"you": wanted}:
                await self._expect(wanted, step.get("cut"))
                for name, least in step.get("greater", {}).items():
                    bound = self._values.get(least) or least
                    assert int(self._values[name]) > int(bound), f"{name} should be above {least}"
            case {"do": what}:
                await stage.begin(what, expand(step.get("payload", "")), step)
            case {"result": wanted}:
                found = await stage.result()
                assert self._fits(found, wanted), f"the result is {str(found)[:300]}"
            case {"failed": payload, "code": code, "text": text}:
                found = await stage.happened("failed", expand(payload))
                assert self._fits(found, {"code": code, "text": text}), f"it failed with {found}"
            case {"reconnect": True}:
                await self._disconnect()
                await stage.connect()
            case {"connect": True}:
                await stage.connect()
            case {"disconnect": True}:
                await self._disconnect()
            case _:
                ((what, payload),) = step.items()
                await stage.happened(what, expand(payload))

    async def _disconnect(self) -> None:
        await self._stage.disconnect()
        assert not self.left, "there came something besides before the connection ended"
        self._came.clear()

    # The peer's steps

    def _payloads(self, sent: Json, cut: Json | None) -> list[bytes]:
        filled = self._filled({"to": 0 if sent.get("kind") in (_HELLO, FrameType.HELLO) else "$instance", **sent})
        if "payload" in filled:
            payload = expand(filled["payload"])
        elif "rest" in filled:
            head = SESSION_TYPE_BYTES + bytes([filled["kind"]])
            payload = head + _route(filled).to_bytes(8, "big") + expand(filled["rest"])
        else:
            payload = payload_from_json(filled)
        if cut is None:
            return [payload]
        pieces = list(split(_route(filled | self._filled(cut)), payload, cut["size"], int(cut["transfer"])))
        return [pieces[number] for number in cut["pieces"]]

    def _filled(self, fields: Json) -> dict[str, Any]:
        return {
            name: self._values.get(value, value) if isinstance(value, str) else value for name, value in fields.items()
        }

    # The implementation's steps

    async def _expect(self, wanted: Json, cut: str | None) -> None:
        to = 0 if wanted["kind"] == _HELLO and wanted["flags"] == HelloFlag.ANSWER else PEER
        wanted = {"to": to, "from": "$instance", **wanted}
        address = self._values.get(wanted["to"], wanted["to"])
        to = int(address or 0)
        while True:
            payload = await self._next(to)
            if cut is not None:
                payload = await self._assemble(payload, cut, to)
            frame = _read(payload)
            if not _may_come(frame, to) or _is_like(frame, wanted):
                break
            if isinstance(frame, Hello):
                program = self._values.setdefault("$program", str(frame.program))
                assert str(frame.program) == program, "its program should be the same in every hello"
        found = payload_to_json(payload)
        if isinstance(frame, Hello):
            found.setdefault("requests", DEFAULT_REQUESTS)
        assert self._fits(found, wanted), f"there came {str(found)[:500]}"

    async def _next(self, to: int) -> bytes:
        """Return the next payload for an instance of the peer; those for other instances are kept."""
        came = self._came.setdefault(to, deque())
        while not came:
            payload = await self._stage.receive()
            target, source = _addresses(payload)
            instance = self._values.get("$instance", str(source))
            assert str(source) == instance, f"it should be from {instance} as before, not {source}: {_read(payload)}"
            self._came.setdefault(target, deque()).append(payload)
        return came.popleft()

    async def _assemble(self, payload: bytes, name: str, to: int) -> bytes:
        pieces: dict[int, bytes] = {}
        first: Fragment | None = None
        route = _addresses(payload)
        while True:
            fragment = _read(payload)
            assert isinstance(fragment, Fragment), f"a fragment should come, not {fragment}"
            first = first or fragment
            transfer, total, size, piece, content = fragment
            assert (transfer, total, size) == first[:3], "pieces of one transfer should have the same header"
            count = -(-total // size)
            assert total > size >= MIN_PIECE
            assert piece < count
            assert len(content) == min(size, total - piece * size)
            assert piece not in pieces
            pieces[piece] = bytes(content)
            if len(pieces) == count:
                break
            payload = await self._next(to)
        self._values[name] = str(first.transfer)
        whole = b"".join(pieces[number] for number in range(count))
        assert _addresses(whole) == route, "a frame should have the addresses of its fragments"
        return whole

    def _fits(self, found: object, wanted: object) -> bool:
        """Return whether ``found`` matches ``wanted``: ``*`` matches anything or nothing, ``$name`` its first match."""
        if wanted == "*":
            return True
        if isinstance(wanted, str) and wanted.startswith("$"):
            return isinstance(found, str | int) and self._values.setdefault(wanted, str(found)) == str(found)
        if isinstance(wanted, Mapping):
            return (
                isinstance(found, Mapping)
                and all(self._fits(found.get(name), value) for name, value in wanted.items())
                and found.keys() <= wanted.keys()
            )
        if isinstance(wanted, list):
            return isinstance(found, list) and len(found) == len(wanted) and all(map(self._fits, found, wanted))
        if isinstance(wanted, str) and isinstance(found, str) and "*" in wanted:
            return expand(wanted).hex() == found
        return found == wanted


def _may_come(frame: Frame, to: int) -> bool:
    """Return whether a frame may come at any time: it raises credit, repeats a hello, or asks for one."""
    match frame:
        case Ack(scope=Scope.REQUEST):
            return True
        case Hello(flags=HelloFlag.ANSWER | HelloFlag.LEAVING):
            return to != 0
        case Hello(flags=0):
            return to == 0
    return False


def _is_like(frame: Frame, wanted: Json) -> bool:
    """Return whether a frame that may come at any time is the expected one."""
    match frame:
        case Ack():
            return bool(wanted["kind"] == "ack" and wanted["scope"] == Scope.REQUEST)
        case Hello():
            return bool(wanted["kind"] == _HELLO and wanted["flags"] == frame.flags)
    return False


def _addresses(payload: bytes) -> tuple[int, int]:
    assert payload[:2] == SESSION_TYPE_BYTES, f"it should send frames, not {payload[:100].hex()}"
    try:
        return addresses(payload)
    except MalformedMessage as error:
        raise AssertionError(f"it sent a frame that is wrong: {error}") from error


def _read(payload: bytes) -> Frame:
    assert len(payload) <= MAX_MESSAGE or payload[2] != FrameType.FRAGMENT
    try:
        return decode(payload)
    except MalformedMessage as error:
        raise AssertionError(f"it sent a frame that is wrong: {error}") from error


def _route(fields: Json) -> int:
    return int(fields["to"]) << 32 | int(fields.get("from", PEER))


# The form of the vectors --------------------------------------------------------------------------------


def expand(text: str) -> bytes:
    """Return the bytes of hexadecimal digits; ``8ca1*3000`` is 3000 bytes: the digits', then counting 0 to 250."""
    head, _, size = text.partition("*")
    start = bytes.fromhex(head)
    if not size:
        return start
    rest = int(size) - len(start)
    return start + (_ROW * (rest // len(_ROW) + 1))[:rest]


def judge(payload: bytes) -> dict[str, Any]:
    """Return the vectors' entry for a payload of type 49373: the ``frame``, or the ``reason`` why it is none."""
    if len(payload) < _LEAST:
        return {"reason": "ignored"}
    to, source = addresses(payload)
    if source == 0 or (to == 0 and payload[2] != FrameType.HELLO):
        return {"reason": "ignored"}
    try:
        known = not isinstance(decode(payload), UnknownFrame)
    except MalformedMessage as error:
        values = {"reason": "not understood" if isinstance(error, UnknownRequiredRecord) else "malformed"}
        about = subject(payload)
        return values if about is None else {**values, "subject": {"scope": int(about[0]), "id": str(about[1])}}
    return {"frame": payload_to_json(payload)} if known else {"reason": "ignored"}


def payload_to_json(payload: bytes) -> dict[str, Any]:
    """Return a frame in the form of the vectors: 64-bit numbers as decimal texts, bytes as hexadecimal ones."""
    frame = decode(payload)
    to, source = addresses(payload)
    written: dict[str, Any] = {"kind": type(frame).__name__.lower(), "to": to, "from": source}
    for name, value in zip(frame._fields, frame, strict=True):
        if name == "urgent":
            written |= {name: 0} if value else {}  # the value of an empty record, as an integer
        elif value is not None and (value or name != "stores"):
            written[name.removesuffix("_ms")] = _to_json(name, value)
    return written


def _to_json(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return str(value) if name in _LONG else int(value)
    if isinstance(value, Spoken | Refusal):
        return {key: _to_json(key, item) for key, item in zip(value._fields, value, strict=True)}
    if name == "stores":
        return [str(item) for item in value]
    if isinstance(value, tuple):
        return [_to_json("", item) for item in value]
    return value


def payload_from_json(written: Json) -> bytes:
    """Return the payload of a frame in the form of the vectors; its source is `PEER` unless it has one."""
    cls = vars(frame_types)[written["kind"].capitalize()]
    fields: dict[str, Any] = {
        name + "_ms" * (name == "wait"): value for name, value in written.items() if name not in ("kind", "to", "from")
    }
    for name, value in fields.items():
        if name in _LONG:
            fields[name] = int(value)
        elif name == "content":
            fields[name] = expand(value)
        elif name == "scope":
            fields[name] = Scope(value)
        elif name == "urgent":
            fields[name] = True
        elif name == "stores":
            fields[name] = tuple(map(int, value))
        elif name == "extensions":
            fields[name] = tuple(Spoken(one["name"], tuple(one["versions"]), tuple(one["types"])) for one in value)
        elif name == "failures":
            fields[name] = tuple(Refusal(int(one["sequence"]), one["code"], one["text"]) for one in value)
    return encode(cls(**fields), _route(written))
