"""A partition's consumer: the messages of its stream, in order, each until it is acknowledged.

JetStream gives a message again after its time limit, out of order, and to whoever asks. So each owner makes a consumer
anew, which begins with all that is not acknowledged; and makes it anew whenever something may have been lost on the way
to it: after the connection to the broker was lost, say.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerRefused, BrokerUnavailable
from oddwire.transports.nats.patience import pauses

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["Consumer", "StaleOwner"]

logger = get_logger("oddwire.transports.nats")

_BATCH: Final = 1000  # messages that a request asks for at most
_BATCH_BYTES: Final = 4 << 20
_HEARTBEAT: Final = 5.0  # seconds of silence after which the broker says that it is there
_SILENCE: Final = 12.5  # seconds without any word after which the consumer is made anew
_EXPIRES: Final = 60.0
_ACK_WAIT: Final = 86400.0
_UNACKNOWLEDGED: Final = 100_000  # messages under way; one that hangs should not stop the others
_EXISTS: Final = {10100, 10099}  # a work queue has one consumer for a subject
_NO_CONSUMER: Final = 10014
_RENEWING: Final = ("Consumer Deleted", "Leadership Change", "Server Shutdown", "No Responders")
_ATTEMPTS: Final = 5  # to be the only one, where others make consumers, too
_FLUSH: Final = 1.0  # seconds that the broker has at the end


class StaleOwner(Exception):
    """There is a consumer of a later owner."""


class Consumer:
    """The consumer of one term, for ``subject`` of ``stream``. Names are ``PREFIX-TERM-N``, where ``N`` counts.

    ``received(sequence, data)`` is called with each message, in order, once; ``ended(stale, reason)`` when the consumer
    is lost for good: with True if there is one of a higher term.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        stream: str,
        subject: str,
        *,
        prefix: str,
        term: int,
        received: Callable[[int, bytes], object],
        ended: Callable[[bool, str], object],
    ) -> None:
        self._connection = connection
        self._stream, self._subject = stream, subject
        self._prefix, self._term = prefix, term
        self._received = received
        self._ended = ended
        self._number = 0
        self._name = ""
        self._subscription: Subscription | None = None
        self._open: dict[int, str] = {}  # where to acknowledge, by sequence; empty if it is yet to come again
        self._seen = 0  # sequence of the last message
        self._place = 0  # the consumer's own number of it
        self._asked = 0  # messages asked for that have not come
        self._acks: deque[str] = deque()
        self._last = ""  # where the last acknowledgement goes, of this consumer
        self._renewing = False
        self._held = False
        self._heard = 0.0
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def unacknowledged(self) -> int:
        """How many messages have come and are not acknowledged."""
        return len(self._open)

    async def open(self) -> None:
        """Make the consumer, in place of others for its subject. Raises `BrokerFailure` and `StaleOwner`."""
        await self._make()
        self._connection.on_back.append(self._renew)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"consumer {self._name}")
        self._look()

    def acknowledge(self, sequence: int) -> None:
        """Take a message out of the stream."""
        reply = self._open.pop(sequence, None)
        if reply:
            self._acks.append(reply)
            self._last = reply
            self._poke()

    def hold(self, held: bool) -> None:
        """Ask for no more messages while ``held``; those asked for still come."""
        self._held = held
        self._poke()

    def stop(self) -> None:
        """Receive, ask for and acknowledge nothing more, at once."""
        self._closed = True
        with contextlib.suppress(ValueError):
            self._connection.on_back.remove(self._renew)
        if self._watch is not None:
            self._watch.cancel()
        if self._task is not None:
            self._task.cancel()

    async def aclose(self) -> None:
        """Wait for the end of its task; the consumer is left to the next owner."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None
        await self._unsubscribe()

    async def give_up(self) -> bool:
        """Send the acknowledgements, and delete the consumer. Return whether the broker has answered."""
        acks, name = [*self._acks], self._name
        await self.aclose()
        try:
            for reply in acks:
                await self._connection.publish(reply, b"")
            if self._last:
                # Once more, with an answer: the consumer takes what it has not looked at along with it
                await self._connection.request(self._last, b"", time_limit=_FLUSH)
            await self._connection.api(f"CONSUMER.DELETE.{self._stream}.{name}", time_limit=_FLUSH)
        except BrokerFailure as error:
            logger.debug("consumer %s is left to the next owner: %s", name, error.reason)
            return False
        return True

    # Its task ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                if self._renewing:
                    await self._make_anew()
                while self._acks:
                    with contextlib.suppress(BrokerUnavailable):  # it comes again, as one that was handled
                        await self._connection.publish(self._acks[0], b"")
                    self._acks.popleft()
                if not self._held and self._asked <= _BATCH // 2:
                    await self._ask()
                if not (self._renewing or self._acks):
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        except StaleOwner as error:
            self._ended(True, str(error))
        except BrokerFailure as error:
            self._ended(False, f"the stream cannot be read: {error.reason}")

    def _poke(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _renew(self) -> None:
        """Make the consumer anew, as something may be lost between it and us."""
        self._renewing = True
        self._poke()

    def _look(self) -> None:
        """Look from time to time whether the broker still has our request."""
        loop = asyncio.get_running_loop()
        if loop.time() > self._heard + _SILENCE and self._connection.is_connected and not self._held:
            logger.warning("nothing is heard of consumer %s: it is made anew", self._name)
            self._heard = loop.time()
            self._renew()
        self._watch = loop.call_later(_HEARTBEAT, self._look)

    async def _make_anew(self) -> None:
        following = pauses()
        while self._renewing:
            self._renewing = False
            try:
                await self._make()
            except BrokerUnavailable as error:
                logger.debug("the consumer is not made anew yet: %s", error.reason)
                self._renewing = True
                await asyncio.sleep(next(following))

    async def _make(self) -> None:
        """Delete the former ones, make one, and ask for its messages."""
        await self._unsubscribe()
        if self._seen:
            state = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["state"]
            if int(state["last_seq"]) < self._seen:
                raise BrokerRefused(f"{self._stream} is not the stream that it was: it has lost what was read of it")
        for sequence in self._open:
            self._open[sequence] = ""
        self._acks.clear()  # of the former one: they come again
        self._last = ""
        for pause in (*itertools.islice(pauses(), _ATTEMPTS), None):
            try:
                await self._replace()
                break
            except BrokerRefused as error:
                if error.code not in _EXISTS or pause is None:
                    raise
            await asyncio.sleep(pause)  # somebody else has made one
        self._place = self._asked = 0
        client = self._connection.client
        self._heard = asyncio.get_running_loop().time()
        # Without limits, beyond which the client would drop: what is asked for is limited
        self._subscription = await client.subscribe(
            client.new_inbox(), cb=partial(self._take, self._number), pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await self._ask()

    async def _replace(self) -> None:
        for name in await self._names():
            if _term_of(name) > self._term:
                raise StaleOwner(f"the partition has a later owner, with the term {_term_of(name)}")
            try:
                await self._connection.api(f"CONSUMER.DELETE.{self._stream}.{name}")
            except BrokerRefused as error:
                if error.code != _NO_CONSUMER:
                    raise
        self._number += 1
        self._name = name = f"{self._prefix}-{self._term}-{self._number}"
        config = {
            "durable_name": name,
            "filter_subject": self._subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": _nanoseconds(_ACK_WAIT),
            "max_deliver": -1,
            "max_ack_pending": _UNACKNOWLEDGED,
            "max_waiting": 16,
        }
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        await self._connection.api(f"CONSUMER.CREATE.{self._stream}.{name}.{self._subject}", body)

    async def _names(self) -> list[str]:
        """Return the names of all consumers for the subject."""
        found: list[str] = []
        while True:
            answer = await self._connection.api(f"CONSUMER.NAMES.{self._stream}", {"offset": len(found)})
            page = answer.get("consumers") or []
            found += page
            if not page or len(found) >= int(answer.get("total", 0)):
                return [name for name in found if name.rpartition("-")[0].rpartition("-")[0] == self._prefix]

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._connection.end(subscription)

    # Receiving --------------------------------------------------------------------------------------

    async def _ask(self) -> None:
        """Ask for more messages."""
        if self._subscription is None:
            return
        request = {
            "batch": _BATCH - self._asked,
            "max_bytes": _BATCH_BYTES,
            "expires": _nanoseconds(_EXPIRES),
            "idle_heartbeat": _nanoseconds(_HEARTBEAT),
        }
        self._asked = _BATCH
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        with contextlib.suppress(BrokerUnavailable):  # made anew once there is a connection
            await self._connection.publish(subject, json.dumps(request).encode(), reply=self._subscription.subject)

    async def _take(self, number: int, message: Msg) -> None:
        if self._closed or number != self._number or self._renewing:
            return  # of a former one
        self._heard = asyncio.get_running_loop().time()
        if not message.reply.startswith("$JS.ACK."):
            self._take_status(message.headers or {})
            return
        sequence, place = _numbers(message.reply)
        if place != self._place + 1:
            logger.warning("messages of consumer %s are missing: it is made anew", self._name)
            self._renew()
            return
        self._place = place
        self._asked -= 1
        if sequence > self._seen:
            self._seen = sequence
            self._open[sequence] = message.reply
            self._received(sequence, message.data)
        elif sequence in self._open:
            self._open[sequence] = message.reply
        else:
            self._acks.append(message.reply)  # handled before
            self._last = message.reply
        if self._acks or self._asked <= _BATCH // 2:
            self._poke()

    def _take_status(self, headers: dict[str, str]) -> None:
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        pending = headers.get("Nats-Pending-Messages", "")
        self._asked = max(0, self._asked - int(pending)) if pending.isdecimal() else self._asked
        if status == "503" or text.startswith(_RENEWING):
            # Newer servers add a header there, which nats-py takes for a part of the description
            logger.info(
                "consumer %s is made anew: %s", self._name, "nobody has it" if status == "503" else printable(text)
            )
            self._renew()
        elif status not in ("404", "408") and not text.startswith(("Batch Completed", "Message Size Exceeds")):
            logger.warning("consumer %s: %s %s", self._name, printable(status), printable(text))
        self._poke()


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _term_of(name: str) -> int:
    term = name.rpartition("-")[0].rpartition("-")[2]
    return int(term) if term.isdecimal() else 0


def _numbers(reply: str) -> tuple[int, int]:
    """Return the sequences of a message, in the stream and of the consumer, from where it is acknowledged.

    That is ``$JS.ACK.stream.consumer.delivered.sequence.place.time.pending``, or with domain and account before the
    stream, and one more part at the end (ADR-15).
    """
    parts = reply.split(".")
    at = 5 if len(parts) == 9 else 7
    return int(parts[at]), int(parts[at + 1])
