"""What is replayed of a recording: the steps in their order, and why one cannot be replayed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from oddwire.errors import OddwireError
from oddwire.monitor.recording import Recording, read_recording
from oddwire.monitor.watched import Watched
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.session.constants import SESSION_TYPE
from oddwire.transports.base import MAX_PAYLOAD

__all__ = ["Script", "Step", "Unreplayable", "script_of"]

_EARLY: Final = 0.002  # seconds; the times of two events are taken one after the other


class Unreplayable(OddwireError):
    """A recording cannot be replayed: its text says at which line, why, and what can be done."""


class Step(FrozenRecord, kw_only=True):
    """One step: a peer comes or goes, or sends a payload. ``after`` is in seconds since the step before.

    ``answers``: it is the reply to a request of ours; ``sent`` is how much was sent to the peer before it, by the
    recording. ``present``: the peer was connected before the recording began.
    """

    kind: Literal["connect", "receive", "disconnect"]
    peer: NodeId
    line: int
    after: float
    payload: bytes = b""
    answers: bool = False
    sent: int = 0
    present: bool = False
    direction: Literal["in", "out"] = "in"
    address: str = ""
    reason: str = ""


class Script(FrozenRecord, kw_only=True):
    """The steps, and what was ``sent`` then by peer, in order. ``rest`` is the time after the last step, in seconds.

    ``failures`` are the texts of recorded errors.
    """

    steps: Sequence[Step]
    sent: Mapping[NodeId, Sequence[Watched]]
    rest: float
    node_id: NodeId | None
    failures: frozenset[str]


def script_of(recording: Recording | str | os.PathLike[str], *, missing_ok: bool = False) -> Script:
    """Return the steps of a recording, or of its file.

    With ``missing_ok``, missing events are passed over. Raises `Unreplayable`, and what `read_recording` does.
    """
    if not isinstance(recording, Recording):
        recording = read_recording(recording)
    events = [event for event in recording.events if event.event != "full"]
    steps: list[Step] = []
    sent: defaultdict[NodeId, list[Watched]] = defaultdict(list)
    connected: set[NodeId] = set()
    asked: dict[tuple[NodeId, int], float] = {}
    before = events[0].time if events else 0.0
    for event in events:
        where = f"{recording.path}, line {event.number}"
        if event.event == "missed" and not missing_ok:
            raise Unreplayable(f"{where}: events are missing here ({event.text}); --missing-ok replays the others")
        if event.event not in ("connected", "received", "sent", "disconnected"):
            continue
        peer = _node_id(event, where)
        if event.event == "sent":
            _check(event, where)
            sent[peer].append(event)
            continue
        after, before = max(0.0, event.time - before), event.time
        if event.event == "connected":
            if peer in connected:
                continue
            connected.add(peer)
            steps.append(_connect(event, peer, after, present=event.data.get("present") is True))
            continue
        if peer not in connected:
            connected.add(peer)
            steps.append(_connect(event, peer, 0.0, present=True))
        if event.event == "disconnected":
            connected.discard(peer)
            steps.append(
                Step(kind="disconnect", peer=peer, line=event.number, after=after, reason=event.text or "gone")
            )
            continue
        _check(event, where)
        if event.latency is not None:
            _check_order(event, peer, asked, where)
        steps.append(
            Step(
                kind="receive",
                peer=peer,
                line=event.number,
                after=after,
                payload=event.payload,
                answers=event.latency is not None,
                sent=len(sent[peer]),
            )
        )
    if not any(step.kind == "receive" for step in steps):
        raise Unreplayable(f"{recording.path}: no message was received, so there is nothing to replay")
    return Script(
        steps=steps,
        sent=dict(sent),
        rest=max(0.0, events[-1].time - before),
        node_id=NodeId(recording.node_id) if recording.node_id else None,
        failures=frozenset(event.text for event in recording.events if event.event == "error"),
    )


def _connect(event: Watched, peer: NodeId, after: float, *, present: bool) -> Step:
    dialed = event.data.get("direction") == "out" or "uri" in event.data
    return Step(
        kind="connect",
        peer=peer,
        line=event.number,
        after=after,
        present=present,
        direction="out" if dialed else "in",
        address=str(event.data.get("address", "")),
    )


def _node_id(event: Watched, where: str) -> NodeId:
    try:
        return NodeId(event.peer)
    except ValueError:
        raise Unreplayable(f"{where}: peer should be a node id, 66 hex digits, not {event.peer[:80]!r}") from None


def _check(event: Watched, where: str) -> None:
    """Raise `Unreplayable` for a message that is not all there, or no message of an extension."""
    if event.is_cut:
        raise Unreplayable(
            f"{where}: only {len(event.payload)} of {event.size} bytes were recorded: large messages are cut by a "
            "running program, 'oddwire run --json' prints them whole"
        )
    if event.type_id == SESSION_TYPE:
        raise Unreplayable(
            f"{where}: a frame of the session, as a node sees it: record the program that takes the messages instead"
        )
    if event.event == "sent" and event.size > MAX_PAYLOAD:
        raise Unreplayable(
            f"{where}: a message of {event.size} bytes was sent, which takes a session; peers of a replay have none"
        )


def _check_order(event: Watched, peer: NodeId, asked: dict[tuple[NodeId, int], float], where: str) -> None:
    """Raise `Unreplayable` for a reply that overtook another of its type: by order, it would answer the other."""
    began = event.time - (event.latency or 0.0)
    key = peer, event.type_id or 0
    if began < asked.get(key, began) - _EARLY:
        raise Unreplayable(
            f"{where}: this reply overtook that to an earlier request; without a session, whose ids are not recorded, "
            "replies are told apart by their order"
        )
    asked[key] = max(began, asked.get(key, began))
