"""`replay`: runs recorded messages against an extension, and compares what it sends with what was sent then."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from oddwire.app import Application, Peer, PluginManager, TraceEvent, hookimpl
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.monitor.recording import Recording
from oddwire.printable import printable
from oddwire.proto.features import feature_bytes
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.testing.clock import Clock
from oddwire.testing.doubles import ScriptedTransport
from oddwire.testing.replay_differences import Ignored, Outgoing, differences
from oddwire.testing.replay_script import Script, Step, script_of
from oddwire.transports.base import PeerInfo

__all__ = ["Replayed", "play", "replay"]

_PATIENCE: Final = 3.0  # seconds, of the clock that is used, for what should have been sent
_STEP: Final = 0.05
_SHOWN: Final = 20  # differences


class Replayed(FrozenRecord, kw_only=True):
    """What a replay found: counts of messages, and a text for each of the ``differences``.

    ``remarks`` are no differences: names to ignore that nothing has had.
    """

    received: int
    sent: int
    differences: Sequence[str]
    remarks: Sequence[str] = ()


async def replay(
    *extensions: object,
    recording: Recording | str | os.PathLike[str],
    ignore: Sequence[str] = (),
    any_order: bool = False,
    missing_ok: bool = False,
    options: Mapping[str, Any] | None = None,
    provide: Mapping[Any, Any] | None = None,
) -> Replayed:
    """Run the messages received in a recording against extensions, and check that they send what they sent then.

    Each argument is an extension, or a text as of ``oddwire run``. The peers come and go as they did, at the recorded
    times on a `Clock` of its own, or the test's if it has entered one, so that it takes no time. ``ignore`` are
    messages (``chat.Heard``) and fields (``number``, ``chat.Say.number``) that are not compared; with ``any_order``
    it does not matter in which order messages are sent to one peer. ``options`` and ``provide`` are those of
    `Application`.

    Raises `AssertionError` with what differs; `Unreplayable` for a recording that cannot be replayed; `OSError` and
    `ValueError` for a file that is none.
    """
    __tracebackhide__ = True
    plugins = PluginManager()
    for extension in extensions:
        plugins.add(extension)
    found = await play(
        script_of(recording, missing_ok=missing_ok),
        plugins,
        ignore=ignore,
        any_order=any_order,
        options=options,
        provide=provide,
    )
    if found.differences:
        lines = [*found.differences[:_SHOWN]]
        if len(found.differences) > _SHOWN:
            lines.append(f"and {len(found.differences) - _SHOWN} more")
        raise AssertionError("\n  ".join(("what is sent differs from the recording", *lines)))
    return found


async def play(
    script: Script,
    plugins: PluginManager,
    *,
    ignore: Sequence[str] = (),
    any_order: bool = False,
    speed: float | None = None,
    options: Mapping[str, Any] | None = None,
    provide: Mapping[Any, Any] | None = None,
) -> Replayed:
    """Run a script against the extensions of ``plugins``, and return what differs. Raises what `Application` does.

    With ``speed`` in real time, so many times as fast as recorded.
    """
    witness = _Witness()
    plugins.register(witness)
    transport = _Transport(script.node_id)
    app = Application(transport=transport, plugins=plugins, options=options, store=":memory:", provide=provide)
    async with _time(speed) as time, app:
        await _Player(script, transport, witness, time).play()
        return _compare(script, witness, app, Ignored(ignore), any_order)


class _Witness:
    """A plugin that notes what is sent, and what fails."""

    name = "oddwire.testing.replay"

    def __init__(self) -> None:
        self.sent: defaultdict[NodeId, list[bytes]] = defaultdict(list)
        self.failures: list[tuple[NodeId | None, str]] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        if event.direction == "sent":
            self.sent[event.peer].append(event.payload)

    @hookimpl
    def handler_failed(self, peer: Peer | None, extension: str, what: str, error: BaseException) -> None:
        text = f"{what} of {extension!r} failed: {type(error).__name__}: {with_peer(error)}"
        self.failures.append((None if peer is None else peer.node_id, text))


class _Transport(ScriptedTransport):
    """A transport whose peers are those of the recording: they show every feature that the extensions know."""

    def __init__(self, node_id: NodeId | None) -> None:
        super().__init__()
        self.node_id = node_id

    def play(self, step: Step) -> None:
        """Let happen what a step says."""
        if step.kind == "connect":
            features = frozenset() if self.manifest is None else self.manifest.features
            self.connect_as(
                PeerInfo(
                    node_id=step.peer,
                    address=step.address,
                    direction=step.direction,
                    features=feature_bytes(features),
                )
            )
        elif step.kind == "receive" and self.has(step.peer):
            self.receive(step.peer, step.payload)
        elif step.kind == "disconnect" and self.has(step.peer):
            self.lose_peer(step.peer, step.reason)


class _RealTime:
    """Time as it passes, ``speed`` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


@asynccontextmanager
async def _time(speed: float | None) -> AsyncIterator[Clock | _RealTime]:
    """Yield the time of a replay."""
    if speed is not None:
        yield _RealTime(speed)
    elif (clock := Clock.in_use()) is not None:
        yield clock
    else:
        async with Clock() as clock:
            yield clock


class _Player:
    def __init__(self, script: Script, transport: _Transport, witness: _Witness, time: Clock | _RealTime) -> None:
        self._script, self._transport, self._witness, self._time = script, transport, witness, time
        self._before: dict[NodeId, int] = {}  # what was sent to a peer that was there before the recording

    async def play(self) -> None:
        for step in self._script.steps:
            await self._time.advance(step.after)
            if step.answers:
                await self._until_sent(step.peer, step.sent)
            self._transport.play(step)
            if step.present:
                await self._time.advance(0 if isinstance(self._time, Clock) else _STEP)
                self._witness.sent[step.peer].clear()  # what greets it was sent before the recording began
        await self._time.advance(self._script.rest)
        for peer, sent in self._script.sent.items():
            await self._until_sent(peer, len(sent))
        await self._time.advance(0 if isinstance(self._time, Clock) else _STEP)

    async def _until_sent(self, peer: NodeId, count: int) -> None:
        """Let time pass until so many messages were sent to a peer, but not for long."""
        waited = 0.0
        while len(self._witness.sent[peer]) < count and waited < _PATIENCE:
            await self._time.advance(_STEP)
            waited += _STEP


def _compare(script: Script, witness: _Witness, app: Application, ignored: Ignored, any_order: bool) -> Replayed:
    registry, found = app.registry, []
    for peer in dict.fromkeys((*script.sent, *witness.sent)):
        recorded = (Outgoing.of(event.payload, registry, ignored, event.number) for event in script.sent.get(peer, ()))
        now = (Outgoing.of(payload, registry, ignored) for payload in witness.sent[peer])
        left, right = ([message for message in each if message is not None] for each in (recorded, now))
        short = f"{str(peer)[:8]}...{str(peer)[-4:]}"
        found += [f"to {short}: {text}" for text in differences(left, right, any_order=any_order)]
    found += [printable(text) for _, text in witness.failures if text not in script.failures]
    return Replayed(
        received=sum(step.kind == "receive" for step in script.steps),
        sent=sum(map(len, witness.sent.values())),
        differences=found,
        remarks=[f"nothing was ignored for {printable(name)!r}" for name in ignored.unused],
    )
