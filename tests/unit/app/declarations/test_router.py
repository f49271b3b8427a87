from __future__ import annotations

from itertools import pairwise

import pytest

from oddwire.app import AppContext, Context, Extension, PluginManager
from oddwire.app.declarations.declared import Hook
from oddwire.app.declarations.handlers import Handler
from oddwire.app.declarations.jobs import Job
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.providers import Dependent, Provider
from oddwire.app.declarations.router import Router
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.declarations.unknown import UnknownHandler
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message


@message(0x8C01)
class Ask(Message): ...


@message(0x8C03)
class Answer(Message): ...


@message(0x8C05)
class Note(Message): ...


class Thing: ...


async def hook(context: AppContext) -> None: ...


def shop() -> Extension:
    return Extension("shop", version="1.0")


def test_a_router_declares_whatever_an_extension_does() -> None:
    router, extension = Router(), shop()
    extension.include(router)

    @router.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer: ...

    @router.on_unknown(0x9001)
    async def unknown(context: Context, type_id: int, data: bytes) -> None: ...

    @router.rpc("shop-list")
    async def listed(context: AppContext, thing: Thing) -> None: ...

    @router.option("shop-size")
    def size(value: int = 1) -> int:
        return value

    @router.provide
    def thing() -> Thing:
        return Thing()

    @router.every(10)
    async def every(context: AppContext, thing: Thing) -> None: ...

    @router.task
    async def task(context: AppContext) -> None: ...

    router.register(Note)
    for name in ("startup", "ready", "stopping", "shutdown"):
        getattr(router, f"on_{name}")(hook)
    plugins = PluginManager()
    plugins.register(extension)
    found = plugins.contributions[-1]
    assert [handler.function for handler in found.handlers] == [ask]
    assert [handler.function for handler in found.unknown_handlers] == [unknown]
    assert [method.function for method in found.rpc_methods] == [listed]
    assert [option.function for option in found.options] == [size]
    assert [provider.function for provider in found.providers] == [thing]
    assert [job.function for job in found.jobs] == [every, task]
    assert [job.function for job in found.jobs if job.takes_more] == [every]
    assert found.messages == (Ask, Answer, Note)
    assert [one.name for one in extension.declared(Hook)] == ["on_startup", "on_ready", "on_stopping", "on_shutdown"]
    assert extension.has_hook("stopping")
    assert not extension.does_nothing
    assert shop().does_nothing


@pytest.mark.parametrize("kind", [Handler, Hook, Job, Option, Provider, Dependent, RpcMethod, UnknownHandler])
def test_an_empty_router_declares_nothing(kind: type) -> None:
    extension = shop()
    extension.include(Router())
    assert extension.declared(kind) == []
    assert extension.does_nothing


def test_what_is_included_is_at_its_place_also_what_is_declared_later() -> None:
    outer, inner, extension = Router(), Router(), shop()
    names: list[str] = []

    def declare(target: Router | Extension, name: str) -> None:
        async def start(context: AppContext) -> None: ...

        start.__name__ = name
        target.on_startup(start)
        names.append(name)

    declare(extension, "first")
    extension.include(outer)
    declare(outer, "second")
    outer.include(inner)
    declare(outer, "fourth")
    declare(extension, "fifth")
    declare(inner, "third")
    found = [function.__name__ for function in extension.hook_functions("on_startup")]
    assert found == ["first", "second", "third", "fourth", "fifth"]


def test_a_router_may_be_in_two_extensions() -> None:
    router, left, right = Router(), shop(), shop()
    router.on_startup(hook)
    left.include(router)
    right.include(router)
    assert left.hook_functions("on_startup") == right.hook_functions("on_startup") == [hook]


def test_but_only_once_in_one() -> None:
    router, extension = Router(), shop()
    extension.include(router)
    text = rf"<Extension 'shop' of {__name__}>: <Router of {__name__}> is included twice; it should be included once"
    with pytest.raises(ExtensionError, match=f"^{text}$"):
        extension.include(router)
    between = Router()
    between.include(router)
    with pytest.raises(ExtensionError, match=f"^{text}$"):
        extension.include(between)


def test_that_is_also_seen_when_it_comes_about_later() -> None:
    router, left, right, extension = Router(), Router(), Router(), shop()
    extension.include(left)
    extension.include(right)
    left.include(router)
    right.include(router)
    with pytest.raises(ExtensionError, match=r"is included twice; it should be included once$"):
        PluginManager().register(extension)


def test_a_router_is_not_in_itself() -> None:
    router, inner = Router(), Router()
    for one in (router, inner):
        with pytest.raises(ExtensionError, match=r"would include it in itself$"):
            one.include(one)
    router.include(inner)
    with pytest.raises(ExtensionError, match=r"^<Router of .*: include\(<Router of .*>\) would include it in itself$"):
        inner.include(router)


def test_so_many_are_in_one_another_and_no_more() -> None:
    routers = [Router() for _ in range(3000)]
    extension, other = shop(), shop()
    for outer, inner in pairwise(routers[:100]):
        outer.include(inner)
    handler_of(routers[99])
    extension.include(routers[0])
    PluginManager().register(extension)
    assert [handler.message for handler in extension.handlers()] == [Ask]
    assert [*extension.included()] == routers[:100]
    for outer, inner in pairwise(routers[100:]):
        outer.include(inner)
    text = r"^<Extension 'shop' .*>: <Router of .*> is included 101 deep, by one router in another; at most 100 may be"
    with pytest.raises(ExtensionError, match=text):
        other.include(routers[100])
    routers[99].include(Router())
    with pytest.raises(ExtensionError, match=text):
        PluginManager().register(extension)


def handler_of(router: Router) -> None:
    @router.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer: ...


@pytest.mark.parametrize("given", [None, "orders", shop])
def test_only_routers_are_included(given: object) -> None:
    with pytest.raises(ExtensionError, match=r"include should be given a Router, not "):
        shop().include(given)  # type: ignore[arg-type]


def test_of_an_extension_the_error_says_where_it_belongs() -> None:
    with pytest.raises(ExtensionError, match=r"not <Extension 'shop' .*>; an extension is loaded beside this one$"):
        shop().include(shop())  # type: ignore[arg-type]


def declare_twice(first: Router | Extension, second: Router | Extension, kind: str) -> None:
    for target in (first, second):
        if kind == "handler":

            @target.on(Ask)
            async def ask(context: Context, message: Ask) -> None: ...

        elif kind == "RPC method":

            @target.rpc("shop-list")
            async def listed(context: AppContext) -> None: ...

        else:

            @target.option("shop-size")
            def size(value: int = 1) -> int:
                return value


TWICE = {
    "handler": r"Ask has two handlers, .*declare_twice\S+ and .*declare_twice\S+; it should have one$",
    "RPC method": r"RPC method 'shop-list' is both .*declare_twice\S+ and .*declare_twice\S+$",
    "option": r"option 'shop-size' is both .*declare_twice\S+ and .*declare_twice\S+$",
}


@pytest.mark.parametrize("kind", TWICE)
def test_what_two_modules_declare_is_refused_naming_both(kind: str) -> None:
    router, extension = Router(), shop()
    extension.include(router)
    with pytest.raises(ExtensionError, match=rf"^<Extension 'shop' of {__name__}>: {TWICE[kind]}"):
        declare_twice(router, extension, kind)


@pytest.mark.parametrize("kind", TWICE)
def test_at_the_latest_when_it_is_loaded(kind: str) -> None:
    left, right, extension = Router(), Router(), shop()
    extension.include(left)
    extension.include(right)
    declare_twice(left, right, kind)
    with pytest.raises(ExtensionError, match=rf"^<Extension 'shop' of {__name__}>: {TWICE[kind]}"):
        PluginManager().register(extension)


@pytest.mark.parametrize("kind", TWICE)
def test_and_in_one_router_it_names_its_module(kind: str) -> None:
    router = Router()
    with pytest.raises(ExtensionError, match=rf"^<Router of {__name__}>: {TWICE[kind]}"):
        declare_twice(router, router, kind)


def test_middleware_of_a_router_is_around_what_is_in_it() -> None:
    outer, inner, extension = Router(), Router(), shop()

    async def of_extension(context: Context, message: Message, call_next: object) -> Message | None: ...
    async def of_outer(context: Context, message: Message, call_next: object) -> Message | None: ...
    async def of_inner(context: Context, message: Message, call_next: object) -> Message | None: ...

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> None: ...

    @outer.on(Answer)
    async def answer(context: Context, message: Answer) -> None: ...

    @inner.on(Note)
    async def note(context: Context, message: Note) -> None: ...

    extension.include(outer)
    outer.include(inner)
    for target, function in ((inner, of_inner), (outer, of_outer), (extension, of_extension)):
        target.middleware(function)
    found = {one.message: [each.function for each in one.middleware] for one in extension.register_handlers()}
    assert found == {
        Ask: [of_extension],
        Answer: [of_extension, of_outer],
        Note: [of_extension, of_outer, of_inner],
    }
