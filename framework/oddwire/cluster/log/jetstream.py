"""The logs and snapshots of a node's partitions in JetStream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from oddwire.cluster.log.subject import Message
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerDenied, BrokerUnavailable
from oddwire.transports.nats.subjects import log_stream, log_subject, snapshot_stream, snapshot_subject

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["JetStreamLog", "JetStreamSubject"]

_BATCH: Final = 256  # messages asked for at once
_BATCH_BYTES: Final = 4 << 20
_TIME_LIMIT: Final = 10.0


class JetStreamSubject:
    """A `Subject` of a stream of JetStream."""

    def __init__(self, connection: BrokerConnection, stream: str, name: str) -> None:
        self._connection = connection
        self._stream = stream
        self.name = name

    async def append(self, data: bytes, expected: int) -> int:
        """Store a message; see `Subject.append`."""
        return (await self._connection.append(self.name, data, expected_last=expected)).sequence

    async def last(self) -> Message | None:
        """Return the last message."""
        found = await self._connection.last_of(self._stream, self.name)
        return None if found is None else Message(found.sequence, found.data)

    async def following(self, sequence: int) -> Message | None:
        """Return the first message behind a sequence."""
        found = await self._connection.next_of(self._stream, self.name, sequence + 1)
        return None if found is None else Message(found.sequence, found.data)

    async def read(self, after: int) -> AsyncIterator[Message]:
        """Return the messages behind a sequence, in order: as far as the replica that answers has them."""
        while True:
            found = await self._batch(after + 1)
            for message in found:
                yield message
            if not found:
                return
            after = found[-1].sequence

    async def _batch(self, start: int) -> list[Message]:
        connection, found = self._connection, list[Message]()
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        inbox, asked = connection.client.new_inbox(), f"$JS.API.DIRECT.GET.{self._stream}"

        async def receive(message: Msg) -> None:
            headers = message.headers or {}
            if "Nats-Sequence" in headers:
                found.append(Message(int(headers["Nats-Sequence"]), message.data))
            elif not ended.done():
                status = headers.get("Status", "")
                said = "nobody answers" if status == "503" else headers.get("Description", status)
                ended.set_result("" if status in ("204", "404") else said)

        def fail() -> None:
            if not ended.done():
                ended.set_result("the connection to the broker was lost")

        def deny(subject: str, error: BrokerDenied) -> bool:
            ours = subject == asked.lower() and not ended.done()
            if ours:
                ended.set_exception(error)
            return ours

        subscription = await connection.client.subscribe(inbox, cb=receive)
        connection.on_lost.append(fail)
        connection.on_denied.append(deny)
        wanted = {"seq": start, "next_by_subj": self.name, "batch": _BATCH, "max_bytes": _BATCH_BYTES}
        try:
            await connection.publish(asked, json.dumps(wanted).encode(), reply=inbox)
            async with asyncio.timeout(_TIME_LIMIT):
                problem = await ended
        except TimeoutError:
            raise BrokerUnavailable(f"{self.name}: no answer within {_TIME_LIMIT:g} s") from None
        finally:
            connection.on_lost.remove(fail)
            connection.on_denied.remove(deny)
            await connection.end(subscription)
        if problem:
            raise BrokerUnavailable(f"{self.name}: {problem}")
        return found

    async def purge(self, before: int | None = None) -> None:
        """Delete the messages before a sequence; None is all of them."""
        wanted: dict[str, object] = {"filter": self.name}
        if before is not None:
            wanted["seq"] = before
        await self._connection.api(f"STREAM.PURGE.{self._stream}", wanted)


class JetStreamLog:
    """The log of a node's partition, and its snapshots: a `LogPlace`. The gateway makes the streams."""

    def __init__(self, connection: BrokerConnection, node: NodeId, partition: int) -> None:
        self._connection = connection
        self._node = node
        self._partition = partition
        self.log = JetStreamSubject(connection, log_stream(node), log_subject(node, partition))

    @property
    def max_message(self) -> int:
        """Bytes of the longest message that the broker takes, less what headers need."""
        return self._connection.max_payload - 1024

    def snapshot(self, name: str) -> JetStreamSubject:
        """Return the subject of the pieces of a snapshot."""
        subject = snapshot_subject(self._node, self._partition, name)
        return JetStreamSubject(self._connection, snapshot_stream(self._node), subject)

    async def snapshots(self) -> list[str]:
        """Return the names of the snapshots that have pieces."""
        wanted = {"subjects_filter": snapshot_subject(self._node, self._partition, "*")}
        info = await self._connection.api(f"STREAM.INFO.{snapshot_stream(self._node)}", wanted)
        return [subject.rpartition(".")[2] for subject in info["state"].get("subjects") or ()]
