"""Discovery, loading and registration of plugins; a plugin's contribution is collected at its registration."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pluggy

from oddwire.app.declarations.handlers import Handler
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.extension import Extension
from oddwire.app.hookspecs import PROJECT, Hooks
from oddwire.app.plugins.builtin import Builtins
from oddwire.codecs.base import Codec
from oddwire.errors import DefinitionError, ExtensionError
from oddwire.records import FrozenRecord
from oddwire.schema import Message
from oddwire.session.constants import is_version
from oddwire.transports.base import PeerInfo, Transport

if TYPE_CHECKING:
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.declarations.middleware import Middleware
    from oddwire.app.declarations.providers import Dependent, Provider
    from oddwire.app.declarations.unknown import UnknownHandler
    from oddwire.app.limits.access import Allow
    from oddwire.app.peer_rpc import PeerRpc
    from oddwire.session.limits import Limits

__all__ = ["CODECS", "EXTENSIONS", "TRANSPORTS", "Contribution", "HookCall", "PluginManager"]

# Entry-point groups: the entry's name is the extension's, transport's or codec's, its value a plugin that has it.
EXTENSIONS = "oddwire.extensions"
TRANSPORTS = "oddwire.transports"
CODECS = "oddwire.codecs"


class Contribution(FrozenRecord, kw_only=True):
    """Everything that one plugin registers. ``name`` is the plugin's name in errors and contexts."""

    name: str
    plugin: object
    feature: int | None = None
    peer_feature: int | None = None
    """A feature bit of peers that we do not announce."""
    versions: tuple[str, ...] = ()
    """Versions of its protocol, for our hello; an extension without any is not listed there."""
    allow: Allow | None = None
    limits: Limits | None = None
    messages: tuple[type[Message], ...] = ()
    handlers: tuple[Handler, ...] = ()
    codecs: tuple[Codec, ...] = ()
    transports: Mapping[str, Callable[..., Transport]] = MappingProxyType({})
    rpc_methods: tuple[RpcMethod, ...] = ()
    options: tuple[Option, ...] = ()
    jobs: tuple[Job, ...] = ()
    providers: tuple[Provider, ...] = ()
    dependents: tuple[Dependent, ...] = ()
    """Hooks, and the like, that take what is provided."""
    peer_rpcs: tuple[PeerRpc, ...] = ()
    rpc_middlewares: tuple[Middleware, ...] = ()
    """Those around the methods of ``peer_rpcs``."""
    middlewares: tuple[Middleware, ...] = ()
    """Those around the handlers of all plugins; those around its own handlers are in `Handler.middleware`."""
    unknown_handlers: tuple[UnknownHandler, ...] = ()

    @property
    def own_middlewares(self) -> tuple[Middleware, ...]:
        """Those around its own handlers, and its JSON-RPC methods."""
        of_handlers = dict.fromkeys(middleware for handler in self.handlers for middleware in handler.middleware)
        return (*dict.fromkeys((*of_handlers, *self.rpc_middlewares)),)

    @property
    def injects(self) -> bool:
        """Whether it provides or takes anything."""
        functions: tuple[Handler | Job, ...] = (*self.handlers, *self.jobs)
        if self.providers or self.dependents or any(one.takes_more for one in functions):
            return True
        middlewares = (*self.middlewares, *self.own_middlewares)
        return any(middleware.dependent() is not None for middleware in middlewares)

    @property
    def features(self) -> tuple[int, ...]:
        """The feature bits by which peers show that they know it."""
        return tuple(bit for bit in (self.feature, self.peer_feature) if bit is not None)

    def is_shown_by(self, info: PeerInfo) -> bool:
        """Return whether a peer's features show that it knows the plugin."""
        return any(info.has_feature(bit) for bit in self.features)


class HookCall:
    """One plugin's implementation of one hook, called with the hook's parameters by name.

    ``plugin`` is the plugin's name, ``hook`` the hook's.
    """

    __slots__ = ("_function", "_names", "hook", "plugin")

    def __init__(self, impl: pluggy.HookImpl, hook: str) -> None:
        self.plugin = impl.plugin_name
        self.hook = hook
        self._function = impl.function
        self._names = impl.argnames

    def __call__(self, **parameters: Any) -> Any:
        """Call the implementation; for an async one this returns its coroutine."""
        return self._function(*[parameters[name] for name in self._names])

    @property
    def is_async(self) -> bool:
        """Whether the implementation is an ``async def``: calling it does not run any of its code yet."""
        return inspect.iscoroutinefunction(self._function)

    async def finish(self, **parameters: Any) -> Any:
        """Call the implementation, and await the result if it is awaitable."""
        result = self(**parameters)
        return await result if inspect.isawaitable(result) else result


class _Pluggy(pluggy.PluginManager):
    """Looks for the hooks of `Extension` once: pluggy would look at all its attributes for each extension again."""

    _hooks: ClassVar[frozenset[str]] = frozenset()

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return the options of a hook, None for other attributes."""
        if type(plugin) is Extension:
            if not _Pluggy._hooks:
                parse = super().parse_hookimpl_opts
                _Pluggy._hooks = frozenset(each for each in dir(Extension) if parse(plugin, each) is not None)
            if name not in _Pluggy._hooks and name not in vars(plugin):
                return None
        return super().parse_hookimpl_opts(plugin, name)


class PluginManager:
    """The plugins of one application, in the order of loading: oddwire's own first. There is no global state.

    Registration is atomic: a plugin that raises, or offers values of a wrong type, is not registered afterwards.
    """

    def __init__(self) -> None:
        self._pluggy = _Pluggy(PROJECT)
        self._pluggy.add_hookspecs(Hooks)
        self._contributions: dict[str, Contribution] = {}
        self._frozen = False
        self.register(Builtins())

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """The contribution of each registered plugin, in the order of loading."""
        return (*self._contributions.values(),)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register an extension, or any object or module with hookimpls; return its name.

        ``name`` defaults to the plugin's ``name`` attribute, its module name or its class name. Raises
        `ExtensionError` (or another `DefinitionError` of a message it has) and leaves nothing registered.
        """
        plugin = _plugin_of(plugin)
        name = name or _name_of(plugin)
        if self._frozen:
            raise ExtensionError(f"plugin {name!r} should be registered before the application is built")
        other = self._contributions.get(name)
        if other is not None:
            same = "twice" if other.plugin is plugin else f"by {_describe(other.plugin)} and {_describe(plugin)}"
            raise ExtensionError(f"plugin {name!r} is registered {same}; it should be registered once")
        try:
            self._pluggy.register(plugin, name)
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            raise ExtensionError(f"plugin {name!r} ({_describe(plugin)}): {error}") from None
        try:
            self._contributions[name] = self._gather(name, plugin)
        except BaseException:
            self._pluggy.unregister(plugin)
            raise
        return name

    def add(self, plugin: object) -> str:
        """Register a plugin object, or load one by name or path: see `register` and `load`."""
        if isinstance(plugin, os.PathLike):
            return self.load(os.path.join(".", os.fsdecode(plugin)))  # noqa: PTH118 - a path, though it may have no slash
        return self.load(plugin) if isinstance(plugin, str) else self.register(plugin)

    def load(self, spec: str) -> str:
        """Register the extension ``spec`` names; return its name.

        ``spec`` is the name of an installed extension; the path of a ``.py`` file or of a package's folder, with a
        ``/`` or ending in ``.py``; or ``MODULE:NAME``, an attribute of a module in the current folder or an installed
        one, and likewise ``FILE:NAME``. A file should hold one `Extension`, one of them called ``extension``, or
        hookimpls of its own. It imports the modules of its folder before all others of their names, and those of other
        folders not at all. Raises `ExtensionError`.
        """
        if "/" in spec or ":" in spec or spec.endswith(".py"):
            from oddwire.app.plugins.extension_file import plugin_at  # seldom needed

            return self.register(plugin_at(spec))
        return self._load_entry_point(EXTENSIONS, spec)

    def warnings(self) -> list[str]:
        """Return warnings for extensions that do nothing, a mistake where these plugins are the whole program."""
        extensions = [item.plugin for item in self.contributions if isinstance(item.plugin, Extension)]
        return [
            f"extension {plugin.name!r} ({_describe(plugin)}) does nothing: it has no handlers, RPC methods or "
            "callbacks; is the module that has them imported?"
            for plugin in extensions
            if plugin.does_nothing
        ]

    def codec(self, name: str) -> Codec:
        """Return a registered codec, loading the plugin of entry-point group ``oddwire.codecs`` if necessary."""
        codec: Codec = self._provided(CODECS, name, lambda c: {codec.name: codec for codec in c.codecs})
        return codec

    def transport(self, name: str) -> Callable[..., Transport]:
        """Return a registered transport's factory, loading the plugin of ``oddwire.transports`` if necessary."""
        make: Callable[..., Transport] = self._provided(TRANSPORTS, name, lambda c: c.transports)
        return make

    def calls(self, hook: str) -> list[HookCall]:
        """Return a hook's implementations to call with its parameters by name.

        In the order of loading, those marked ``tryfirst`` before and ``trylast`` after all others.
        """
        order = {name: number for number, name in enumerate(self._contributions)}
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        found.sort(key=lambda impl: (impl.trylast - impl.tryfirst, order[impl.plugin_name]))
        return [HookCall(impl, hook) for impl in found]

    def freeze(self) -> None:
        """Refuse to register any more plugins, because the application has been built."""
        self._frozen = True

    def _gather(self, name: str, plugin: object) -> Contribution:
        found: dict[str, list[Any]] = {}
        if isinstance(plugin, Extension):
            plugin.check_declared()
        callers = self._pluggy.get_hookcallers(plugin) or []
        if not callers:
            should = "an Extension, or functions" if isinstance(plugin, ModuleType) else "functions"
            raise ExtensionError(
                f"plugin {name!r} ({_describe(plugin)}) should have {should} marked @hookimpl; it has none"
            )
        for caller in callers:
            impl = next(impl for impl in caller.get_hookimpls() if impl.plugin is plugin)
            if not caller.has_spec():
                hint = _closest(caller.name, _HOOK_NAMES) or f"they are: {', '.join(_HOOK_NAMES)}"
                raise ExtensionError(f"plugin {name!r} ({_describe(plugin)}): there is no hook {caller.name!r}; {hint}")
            if impl.wrapper or impl.hookwrapper:
                raise ExtensionError(f"plugin {name!r} ({_describe(plugin)}): hook {caller.name!r} cannot be wrapped")
            if caller.name in _GATHERED:
                found[caller.name] = _checked(name, caller.name, impl.function)
        feature, peer_feature = getattr(plugin, "feature", None), getattr(plugin, "peer_feature", None)
        return Contribution(
            name=name,
            plugin=plugin,
            feature=feature if type(feature) is int else None,
            peer_feature=peer_feature if type(peer_feature) is int else None,
            versions=_versions_of(plugin),
            allow=plugin.allow if isinstance(plugin, Extension) else None,
            limits=plugin.limits if isinstance(plugin, Extension) else None,
            messages=(*found.get("register_messages", ()),),
            handlers=(*found.get("register_handlers", ()),),
            codecs=(*found.get("register_codecs", ()),),
            transports=dict(found.get("register_transports", ())),
            rpc_methods=(*found.get("register_rpc", ()),),
            options=(*found.get("register_options", ()),),
            jobs=(*found.get("register_jobs", ()),),
            providers=(*found.get("register_providers", ()),),
            dependents=plugin.dependents if isinstance(plugin, Extension) else (),
            middlewares=(*found.get("register_middleware", ()),),
            unknown_handlers=plugin.unknown_handlers if isinstance(plugin, Extension) else (),
            peer_rpcs=(*plugin.peer_rpcs,) if isinstance(plugin, Extension) else (),
            rpc_middlewares=plugin.own_middlewares if isinstance(plugin, Extension) and plugin.peer_rpcs else (),
        )

    def _provided(self, group: str, name: str, offers: Callable[[Contribution], Mapping[str, Any]]) -> Any:
        for contribution in self.contributions:
            if name in offers(contribution):
                return offers(contribution)[name]
        kind = group.rpartition(".")[2].removesuffix("s")
        known = sorted({offer for contribution in self.contributions for offer in offers(contribution)})
        plugin = self._load_entry_point(group, name, known)
        found = offers(self._contributions[plugin])
        if name not in found:
            raise ExtensionError(
                f"plugin {plugin!r} is installed as the {kind} {name!r}, but provides "
                f"{', '.join(sorted(found)) or 'none'}"
            )
        return found[name]

    def _load_entry_point(self, group: str, name: str, known: Iterable[str] = ()) -> str:
        from importlib.metadata import entry_points  # imported late: it imports the email package to parse metadata

        kind = group.rpartition(".")[2].removesuffix("s")
        entries = list(entry_points(group=group, name=name))
        if not entries:
            names = sorted({*known, *entry_points(group=group).names})
            hint = _closest(name, names) or f"there are: {', '.join(names) or 'none'}"
            if group == EXTENSIONS:
                from oddwire.app.plugins.extension_file import place_nearby

                place = place_nearby(name)
                hint = hint if place is None else f"did you mean {place}?"
            raise ExtensionError(f"no {kind} is called {name!r}; {hint}")
        sources = sorted({f"{entry.value} of {entry.dist.name if entry.dist else '?'}" for entry in entries})
        if len(sources) > 1:
            raise ExtensionError(f"two installed packages provide the {kind} {name!r}: {' and '.join(sources)}")
        try:
            plugin = entries[0].load()
        except DefinitionError:
            raise
        except Exception as error:
            raise ExtensionError(f"{kind} {name!r} ({sources[0]}) cannot be imported: {_brief(error)}") from error
        for contribution in self.contributions:  # one plugin may have both a transport and a codec
            if contribution.plugin is plugin and kind != "extension":
                return contribution.name
        return self.register(plugin)


_MARK = f"{PROJECT}_impl"  # the attribute that `hookimpl` sets
_HOOK_NAMES = [name for name in vars(Hooks) if not name.startswith("_")]
_GATHERED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "register_codecs": ("codecs", lambda item: isinstance(item, Codec)),
    "register_messages": ("message classes", lambda item: isinstance(item, type) and issubclass(item, Message)),
    "register_handlers": ("Handler objects", lambda item: isinstance(item, Handler)),
    "register_rpc": ("RpcMethod objects", lambda item: isinstance(item, RpcMethod)),
    "register_options": ("Option objects", lambda item: isinstance(item, Option)),
    "register_jobs": ("Job objects", lambda item: _is_job(item)),
    "register_providers": ("Provider objects", lambda item: _is_provider(item)),
    "register_middleware": ("Middleware objects", lambda item: _is_middleware(item)),
    "register_transports": (
        "a mapping of names to callables",
        lambda item: isinstance(item[0], str) and callable(item[1]),
    ),
}


def _is_job(item: object) -> bool:
    from oddwire.app.declarations.jobs import Job  # not before there is one

    return isinstance(item, Job)


def _is_provider(item: object) -> bool:
    from oddwire.app.declarations.providers import Provider  # not before there is one

    return isinstance(item, Provider)


def _is_middleware(item: object) -> bool:
    from oddwire.app.declarations.middleware import Middleware  # not before there is one

    return isinstance(item, Middleware)


def _checked(plugin: str, hook: str, function: Callable[..., Any]) -> list[Any]:
    """Call one ``register_`` hook, and check and return its items."""
    expected, fits = _GATHERED[hook]
    try:
        given = function()
    except DefinitionError:
        raise
    except Exception as error:
        raise ExtensionError(f"plugin {plugin!r}: {hook} raised {_brief(error)}") from error
    if isinstance(given, Mapping) is not (hook == "register_transports") or not isinstance(given, Iterable):
        raise ExtensionError(f"plugin {plugin!r}: {hook} should return {expected}, not {given!r}")
    items = list(given.items() if isinstance(given, Mapping) else given)
    for item in items:
        if not fits(item):
            raise ExtensionError(f"plugin {plugin!r}: {hook} should return {expected}, not {item!r}")
    return items


def _plugin_of(given: object) -> object:
    """Return the object to register: for a module without hookimpls, the `Extension` in it.

    Raises `ExtensionError` for an object that is no plugin, saying what would be one.
    """
    if isinstance(given, ModuleType):
        return _plugin_in(given)
    if isinstance(given, type) and any(_is_unbound(given, name) for name in dir(given)):
        hint = f"give an instance, {given.__name__}(...)"
    elif isinstance(given, type) and issubclass(given, Message):
        hint = "messages come with the extension that handles or registers them: give that"
    elif isinstance(given, Transport) or (isinstance(given, type) and issubclass(given, Transport)):
        hint = "it should be given as transport=..."
    elif isinstance(given, (list, tuple, set, frozenset, Mapping)):
        hint = "give what is in it one by one, Application(*extensions)"
    elif given is None or isinstance(given, (bool, int, float, str, bytes, Message)):
        hint = "it should be an Extension, an object with functions marked @hookimpl, or the name or path of one"
    else:
        return given
    raise ExtensionError(f"{_describe(given)} is no extension or plugin: {hint}")


def _plugin_in(module: ModuleType) -> object:
    if any(hasattr(item, _MARK) for item in vars(module).values()):
        return module
    named = getattr(module, "extension", None)
    if isinstance(named, Extension):
        return named
    found = list({id(item): item for item in vars(module).values() if isinstance(item, Extension)}.values())
    if len(found) > 1:
        names = ", ".join(sorted(extension.name for extension in found))
        raise ExtensionError(f"module {module.__name__} holds several extensions ({names}): give those themselves")
    return found[0] if found else module


def _is_unbound(cls: type, name: str) -> bool:
    found = inspect.getattr_static(cls, name, None)
    return isinstance(found, FunctionType) and hasattr(found, _MARK)


def _versions_of(plugin: object) -> tuple[str, ...]:
    """Return the protocol versions of an extension, or of a plugin with the same attributes."""
    versions = getattr(plugin, "versions", ())
    if not isinstance(versions, tuple) or not all(isinstance(one, str) and is_version(one) for one in versions):
        return ()
    return versions


def _name_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return plugin.__name__
    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) and name else (plugin if isinstance(plugin, type) else type(plugin)).__name__


def _describe(plugin: object) -> str:
    if isinstance(plugin, Extension):
        neighbours = sys.modules.get("oddwire.app.plugins.sibling_imports")  # only imported if files have been loaded
        file = None if neighbours is None else neighbours.file_of(plugin.module)
        if file is None:
            return f"an extension of {plugin.module}"
        from oddwire.printable import printable  # imported late: only for errors

        return f"an extension of {printable(file)}"
    return f"module {plugin.__name__}" if isinstance(plugin, ModuleType) else repr(plugin)


def _closest(name: str, names: Sequence[str]) -> str:
    """Return "did you mean" text for a misspelt name, empty if no known name is close."""
    import difflib  # imported late: only for misspelt names

    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]!r}?" if close else ""


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
