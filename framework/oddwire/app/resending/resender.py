"""Sends kept messages when they are due, drops those that have expired, and settles those that are answered.

There is one timer, for the next message of all that are due or expired, and one task for each peer to whom something
is being sent.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from oddwire.app.dispatch.peer_queue import PeerQueue, Run
from oddwire.app.resending.answers import Answers
from oddwire.app.resending.entries import Entry
from oddwire.app.resending.keys import decode_key
from oddwire.app.resending.renewals import Renewals
from oddwire.errors import ConnectionClosed, DecodeError, NotSupported, OddwireError, PeerNotConnected, Refuse
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of
from oddwire.transports.base import fast_send

if TYPE_CHECKING:
    from oddwire.app.context import Context
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.messenger import AppMessenger
    from oddwire.app.resending.kept_messages import KeptMessages

__all__ = ["Resender"]

logger = get_logger("oddwire.app")

_LONGEST: Final = 60.0  # seconds until the timer looks whether the clocks still agree
_DRIFT: Final = 1.0  # seconds by which the clock of ages and the loop's may move apart: the machine was suspended
_MOST: Final = 256  # messages that one call of the timer looks at
_TURN: Final = 64  # messages sent to a peer before other tasks have their turn
_SPARE: Final = 64  # outdated places in the heap that are left there in any case


class Resender:
    """Sends the ``kept`` messages of a running application."""

    def __init__(self, core: Core, messenger: AppMessenger, kept: KeptMessages) -> None:
        self._core = core
        self._loop = core.loop
        self._kept = kept
        self._messenger = messenger
        self._transport = core.transport
        self._send_nowait = fast_send(core.transport)
        self._numbers = {owner.name: number for number, owner in enumerate(core.tables.owners, 1)}
        self._classes = {schema_of(message).type_id: message for message in core.tables.claims}
        self._answers = Answers(core.tables.claims)
        self._heap: list[tuple[float, int, Entry]] = []
        self._places = 0
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()  # the timer is nobody's, and in no unit of work
        self._drift = 0.0
        self._waiting: dict[NodeId, deque[Entry]] = {}  # what is due, of peers to whom something is being sent
        self._renewals = Renewals(self._renew, core.spawn)
        self._closed = False
        kept.added, kept.removed = self.added, self.removed
        for entry in [*kept.entries.values()]:
            if entry.stored:
                self.added(entry)

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    # What is kept -----------------------------------------------------------------------------------

    def added(self, entry: Entry) -> None:
        """Send a message that is on disk, now if its peer is there, or was not settled on disk after all."""
        queue = self._core.queues.get(entry.ident.node_id)
        if self._answers.add(entry) and queue is not None:
            queue.set_answers(partial(self._answered, entry.ident.node_id))
        if queue is not None and self._is_open(entry):
            if not entry.sent and self._renewals.add(entry):  # behind those that have waited longer
                self._plan(entry)
                return
            entry.connection = queue.info
            self._make_due(entry, at_once=not entry.sent)
        else:
            entry.due = inf
            self._plan(entry)
            self._check_loaded(entry)

    def removed(self, entry: Entry) -> None:
        """Send a message no more."""
        entry.place = 0
        queue = self._core.queues.get(entry.ident.node_id)
        if self._answers.remove(entry) and queue is not None:
            queue.set_answers(None)
        self._clean()

    def _clean(self) -> None:
        """Remove outdated places from the heap if they are more than all others."""
        if len(self._heap) > 2 * len(self._kept.entries) + _SPARE:
            self._heap = [item for item in self._heap if item[2].place == item[1]]
            heapq.heapify(self._heap)

    def due_in(self, entry: Entry) -> float | None:
        """Return the seconds until a message is sent next; None if its peer has to connect first."""
        if not self._is_open(entry):
            return None
        if entry.queued or self._is_to_be_renewed(entry):
            return 0.0
        return None if entry.due == inf else max(0.0, entry.due - self._loop.time())

    def _check_loaded(self, entry: Entry) -> None:
        if entry.logged or (entry.ident.extension in self._numbers and entry.type_id in self._classes):
            return
        for other in self._kept.entries.values():  # one line for all that lack the same
            if (other.ident.extension, other.type_id) == (entry.ident.extension, entry.type_id):
                other.logged = True
        logger.warning(
            "messages of type %#06x of %r are kept and not sent: that extension is not loaded, or does not register "
            "them any more; they expire at their age",
            entry.type_id,
            entry.ident.extension,
        )

    # Peers ------------------------------------------------------------------------------------------

    def connected(self, queue: PeerQueue) -> None:
        """Send a peer that has connected what is kept for it, as far as no on_connect has to end before."""
        node_id = queue.peer.node_id
        if self._answers.has(node_id):
            queue.set_answers(partial(self._answered, node_id))
        self.opened(queue)

    def opened(self, queue: PeerQueue) -> None:
        """Send a peer what was kept for it until an on_connect has ended, in order; of many, the first at once."""
        node_id = queue.peer.node_id
        peer = self._kept.peers.get(node_id)
        if peer is None:
            return
        self._renewals.begin(node_id, peer.entries.values())

    def _is_to_be_renewed(self, entry: Entry) -> bool:
        """Return whether an entry of an open connection is still to be made due for it, behind others."""
        node_id = entry.ident.node_id
        return node_id in self._renewals and entry.connection is not self._core.queues[node_id].info

    def _renew(self, entry: Entry) -> None:
        """Send an entry on a connection that is new to it, once it is open to its extension."""
        if not entry.live or not entry.stored or entry.answering:
            return
        queue = self._core.queues.get(entry.ident.node_id)
        if queue is not None and entry.connection is not queue.info and self._is_open(entry):
            entry.connection = queue.info
            self._make_due(entry, at_once=entry.on_connect or not entry.sent)

    def disconnected(self, node_id: NodeId) -> None:
        """Send a peer nothing until it is connected again."""
        self._renewals.end(node_id)
        for entry in self._waiting.get(node_id, ()):
            entry.queued = False
        self._waiting.pop(node_id, None)

    def _is_open(self, entry: Entry) -> bool:
        """Return whether an entry's peer is connected, and its extension's on_connect has ended."""
        queue, number = self._core.queues.get(entry.ident.node_id), self._numbers.get(entry.ident.extension)
        if queue is None or queue.info is None or queue.hung_up or number is None or self._core.closing:
            return False
        return queue.pending_hooks is None or not queue.pending_hooks.holds(number)

    # When -------------------------------------------------------------------------------------------

    def _make_due(self, entry: Entry, *, at_once: bool) -> None:
        now = self._loop.time()
        entry.due = now if at_once else max(now, entry.last + (inf if entry.every is None else entry.every))
        if entry.due <= now and not entry.answering:
            self._submit(entry)
        else:
            self._plan(entry)

    def _plan(self, entry: Entry) -> None:
        """Look at an entry again when it is due or expired."""
        if not entry.live or self._closed or entry.answering:
            return
        due = inf if entry.queued else entry.due
        self._places += 1
        entry.place = self._places
        heapq.heappush(self._heap, (min(due, self._loop.time() + self._kept.left_of(entry)), entry.place, entry))
        self._clean()
        if self._heap[0][2] is entry:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._closed:
            at = min(self._heap[0][0], self._loop.time() + _LONGEST)
            self._timer = self._loop.call_at(at, self._tick, context=self._context)

    def _tick(self) -> None:
        now = self._loop.time()
        if self._timer is not None:
            now = max(now, self._timer.when())  # asyncio may call it a nanosecond early: it is on time all the same
        self._timer = None
        self._kept.mark()
        self._check_clocks()
        for _ in range(_MOST):
            if not self._heap or self._heap[0][0] > now:
                break
            _, place, entry = heapq.heappop(self._heap)
            if entry.place != place or entry.answering:
                continue  # another place is its own now, or it gets one when its answer was handled
            if self._kept.left_of(entry) <= 0.0:
                self._expire(entry)
            elif entry.due > now or entry.queued:
                self._plan(entry)
            elif self._is_open(entry) and not self._is_to_be_renewed(entry):
                self._submit(entry)
            else:
                entry.due = inf
                self._plan(entry)
        self._arm()

    def _check_clocks(self) -> None:
        drift = self._kept.now() - self._loop.time()
        if abs(drift - self._drift) > _DRIFT:
            self._drift = drift
            self._heap = []
            for entry in self._kept.entries.values():
                self._plan(entry)

    def _expire(self, entry: Entry) -> None:
        payload, age = self._kept.payload_of(entry) or b"", self._kept.age_of(entry)
        self._kept.drop(entry)
        self._kept.counters.undelivered["unsettled"] += 1
        ident = entry.ident
        extension = ident.extension if ident.extension in self._numbers else ""
        self._core.enforcer.unsettled(ident.node_id, extension, payload, decode_key(ident.key), age, entry.sent)

    # Sending ----------------------------------------------------------------------------------------

    def _submit(self, entry: Entry) -> None:
        """Send an entry that is due, behind those of its peer that are being sent."""
        if entry.queued:
            return
        entry.queued = True
        node_id = entry.ident.node_id
        waiting = self._waiting.get(node_id)
        if waiting is not None:
            waiting.append(entry)
            self._plan(entry)
        elif not self._sent_at_once(entry):
            self._waiting[node_id] = waiting = deque([entry])
            self._plan(entry)
            self._core.spawn(self._send_all(waiting))

    def _sent_at_once(self, entry: Entry) -> bool:
        """Send an entry without a task if nothing has to be waited for, so that it precedes what is sent after it."""
        cls = self._classes.get(entry.type_id)
        if cls is None or entry.payload is None:  # many that are read from the disk should not block the loop
            return False
        if not entry.force and self._core.outgoing[cls].owners is not None:
            return False
        try:
            if not self._send_nowait(entry.ident.node_id, entry.payload):
                return False
        except OddwireError:
            return False
        self._sent(entry, entry.payload)
        return True

    async def _send_all(self, waiting: deque[Entry]) -> None:
        """Send a peer what is due, in order, until nothing is or it has disconnected."""
        node_id, count = waiting[0].ident.node_id, 0
        try:
            while waiting and self._waiting.get(node_id) is waiting:
                entry = waiting.popleft()
                if not entry.live or not entry.queued:
                    entry.queued = False
                elif self._is_open(entry):
                    await self._send(entry)
                else:
                    self._wait_for_connection(entry)
                count += 1
                if not count % _TURN:
                    await asyncio.sleep(0)
        finally:
            if self._waiting.get(node_id) is waiting:
                del self._waiting[node_id]

    async def _send(self, entry: Entry) -> None:
        node_id, payload, connection = entry.ident.node_id, self._kept.payload_of(entry), entry.connection
        cls = self._classes.get(entry.type_id)
        if cls is None:
            self._wait_for_connection(entry)
            self._check_loaded(entry)
            return
        try:
            owners = self._core.outgoing[cls].owners
            if owners is not None and not entry.force:
                await self._messenger.check_support(node_id, cls, owners)
            if payload is not None and entry.live and not self._send_nowait(node_id, payload):
                await self._transport.send(node_id, payload)
        except (PeerNotConnected, ConnectionClosed):
            self._wait_for_connection(entry)
            if entry.connection is not connection and self._is_open(entry):  # it has come back meanwhile
                self._make_due(entry, at_once=True)
        except NotSupported as error:
            self._wait_for_connection(entry)
            self._log_once(entry, payload, f"waits for the next connection: {error}")
        except OddwireError as error:
            self._log_once(entry, payload, f"is kept, and could not be sent: {error}")
            self._rest(entry)
        except BaseException:
            self._wait_for_connection(entry)
            raise
        else:
            if payload is None:  # it could not be read, which is logged
                self._rest(entry)
            elif entry.live:
                self._sent(entry, payload)

    def _sent(self, entry: Entry, payload: bytes) -> None:
        entry.sent += 1
        self._rest(entry)
        tracer = self._core.tracer
        if tracer is not None:
            try:
                message = self._core.tables.registry.decode(payload)
            except DecodeError:
                message = None  # its class has changed
            tracer.trace("sent", entry.ident.node_id, payload, message, outcome="ok")

    def _rest(self, entry: Entry) -> None:
        """Plan an entry's next sending."""
        entry.queued = False
        entry.last = self._loop.time()
        entry.due = inf if entry.every is None else entry.last + entry.every
        self._plan(entry)

    def _wait_for_connection(self, entry: Entry) -> None:
        entry.queued, entry.due = False, inf
        self._plan(entry)

    def _log_once(self, entry: Entry, payload: bytes | None, what: str) -> None:
        if not entry.logged:
            entry.logged = True
            title = self._core.enforcer.describe(payload or entry.type_id.to_bytes(2, "big"))
            logger.warning("%s of %r for %s %s", title, entry.ident.extension, entry.ident.node_id, what)

    # Answers ----------------------------------------------------------------------------------------

    def _answered(self, node_id: NodeId, message: Message, taken: bool, run: Run | None) -> Run | None:
        """Settle what a received message answers: now if it is ``taken`` or has no handler, else after its handler.

        Return the handler to call.
        """
        entries = self._answers.find(node_id, message)
        if not entries:
            return run
        if taken or run is None:
            for entry in entries:
                self._kept.drop(entry)
            return run
        for entry in entries:  # the answer may have to wait for its handler
            if entry.every is not None and not entry.queued:
                entry.due = self._loop.time() + entry.every
                self._plan(entry)
        return partial(self._handle_answer, entries, run)

    async def _handle_answer(
        self, entries: tuple[Entry, ...], run: Run, context: Context, message: Message
    ) -> Message | None:
        """Run the handler of an answer; unless it raises, what it answers is settled."""
        for entry in entries:
            entry.answering += 1
        settled = False
        try:
            reply = await run(context, message)
            settled = True
        except Refuse:
            settled = True
            raise
        finally:
            for entry in entries:
                entry.answering -= 1
                if settled:
                    self._kept.drop(entry)
                elif not entry.answering and entry.live:
                    self._rest(entry)
                    self._renew(entry)  # if the peer has come back meanwhile
        return reply

    def delivered(self, node_id: NodeId, message: Message) -> None:
        """Settle what a message answers that was received reliably, as part of its handler's unit of work."""
        for entry in self._answers.find(node_id, message):
            self._kept.drop(entry)
