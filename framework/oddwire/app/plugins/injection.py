"""Resolution of provided parameters: checked, and bound by closures, when an application is built.

Not loaded if no plugin takes or provides anything. Does not import asyncio: code that needs it is elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from oddwire.app.context import AppContext, NotProvided
from oddwire.app.declarations.annotations import alternatives, spell
from oddwire.app.declarations.handlers import parameters_of
from oddwire.app.declarations.providers import (
    Close,
    Dependency,
    Dependent,
    Provider,
    dependencies_of,
    key_of,
    located,
    make,
    read_dependencies,
    unfit,
)
from oddwire.app.extension import Extension
from oddwire.errors import ExtensionError
from oddwire.log_limits import get_logger
from oddwire.records import replace
from oddwire.schema import schema_of

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.declarations.peer_methods import PeerMethod
    from oddwire.app.declarations.rpc import RpcMethod
    from oddwire.app.plugins.manager import Contribution

__all__ = ["Injector", "Thing"]

logger = get_logger("oddwire.app")

_PEERLESS: Final = {
    "provider": "lives as long as the application",
    "middleware": "is around the handlers of all extensions",
}
_EMPTY: Final = inspect.Parameter.empty
_TOO_EARLY: Final = NotProvided("what is provided is made when the application starts; it is not there before")


class Thing:
    """The value of one provider: one per application, or one per connection."""

    __slots__ = ("annotation", "dependent", "key", "owner", "provider", "sources")

    def __init__(self, owner: Contribution, provider: Provider) -> None:
        self.owner = owner
        self.provider = provider
        self.annotation = provider.provides()
        self.key = key_of(self.annotation)
        self.dependent = provider.dependent()
        self.sources: tuple[_Source, ...] = ()

    @property
    def per_peer(self) -> bool:
        """Whether there is one value per connection."""
        return self.provider.scope == "peer"

    @property
    def title(self) -> str:
        """The provider's kind and place, for the log."""
        return f"provider {located(self.provider.function)}"

    def __str__(self) -> str:
        return f"{located(self.provider.function)} of {self.owner.name!r}"

    async def make(self, context: AppContext, values: Mapping[Thing, Any]) -> tuple[Any, Close | None]:
        """Call the provider with ``values`` of other things; see `make`."""
        arguments, named = _arguments(self.sources, values)
        return await make(self.provider, (context, *arguments) if self.dependent.fixed else arguments, named)


class _Source(NamedTuple):
    """The source of a parameter's value: a thing, or the constant ``value``."""

    dependency: Dependency
    thing: Thing | None
    value: Any


class _Call(NamedTuple):
    """A function with provided parameters, and the closure that is called in its place."""

    function: Callable[..., Any]
    closure: Callable[..., Any]
    sources: tuple[_Source, ...]


class Injector:
    """The providers, and the functions with provided parameters, of one application's plugins.

    ``given`` are values by type, which replace those of providers. Raises `ExtensionError` for a type without a
    provider or with two, a cycle, a thing per peer where there is no peer, and, if ``strict``, a given value that no
    plugin takes or provides; each names both sides.
    """

    def __init__(self, owners: Sequence[Contribution], given: Mapping[Any, Any], *, strict: bool = True) -> None:
        self._owners = owners
        self._given = {key_of(_fit_to_give(annotation)): value for annotation, value in given.items()}
        self._own: dict[tuple[str, object], Thing] = {}  # an extension's, for its own functions
        self._shared: dict[object, Thing] = {}  # another plugin's, for all extensions
        self._calls: dict[tuple[str, int, int], _Call] = {}
        self._of_app: list[_Call] = []
        self._of_peer: dict[str, list[_Call]] = {}
        self._methods: dict[int, RpcMethod] = {}
        self._peer_methods: dict[int, PeerMethod] = {}
        self._filled: list[Any] = []  # the provided arguments of each call in _of_app
        self._asked: dict[object, Any] = {}
        self._open: list[tuple[Thing, Close]] = []
        self._values: dict[Thing, Any] = {}  # of the application's things, while they are there
        things = [self._enter(owner, provider) for owner in owners for provider in owner.providers]
        for thing in things:
            if thing.key in self._given:  # not called, so its own parameters need no providers
                self._asked.update((one.key, one.annotation) for one in dependencies_of(thing.dependent, ""))
            else:
                thing.sources = self._resolve(thing.dependent, thing.owner.name)
        self._order = _ordered(thing for thing in things if thing.key not in self._given)
        for owner in owners:
            self._bind_all(owner)
        self._bind_middleware(owners)
        if strict:
            self._check_given(given)
        self.peer_things: dict[str, tuple[Thing, ...]] = {}
        """The things per peer that each plugin, by name, provides or takes, in the order in which they are created."""
        for owner in owners:
            wanted = [thing for thing in self._order if thing.per_peer and thing.owner is owner]
            wanted += [
                source.thing
                for call in self._of_peer.get(owner.name, ())
                for source in call.sources
                if source.thing is not None
            ]
            needed = _ordered(wanted)
            if found := tuple(thing for thing in needed if thing.per_peer):
                self.peer_things[owner.name] = found

    def bound(self, owner: str, function: Callable[..., Any], fixed: int) -> Callable[..., Any]:
        """Return a callable with a function's first ``fixed`` parameters: itself, if it has no provided ones."""
        call = self._calls.get((owner, id(function), fixed))
        return function if call is None else call.closure

    def method(self, method: RpcMethod) -> RpcMethod:
        """Return an RPC method as its callers see it: without the provided parameters."""
        return self._methods.get(id(method), method)

    def peer_method(self, method: PeerMethod) -> PeerMethod:
        """Return a JSON-RPC method as peers see it: without the provided parameters."""
        return self._peer_methods.get(id(method), method)

    # Checking ---------------------------------------------------------------------------------------

    def _enter(self, owner: Contribution, provider: Provider) -> Thing:
        thing = Thing(owner, provider)
        if isinstance(owner.plugin, Extension):
            before = self._own.setdefault((owner.name, thing.key), thing)
        else:
            before = self._shared.setdefault(thing.key, thing)
        if before is not thing:
            raise ExtensionError(
                f"{spell(thing.annotation)} is provided by {before} and by {thing}; it should be by one of them, or "
                "each should have a type of its own, as NewType makes them"
            )
        return thing

    def _resolve(self, dependent: Dependent, owner: str) -> tuple[_Source, ...]:
        return tuple(self._find(dependent, owner, one) for one in dependencies_of(dependent, owner))

    def _find(self, dependent: Dependent, owner: str, dependency: Dependency) -> _Source:
        key = dependency.key
        if key is None:
            return _Source(dependency, None, dependency.default)
        self._asked[key] = dependency.annotation
        if key in self._given:
            return _Source(dependency, None, self._given[key])
        thing = self._own.get((owner, key)) or self._shared.get(key)
        takes = (
            f"{dependent.describe(owner)}: parameter {dependency.name!r} takes {spell(dependency.annotation)}, which"
        )
        if thing is None and dependency.default is not _EMPTY:
            return _Source(dependency, None, dependency.default)
        if thing is None:
            raise ExtensionError(f"{takes} no provider returns{self._hint(owner, dependency)}")
        if thing.per_peer and not dependent.per_peer:
            where = _PEERLESS.get(dependent.what, "has no peer")
            raise ExtensionError(f"{takes} {thing} provides for each peer, and what takes it {where}")
        return _Source(dependency, thing, None)

    def _hint(self, owner: str, dependency: Dependency) -> str:
        wanted, things = dependency.annotation, [*self._own.values(), *self._shared.values()]
        for thing in things:
            provided = thing.annotation
            if thing.key == dependency.key:
                return f"; {thing} does, for its own extension alone: a plugin's register_providers does for all"
            if _is_one(provided, wanted):
                return f"; {thing} provides {spell(provided)}, which is one: '-> {spell(wanted)}' would say so"
            if spell(provided) == spell(wanted):
                modules = f"{_module(provided)} and not that of {_module(wanted)}"
                return f"; {thing} provides {spell(provided)} of {modules}"
        import difflib  # imported late: only for this error

        reach = {spell(thing.annotation): thing for thing in things if thing.owner.name == owner}
        reach.update({spell(thing.annotation): thing for thing in self._shared.values()})
        for close in difflib.get_close_matches(spell(wanted), reach, 1):
            return f"; {reach[close]} provides {close}"
        return f"; provided are: {', '.join(reach)}" if reach else ": declare a provider with @extension.provide"

    def knows(self, annotation: Any) -> bool:
        """Return whether any plugin takes or provides a type."""
        return key_of(annotation) in self._known()

    def _known(self) -> dict[object, Any]:
        provided = {thing.key: thing.annotation for thing in (*self._own.values(), *self._shared.values())}
        return provided | self._asked

    def _check_given(self, given: Mapping[Any, Any]) -> None:
        for annotation in given:
            if not self.knows(annotation):
                others = ", ".join(dict.fromkeys(map(spell, self._known().values()))) or "nothing"
                raise ExtensionError(
                    f"provide has {spell(annotation)}, which no loaded extension takes or provides; they take: {others}"
                )

    # Calling ----------------------------------------------------------------------------------------

    def _bind_all(self, owner: Contribution) -> None:
        for handler in owner.handlers:
            if handler.takes_more:
                schema = schema_of(handler.message)
                what = f"handler of {schema.name} {schema.type_id:#06x}"
                fixed = ("context", "message")
                dependent = Dependent(
                    function=handler.function, what=what, fixed=fixed, per_peer=True, names=handler.scope
                )
                self._bind(owner.name, dependent, self._resolve(dependent, owner.name))
        for job in owner.jobs:
            if job.takes_more:
                dependent = Dependent(
                    function=job.function, what=job.title, fixed=("context",), per_peer=job.per_peer, names=job.names
                )
                self._bind(owner.name, dependent, self._resolve(dependent, owner.name))
        for dependent in owner.dependents:
            self._bind(owner.name, dependent, self._resolve(dependent, owner.name))
        for middleware in owner.own_middlewares:
            more = middleware.dependent()
            if more is not None and (owner.name, id(more.function), len(more.fixed)) not in self._calls:
                self._bind(owner.name, more, self._resolve(more, owner.name))
        for method in owner.rpc_methods:
            if names := self._bind_method(owner.name, method, f"RPC method {method.name!r}", per_peer=False):
                usage = "" if method.usage == method.spelled() else method.usage
                self._methods[id(method)] = replace(method, provided=names, usage=usage)
        for rpc in owner.peer_rpcs:
            for served in rpc.methods.values():
                if names := self._bind_method(owner.name, served, served.title, per_peer=True):
                    self._peer_methods[id(served)] = replace(served, provided=names)

    def _bind_middleware(self, owners: Sequence[Contribution]) -> None:
        """Bind the middleware of plugins, as it is called for each extension."""
        for owner in owners:
            for middleware in owner.middlewares:
                dependent = middleware.dependent(per_peer=False)
                if dependent is not None:
                    sources = self._resolve(dependent, owner.name)
                    for other in owners:
                        self._bind(other.name, dependent, sources)

    def _bind_method(self, owner: str, method: RpcMethod | PeerMethod, what: str, *, per_peer: bool) -> tuple[str, ...]:
        """Determine which parameters of a method are provided, and return their names; the others are its caller's."""
        context, *parameters = parameters_of(method.function).values()
        dependent = Dependent(
            function=method.function, what=what, fixed=(context.name,), per_peer=per_peer, names=method.scope
        )
        mine: list[_Source] = []
        for parameter in parameters:
            annotation = method.annotation(parameter.name)
            if parameter.annotation is _EMPTY or not self._has(owner, annotation):
                continue
            (dependency,) = read_dependencies(dependent, owner, [parameter])
            mine.append(self._find(dependent, owner, dependency._replace(by_name=True)))
        self._bind(owner, dependent, tuple(mine))
        return tuple(source.dependency.name for source in mine)

    def _has(self, owner: str, annotation: Any) -> bool:
        options = [option for option in alternatives(annotation) if not unfit(option)]
        keys = [key_of(option) for option in options]
        return any(key in self._given or (owner, key) in self._own or key in self._shared for key in keys)

    def _bind(self, owner: str, dependent: Dependent, sources: tuple[_Source, ...]) -> None:
        if not sources:
            return
        function, count = dependent.function, len(dependent.fixed)
        by_name = any(source.dependency.by_name for source in sources)
        if any(source.thing is not None and source.thing.per_peer for source in sources):
            calls = self._of_peer.setdefault(owner, [])
            closure = _peer_closure(function, len(calls), by_name)
        else:
            calls = self._of_app
            closure = _app_closure(function, self._filled, len(calls), count, by_name)
            self._filled.append(_TOO_EARLY)
        call = _Call(function, closure, sources)
        calls.append(call)
        self._calls[owner, id(function), count] = call

    # Making and closing -----------------------------------------------------------------------------

    async def open(self, app: Application) -> None:
        """Create the application's things, each after those that it needs.

        Raises a provider's exception; what `take_open` returns is to be closed then.
        """
        values: dict[Thing, Any] = {}
        for thing in self._order:
            if not thing.per_peer:
                values[thing], close = await thing.make(AppContext(app, thing.owner.name), values)
                if close is not None:
                    self._open.append((thing, close))
        self._values = values
        self._filled[:] = [_extras(call, values) for call in self._of_app]

    def take_open(self) -> list[tuple[str, str, Close]]:
        """Return how to close the application's things, last first: the closing's name, the plugin's, and a function.

        They are not passed to functions any more.
        """
        closing, self._open = self._open, []
        self._filled[:] = [_TOO_LATE] * len(self._filled)
        self._values = {}
        return [(f"closing of {thing.title}", thing.owner.name, close) for thing, close in reversed(closing)]

    def abandon(self) -> None:
        """Drop the application's things without closing them, as the end of the process would."""
        self._open.clear()
        self._values = {}
        self._filled[:] = [_TOO_LATE] * len(self._filled)

    async def make_for_peer(self, thing: Thing, context: AppContext, made: Mapping[Thing, Any]) -> tuple[Any, Any]:
        """Create one thing of a connection, from the application's things and those ``made`` before.

        Returns its value, and the function that closes it, if any. Raises the provider's exception.
        """
        return await thing.make(context, {**self._values, **made})

    def extras(self, owner: str, made: Mapping[Thing, Any]) -> list[Any]:
        """Return the provided arguments of each call of a plugin that takes things of the connection."""
        values = {**self._values, **made}
        return [_extras(call, values) for call in self._of_peer.get(owner, ())]


_TOO_LATE: Final = NotProvided("what was provided is closed, as the application has ended")


def _app_closure(
    function: Callable[..., Any], filled: list[Any], at: int, count: int, by_name: bool
) -> Callable[..., Any]:
    """Return the closure that calls a function whose provided parameters are all things of the application.

    ``filled[at]`` are the provided arguments: a tuple, or with ``by_name`` a tuple and a dict.
    """
    if by_name:

        def call_by_name(*given: Any, **named: Any) -> Any:
            more, taken = filled[at]
            return function(*given, *more, **named, **taken)

        return call_by_name
    if count != 2:

        def call(*given: Any) -> Any:
            return function(*given, *filled[at])

        return call

    def handle(context: Any, message: Any) -> Any:
        return function(context, message, *filled[at])

    return handle


def _peer_closure(function: Callable[..., Any], at: int, by_name: bool) -> Callable[..., Any]:
    """Return the closure that calls a function that takes things of a connection, which its context holds."""
    if by_name:

        def call_by_name(context: Any, *given: Any, **named: Any) -> Any:
            more, taken = context._things[at]  # noqa: SLF001 - not part of the API
            return function(context, *given, *more, **named, **taken)

        return call_by_name

    def call(context: Any, *given: Any) -> Any:
        return function(context, *given, *context._things[at])  # noqa: SLF001 - not part of the API

    return call


def _arguments(sources: Iterable[_Source], values: Mapping[Thing, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    positional, named = [], {}
    for dependency, thing, value in sources:
        found = value if thing is None else values[thing]
        if dependency.by_name:
            named[dependency.name] = found
        else:
            positional.append(found)
    return (*positional,), named


def _extras(call: _Call, values: Mapping[Thing, Any]) -> Any:
    positional, named = _arguments(call.sources, values)
    return (positional, named) if any(source.dependency.by_name for source in call.sources) else positional


def _ordered(things: Iterable[Thing]) -> list[Thing]:
    """Return things and those that they need, each after those that it needs, else in the given order."""
    order: dict[Thing, None] = {}
    path: list[Thing] = []

    def visit(thing: Thing) -> None:
        if thing in order:
            return
        if thing in path:
            _refuse_cycle(path[path.index(thing) :])
        path.append(thing)
        for source in thing.sources:
            if source.thing is not None:
                visit(source.thing)
        path.pop()
        order[thing] = None

    for thing in things:
        visit(thing)
    return [*order]


def _refuse_cycle(cycle: Sequence[Thing]) -> NoReturn:
    names = [f"{spell(thing.annotation)} of {thing}" for thing in cycle]
    raise ExtensionError(
        f"providers depend on each other in a circle: {', which takes '.join((*names, spell(cycle[0].annotation)))}"
    )


def _is_one(provided: Any, wanted: Any) -> bool:
    try:
        return issubclass(provided, wanted)
    except TypeError:  # not classes, or a protocol without a runtime check
        return False


def _module(annotation: Any) -> str:
    return getattr(annotation, "__module__", "?")


def _fit_to_give(annotation: Any) -> Any:
    if why := unfit(annotation):
        raise ExtensionError(f"provide has {spell(annotation)}: {why}")
    return annotation
