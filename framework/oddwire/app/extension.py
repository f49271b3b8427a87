"""`Extension`: an author's declarations, and a plugin whose methods implement the hooks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal

from oddwire.app.context import AppContext, Context, Peer
from oddwire.app.declarations.declared import Hook, HookFunction, LateCheck, RegisteredMessage
from oddwire.app.declarations.handlers import Handler, name_of, with_replies
from oddwire.app.declarations.message_decorators import check_once
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.router import Decorators
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.gc_tuning import hold_collector
from oddwire.app.hookspecs import hookimpl
from oddwire.app.main_program import check_place
from oddwire.errors import ExtensionError, OddwireError
from oddwire.schema import Message
from oddwire.session.constants import MAX_NAME, MAX_VERSIONS, is_version

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.declarations.middleware import Middleware
    from oddwire.app.declarations.providers import Dependent, Provider
    from oddwire.app.declarations.unknown import UnknownHandler
    from oddwire.app.limits.access import Allow
    from oddwire.app.peer_rpc import PeerRpc
    from oddwire.session.limits import Limits

__all__ = ["Extension"]

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_MAX_FEATURE = 32767  # a feature map of 4 KiB: BOLT 1's init holds far more, no node announces that much


class Extension(Decorators):
    """A named set of messages and of the async functions that handle them.

    ``name`` is lower-case words joined by ``-`` or ``_``; ``feature`` is the odd feature bit, announced in ``init``,
    that shows peers that we support the extension. Both must be unique in an application. ``versions`` are the protocol
    versions that it speaks, numbers joined by dots; by default ``version`` is the only one. For `Peer.supports`, a peer
    whose hello lists none of them does not support the extension. ``peer_feature`` is a feature bit, odd or even, that
    we do not announce: peers that announce it, or its pair, support the extension, as with ``feature``.

    ``allow`` says which peers may use it, all by default: node ids; a function of the `Peer`, async or not, whose
    result is cached for a minute; or ``"channels"``, peers with a channel, where the host node knows. Other peers'
    messages are refused, or ignored if they need no reply. ``limits`` are the resources of the extension that one peer
    may use, within those that the application allows each peer. Limits that are not set here are the application's
    alone, and those of `oddwire.session.limits.OF_ALL` always are. Raises `ExtensionError`.

    To implement further hooks, subclass it and add methods marked ``@hookimpl``.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        feature: int | None = None,
        peer_feature: int | None = None,
        versions: Sequence[str] | None = None,
        allow: Allow | None = None,
        limits: Limits | None = None,
    ) -> None:
        made_in = sys._getframe(1).f_globals  # noqa: SLF001 - errors name both sides
        super().__init__(made_in.get("__name__", "?"))
        self.name = name
        self.version = version
        self.versions: tuple[str, ...] = (version,) if versions is None else (*versions,)
        self.feature = feature
        self.peer_feature = peer_feature
        self.allow = allow
        self.limits = limits
        self.peer_rpcs: list[PeerRpc] = []
        """JSON-RPC with peers: each `PeerRpc` that was made for the extension."""
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            text = f"lower-case words joined by '-' or '_', {MAX_NAME} characters at most"
            raise ExtensionError(f"{self.module}: an extension's name should be {text}, not {name!r}")
        if not isinstance(version, str) or not version:
            raise ExtensionError(f"{self!r}: version should be a text such as '1.0', not {version!r}")
        if len(self.versions) > MAX_VERSIONS:
            raise ExtensionError(f"{self!r}: versions should be {MAX_VERSIONS} at most, not {len(self.versions)}")
        for spoken in self.versions:
            if not isinstance(spoken, str) or not is_version(spoken):
                where = "version" if versions is None else "versions"
                hint = "; versions=(...) lists those of its protocol" if versions is None else ""
                raise ExtensionError(f"{self!r}: {where} should be numbers joined by dots, not {spoken!r}{hint}")
        if allow is not None:
            from oddwire.app.limits.access import check_allow

            check_allow(repr(self), allow)
        if limits is not None:
            from oddwire.app.limits.access import check_limits

            check_limits(repr(self), limits)
        if feature is not None and not (type(feature) is int and feature % 2 and 0 < feature <= _MAX_FEATURE):
            # BOLT 9: an even bit is compulsory, a peer that does not know it must disconnect.
            raise ExtensionError(f"{self!r}: feature should be an odd bit from 1 to {_MAX_FEATURE}, not {feature!r}")
        if peer_feature is not None and not (type(peer_feature) is int and 0 <= peer_feature <= _MAX_FEATURE):
            should = f"a bit from 0 to {_MAX_FEATURE} that peers announce"
            raise ExtensionError(f"{self!r}: peer_feature should be {should}, not {peer_feature!r}")
        if self.module == "__main__":
            _name_program(made_in)

    @property
    def messages(self) -> tuple[type[Message], ...]:
        """Every message class of the extension: handled, returned by a handler, registered, or a declared reply."""
        handlers = self.declared(Handler)
        found = dict.fromkeys(handler.message for handler in handlers)
        for handler in handlers:
            found.update(dict.fromkeys(handler.replies()))
        for middleware in self.middlewares:
            found.update(dict.fromkeys(middleware.replies()))
        registered = {one.message: None for one in self.declared(RegisteredMessage)}
        return (*with_replies(found | registered),)

    @property
    def does_nothing(self) -> bool:
        """Whether the extension has no handler, RPC method, job or hook: nothing of it would ever be called.

        False for every subclass, which may have hooks of its own.
        """
        serves = any(rpc.methods for rpc in self.peer_rpcs)
        if type(self) is not Extension or self.unknown_handlers or self.jobs or serves:
            return False
        return not any(map(self.declared, (Handler, RpcMethod, Hook)))

    def run(self, argv: Sequence[str] | None = None, *, receive: Literal["hook", "notification"] | None = None) -> None:
        """Run this extension, as a plugin if lightningd started the process, else as ``oddwire run`` does; then exit.

        ``argv`` are the options of ``oddwire run`` (default ``sys.argv[1:]``). ``receive`` is the way in which
        lightningd passes messages: by its notification, which v24.02 and later have and which is the default there, or
        by its hook.

        Call it in the main thread of a script, at the script's end: raises `ExtensionError` while an event loop is
        running, in another thread, or while the script is only being imported, saying what to do instead.
        """
        check_place(self.name, sys._getframe().f_back)  # noqa: SLF001 - depends on the caller's module
        if argv is not None and (isinstance(argv, str) or not all(isinstance(each, str) for each in _listed(argv))):
            raise ExtensionError(
                f"extension.run() of {self.name!r} takes argv as a list of texts, ['--json'] say, not {argv!r:.200}"
            )
        if receive not in (None, "hook", "notification"):
            raise ExtensionError(
                f"extension.run() of {self.name!r} takes receive='hook' or 'notification', not {receive!r:.200}"
            )
        hold_collector()
        from oddwire.app.lightningd import is_hosted, run_plugin

        if is_hosted():
            run_plugin(self, receive=receive)
        # The one import of a higher layer: here, at call time, an author's script becomes the program.
        from oddwire.cli.run import run_extension

        run_extension(self, argv)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs declared by `every` and `task`."""
        return (*self._of("jobs", "Job"),)

    @property
    def middlewares(self) -> tuple[Middleware, ...]:
        """The functions declared by `middleware`, routers' ones included; each handler says which are around it."""
        return (*self._of("middleware", "Middleware"),)

    @property
    def own_middlewares(self) -> tuple[Middleware, ...]:
        """Those declared on the extension itself, without those of routers."""
        everywhere = self.middlewares
        return (*(one for one in everywhere if any(one is each for each in self._declarations)),)

    @property
    def unknown_handlers(self) -> tuple[UnknownHandler, ...]:
        """The handlers declared by `on_unknown`."""
        return (*self._of("unknown", "UnknownHandler"),)

    @property
    def dependents(self) -> tuple[Dependent, ...]:
        """The hooks, jobs, tasks and the like that have provided parameters."""
        return (*self._of("providers", "Dependent"),)

    def check_declared(self) -> None:
        """Raise `ExtensionError` for what was declared twice, or takes what nobody knows, routers included; at load."""
        self.check_included()
        check_once(repr(self), self.declared(Handler))
        check_once(repr(self), self.declared(RpcMethod))
        check_once(repr(self), self.declared(Option))
        for late in self.declared(LateCheck):
            late.check()

    def has_hook(self, name: str) -> bool:
        """Return whether a hook is not empty: ``peer_connected``, ``peer_disconnected`` or ``stopping``."""
        declared = {"peer_connected": "on_connect", "peer_disconnected": "on_disconnect", "stopping": "on_stopping"}
        return bool(self.hook_functions(declared[name])) or getattr(type(self), name) is not getattr(Extension, name)

    # Hooks that pluggy calls ------------------------------------------------------------------------

    @hookimpl
    def register_messages(self) -> tuple[type[Message], ...]:
        """Return the message classes: `messages`. Raises `ExtensionError` for classes of `on_undelivered` of others."""
        messages = self.messages
        for undelivered in self._of("undelivered", "Undelivered"):
            undelivered.check(self.name, messages)
        return messages

    @hookimpl
    def register_handlers(self) -> tuple[Handler, ...]:
        """Return the handlers declared by `on`."""
        return (*self.handlers(),)

    @hookimpl
    def register_rpc(self) -> tuple[RpcMethod, ...]:
        """Return the RPC methods declared by `rpc`."""
        return (*self.declared(RpcMethod),)

    @hookimpl
    def register_jobs(self) -> tuple[Job, ...]:
        """Return the jobs declared by `every` and `task`."""
        return self.jobs

    @hookimpl
    def register_options(self) -> tuple[Option, ...]:
        """Return the options declared by `option`."""
        return (*self.declared(Option),)

    @hookimpl
    async def startup(self, app: Application) -> None:
        """Await the functions of `on_startup`, in order."""
        for function in self.hook_functions("on_startup"):
            await self._call(function, AppContext(app, self.name))

    @hookimpl
    async def ready(self, app: Application) -> None:
        """Await the functions of `on_ready`, in order."""
        for function in self.hook_functions("on_ready"):
            await self._call(function, AppContext(app, self.name))

    @hookimpl
    async def stopping(self, app: Application) -> None:
        """Await the functions of `on_stopping`, last first; each runs, the first error is raised at the end."""
        await self._run_all("on_stopping", self.hook_functions("on_stopping"), app)

    @hookimpl
    async def shutdown(self, app: Application) -> None:
        """Await the functions of `on_shutdown`, last first; each runs, the first error is raised at the end."""
        await self._run_all("on_shutdown", self.hook_functions("on_shutdown"), app)

    async def _run_all(self, kind: str, functions: Sequence[HookFunction], app: Application) -> None:
        from asyncio import CancelledError, current_task  # imported late: the host node has the manifest sooner

        from oddwire.exit_exceptions import must_pass

        failed: list[tuple[Any, BaseException]] = []
        cancelled: BaseException | None = None
        me, context = current_task(), AppContext(app, self.name)
        try:
            for function in reversed(functions):
                try:
                    await self._call(function, context)
                except BaseException as error:
                    if not must_pass(error, me):
                        failed.append((function, error))
                    elif not isinstance(error, CancelledError):
                        raise
                    else:  # its time is over; the others have theirs until the task is not waited for any longer
                        cancelled = error
            _report_all(context, kind, failed[0 if cancelled else 1 :])  # only the first error is raised
            if cancelled:
                raise cancelled
            if failed:
                function = failed[0][0]  # `failed_hook` reads it
                raise failed[0][1]
        finally:
            failed.clear()  # a stored error refers to this frame
            del me, cancelled

    @hookimpl
    def handler_failed(
        self, app: Application, peer: Peer | None, extension: str, message: Message | None, error: BaseException
    ) -> Coroutine[Any, Any, None] | None:
        """Return a coroutine that awaits the functions of `on_error`; None for another extension's failure."""
        if extension != self.name or not self.hook_functions("on_error"):
            return None
        context = AppContext(app, self.name) if peer is None else Context(app, self.name, peer)
        return self._call_on_error(context, error, message)

    async def _call_on_error(self, context: AppContext, error: BaseException, message: Message | None) -> None:
        for function in self.hook_functions("on_error"):
            await self._call(function, context, error, message)

    @hookimpl
    async def peer_connected(self, app: Application, peer: Peer) -> None:
        """Await the functions of `on_connect`, in order."""
        for function in self.hook_functions("on_connect"):
            await self._call(function, app.resources.context(app, self.name, peer))

    @hookimpl
    async def delivery_failed(
        self, app: Application, peer: Peer, extension: str, message: Message | None, error: OddwireError
    ) -> None:
        """Await the functions of `on_undelivered`, in order, for a message of this extension."""
        if extension == self.name:
            for hook in self.declared(Hook):
                if hook.name == "on_undelivered" and hook.applies_to(message):
                    function = hook.function  # named in the log, if it fails
                    await self._call(function, Context(app, self.name, peer), message, error)

    @hookimpl
    async def peer_disconnected(self, app: Application, peer: Peer, reason: str) -> None:
        """Await the functions of `on_disconnect`, in order."""
        for function in self.hook_functions("on_disconnect"):
            await self._call(function, app.resources.context(app, self.name, peer), reason)

    @hookimpl
    def register_providers(self) -> tuple[Provider, ...]:
        """Return the providers declared by `provide`, for this extension alone."""
        return (*self._of("providers", "Provider"),)

    def _call(
        self, function: Callable[..., Coroutine[Any, Any, None]], context: AppContext, *given: Any
    ) -> Coroutine[Any, Any, None]:
        """Call a declared function with its provided parameters added."""
        return context.app.resources.bound(self.name, function, 1 + len(given))(context, *given)

    def __repr__(self) -> str:
        return f"<Extension {self.name!r} of {self.module}>"


def _name_program(program: dict[str, Any]) -> None:
    """Make ``import market`` return the module of ``python market.py``: Python would run the file again, as another.

    Handlers declared in a second file would then belong to another extension object, and the one that runs would have
    none. Raises `ExtensionError` if the file has been run twice already.
    """
    main, file = sys.modules.get("__main__"), program.get("__file__")
    if main is None or vars(main) is not program or not isinstance(file, str):
        return
    if main.__spec__ is not None:  # python -m market
        name = main.__spec__.name
    else:
        folder, base = os.path.split(os.path.realpath(file))
        name = base.removesuffix(".py")
        is_package = os.path.exists(f"{folder}/{name}/__init__.py")  # noqa: PTH110
        if name == base or is_package or not sys.path or os.path.realpath(sys.path[0]) != folder:
            return  # `import` would not find this file by its name
    other = sys.modules.setdefault(name, main)
    where = getattr(other, "__file__", None)
    if other is not main and isinstance(where, str) and os.path.realpath(where) == os.path.realpath(file):
        raise ExtensionError(
            f"{file} runs twice, as the program and as module {name!r}, so it makes two extensions, each with a part "
            f"of the handlers: what imports {name!r} should be imported below the line that makes the extension"
        )


def _report_all(context: AppContext, kind: str, failed: Sequence[tuple[Any, BaseException]]) -> None:
    """Report exceptions of hooks at the application's end; those of on_shutdown are too late for hooks for failures."""
    for function, error in failed:
        what = f"{kind} {name_of(function)}"
        context.app._report(what, context, error, report=kind == "on_stopping")  # noqa: SLF001 - its own hooks


def _listed(given: object) -> Sequence[object]:
    return given if isinstance(given, (list, tuple)) else (given,)
