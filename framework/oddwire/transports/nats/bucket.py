"""A bucket of keys and values at the broker, as JetStream's key-value stores have it, with compare and set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerDenied, BrokerRefused, BrokerUnavailable

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Bucket", "Value"]

_GONE: Final = ("DEL", "PURGE", "MaxAge")  # of KV-Operation and Nats-Marker-Reason
_TIME_LIMIT: Final = 5.0
_TOO_MANY: Final = "413"  # subjects: nats-server answers for 1024 at most
_PART: Final = 512


class _TooMany(BrokerUnavailable):
    """The bucket has more keys than the broker answers for at once."""


class Value(NamedTuple):
    """A key's value, and its revision: the sequence of the message that has it."""

    data: bytes
    revision: int


class Bucket:
    """The bucket ``name``. With ``max_age``, in seconds, each value is gone so long after it was written.

    Methods raise as those of `BrokerConnection`.
    """

    def __init__(self, connection: BrokerConnection, name: str, *, max_age: float = 0.0) -> None:
        self._connection = connection
        self.name = name
        self.max_age = max_age
        self._stream = f"KV_{name}"

    async def create_bucket(self, *, replicas: int = 1, first: int = 0) -> None:
        """Make the bucket, if there is none; ``first`` is its first revision then.

        One that is kept on fewer brokers than ``replicas`` is kept on so many from now on; fewer are not for one of its
        users to ask for. Raises `BrokerRefused` if there is one with other settings.
        """
        settings = {
            "name": self._stream,
            "subjects": [f"$KV.{self.name}.>"],
            "max_msgs_per_subject": 1,
            "max_age": round(self.max_age * 1e9),
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
            "storage": "file",
            "num_replicas": replicas,
            "duplicate_window": round(min(self.max_age or 120.0, 120.0) * 1e9),
            "first_seq": first,
        }
        info = await self._connection.stream_info(self._stream)
        if info is None:
            await self._connection.api(f"STREAM.CREATE.{self._stream}", settings)
            return
        config = info["config"]
        found = config.get("max_age", 0)
        if found != settings["max_age"]:
            text = f"bucket {self.name} has a time to live of {found / 1e9:g} s, and should have {self.max_age:g} s"
            raise BrokerRefused(text)
        if config.get("num_replicas", 1) < replicas:
            await self._connection.api(f"STREAM.UPDATE.{self._stream}", {**config, "num_replicas": replicas})

    def _subject(self, key: str) -> str:
        return f"$KV.{self.name}.{key}"

    async def get(self, key: str) -> Value | None:
        """Return a key's value, None if it has none."""
        found = await self._connection.last_of(self._stream, self._subject(key))
        if found is None or found.headers.get("KV-Operation", found.headers.get("Nats-Marker-Reason")) in _GONE:
            return None
        return Value(found.data, found.sequence)

    async def create(self, key: str, data: bytes) -> int:
        """Set a key that has no value, and return its revision. Raises `UnexpectedSequence` if it has one."""
        last = await self._connection.last_of(self._stream, self._subject(key))
        expected = 0
        if last is not None and last.headers.get("KV-Operation", last.headers.get("Nats-Marker-Reason")) in _GONE:
            expected = last.sequence
        return (await self._connection.append(self._subject(key), data, expected_last=expected)).sequence

    async def update(self, key: str, data: bytes, revision: int) -> int:
        """Set a key whose value is of a revision, and return the new one. Raises `UnexpectedSequence`."""
        return (await self._connection.append(self._subject(key), data, expected_last=revision)).sequence

    async def put(self, key: str, data: bytes) -> int:
        """Set a key, whatever it has, and return its revision."""
        return (await self._connection.append(self._subject(key), data)).sequence

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Delete a key; with ``revision`` only if its value is of that one, else `UnexpectedSequence` is raised."""
        headers = {"KV-Operation": "PURGE"}
        await self._connection.append(self._subject(key), b"", expected_last=revision, rollup=True, headers=headers)

    async def all(self, prefix: str = "") -> dict[str, Value]:
        """Return the values of all keys, or of those below ``prefix``: ``node.``, say.

        In a cluster of brokers it may be some milliseconds behind.
        """
        try:
            return await self._read([f"{self._subject(prefix)}>"])
        except _TooMany:
            subjects, found = await self._subjects(prefix), dict[str, Value]()
            for at in range(0, len(subjects), _PART):
                found |= await self._read(subjects[at : at + _PART])
            return found

    async def _subjects(self, prefix: str) -> list[str]:
        """Return the subjects of the keys below a prefix, also of keys that were deleted lately."""
        found: list[str] = []
        while True:
            wanted = {"subjects_filter": f"{self._subject(prefix)}>", "offset": len(found)}
            info = await self._connection.api(f"STREAM.INFO.{self._stream}", wanted)
            page = info["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= int(info.get("total", 0)):
                return found

    async def _read(self, subjects: Sequence[str]) -> dict[str, Value]:
        """Return the values of subjects, which may have wildcards."""
        client, found = self._connection.client, dict[str, Value]()
        asked = f"$JS.API.DIRECT.GET.{self._stream}"
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        start = len(self._subject(""))
        inbox = client.new_inbox()

        async def receive(message: Msg) -> None:
            headers = message.headers or {}
            if "Nats-Sequence" not in headers:  # a value may have any other header, as its writer likes
                status = headers.get("Status", "")
                if ended.done():
                    return
                if status in ("204", "404"):
                    ended.set_result(None)
                elif status == "503":
                    ended.set_exception(BrokerUnavailable(f"bucket {self.name} is not there"))
                elif status == _TOO_MANY:
                    ended.set_exception(_TooMany(f"bucket {self.name} has too many keys"))
                else:
                    ended.set_exception(BrokerUnavailable(f"bucket {self.name}: {headers.get('Description', status)}"))
                return
            if headers.get("KV-Operation", headers.get("Nats-Marker-Reason")) not in _GONE:
                found[headers["Nats-Subject"][start:]] = Value(message.data, int(headers["Nats-Sequence"]))

        subscription = await client.subscribe(inbox, cb=receive)
        lost = self._connection.on_lost

        def fail() -> None:
            if not ended.done():
                ended.set_exception(BrokerUnavailable("the connection to the broker was lost"))

        def deny(subject: str, error: BrokerDenied) -> bool:
            ours = subject == asked.lower() and not ended.done()
            if ours:
                ended.set_exception(error)
            return ours

        denied = self._connection.on_denied
        lost.append(fail)
        denied.append(deny)
        try:
            await self._connection.publish(asked, json.dumps({"multi_last": subjects}).encode(), reply=inbox)
            async with asyncio.timeout(_TIME_LIMIT):
                await ended
        except TimeoutError:
            raise BrokerUnavailable(f"bucket {self.name}: no answer within {_TIME_LIMIT:g} s") from None
        finally:
            lost.remove(fail)
            denied.remove(deny)
            await self._connection.end(subscription)
        return found
