"""A gateway as the owner of a partition sees it: a test says what it puts into the stream, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.broker import in_effect

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.packing import (
    CONNECTED,
    DISCONNECTED,
    MARKER,
    PAYLOAD,
    Accepted,
    Batch,
    Entry,
    Outgoing,
    pack_control,
    unpack_control,
)
from oddwire.transports.nats.subjects import control_subject, in_stream, in_subject, out_subject

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription


class ScriptedGateway:
    """Answers owners of ``node``: with a marker and ``conns``, by `accept`, and by ``answers`` to controls.

    ``batches`` are the requests to send that have come, repeated ones too; ``asked`` are the controls, but for
    ``owner``. While ``silent``, requests to send get no answer.
    """

    def __init__(self, connection: BrokerConnection, node: NodeId, *, run: int = 1, partition: int = 0) -> None:
        self.connection = connection
        self.node = node
        self.run = run
        self.partition = partition
        self.conns: dict[int, tuple[NodeId, int]] = {}
        self.peers: dict[int, NodeId] = {}
        self.batches: list[Outgoing] = []
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.welcome: dict[str, Any] = {}  # more of the answer to an owner
        self.page = 1000
        self.after_page: Callable[[], object] = lambda: None
        self.silent = False
        self.accept: Callable[[Outgoing], Accepted] = lambda _: Accepted()
        self._marker = 0
        self._unanswered: list[tuple[str, Outgoing]] = []
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Make the stream, and listen."""
        settings = {
            "name": in_stream(self.node),
            "subjects": [in_subject(self.node, "*")],
            "retention": "workqueue",
            "storage": "file",
        }
        await self.connection.api(f"STREAM.CREATE.{in_stream(self.node)}", settings)
        subscribe = self.connection.client.subscribe
        self._subscriptions = [
            await subscribe(out_subject(self.node), cb=self._take),
            await subscribe(control_subject(self.node), cb=self._control),
        ]
        await in_effect(self.connection.client)

    async def stop(self) -> None:
        """Be gone: nobody answers."""
        for subscription in self._subscriptions:
            await self.connection.end(subscription)
        self._subscriptions.clear()
        await in_effect(self.connection.client)

    # The stream -------------------------------------------------------------------------------------

    async def put(self, *entries: Entry, run: int | None = None) -> int:
        """Store a message with these entries, and return its sequence."""
        for entry in entries:
            if entry[0] == CONNECTED:
                self.conns[entry[1]] = self.peers[entry[1]], 1
            elif entry[0] == PAYLOAD and entry[1] in self.conns:
                self.conns[entry[1]] = self.peers[entry[1]], entry[2] + 1
            elif entry[0] == DISCONNECTED:
                self.conns.pop(entry[1], None)
        peers = {entry[1]: self.peers[entry[1]] for entry in entries if entry[0] != MARKER}
        return await self.put_raw(Batch(self.run if run is None else run, peers, list(entries)).pack())

    async def put_raw(self, data: bytes) -> int:
        """Store bytes."""
        return (await self.connection.append(in_subject(self.node, self.partition), data)).sequence

    def connected(self, conn: int, peer: NodeId, features: bytes = b"") -> Entry:
        """Return the entry of a new connection."""
        self.peers[conn] = peer
        return [CONNECTED, conn, f"address {conn}", "in", features]

    async def left(self) -> int:
        """Return how many messages are in the stream."""
        return int((await self.connection.api(f"STREAM.INFO.{in_stream(self.node)}"))["state"]["messages"])

    async def consumers(self) -> list[str]:
        """Return the names of the stream's consumers."""
        return (await self.connection.api(f"CONSUMER.NAMES.{in_stream(self.node)}"))["consumers"] or []

    # Requests ---------------------------------------------------------------------------------------

    @property
    def sent(self) -> list[tuple[int, bytes]]:
        """The payloads of all batches, those of repeated ones once."""
        found = {batch.batch: batch.payloads for batch in self.batches}
        return [(conn, payload) for payloads in found.values() for conn, payload in payloads]

    async def speak(self) -> None:
        """Answer what was left unanswered, and be silent no more."""
        self.silent = False
        unanswered, self._unanswered = self._unanswered, []
        for reply, batch in unanswered:
            await self.connection.publish(reply, self.accept(batch).pack())

    async def _take(self, message: Msg) -> None:
        batch = Outgoing.unpack(message.data)
        self.batches.append(batch)
        if self.silent:
            self._unanswered.append((message.reply, batch))
        else:
            await self.connection.publish(message.reply, self.accept(batch).pack())

    async def _control(self, message: Msg) -> None:
        values = unpack_control(message.data)
        if values["do"] == "owner":
            answer = self.answers.get("owner") or {"ok": await self._welcome(values)}
        else:
            self.asked.append(values)
            answer = self.answers.get(values["do"], {"ok": {}})
        if answer is not None:
            await self.connection.publish(message.reply, pack_control(answer))

    async def _welcome(self, values: dict[str, Any]) -> dict[str, Any]:
        conns = [[conn, peer, f"address {conn}", "in", b"", place] for conn, (peer, place) in self.conns.items()]
        first = values.get("from", 0)
        if not first:
            self._marker = await self.put([MARKER, values["term"]])
        found = {"run": self.run, "marker": self._marker, "uris": ["somewhere"], **self.welcome}
        found |= {"conns": conns[first : first + self.page], "total": len(conns)}
        self.after_page()
        return found
