"""JSON-RPC with peers in a running application: the routes of objects, our calls, answers to peers' requests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.declarations.rpc_documents import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    LSPS0,
    METHOD_NOT_FOUND,
    NOT_ALLOWED,
    PARSE_ERROR,
    REFUSED,
    RpcDocument,
    error_object,
    is_answer,
    request_object,
    result_object,
    valid_id,
    wrong_request,
)
from oddwire.app.dispatch.peer_queue import Run
from oddwire.app.dispatch.policy import Outcome, title_of
from oddwire.app.plugins.peer_rpc_tables import BoundPeerMethod, RpcTable
from oddwire.app.plugins.tables import Route
from oddwire.durations import duration
from oddwire.errors import CodecError, ExtensionError, QuotaExceeded, Refuse, ReplyTimeout, RpcError
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of
from oddwire.session.wire.frame_types import Code
from oddwire.transports.base import not_connected
from oddwire.transports.host import HostTransport

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.messenger import AppMessenger
    from oddwire.app.dispatch.peer_queue import PeerQueue
    from oddwire.app.limits.access import AccessControl
    from oddwire.app.limits.backpressure import Backpressure
    from oddwire.transports.base import PeerInfo

__all__ = ["PeerRpcs", "not_loaded"]

logger = get_logger("oddwire.app")

_REFUSING: Final = 250e-6  # seconds of work charged for an error, besides what reading the payload took
_APPLICATION: Final = 1000  # codes of `Refuse` from here on are the application's own
_OUTCOMES: Final[Mapping[Any, str]] = {  # of requests that were answered by an error
    INTERNAL_ERROR: "failed",
    PARSE_ERROR: "malformed",
    INVALID_REQUEST: "malformed",
    METHOD_NOT_FOUND: "unhandled",
}


class _Slot:
    """The place of a request among those of its peer that are handled at once; free while it calls the peer back.

    Otherwise two nodes whose methods call each other back would wait for each other, with as many requests as there
    are places.
    """

    __slots__ = ("_calls", "_queue")

    def __init__(self, queue: PeerQueue | None) -> None:
        self._queue = queue  # None once the request has been handled
        self._calls = 0

    @contextmanager
    def calling(self, queue: PeerQueue) -> Iterator[None]:
        """Context manager: free the place during a call to the request's own peer."""
        if self._queue is not queue:
            yield
            return
        self._calls += 1
        if self._calls == 1:
            queue.end_concurrent()
        try:
            yield
        finally:
            self._calls -= 1
            if self._calls == 0 and self._queue is not None:
                queue.resume_concurrent()

    def close(self) -> None:
        """Take the place again, which ends with the request: a task of the handler's may still be calling."""
        queue, self._queue = self._queue, None
        if self._calls and queue is not None:
            queue.resume_concurrent()


_slot: ContextVar[_Slot] = ContextVar("oddwire.peer_rpc")
_NO_SLOT: Final = _Slot(None)  # of what runs for no request


class PeerRpcs:
    """The JSON-RPC of one application with its peers."""

    def __init__(self, core: Core, backpressure: Backpressure, messenger: AppMessenger) -> None:
        self._core = core
        self._backpressure = backpressure
        self._messenger = messenger
        self._queues = core.queues
        self._is_hosted = isinstance(core.transport, HostTransport)  # it may send what is cancelled here
        self._tables = core.tables.peer_rpcs
        self._methods: dict[tuple[type[RpcDocument], str], Route] = {}
        self._errors: dict[type[RpcDocument], Route] = {}
        for table in self._tables.values():
            base = core.routes[schema_of(table.message).type_id.to_bytes(2, "big")]
            first = next(iter(table.owners.values()))
            refuse = partial(self._refuse, table)
            self._errors[table.message] = base._replace(handler=refuse, owner=first, malformed=True)
            for name, bound in table.methods.items():
                route = core.complete(base._replace(owner=bound.owner))
                method = bound.form.method
                answer = self._handle_notification if method.notification else self._answer
                inner: Run = partial(self._run, table, bound)
                if bound.middleware:
                    from oddwire.app.declarations.middleware import around  # loaded by whoever declares any

                    inner = around(bound.middleware, inner)
                run = partial(answer, table, bound, inner, route.access)
                self._methods[table.message, name] = route._replace(handler=run, concurrent=not method.notification)

        self._outcome = ""  # of the notification whose handling has ended last

    def outcome_of(self, message: object, answer: Message | None) -> str:
        """Return what came of a message whose handling has just returned ``answer``: empty for one that was handled.

        To be called before anything else runs.
        """
        if isinstance(answer, RpcDocument):
            error = answer.document.get("error")
            return _OUTCOMES.get(error.get("code"), "refused") if isinstance(error, dict) else ""
        if not isinstance(message, RpcDocument):
            return ""
        return "cancelled" if "id" in message.document else self._outcome

    def check(self, message: type[Message], extension: str) -> None:
        """Raise `ExtensionError` unless an extension is loaded here that has a `PeerRpc` of this type."""
        table = self._tables.get(message)
        if table is None or extension not in table.owners:
            raise not_loaded(message, extension)

    # What comes -------------------------------------------------------------------------------------

    def route(self, queue: PeerQueue, route: Route, message: RpcDocument) -> tuple[float | None, Route]:
        """Return the route of a received object, without a handler if nobody handles it.

        An answer is passed to the call that waits for it: then the time of that is returned as well.
        """
        table, document = route.rpc, message.document
        assert table is not None  # noqa: S101 - narrows the type for checkers
        if is_answer(document):
            return self._answered(queue, message), route
        name = str(document.get("method"))
        if not wrong_request(document):
            bound = table.methods.get(name)
            if "id" not in document:
                if bound is not None and bound.form.method.notification:
                    return None, self._methods[table.message, name]
                what = "the name of a method" if bound is not None else "unknown"
                logger.info("ignored JSON-RPC notification %.100r from %s: %s", name, queue.peer, what)
                return None, route
            if bound is not None and not bound.form.method.notification:
                return None, _for_connection(queue, self._methods[table.message, name])
        if table.serves:
            self._charge_refusal(queue)
            return None, _for_connection(queue, self._errors[table.message])
        self._core.transport.wasted(queue.peer.node_id)
        logger.info("ignored JSON-RPC request %.100r from %s: nobody here has methods", name, queue.peer)
        return None, route

    def route_of_malformed(self, queue: PeerQueue, route: Route) -> Route:
        """Return the route of a payload that is not even a JSON object: who has no methods ignores it."""
        assert route.rpc is not None  # noqa: S101 - narrows the type for checkers
        if not route.rpc.serves:
            return route
        self._charge_refusal(queue)
        return _for_connection(queue, self._errors[route.rpc.message])

    def _charge_refusal(self, queue: PeerQueue) -> None:
        """Charge a peer with the work for an error, at once: it is answered later than it is read."""
        self._core.transport.worked(queue.peer.node_id, _REFUSING, wasted=True)

    def _answered(self, queue: PeerQueue, message: RpcDocument) -> float | None:
        """Pass an answer to its call; return when that was sent, None if no call waits for it."""
        document, calls = message.document, queue.calls
        identity = document.get("id")
        call = calls.get(identity) if calls is not None and type(identity) is str else None
        if identity is None and calls and "result" not in document:  # of a request that the peer could not read
            waiting = [one for one in calls.values() if one[2] is type(message) and not one[0].done()]
            call = waiting[0] if len(waiting) == 1 else None
        if call is None or call[2] is not type(message) or call[0].done():
            self._core.counters.dropped["unasked_reply"] += 1
            self._core.transport.wasted(queue.peer.node_id)
            if identity is None:  # one of several requests, or what nobody asked
                logger.info("an error without an id from %s: %.500r", queue.peer, document.get("error"))
            return None
        call[0].set_result(document)  # from now on it is done, so the same answer once more is not for it
        return call[1]

    # Our calls --------------------------------------------------------------------------------------

    async def call(
        self,
        node_id: NodeId,
        message: type[RpcDocument],
        extension: str,
        method: str,
        params: object,
        limit: float | None,
    ) -> dict[str, Any]:
        """Send a request and return the peer's answer, as it came; see `PeerRpc.call`."""
        self.check(message, extension)
        queue = self._queues.get(node_id)
        if queue is None or queue.info is None:
            raise not_connected(node_id)
        identity = secrets.token_hex(16)
        request = message(document=request_object(method, params, identity))
        deadline, sent = asyncio.timeout(limit), self._is_hosted
        with (
            self._counted(queue, extension),
            self._waiting(queue, identity, message) as answer,
            _slot.get(_NO_SLOT).calling(queue),
        ):
            try:
                async with deadline:
                    await self._messenger.send(node_id, request)
                    sent = True
                    return await answer
            except TimeoutError:
                if limit is None or not deadline.expired():
                    raise
                text = f"no answer from {node_id} within {duration(limit)} to {method!r:.100}"
                if not sent:
                    why = f"{node_id} is slow to read what is sent to it"
                    text = f"{method!r:.100} was not sent within {duration(limit)}: {why}"
                raise ReplyTimeout(text, timeout=limit, sent=sent) from None
            finally:
                del answer, deadline  # an error's traceback refers to this frame

    async def notify(
        self, node_id: NodeId, message: type[RpcDocument], extension: str, method: str, params: object
    ) -> None:
        """Send a notification; see `PeerRpc.notify`."""
        self.check(message, extension)
        await self._messenger.send(node_id, message(document=request_object(method, params, None)))

    @contextmanager
    def _counted(self, queue: PeerQueue, extension: str) -> Iterator[None]:
        """Context manager: count a call of an extension while it is open. Raises `QuotaExceeded`."""
        most, core = self._core.limits.open_requests, self._core
        if queue.calls is not None and len(queue.calls) >= most:
            core.counters.exceeded["open_requests"] += 1
            raise QuotaExceeded(f"{most} calls to this peer wait for answers already", limit="open_requests")
        access = core.access.get(extension)
        limited = access is not None and access.allowance.has("open_requests")
        with access.count_request(queue.peer.node_id) if access is not None and limited else nullcontext():
            yield

    @contextmanager
    def _waiting(
        self, queue: PeerQueue, identity: str, message: type[RpcDocument]
    ) -> Iterator[asyncio.Future[dict[str, Any]]]:
        """Context manager: wait for one answer. The peer is read on meanwhile, though its messages wait here."""
        answer: asyncio.Future[dict[str, Any]] = self._core.loop.create_future()
        calls = queue.calls = {} if queue.calls is None else queue.calls
        calls[identity] = (answer, self._core.loop.time(), message)
        self._backpressure.ask(queue)
        try:
            yield answer
        finally:
            queue.request_ended()
            calls.pop(identity, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # marks the exception as retrieved: the send may have failed first
            del answer

    # Peers' requests --------------------------------------------------------------------------------

    async def _answer(
        self,
        table: RpcTable,
        bound: BoundPeerMethod,
        run: Run,
        access: AccessControl | None,
        queue: PeerQueue,
        connection: PeerInfo,
        context: Context,
        message: RpcDocument,
    ) -> RpcDocument | None:
        """Return the answer to a request; None once the connection has ended on which it came."""
        if queue.info is not connection:
            return None
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - narrows the type for checkers
        identity = message.document["id"]
        slot = _Slot(queue)
        _slot.set(slot)  # of a task of its own
        serving = queue.serving = set() if queue.serving is None else queue.serving
        serving.add(me)
        try:
            if access is None:
                found = await run(context, message)
            else:
                if not await access.allows(context.peer):
                    access.counters.refused["allow"] += 1
                    raise access.not_allowed()
                with access.handling(context.peer):
                    found = await run(context, message)
            answer = _checked(table, bound, found)
            with self._charging(context.peer.node_id):
                self._core.app.registry.encode(answer)  # what cannot be sent is an error of the method
        except RpcError as error:
            answer = self._error(table, context, message, error)
        except Refuse as refusal:
            outcome = Outcome.NOT_ALLOWED if refusal.code == Code.NOT_ALLOWED else Outcome.REFUSED
            node_id = context.peer.node_id
            self._core.enforcer.refused(outcome, node_id, refusal, message=message, extension=context.extension)
            code = NOT_ALLOWED if refusal.code == Code.NOT_ALLOWED else REFUSED
            code = refusal.code if refusal.code >= _APPLICATION else code
            answer = self._error(table, context, message, RpcError(code, refusal.text), logged=True)
        except BaseException as error:
            if queue.info is not connection and isinstance(error, asyncio.CancelledError) and must_pass(error, me):
                return None  # cancelled by `PeerQueue.cancel_serving`, or by the end of the application
            self._failed(context, message, error, me)
            answer = table.message(document=error_object(identity, INTERNAL_ERROR, "Internal error"))
        finally:
            slot.close()
            serving.discard(me)
            del me  # a task that ends by an exception keeps this frame
        return answer if queue.info is connection else None

    async def _handle_notification(
        self,
        table: RpcTable,
        bound: BoundPeerMethod,
        run: Run,
        access: AccessControl | None,
        context: Context,
        message: RpcDocument,
    ) -> None:
        """Handle a notification, which has no answer, whatever happens."""
        me = asyncio.current_task()
        outcome = ""
        try:
            if access is not None and not await access.allows(context.peer):
                access.counters.dropped["allow"] += 1
                raise access.not_allowed()
            await run(context, message)
        except (RpcError, Refuse) as error:
            outcome = "refused"
            text = printable(str(error))
            logger.info("%s from %s refused: %s", bound.form.method.title, context.peer, text)
        except BaseException as error:
            self._failed(context, message, error, me)
            outcome = "failed"
        finally:
            del me
        self._outcome = outcome

    async def _run(
        self, table: RpcTable, bound: BoundPeerMethod, context: Context, message: RpcDocument
    ) -> RpcDocument | None:
        """Call a method with the parameters of a request, and return the answer; raises what it raises."""
        node_id = context.peer.node_id
        if self._core.takes_turns:
            await self._core.transport.turn(node_id)
        with self._charging(node_id):
            arguments = bound.form.read(message.document.get("params", {}))
        result = await bound.run(context, **arguments)
        if bound.form.method.notification:
            return None
        try:
            with self._charging(node_id):
                plain = bound.form.write(result)
        except RecursionError:
            raise TypeError(f"the result of {bound.form.method.title} is nested too deep, or in itself") from None
        return table.message(document=result_object(message.document["id"], plain))

    @contextmanager
    def _charging(self, node_id: NodeId) -> Iterator[None]:
        """Context manager: charge a peer with the CPU time that its parameters, and the answer to them, take."""
        began = thread_time()
        try:
            yield
        finally:
            self._core.transport.worked(node_id, thread_time() - began)

    def _error(
        self, table: RpcTable, context: Context, message: RpcDocument, error: RpcError, *, logged: bool = False
    ) -> RpcDocument:
        """Return the answer for an error that a method has raised, with its data if JSON can hold that."""
        identity = message.document["id"]
        try:
            data = to_plain(error.data)
            answer = table.message(document=error_object(identity, error.code, error.text, data))
            self._core.app.registry.encode(answer)
        except (CodecError, TypeError, RecursionError) as failure:
            self._failed(context, message, failure, None)
            return table.message(document=error_object(identity, INTERNAL_ERROR, "Internal error"))
        if logged:
            return answer
        text = printable(error.text)
        logger.info("%s from %s: error %d: %s", title_of(message), context.peer, error.code, text)
        return answer

    async def _refuse(
        self,
        table: RpcTable,
        queue: PeerQueue,
        connection: PeerInfo,
        context: Context,
        message: RpcDocument | Malformed,
    ) -> RpcDocument | None:
        """Return the answer to what is no request, or of no method here."""
        if queue.info is not connection:
            return None
        if isinstance(message, Malformed):
            return self._refusal(table, context, None, PARSE_ERROR, f"Parse error: {_what_is_wrong(message)}")
        identity, method = valid_id(message.document), message.document.get("method")
        if wrong := wrong_request(message.document):
            if schema_of(table.message).type_id == LSPS0:
                return self._refusal(table, context, None, PARSE_ERROR, f"Parse error: not a request: {wrong}")
            return self._refusal(table, context, identity, INVALID_REQUEST, f"Invalid request: {wrong}")
        hint = "; it is a notification, without an id" if method in table.methods else ""
        return self._refusal(table, context, identity, METHOD_NOT_FOUND, f"Method not found: {method!r:.100}{hint}")

    def _refusal(self, table: RpcTable, context: Context, identity: object, code: int, text: str) -> RpcDocument:
        logger.info("JSON-RPC request from %s: error %d: %s", context.peer, code, printable(text))
        return table.message(document=error_object(identity, code, printable(text)))

    def _failed(
        self, context: Context, message: RpcDocument, error: BaseException, task: asyncio.Task[Any] | None
    ) -> None:
        """Report what a method has raised, or raise it again if its task is to end."""
        queue = self._queues.get(context.peer.node_id)
        ending = self._core.tasks.ending or (queue is not None and queue.abandoned)
        self._core.enforcer.failed(context, message, error, ending, task)


def _for_connection(queue: PeerQueue, route: Route) -> Route:
    """Return a route whose handler is told on which connection a request came: there alone may its answer go."""
    answer: Any = route.handler
    return route._replace(handler=partial(answer, queue, queue.info))


def _checked(table: RpcTable, bound: BoundPeerMethod, found: Message | None) -> RpcDocument:
    """Return the answer that a method, or middleware around it, has returned. Raises `TypeError` for anything else."""
    if not isinstance(found, table.message):
        title, shown = bound.form.method.title, type(found).__name__
        hint = ": 'return await call_next(message)' it should be" if hasattr(found, "__await__") else ""
        raise TypeError(
            f"{title} is answered by {table.message.__name__}; middleware returned {shown} in its place{hint}"
        )
    return found


def _what_is_wrong(message: Malformed) -> str:
    if message.payload[2:].lstrip(b" \t\r\n")[:1] == b"[":
        return "a list is a batch, which is not accepted here: each request should be a message of its own"
    error, where = message.error, message.error.offset
    return f"{error.args[0]}" if where is None else f"{error.args[0]} (at byte {where})"


def not_loaded(message: type[Message], extension: str) -> ExtensionError:
    """Return the error for a `PeerRpc` of an extension that is not in the peer's application."""
    type_id = schema_of(message).type_id
    return ExtensionError(
        f"extension {extension!r}, with a PeerRpc of type {type_id}, is not loaded in this application"
    )
