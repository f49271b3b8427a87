"""Dispatch tables, built once from the contributions of the plugins, then frozen."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from oddwire.app.declarations.handlers import Handler, HandlerFunction, Rate, StreamFunction, place, with_replies
from oddwire.app.declarations.options import Setting
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.dispatch.rpc_calls import BoundMethod
from oddwire.app.plugins.manager import Contribution, PluginManager
from oddwire.codecs.registry import Registry
from oddwire.errors import EncodeError, ExtensionError, NotSupported, TypeConflict, UnknownMessage
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.schema import Message, schema_of
from oddwire.schema.weight import weigher
from oddwire.session.constants import SESSION_TYPE
from oddwire.transports.base import Manifest, PeerInfo, not_connected

if TYPE_CHECKING:
    from oddwire.app.declarations.middleware import Middleware, Pump
    from oddwire.app.declarations.unknown import UnknownHandler
    from oddwire.app.extension import Extension
    from oddwire.app.limits.access import AccessControl
    from oddwire.app.plugins.injection import Injector
    from oddwire.app.plugins.peer_rpc_tables import RpcTable
    from oddwire.session.peer.peer_session import PeerSession

__all__ = [
    "Outgoing",
    "OutgoingTable",
    "Route",
    "Tables",
    "build_tables",
    "check_support",
    "not_shown",
    "shows_support",
    "unregistered",
    "vocabulary",
]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Route(NamedTuple):
    """The handling of a received type. ``owner`` counts from 1; ``handler`` is None for a registered type without one.

    ``slow`` is true if more is needed than to queue the message, for example because it is handled concurrently, or
    access to its extension is limited. ``stream`` is the handler itself, if it yields its replies; ``handler`` then
    sends each of them. ``reliable`` is the handler itself, if it receives reliable messages.
    """

    decode: Callable[[bytes], Message]
    handler: HandlerFunction | None
    owner: int
    slow: bool
    concurrent: bool = False
    stream: StreamFunction | None = None
    reliable: HandlerFunction | None = None
    access: AccessControl | None = None
    pump: Pump | None = None
    """Runs the handler for a stream, if it yields its replies and has middleware around it."""
    rate: Rate | None = None
    """The maximum rate of messages from one peer, if there is one."""
    rpc: RpcTable | None = None
    """The methods of a type of JSON-RPC objects, each of which has a route of its own."""
    malformed: bool = False
    """Whether the handler gets what does not decode, too, as `Malformed`."""
    weigh: Callable[[Message], int] | None = None
    """Returns the memory that a message uses, in bytes, if that may be far more than its payload."""


class Outgoing(NamedTuple):
    """The sending of a message class. ``owners`` is None for an odd type, which may be sent to any peer (BOLT 1).

    ``match`` is the field that its replies repeat, None unless declared.
    """

    encode: Callable[[Any], bytes]
    owners: tuple[Contribution, ...] | None
    match: str | None = None


class OutgoingTable(dict[type[Message], Outgoing]):
    """How messages are sent, by their class. Looking up an unregistered class raises `EncodeError`."""

    def __missing__(self, message: type[Message]) -> Outgoing:
        raise unregistered(message)


class Tables(FrozenRecord, kw_only=True):
    """The frozen tables: received types by their two bytes, sent messages by class, methods and options by name.

    ``claims`` are the plugins that send or receive each message, ``handlers`` the one that handles it. ``manifest`` has
    no RPC methods and options: the application adds them, bound to itself.
    """

    registry: Registry
    manifest: Manifest
    claims: Mapping[type[Message], list[Contribution]]
    handlers: Mapping[type[Message], tuple[Contribution, Handler]]
    rpc_methods: Mapping[str, BoundMethod]
    settings: Mapping[str, Setting]
    owners: tuple[Contribution, ...]
    peer_rpcs: Mapping[type[Message], RpcTable] = MappingProxyType({})
    injector: Injector | None = None
    """Adds provided parameters to calls of functions; None if no plugin takes or provides anything."""

    # These two compile the plans of messages: lazily, so that the host node has the manifest sooner.

    @cached_property
    def incoming(self) -> Mapping[bytes, Route]:
        """The routes of received types, by their two bytes."""
        numbers = {id(owner): number for number, owner in enumerate(self.owners, 1)}
        plans = self.registry.plans
        outer = [middleware for owner in self.owners for middleware in owner.middlewares]
        routes: dict[bytes, Route] = {}
        for message in self.claims:
            prefix = schema_of(message).type_id.to_bytes(2, "big")
            decode, weigh = plans[prefix].decode, weigher(schema_of(message))
            if message in self.handlers:
                owner, handler = self.handlers[message]
                function = self.bound(owner.name, handler.function, 2)
                if schema_of(message).match is not None:
                    from oddwire.app.declarations.reply_checks import with_checked_replies  # few declare any

                    function = with_checked_replies(handler, function)
                run, stream = handler.runs(function)
                pump = None
                if outer or handler.middleware:
                    run, pump = self._wrapped(owner.name, (*outer, *handler.middleware), run, stream)
                concurrent, reliable = handler.concurrent, run if handler.reliable else None
                number, rate = numbers[id(owner)], handler.limit
                routes[prefix] = Route(
                    *(decode, run, number, concurrent, concurrent, stream, reliable),
                    pump=pump,
                    rate=rate,
                    malformed=handler.takes_malformed(),
                    weigh=weigh,
                )
            elif message in self.peer_rpcs:
                routes[prefix] = Route(decode, None, 0, True, rpc=self.peer_rpcs[message], weigh=weigh)
            else:
                routes[prefix] = Route(decode, None, 0, False, weigh=weigh)
        return MappingProxyType(routes)

    def _wrapped(
        self,
        owner: str,
        middleware: Sequence[Middleware],
        run: HandlerFunction,
        stream: StreamFunction | None,
    ) -> tuple[HandlerFunction, Pump | None]:
        """Return a handler with middleware around it, and its pump if it yields."""
        from oddwire.app.declarations.middleware import around, around_stream  # loaded by whoever declares any

        functions = [self.bound(owner, one.function, 3) for one in middleware]
        return around(functions, run), stream and around_stream(functions, stream)

    @cached_property
    def unknown(self) -> tuple[tuple[UnknownHandler, Route], ...]:
        """The handlers of types without a message class, and their routes, whose messages are whole payloads."""
        return tuple(
            (handler, Route(_no_class, handler.run(self.bound(owner.name, handler.function, 3)), number, True))
            for number, owner in enumerate(self.owners, 1)
            for handler in owner.unknown_handlers
        )

    @property
    def handled_types(self) -> tuple[int, ...]:
        """The types that have a handler, ascending."""
        unknown = (number for owner in self.owners for handler in owner.unknown_handlers for number in handler.numbers)
        served = (message for message, table in self.peer_rpcs.items() if table.serves)
        handled = (schema_of(message).type_id for message in (*self.handlers, *served))
        return (*sorted({*handled, *unknown}),)

    def takers(self, type_id: int) -> tuple[Contribution, ...]:
        """Return the plugins that a type belongs to: by a message class, or else by `UnknownHandler`; none if none."""
        schema = self.registry.lookup(type_id)
        if schema is not None:
            return (*self.claims[schema.cls],)
        return tuple(owner for owner in self.owners if any(type_id in one.numbers for one in owner.unknown_handlers))

    @cached_property
    def outgoing(self) -> Mapping[type[Message], Outgoing]:
        """How messages are sent, by their class."""
        plans = self.registry.plans
        found = OutgoingTable()
        for message, claimants in self.claims.items():
            type_id = schema_of(message).type_id
            encode = plans[type_id.to_bytes(2, "big")].encode
            found[message] = Outgoing(encode, None if type_id % 2 else tuple(claimants), schema_of(message).match)
        return MappingProxyType(found)

    @cached_property
    def reliable(self) -> tuple[type[Message], ...]:
        """The message classes with reliable handlers."""
        return tuple(message for message, (_, handler) in self.handlers.items() if handler.reliable)

    def bound(self, owner: str, function: Callable[..., Any], fixed: int) -> Callable[..., Any]:
        """Return a callable with the first ``fixed`` parameters of a function: itself, if it has no provided ones."""
        return function if self.injector is None else self.injector.bound(owner, function, fixed)

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Return a plugin's contribution, by its name or the extension. Raises `ExtensionError` if it is not loaded."""
        name = getattr(extension, "name", extension)
        for owner in self.owners:
            if owner.name == name:
                return owner
        raise ExtensionError(f"no extension {name!r} is loaded; there are: {', '.join(o.name for o in self.owners)}")


def build_tables(plugins: PluginManager, provide: Mapping[Any, Any] | None = None) -> Tables:
    """Check the plugins for conflicts and build the tables. ``provide`` are provided values by type, mostly for tests.

    Raises `TypeConflict` for two message classes with one type number; `ExtensionError` for two handlers of one
    message, and two plugins with one feature bit, codec, transport, RPC method or option; `SchemaError` for a message
    that its codec cannot encode. Each names both sides.
    """
    _load_codecs(plugins)
    owners = plugins.contributions
    codecs = _unique("codec", ((codec.name, owner, codec) for owner in owners for codec in owner.codecs))
    claims = _claims(owners)
    handlers = _handlers(owners)
    registry = Registry(codec for _, codec in codecs.values())
    for message, claimants in claims.items():
        if schema_of(message).type_id == SESSION_TYPE:
            names = ("oddwire", claimants[0].name)
            text = f"type {SESSION_TYPE} ({SESSION_TYPE:#06x}) is that of sessions; {names[1]!r} should choose another"
            raise TypeConflict(text, type_id=SESSION_TYPE, owners=names)
        registry.register(message, owner=claimants[0].name)
    registry.freeze()
    features = _unique("feature bit", ((owner.feature, owner, owner) for owner in owners if owner.feature is not None))
    rpc = _unique("RPC method", ((rpc.name, owner, rpc) for owner in owners for rpc in owner.rpc_methods))
    options = _unique("option", ((option.name, owner, option) for owner in owners for option in owner.options))
    unknown = _check_unknown(owners, registry)
    _unique("transport", ((name, owner, maker) for owner in owners for name, maker in owner.transports.items()))
    for owner in owners:
        for job in owner.jobs:
            job.check(options)
    if any(job.scope == "cluster" for owner in owners for job in owner.jobs):
        from oddwire.app.dispatch.cluster_jobs import check_names  # imported late: few jobs are a cluster's

        check_names(owners)
    injector: Injector | None = None
    if provide or any(owner.injects for owner in owners):
        from oddwire.app.plugins.injection import Injector  # imported late: few plugins use injection

        injector = Injector(owners, provide or {})
    peer_rpcs: Mapping[type[Message], RpcTable] = {}
    if any(owner.peer_rpcs for owner in owners):
        from oddwire.app.plugins.peer_rpc_tables import rpc_tables  # imported late: few plugins have any

        peer_rpcs = rpc_tables(owners, injector)
        for message in peer_rpcs.keys() & handlers.keys():
            owner, handler = handlers[message]
            users = ", ".join(peer_rpcs[message].owners)
            raise ExtensionError(
                f"{place(handler.function)} of {owner.name!r} handles what is the JSON-RPC of {users}; one of them "
                "should have another type"
            )
    manifest = Manifest(
        type_ids=frozenset(schema_of(message).type_id for message in claims).union(unknown),
        features=frozenset(features),
    )
    return Tables(
        registry=registry,
        manifest=manifest,
        claims=MappingProxyType(claims),
        handlers=MappingProxyType(handlers),
        rpc_methods=MappingProxyType(
            {name: _bound_method(owner.name, method, injector) for name, (owner, method) in rpc.items()}
        ),
        settings=MappingProxyType({name: option.setting(owner.name) for name, (owner, option) in options.items()}),
        owners=owners,
        peer_rpcs=peer_rpcs,
        injector=injector,
    )


def _no_class(payload: bytes) -> Message:
    """Stand for the decoding of a type without a message class, whose messages are whole payloads."""
    raise UnknownMessage("there is no message class", type_id=int.from_bytes(payload[:2], "big"), required=False)


def _bound_method(owner: str, method: RpcMethod, injector: Injector | None) -> BoundMethod:
    if injector is None:
        return BoundMethod(owner, method, method.parameters(), method.function)
    shown = injector.method(method)
    return BoundMethod(owner, shown, shown.parameters(), injector.bound(owner, method.function, 1))


def shows_support(
    message: Message | type[Message], owners: tuple[Contribution, ...], info: PeerInfo, session: PeerSession | None
) -> bool:
    """Return whether a peer's features or hello show that it knows one of the plugins to which a message belongs."""
    if any(owner.is_shown_by(info) for owner in owners):
        return True
    type_id = schema_of(message).type_id
    return session is not None and any(
        type_id in link.spoken[owner.name].types for owner in owners for link in session.speakers(owner.name)
    )


def check_support(
    message: Message | type[Message],
    owners: tuple[Contribution, ...],
    info: PeerInfo | None,
    node_id: NodeId,
    session: PeerSession | None = None,
) -> None:
    """Raise `NotSupported` unless a peer's features or hello show that it knows one of the plugins of a message.

    ``info`` is the transport's information about the peer ``node_id``; if that is None, as the peer is not connected,
    raises `PeerNotConnected`.
    """
    if info is None:
        raise not_connected(node_id)
    if shows_support(message, owners, info, session):
        return
    schema = schema_of(message)
    if schema.even == "known" and (session is None or not session.had_hello):
        return  # a peer that says nothing of what it speaks
    raise not_shown(f"{schema.name} has the even type {schema.type_id:#06x}", owners, node_id)


def not_shown(what: str, owners: Sequence[Contribution], node_id: NodeId) -> NotSupported:
    """Return the error for something of an even type, and a peer that shows none of its plugins."""
    names = " or ".join(
        f"{owner.name!r} ({' or '.join(f'feature bit {bit}' for bit in owner.features) or 'no feature bit'})"
        for owner in owners
    )
    if owners:
        text = f"{what}, and {node_id} does not show that it knows {names}; it would disconnect"
    else:
        text = f"{what}, and no loaded extension declares it; if {node_id} does not know it, it would disconnect"
    return NotSupported(f"{text}: force=True sends it all the same", feature=owners[0].name if owners else "even types")


def unregistered(message: type) -> EncodeError:
    """Return the error for sending a class that no loaded plugin registers."""
    if issubclass(message, type):
        return EncodeError("what is sent should be a message, Quote(price=7) say, not a class")
    if hasattr(message, "__await__"):
        text = "'await' is missing before the call that made it, as in 'return await call_next(message)'"
        return EncodeError(f"what is sent should be a message, not a {message.__name__}: {text}")
    return EncodeError(f"{message.__name__} should be a message that a loaded extension handles, returns or registers")


def _load_codecs(plugins: PluginManager) -> None:
    """Load the codecs that messages name, with their plugins, and the codecs that the messages of those name."""
    seen = 0
    while seen < len(plugins.contributions):
        for message in vocabulary(plugins.contributions[seen]):
            schema = schema_of(message)
            if schema.own_codec is not None:
                continue
            try:
                plugins.codec(schema.codec)
            except ExtensionError as error:
                raise ExtensionError(
                    f"{schema.qualified_name}, @message(..., codec={schema.codec!r}): {error}"
                ) from error
        seen += 1


def vocabulary(owner: Contribution) -> dict[type[Message], None]:
    """Return every message class of a plugin, in order: registered, handled, returned, and their declared replies.

    Checks handlers' annotations.
    """
    found = dict.fromkeys(owner.messages)
    for handler in owner.handlers:
        found[handler.message] = None
        for reply in handler.replies():
            found[reply] = None
            where = f"{place(handler.function)}, handler of {handler.message.__name__}"
            _check_reply(owner, reply, where)
    for middleware in (*owner.middlewares, *owner.own_middlewares):
        for reply in middleware.replies():
            found[reply] = None
            _check_reply(owner, reply, f"{place(middleware.function)}, middleware")
    return with_replies(found)


def _check_reply(owner: Contribution, reply: type[Message], where: str) -> None:
    schema = schema_of(reply)
    if not owner.features and schema.type_id % 2 == 0 and schema.even is None:
        raise ExtensionError(
            f"{where}: returns {reply.__name__} of even type {schema.type_id:#06x}, which is sent only to peers whose "
            f"features show that they know it; extension {owner.name!r} should have a feature bit, or the reply an odd "
            "type, or even='known'"
        )


def _check_unknown(owners: tuple[Contribution, ...], registry: Registry) -> dict[int, str]:
    """Return the types of `UnknownHandler` objects, and who has each. Raises `TypeConflict` for one taken already."""
    found: dict[int, str] = {}
    for owner in owners:
        for handler in owner.unknown_handlers:
            claimant = f"{owner.name} (on_unknown of {place(handler.function)})"
            for type_id in handler.numbers:
                taken = "sessions of oddwire" if type_id == SESSION_TYPE else registry.owner_of(type_id)
                taken = taken or found.get(type_id)
                if taken is not None:
                    text = f"type {type_id} ({type_id:#06x}) is claimed by both {taken} and {claimant}"
                    raise TypeConflict(f"{text}; one should leave it out", type_id=type_id, owners=(taken, claimant))
                found[type_id] = claimant
    return found


def _claims(owners: tuple[Contribution, ...]) -> dict[type[Message], list[Contribution]]:
    claims: dict[type[Message], list[Contribution]] = {}
    for owner in owners:
        for message in vocabulary(owner):
            claims.setdefault(message, []).append(owner)
    return claims


def _handlers(owners: tuple[Contribution, ...]) -> dict[type[Message], tuple[Contribution, Handler]]:
    found: dict[type[Message], tuple[Contribution, Handler]] = {}
    for owner in owners:
        for handler in owner.handlers:
            other, before = found.setdefault(handler.message, (owner, handler))
            if before is not handler:
                raise ExtensionError(
                    f"{handler.message.__name__} has two handlers: {place(before.function)} of {other.name!r} and "
                    f"{place(handler.function)} of {owner.name!r}; it should have one"
                )
    return found


def _unique(kind: str, offers: Iterable[tuple[K, Contribution, V]]) -> dict[K, tuple[Contribution, V]]:
    """Return plugins and values by key. Raises `ExtensionError` naming both plugins for a key that two have."""
    found: dict[K, tuple[Contribution, V]] = {}
    for key, owner, value in offers:
        other, _ = found.setdefault(key, (owner, value))
        if other is not owner:
            raise ExtensionError(f"{kind} {key!r} is claimed by {other.name!r} and {owner.name!r}")
    return found
