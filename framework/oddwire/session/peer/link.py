"""The session with one program behind a peer: its hello, and everything under way with it.

Longer than other modules: each kind of frame has its method here, and all of them use the state of the session.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from oddwire.errors import ConnectionClosed, MalformedMessage, PeerNotConnected, QuotaExceeded, UnknownRequiredRecord
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.session.peer.fragment_sender import FragmentSender, Progress
from oddwire.session.peer.link_states import NEXT, LinkEvent, LinkState
from oddwire.session.peer.outgoing_requests import OutgoingRequests
from oddwire.session.peer.reassembly import Reassembler
from oddwire.session.peer.request_tables import HandledRequest, HandledRequests
from oddwire.session.wire.fields import clip
from oddwire.session.wire.frame_types import (
    DEFAULT_REQUESTS,
    Ack,
    Cancel,
    Code,
    Data,
    Failure,
    Fragment,
    Hello,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    Spoken,
    UnknownFrame,
)
from oddwire.session.wire.frames import decode, encode_failure, encode_reply, is_part, subject
from oddwire.session.wire.hello import digest, negotiate
from oddwire.transports.base import MAX_PAYLOAD

if TYPE_CHECKING:
    from oddwire.session.peer.peer_session import PeerSession

__all__ = ["Link"]

logger = get_logger("oddwire.session")

_NEVER: Final = math.inf
_GRACE: Final = 0.5  # seconds after a request's wait in which its caller's cancel should have come
_PROGRAMS: Final = 4  # requests of all programs of a peer handled at once, as a multiple of those of one program
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Link:
    """The session with one program of a peer, from its first hello to the end of the session or the connection.

    ``instance`` is the address of the program's process, u32. Ids of requests and transfers count within the session
    alone: another program of the peer may use the same.
    """

    __slots__ = (
        "_assembler",
        "_assembles",
        "_calls",
        "_handles",
        "_large",
        "_reason",
        "_time",
        "agreed",
        "closed",
        "common",
        "doubted",
        "handled",
        "inbound",
        "instance",
        "last_received",
        "node_id",
        "pause",
        "peer",
        "program",
        "ready",
        "route",
        "shared",
        "spoken",
        "state",
        "stores",
        "working",
    )

    def __init__(self, peer: PeerSession, instance: int) -> None:
        shared = peer.shared
        self.peer = peer
        self.shared = shared
        self.node_id = peer.node_id
        self.instance = instance
        self.route = instance << 32 | shared.instance
        """The addresses of the frames that we send, as `session.wire.frames` encodes them: ``to``, then ``from``."""
        self.inbound = shared.address + instance.to_bytes(4, "big")
        """The addresses of the frames that we receive: 8 bytes, ``to``, then ``from``."""
        self.program = 0
        self.stores: tuple[int, ...] = ()
        self.state = LinkState.INITIAL
        # What is asked of the state for every frame, kept beside it by `_change`
        self.common = False
        """Whether there is a session: a version of the protocol in common."""
        self.ready = False
        """Whether there is a session, and the program has our hello, or gets it before any frame sent from now on."""
        self.closed = False
        """Whether the session has ended."""
        self._time = shared.loop.time
        self.last_received = self._time()
        """When the last frame came, in seconds of the event loop's clock."""
        self.doubted: float | None = None
        """When the program was asked for a hello because nothing came of it; None if it need not be."""
        self.pause = 10.0
        """Seconds without a frame after which the program is asked for a hello."""
        self.spoken: Mapping[str, Spoken] = _NOTHING
        """The part of the extensions in its hello that is kept, by name; see `digest`."""
        self.agreed: Mapping[str, str] = _NOTHING
        """The common version of each extension that both have, by name."""
        self.handled: HandledRequests[Any] = HandledRequests(shared.limits.requests)
        self.working = 0
        """Requests of the program whose handlers have not ended; they may outlive their requests in the session."""
        self._assembler: Reassembler | None = None
        self._calls: OutgoingRequests | None = None
        self._handles = DEFAULT_REQUESTS  # *requests* and *assembles* of its hello
        self._assembles: int | None = None
        self._large: FragmentSender | None = None
        self._reason = ""

    # What we send -----------------------------------------------------------------------------------

    @property
    def calls(self) -> OutgoingRequests:
        """Our requests to the program. Raises `ConnectionClosed` once the session has ended."""
        if self._calls is None:
            self.check()
            self._calls = OutgoingRequests(self, self._handles)
        return self._calls

    @property
    def large(self) -> FragmentSender:
        """Our transfers to the program. Raises `ConnectionClosed` once the session has ended."""
        if self._large is None:
            self.check()
            self._large = FragmentSender(self, self._assembles)
        return self._large

    def check(self) -> None:
        """Raise `ConnectionClosed` if the session has ended."""
        if self.closed:
            raise ConnectionClosed(self._reason)

    @property
    def is_asking(self) -> bool:
        """Whether requests of ours wait for the program's replies."""
        return self._calls is not None and len(self._calls.asked) > 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way in either direction."""
        large, assembler = self._large, self._assembler
        asking = self.working or self.handled or self.is_asking
        return not asking and not assembler and not (large and large.busy)

    async def send(
        self,
        payload: bytes,
        *,
        progress: Progress | None = None,
        failed: Callable[[Failure], object] | None = None,
    ) -> None:
        """Send a payload of any length, in fragments if it needs them; see `FragmentSender.send`."""
        if len(payload) > MAX_PAYLOAD:
            await self.large.send(payload, progress=progress, failed=failed)
            return
        await self.shared.transport.send(self.node_id, payload)
        if progress is not None:
            progress(len(payload), len(payload))

    def post(self, frame: bytes) -> None:
        """Queue a short frame for sending, in the order of calls, without waiting; dropped if the session has ended."""
        if not self.closed:
            self.peer.post(frame)

    def wake(self, when: float) -> None:
        """Schedule `tick` for ``when`` at the latest, in seconds of the event loop's clock."""
        if when < self.peer.due:
            self.shared.timer.wake(self.peer, when)

    def refuse(self, scope: Scope, number: int, code: Code | int, text: str, limit: str | None = None) -> None:
        """Send a failure for a request or a transfer of the peer, and count a fault.

        ``limit`` names the exceeded limit, if there is one, and is counted.
        """
        if limit is not None:
            self.shared.counters.refused[limit] += 1
        self._send_failure(scope, number, code, text)
        logger.debug("a %s of %s fails here: %s", scope.name.lower(), self.node_id, printable(text))
        self.peer.fault()

    def _send_failure(self, scope: Scope, number: int, code: Code | int, text: str) -> None:
        if not self.peer.is_slow:
            self.post(encode_failure(self.route, scope, number, code, clip(text)))
        else:
            self.shared.counters.dropped["failures"] += 1

    def replied_at_once(self, handling: HandledRequest[Any], payload: bytes) -> bool:
        """Fast path: send a reply of up to 65000 bytes if the transport takes it at once, as it does for most.

        Return False if it was not sent: call `reply` then. Raises `ValueOutOfRange` if the payload is not a message.
        """
        frame = encode_reply(self.route, handling.id, 0, payload)
        try:
            return self.handled.has(handling) and self.shared.send_nowait(self.node_id, frame)
        except (PeerNotConnected, ConnectionClosed):
            return False

    async def reply(self, handling: HandledRequest[Any], payload: bytes, flags: int = 0) -> bool:
        """Send a reply or a part of a stream, of up to 65000 bytes, or the end of a stream; see `encode_reply`.

        Return False, and send nothing, if the request is not open any more. Raises the errors of the transport.
        """
        handled, shared = self.handled, self.shared
        if not handled.has(handling):
            return False
        frame = encode_reply(self.route, handling.id, flags, payload)
        del payload  # it may be long until the peer reads it
        if not shared.send_nowait(self.node_id, frame):
            if not flags & ReplyFlag.PART:
                handled.answer(handling)
            await shared.transport.send(self.node_id, frame)
        return True

    async def send_reply(
        self, handling: HandledRequest[Any], frame: bytes, failed: Callable[[Failure], object]
    ) -> None:
        """Send a reply of any length, encoded as a frame; ``failed`` is called if the peer fails its transfer.

        Raises the errors of `FragmentSender.send` and of the transport.
        """
        if len(frame) <= MAX_PAYLOAD and self.shared.send_nowait(self.node_id, frame):
            return
        if not is_part(frame):
            self.handled.answer(handling)
        if len(frame) <= MAX_PAYLOAD:
            await self.shared.transport.send(self.node_id, frame)
        else:
            await self.large.send(frame, failed=failed)

    async def fail(self, handling: HandledRequest[Any], code: int, text: str) -> None:
        """Answer a request with a failure, if it is still open. Raises the errors of the transport."""
        if self.handled.has(handling):
            frame = encode_failure(self.route, Scope.REQUEST, handling.id, code, clip(text))
            self.handled.answer(handling)
            await self.shared.transport.send(self.node_id, frame)

    def refuse_request(
        self, handling: HandledRequest[Any], code: Code | int, text: str, limit: str | None = None
    ) -> None:
        """Close a request and send a failure for it; see `refuse`."""
        self.handled.close(handling)
        self.refuse(Scope.REQUEST, handling.id, code, text, limit)

    # What the peer sends ----------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Handle a frame from this program that is addressed to us."""
        try:
            frame = decode(payload)
        except MalformedMessage as error:
            self._unreadable(payload, error)
            return
        self.last_received = self._time()
        if self.common or type(frame) is Hello:
            _ACTIONS[type(frame)](self, frame)
        else:
            self._fault("a frame outside of a session")  # without a version in common

    def _unreadable(self, payload: bytes, error: MalformedMessage) -> None:
        about = subject(payload) if self.common else None
        unsupported = isinstance(error, UnknownRequiredRecord)  # of a later version, so it is not reported as malformed
        if about is None or (about[0] is Scope.REQUEST and self.handled.is_open(about[1])):
            self._fault("an unreadable frame")
        elif about[0] is Scope.REQUEST or self._assembling().fail(about[1]):
            self.refuse(*about, Code.UNSUPPORTED if unsupported else Code.MALFORMED, str(error.args[0]))
        else:
            self._fault("an unreadable piece of no transfer")
        if not unsupported:
            self.shared.host.malformed(self.node_id, payload, error)

    def _take_hello(self, hello: Hello) -> None:
        self.peer.take_hello(self.instance, hello)

    def update(self, hello: Hello) -> None:
        """Apply a hello of the program: the last one counts."""
        self.program, self.stores = hello.program, hello.stores
        agreement = negotiate(self.shared.own.hello, hello)
        self._change(LinkEvent.APART if agreement is None else LinkEvent.AGREED)
        self.agreed = _NOTHING if agreement is None else agreement.extensions
        self.spoken = digest(self.shared.own.hello, hello)
        self._handles = DEFAULT_REQUESTS if hello.requests is None else hello.requests
        self._assembles = hello.assembles
        if self._calls is not None:
            self._calls.allowed = self._handles
        if self._large is not None:
            self._large.most = self._assembles

    def hello_sent(self) -> None:
        """Record that the program has our hello, or gets it before any frame sent from now on."""
        self._change(LinkEvent.HELLO_SENT)

    def _change(self, event: LinkEvent) -> None:
        state = self.state = NEXT[self.state, event]
        self.ready, self.closed = state is LinkState.READY, state is LinkState.CLOSED
        self.common = self.ready or state is LinkState.COMMON

    def _assembling(self) -> Reassembler:
        if self._assembler is None:
            shared, host = self.shared, self.shared.host
            self._assembler = Reassembler(
                shared.limits,
                host.max_size_of,
                shared.budget,
                host.allowance_of,
                self._evicted,
                host.title_of,
                functools.partial(host.is_crowded, self.node_id),
                self.peer.assembling,
            )
        return self._assembler

    def _evicted(self, transfer: int, error: QuotaExceeded) -> None:
        """Send a failure for a transfer that was evicted for other peers' pieces. It does not count as a fault."""
        shared = self.shared
        if not self.peer.is_slow:
            self.post(encode_failure(self.route, Scope.TRANSFER, transfer, shared.count_limit(error), clip(str(error))))

    def _take_fragment(self, fragment: Fragment) -> None:
        shared, assembler = self.shared, self._assembling()
        now = shared.loop.time()
        try:
            payload = assembler.push(fragment, now, self.inbound)
        except QuotaExceeded as error:
            self.refuse(Scope.TRANSFER, fragment.transfer, shared.count_limit(error, fragment.total), str(error))
        except MalformedMessage as error:
            self.refuse(Scope.TRANSFER, fragment.transfer, Code.MALFORMED, str(error.args[0]))
        else:
            if payload is None:
                self.wake(now + assembler.patience)
            elif payload.startswith(SESSION_TYPE_BYTES):
                self.receive(payload)
            else:
                shared.host.message_received(self.node_id, payload)

    def _take_request(self, request: Request) -> None:
        most = self.shared.limits.requests
        # Handlers that were cancelled and have not ended yet count too: there are at most as many of them as of others
        peer = self.peer
        if (
            self.working >= 2 * most
            or (len(peer.links) > _PROGRAMS and peer.open_requests >= _PROGRAMS * most)
            or (peer.left and peer.lingering >= 2 * most)
        ) and not self.handled.is_open(request.id):
            handling: HandledRequest[Any] | Code | None = Code.QUOTA
        else:
            deadline = _NEVER if request.wait_ms is None else self._deadline(request)
            handling = self.handled.open(request.id, request.credit, deadline)
        if handling is None:
            self._fault("a request with an id in use")  # the first one stands, and a failure would end it
        elif isinstance(handling, Code):
            self.refuse(Scope.REQUEST, request.id, handling, f"{most} requests are handled at once", "requests")
        else:
            self.shared.host.request_received(self, handling, request)
            if handling.handle is not None:
                self.working += 1

    def request_ended(self, handling: HandledRequest[Any]) -> None:
        """Release the place of a request whose ``handle`` the host had set: its handler has ended."""
        self.working -= 1
        self.handled.close(handling)

    def _deadline(self, request: Request) -> float:
        """Return when a request expires: after its wait, and a grace for its caller's cancel. Never for a stream.

        The caller of a stream waits for each part anew.
        """
        if request.wait_ms is None or request.credit:
            return _NEVER
        deadline = self.shared.loop.time() + request.wait_ms / 1000 + _GRACE
        self.wake(deadline)
        return deadline

    def wait_for_credit(self, handling: HandledRequest[Any]) -> None:
        """Set the deadline of a stream that waits for credit, since its handler keeps resources open meanwhile."""
        deadline = self.shared.loop.time() + self.shared.limits.stream_seconds
        self.handled.wait(handling, deadline)
        self.wake(deadline)

    def _take_reply(self, reply: Reply) -> None:
        if self._calls is None or not self._calls.reply(reply):
            self._fault("a reply to no open request")

    def _take_failure(self, failure: Failure) -> None:
        found = self._calls if failure.scope is Scope.REQUEST else self._large
        if found is None or not found.failure(failure):
            self._fault("a failure of no open request or transfer")

    def _take_cancel(self, cancel: Cancel) -> None:
        if cancel.scope is Scope.TRANSFER:
            known = self._assembler is not None and self._assembler.cancel(cancel.id)
        else:
            handling = self.handled.cancel(cancel.id)
            known = handling is not None
            if handling is not None and handling.handle is not None:
                handling.handle.cancel()
        if not known:
            self._fault("a cancel of no open request or transfer")

    def _take_ack(self, ack: Ack) -> None:
        if ack.scope is Scope.LANE:
            if not self.shared.delivery.ack_received(self, ack):
                self._fault("an ack of no lane that was used")
            return
        handling = self.handled.grant(ack.id, ack.value)
        if handling is not None and handling.handle is not None:
            handling.handle.wake()
        elif handling is None:
            self._fault("credit for no stream")

    def _take_data(self, data: Data) -> None:
        if not self.shared.delivery.data_received(self, data):
            self._fault("a reliable message of a lane above the limit")

    def _take_unknown(self, _: UnknownFrame) -> None:
        self.shared.counters.dropped["kinds"] += 1
        self._fault()

    def _fault(self, what: str = "") -> None:
        self.peer.fault(what)

    # Its life ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Expire requests and transfers whose deadlines have passed, and schedule the next tick."""
        shared = self.shared
        calls, assembler = self._calls, self._assembler
        if calls is not None:
            if calls.asked.deadline <= now:
                calls.expire(now)
            self.wake(calls.asked.deadline)
        if self.handled.deadline <= now:
            for handling in self.handled.expire(now):
                if handling.handle is not None:
                    handling.handle.cancel()
                text = "its caller accepts no more" if handling.streams else "its caller's timeout has expired"
                shared.counters.refused["stream_seconds" if handling.streams else "expired"] += 1
                logger.debug("a request of %s is cancelled: %s", self.node_id, text)
                self._send_failure(Scope.REQUEST, handling.id, Code.EXPIRED, text)
        self.wake(self.handled.deadline)
        if assembler is not None:
            for number, error in assembler.expire(now):
                shared.count_limit(error)
                self.refuse(Scope.TRANSFER, number, Code.EXPIRED, str(error))
            if assembler.deadline is not None:
                self.wake(assembler.deadline)

    def fail_requests(self, error: Exception) -> None:
        """Fail our open requests to the program with ``error``."""
        if self._calls is not None:
            self._calls.fail_all(error)

    def close(self, reason: str) -> None:
        """End the session: fail our requests with `ConnectionClosed`, cancel handlers, drop transfers."""
        self._change(LinkEvent.CLOSED)
        self._reason = reason
        error = ConnectionClosed(reason)
        self.fail_requests(error)
        left = self.handled.clear()
        if left:
            self.shared.counters.dropped["abandoned"] += len(left)
            logger.debug("%d requests of %s are cancelled: %s", len(left), self.node_id, printable(reason))
        for handling in left:
            if handling.handle is not None:
                handling.handle.cancel()
        if self._assembler is not None:
            self._assembler.clear()
        if self._large is not None:
            self._large.fail_all(error)
        # A handler may hold the link for longer: release everything else
        for part in (self._calls, self._large):
            if part is not None:
                part.close()
        self._assembler = self._calls = self._large = None
        self.agreed = self.spoken = _NOTHING


_ACTIONS: Final[Mapping[type, Callable[[Link, Any], None]]] = {
    Hello: Link._take_hello,  # noqa: SLF001 - its own
    Fragment: Link._take_fragment,  # noqa: SLF001
    Request: Link._take_request,  # noqa: SLF001
    Reply: Link._take_reply,  # noqa: SLF001
    Failure: Link._take_failure,  # noqa: SLF001
    Cancel: Link._take_cancel,  # noqa: SLF001
    Data: Link._take_data,  # noqa: SLF001
    Ack: Link._take_ack,  # noqa: SLF001
    UnknownFrame: Link._take_unknown,  # noqa: SLF001
}
