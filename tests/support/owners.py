"""An owner of a partition as a gateway sees it: it asks, reads the stream, and sends, by the wire format alone."""

from __future__ import annotations

from typing import Any, Final

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.packing import (
    Accepted,
    Batch,
    Entry,
    Outgoing,
    pack_control,
    unpack_control,
)
from oddwire.transports.nats.subjects import control_subject, in_stream, in_subject, out_subject

LIMIT: Final = 20.0


class OwnerDouble:
    """Owns partition ``partition`` of a node, in ``term``."""

    def __init__(self, connection: BrokerConnection, node: NodeId, partition: int, term: int = 1) -> None:
        self.connection = connection
        self.node = node
        self.partition = partition
        self.term = term
        self.run = 0
        self.batch = 0
        self.conns: list[list[Any]] = []
        self.marker = 0
        self.read = 0
        """The sequence up to which the stream was read."""

    async def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Send a control, and return the whole answer."""
        wanted = {"do": do, "k": self.partition, "term": self.term, "run": self.run, **values}
        raw = await self.connection.request(control_subject(self.node), pack_control(wanted), time_limit=LIMIT)
        return unpack_control(raw)

    async def own(self) -> dict[str, Any]:
        """Become the owner; return the answer."""
        answer = await self.ask("owner")
        if "ok" in answer:
            found = answer["ok"]
            self.run, self.conns, self.marker = found["run"], found["conns"], found["marker"]
        return answer

    async def entries(self) -> list[Entry]:
        """Return what is new in the stream; it stays there."""
        found: list[Entry] = []
        for batch in await self.batches():
            found += batch.entries
        return found

    async def batches(self) -> list[Batch]:
        """Return the new messages of the stream."""
        return [batch for _, batch in await self.numbered()]

    async def numbered(self) -> list[tuple[int, Batch]]:
        """Return the new messages of the stream, each with its sequence."""
        found = []
        subject = in_subject(self.node, self.partition)
        while message := await self.connection.next_of(in_stream(self.node), subject, self.read + 1):
            self.read = message.sequence
            found.append((message.sequence, Batch.unpack(message.data)))
        return found

    async def until(self, *kinds: int) -> list[Entry]:
        """Read on until there was an entry of each of these kinds; return all that was read."""
        from tests.support.waiting import until_answered

        found: list[Entry] = []

        async def probe() -> bool:
            found.extend(await self.entries())
            return {entry[0] for entry in found} >= set(kinds)

        await until_answered(probe, every=0.01)
        return found

    async def send(self, *payloads: tuple[int, bytes], batch: int | None = None, **other: int) -> Accepted:
        """Send payloads, in the next batch unless another one is said."""
        number = self.batch + 1 if batch is None else batch
        self.batch = number if batch is None else self.batch
        values = {"partition": self.partition, "term": self.term, "run": self.run, **other}
        return await self.request(Outgoing(**values, batch=number, payloads=payloads).pack())

    async def request(self, raw: bytes) -> Accepted:
        """Send bytes to the subject for payloads."""
        return Accepted.unpack(await self.connection.request(out_subject(self.node), raw, time_limit=LIMIT))
