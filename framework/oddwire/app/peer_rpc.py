"""`PeerRpc`: JSON-RPC 2.0 with peers over one message type, as bLIP-50 (LSPS0) speaks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Final, Never, ParamSpec, TypeVar, overload

from oddwire.app.context import Context, Peer
from oddwire.app.declarations.handlers import place, scope_of
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.peer_methods import PeerMethod, result_kind
from oddwire.app.declarations.rpc_documents import LSPS0, document_class, read_answer
from oddwire.app.extension import Extension
from oddwire.codecs.registry import KnownTypeWarning
from oddwire.durations import check_seconds
from oddwire.errors import EncodeError, ExtensionError, RemoteRpcError, SchemaError
from oddwire.proto.type_numbers import check_claim, known_owner
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Anything
from oddwire.schema.procedure import Procedure
from oddwire.schema.tree import JSON, dump_record

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from oddwire.schema.kinds import Kind

__all__ = ["PeerRpc"]

P = ParamSpec("P")
Params = TypeVar("Params")  # a name for users: mypy says it of parameters of another class
T = TypeVar("T")

_TIMEOUT: Final = 60.0  # seconds; bLIP-50 wants it on the scale of minutes
_KINDS: Final = 256  # types of results whose kinds are kept
_Method = Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]
_Whole = Callable[Concatenate[Context, Params, ...], Coroutine[Any, Any, T]]


class PeerRpc:
    """JSON-RPC 2.0 with the peers of an extension, over the odd message type ``type_id``: as server, client, or both.

    Several extensions of an application may have one each for the same type. It holds no state of any application:
    calls belong to that of the `Peer` they are given. With ``spec`` the type may be one below 32768, or one known to be
    in use, as in `message`; 37913, that of bLIP-50, needs no ``spec``. Raises `ExtensionError`, and `SchemaError` for a
    type that cannot be used.
    """

    def __init__(self, extension: Extension, type_id: int, *, spec: bool = False) -> None:
        _check_extension(extension)
        check_claim(type_id, spec, f"PeerRpc of {extension!r}")
        if type_id % 2 == 0:
            text = "peers that do not know an even one disconnect, and JSON-RPC has no way to ask before"
            raise SchemaError(f"PeerRpc of {extension!r}: its type should be odd, not {type_id}: {text}")
        if not spec and type_id != LSPS0 and (known := known_owner(type_id)) is not None:
            import warnings

            text = f"type {type_id} is used by {known}; choose another, or say spec=True if it is that"
            warnings.warn(f"PeerRpc of {extension!r}: {text}", KnownTypeWarning, stacklevel=2)
        self.extension = extension
        self.type_id = type_id
        self.methods: dict[str, PeerMethod] = {}
        """What `method` and `notification` have declared, by name."""
        self.message = document_class(type_id)
        """The message class of the type, one for all who use it: its ``document`` is a JSON object."""
        self._kinds: dict[Any, Kind | None] = {}
        extension.register(self.message)
        extension.peer_rpcs.append(self)

    # Serving ----------------------------------------------------------------------------------------

    @overload
    def method(
        self, name: Procedure[None, T], *, by_position: bool = False
    ) -> Callable[[_Method[..., T]], _Method[..., T]]: ...

    @overload
    def method(
        self, name: Procedure[Params, T], *, by_position: bool = False
    ) -> Callable[[_Whole[Params, T]], _Whole[Params, T]]: ...

    @overload
    def method(self, name: str, *, by_position: bool = False) -> Callable[[_Method[P, T]], _Method[P, T]]: ...

    def method(self, name: str | Procedure[Any, Any], *, by_position: bool = False) -> Callable[[Any], Any]:
        """Register the decorated ``async def (context, ...)`` as a method for peers; its result is the answer.

        The caller's parameters come by name, or with ``by_position`` in a list as well, converted by their
        annotations, which are those of a message's fields; the result is checked by its own. Parameters of a provided
        type are not the caller's; see `Extension.provide`. Requests are handled in tasks of their own, as with
        ``on(..., concurrent=True)``. With a `Procedure` in place of the name, the function takes the parameters as one
        object, ``async def (context, params)``, or none. `RpcError` is the answer of that code, text and data; any
        other exception is an internal error to the caller, without details, and a failure here. Raises
        `ExtensionError`.
        """
        return self._register(name, False, by_position)

    @overload
    def notification(
        self, name: Procedure[None, None], *, by_position: bool = False
    ) -> Callable[[_Method[..., None]], _Method[..., None]]: ...

    @overload
    def notification(
        self, name: Procedure[Params, None], *, by_position: bool = False
    ) -> Callable[[_Whole[Params, None]], _Whole[Params, None]]: ...

    @overload
    def notification(self, name: str, *, by_position: bool = False) -> Callable[[_Method[P, T]], _Method[P, T]]: ...

    def notification(self, name: str | Procedure[Any, Any], *, by_position: bool = False) -> Callable[[Any], Any]:
        """Register the decorated ``async def (context, ...)`` for notifications of peers; parameters as in `method`.

        They are handled in order with the peer's messages. Nothing goes back, whatever happens.
        """
        return self._register(name, True, by_position)

    def _register(self, name: Any, notification: bool, by_position: bool) -> Callable[[Any], Any]:
        procedure, name = (name, name.name) if isinstance(name, Procedure) else (None, name)
        if not isinstance(name, str):
            word = "notification" if notification else "method"
            raise ExtensionError(f"{self!r}: @rpc.{word} should be told a name: @rpc.{word}('lsps0.x'), not {name!r}")

        def register(function: Any) -> Any:
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            method = PeerMethod(
                name=name,
                function=function,
                notification=notification,
                by_position=by_position,
                procedure=procedure,
                scope=scope,
            )
            if name in self.methods:
                both = f"{place(self.methods[name].function)} and {place(function)}"
                raise ExtensionError(f"{self!r}: {name!r} is both {both}; it should be one of them")
            self.extension._declare(method)  # noqa: SLF001 - it is the extension's, which an application may run already
            self.methods[name] = method
            return function

        return register

    # Calling ----------------------------------------------------------------------------------------

    @overload
    def call(
        self, peer: Peer, method: Procedure[None, T], /, *, timeout: float | None = _TIMEOUT
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call(
        self, peer: Peer, method: Procedure[Params, T], params: Params, /, *, timeout: float | None = _TIMEOUT
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call(
        self,
        peer: Peer,
        method: str,
        params: object = None,
        /,
        *,
        result: type[T],
        timeout: float | None = _TIMEOUT,
        **named: Any,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call(
        self,
        peer: Peer,
        method: str,
        params: object = None,
        /,
        *,
        result: TypeForm[T],
        timeout: float | None = _TIMEOUT,
        **named: Any,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def call(
        self,
        peer: Peer,
        method: str,
        params: object = None,
        /,
        *,
        result: Never = ...,  # it is not among ``named``
        timeout: float | None = _TIMEOUT,
        **named: Any,
    ) -> Coroutine[Any, Any, Any]: ...

    def call(
        self,
        peer: Peer,
        method: str | Procedure[Any, Any],
        params: object = None,
        /,
        *,
        result: Any = Any,
        timeout: float | None = _TIMEOUT,
        **named: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Call a peer's method and return its result, of type ``result``: one that a message's field may have.

        Parameters are keywords, or ``params``: a mapping, an instance of a subtype, or a list for methods that take
        them by position. With a `Procedure` in place of the name, ``params`` is of its type, and the result, too. Bytes
        and keys are sent as hex digits, subtypes by their fields. ``timeout`` is in seconds,
        None waits for ever. An answer counts from this peer, on this connection, once; others are dropped. An error
        without an id, of what the peer could not read, is for the one call that waits. Cancelled or timed out, the peer
        is not told, as JSON-RPC has no way to do so.

        Raises `RemoteRpcError` with the peer's error; `ReplyTimeout`; `PeerNotConnected`; `ConnectionClosed` if the
        peer disconnects first; `MalformedMessage` for an answer that is not of JSON-RPC, or of the type ``result``;
        `QuotaExceeded` if ``open_requests`` of them wait already; `EncodeError` for parameters that are too long;
        `ExtensionError` if the extension is not loaded in the peer's application. Raises `TypeError`, `ValueError` or
        `EncodeError` at once for arguments of a wrong kind, and parameters that JSON cannot hold.
        """
        _check_peer("call", peer)
        limit = check_seconds("call()", timeout)
        if isinstance(method, Procedure):
            plain = _params_of(method, params, named)
            return self._call(peer, method.name, plain, method.kind, limit)
        return self._call(peer, method, _plain_params(method, params, named), self._kind(result), limit)

    async def _call(self, peer: Peer, method: str, plain: object, kind: Kind | None, limit: float | None) -> Any:
        channel = peer._messenger.peer_rpc(self.message, self.extension.name)  # noqa: SLF001 - not part of the API
        answer = await channel.call(peer.node_id, self.message, self.extension.name, method, plain, limit)
        try:
            return read_answer(answer, kind, self.message)
        except RemoteRpcError as error:
            error.name_peer(peer.node_id)
            raise

    @overload
    async def notify(self, peer: Peer, method: Procedure[None, None], /) -> None: ...

    @overload
    async def notify(self, peer: Peer, method: Procedure[Params, None], params: Params, /) -> None: ...

    @overload
    async def notify(self, peer: Peer, method: str, params: object = None, /, **named: Any) -> None: ...

    async def notify(
        self, peer: Peer, method: str | Procedure[Any, Any], params: object = None, /, **named: Any
    ) -> None:
        """Send a peer a notification, with parameters as in `call`; returns once the transport has accepted it.

        Raises as `Peer.send` does, and `ExtensionError` if the extension is not loaded in the peer's application.
        """
        _check_peer("notify", peer)
        if isinstance(method, Procedure):
            plain: object = _params_of(method, params, named)
            method = method.name
        else:
            plain = _plain_params(method, params, named)
        channel = peer._messenger.peer_rpc(self.message, self.extension.name)  # noqa: SLF001 - not part of the API
        await channel.notify(peer.node_id, self.message, self.extension.name, method, plain)

    def _kind(self, result: Any) -> Kind | None:
        if result is Any:
            return _ANY
        try:
            return self._kinds[result]
        except KeyError:
            known = True
        except TypeError:  # not hashable
            known = False
        try:
            kind = result_kind(result)
        except SchemaError as error:
            raise TypeError(f"call(): result: {error}") from None
        if known and len(self._kinds) < _KINDS:
            self._kinds[result] = kind
        return kind

    def __repr__(self) -> str:
        return f"<PeerRpc {self.type_id} of {self.extension!r}>"


_ANY: Final = Anything()


def _check_peer(what: str, given: object) -> None:
    if not isinstance(given, Peer):
        right = "context.peer" if isinstance(given, Context) else "app.peer(node_id)"
        raise TypeError(f"PeerRpc.{what}(peer, method, ...) takes a Peer, {right}, not {given!r:.200}")


def _params_of(procedure: Procedure[Any, Any], params: object, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a procedure as JSON has them. Raises `TypeError` or `EncodeError`."""
    if named:
        raise TypeError(f"{procedure.name!r} takes its parameters as one object, not {min(named)}=")
    right = None if procedure.record is None else procedure.params
    if type(params) is not (right or type(None)):
        should = "no parameters" if right is None else f"params of type {right.__name__}"
        raise TypeError(f"{procedure.name!r} should have {should}, not {params!r:.200}")
    return procedure.dump_params(params)


def _plain_params(method: object, params: object, named: Mapping[str, Any]) -> dict[str, Any] | list[Any]:
    """Return parameters as JSON has them. Raises `TypeError` or `EncodeError`."""
    if not isinstance(method, str):
        raise TypeError(f"a JSON-RPC method's name should be a str, not {method!r:.200}")
    if params is None:
        params = named
    elif named:
        raise TypeError(f"{method!r} should have its parameters in one place, params or keywords, not in both")
    record = getattr(type(params), "__oddwire__", None)
    if isinstance(record, Record):
        return dump_record(record, params, JSON, "$.params")
    if isinstance(params, str | bytes) or not isinstance(params, Mapping | Sequence):
        should = "a mapping, an instance of a @subtype, or a list"
        raise TypeError(f"params of {method!r} should be {should}, not {params!r:.200}")
    try:
        plain: dict[str, Any] | list[Any] = to_plain(params)
    except (TypeError, RecursionError) as error:
        text = "they are nested too deep, or in themselves" if isinstance(error, RecursionError) else str(error)
        raise EncodeError(f"parameters of {method!r}: {text}", path="$.params") from None
    return plain


def _check_extension(given: object) -> None:
    if not isinstance(given, Extension):
        raise ExtensionError(f"PeerRpc should be given an Extension and a type, not {given!r:.200}")
