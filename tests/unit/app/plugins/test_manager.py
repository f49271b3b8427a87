from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.texts import Ask

from oddwire.app import Extension, Handler, PluginManager, hookimpl
from oddwire.app.plugins.manager import Contribution, HookCall
from oddwire.codecs.base import Codec
from oddwire.errors import ExtensionError, SchemaError
from oddwire.transports.memory import MemoryTransport


def names(plugins: PluginManager) -> list[str]:
    return [contribution.name for contribution in plugins.contributions]


def test_brings_oddwires_own_from_the_start(plugins: PluginManager) -> None:
    [own] = plugins.contributions
    assert own.name == "oddwire"
    assert {codec.name for codec in own.codecs} == {"bolt", "json", "msgpack", "raw"}
    assert set(own.transports) == {"bolt8", "cln", "lnd", "memory", "nats"}


def test_gathers_what_an_extension_brings(plugins: PluginManager) -> None:
    extension = Extension("quote", version="1.0", feature=513)

    @extension.on(Ask)
    async def ask(context: Any, request: Ask) -> None: ...

    @extension.rpc("ask")
    async def rpc(context: Any) -> None: ...

    assert plugins.register(extension) == "quote"
    assert plugins.contributions[1] == Contribution(
        name="quote",
        plugin=extension,
        feature=513,
        versions=("1.0",),
        messages=(Ask,),
        handlers=(Handler(message=Ask, function=ask),),
        rpc_methods=extension.register_rpc(),
    )


class Named:
    name = "by-name"

    @hookimpl
    def startup(self) -> None: ...


class Nameless:
    @hookimpl
    def startup(self) -> None: ...


class Static:
    @staticmethod
    @hookimpl
    def startup() -> None: ...


def test_names_plugins_by_name_module_or_class(plugins: PluginManager) -> None:
    module = types.ModuleType("a.module")
    module.startup = Nameless().startup  # type: ignore[attr-defined]
    assert plugins.register(Named()) == "by-name"
    assert plugins.register(Nameless()) == "Nameless"
    assert plugins.register(Static) == "Static"
    assert plugins.register(module) == "a.module"
    assert plugins.register(Nameless(), "another") == "another"


def test_refuses_a_name_twice_and_names_both(plugins: PluginManager) -> None:
    first = Extension("quote", version="1.0")
    plugins.register(first)
    with pytest.raises(ExtensionError, match="plugin 'quote' is registered twice; it should be registered once"):
        plugins.register(first)
    second = Extension("quote", version="2.0")
    second.module = "elsewhere"
    with pytest.raises(ExtensionError) as caught:
        plugins.register(second)
    assert str(caught.value) == (
        f"plugin 'quote' is registered by an extension of {__name__} and an extension of elsewhere; "
        "it should be registered once"
    )
    assert names(plugins) == ["oddwire", "quote"]


class NotAHook:
    @hookimpl
    def peer_conected(self) -> None: ...


class NothingLikeAHook:
    @hookimpl
    def xyzzy(self) -> None: ...


class Empty:
    pass


class WrongParameter:
    @hookimpl
    def peer_connected(self, node: object) -> None: ...


class Wrapper:
    @hookimpl(wrapper=True)
    def startup(self) -> Iterator[None]:
        yield


class Raises:
    @hookimpl
    def startup(self) -> None: ...

    @hookimpl
    def register_messages(self) -> Any:
        raise ZeroDivisionError("oops")


class RaisesOurs:
    @hookimpl
    def register_messages(self) -> Any:
        raise SchemaError("field x is wrong")


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (Empty(), "should have functions marked @hookimpl; it has none"),
        (NotAHook(), "there is no hook 'peer_conected'; did you mean 'peer_connected'?"),
        (NothingLikeAHook(), "there is no hook 'xyzzy'; they are: register_codecs, register_transports, "),
        (WrongParameter(), r"Argument(s) {'node'} are declared in the hookimpl but"),
        (Wrapper(), "hook 'startup' cannot be wrapped"),
        (Raises(), "plugin 'Raises': register_messages raised ZeroDivisionError: oops"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_plugin_that_cannot_be_had_leaves_nothing(plugins: PluginManager, plugin: object, told: str) -> None:
    before = plugins.contributions
    with pytest.raises(ExtensionError) as caught:
        plugins.register(plugin)
    assert told in str(caught.value)
    assert type(plugin).__name__ in str(caught.value)
    assert plugins.contributions == before
    assert plugins.calls("startup") == []
    assert plugins.register(Nameless(), type(plugin).__name__) == type(plugin).__name__  # the name is free


def test_errors_of_definitions_pass_as_they_are(plugins: PluginManager) -> None:
    with pytest.raises(SchemaError, match="field x is wrong"):
        plugins.register(RaisesOurs())
    assert names(plugins) == ["oddwire"]


@pytest.mark.parametrize(
    ("hook", "value", "told"),
    [
        ("register_messages", [int], "should return message classes, not <class 'int'>"),
        ("register_messages", None, "should return message classes, not None"),
        ("register_messages", {"a": Ask}, "should return message classes, not {"),
        ("register_handlers", [Ask], "should return Handler objects, not"),
        ("register_codecs", ["msgpack"], "should return codecs, not 'msgpack'"),
        ("register_rpc", [len], "should return RpcMethod objects, not"),
        ("register_transports", [MemoryTransport], "should return a mapping of names to callables, not ["),
        ("register_transports", {"a": 7}, "should return a mapping of names to callables, not ('a', 7)"),
    ],
)
def test_refuses_what_a_hook_should_not_give(plugins: PluginManager, hook: str, value: object, told: str) -> None:
    plugin = type("Giving", (), {hook: hookimpl(_answering(hook, value)), "name": "giving"})()
    with pytest.raises(ExtensionError) as caught:
        plugins.register(plugin)
    assert str(caught.value).startswith(f"plugin 'giving': {hook} {told}")


def _answering(name: str, value: object) -> Any:
    def answer(self: object) -> object:
        return value

    answer.__name__ = name
    return answer


def test_calls_go_in_the_order_of_loading_but_first_and_last(plugins: PluginManager) -> None:
    made = []
    for name, marks in (("one", {}), ("two", {"trylast": True}), ("three", {}), ("four", {"tryfirst": True})):

        def startup(self: object, app: object, name: str = name) -> tuple[str, object]:
            return name, app

        made.append(type("P", (), {"startup": hookimpl(startup, **marks), "name": name})())
    for plugin in made:
        plugins.register(plugin)
    calls = plugins.calls("startup")
    assert all(isinstance(call, HookCall) for call in calls)
    assert [call.plugin for call in calls] == ["four", "one", "three", "two"]
    assert calls[0](app="the app") == ("four", "the app")


async def test_a_call_gives_only_the_parameters_that_are_wanted_and_awaits(plugins: PluginManager) -> None:
    class Both:
        @hookimpl
        async def peer_connected(self, peer: object) -> object:
            return peer

        @hookimpl
        def peer_disconnected(self, reason: str, peer: object) -> object:
            return reason, peer

    plugins.register(Both())
    [connected] = plugins.calls("peer_connected")
    assert await connected.finish(app=1, peer=2) == 2
    [disconnected] = plugins.calls("peer_disconnected")
    assert await disconnected.finish(app=1, peer=2, reason=3) == (3, 2)


def test_a_frozen_manager_takes_nothing_more(plugins: PluginManager) -> None:
    plugins.freeze()
    with pytest.raises(ExtensionError, match="plugin 'Nameless' should be registered before the application is built"):
        plugins.register(Nameless())


# Codecs and transports by name ----------------------------------------------------------------------


def test_gives_codecs_and_transports_by_name(plugins: PluginManager) -> None:
    assert plugins.codec("msgpack").name == "msgpack"
    assert isinstance(plugins.transport("memory")(), MemoryTransport)
    mine = type("Mine", (Codec,), {"name": "mine", "compile": lambda self, schema: None})()
    plugins.register(_codec_plugin(mine))
    assert plugins.codec("mine") is mine


def _codec_plugin(codec: Codec) -> object:
    class Plugin:
        @hookimpl
        def register_codecs(self) -> list[Codec]:
            return [codec]

    return Plugin()


def test_tells_what_there_is_for_a_name_there_is_not(plugins: PluginManager) -> None:
    with pytest.raises(ExtensionError, match=r"no codec is called 'mesgpack'; did you mean 'msgpack'\?"):
        plugins.codec("mesgpack")
    with pytest.raises(
        ExtensionError, match="no transport is called 'carrier'; there are: bolt8, cln, lnd, memory, nats"
    ):
        plugins.transport("carrier")
    with pytest.raises(ExtensionError, match=r"no extension is called 'zzz'; there are: .*chat"):
        plugins.load("zzz")


# Installed packages ---------------------------------------------------------------------------------


def install(folder: Path, package: str, group: str, **entries: str) -> None:
    """Put a package's metadata where the interpreter looks for entry points."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def test_loads_an_installed_extension(plugins: PluginManager, folder: Path) -> None:
    (folder / "quote_installed.py").write_text(
        "from oddwire.app import Extension\nextension = Extension('quote', version='1.0')\n"
    )
    install(folder, "quotes", "oddwire.extensions", quoting="quote_installed:extension")
    assert plugins.load("quoting") == "quote"


def test_two_packages_of_one_name_are_both_told(plugins: PluginManager, folder: Path) -> None:
    install(folder, "first", "oddwire.extensions", quoting="first:extension")
    install(folder, "second", "oddwire.extensions", quoting="second:extension")
    with pytest.raises(ExtensionError) as caught:
        plugins.load("quoting")
    assert str(caught.value) == (
        "two installed packages provide the extension 'quoting': "
        "first:extension of first and second:extension of second"
    )


def test_says_why_an_installed_extension_cannot_be_imported(plugins: PluginManager, folder: Path) -> None:
    (folder / "quote_broken.py").write_text("1 / 0")
    install(folder, "broken", "oddwire.extensions", quoting="quote_broken:extension")
    with pytest.raises(ExtensionError) as caught:
        plugins.load("quoting")
    assert str(caught.value) == (
        "extension 'quoting' (quote_broken:extension of broken) cannot be imported: ZeroDivisionError: division by zero"
    )


def test_an_installed_codec_must_be_the_one_it_is_called(plugins: PluginManager, folder: Path) -> None:
    (folder / "codec_installed.py").write_text(
        "from oddwire.app import hookimpl\n"
        "from oddwire.codecs.msgpack.codec import MsgpackCodec\n"
        "class Mine(MsgpackCodec):\n    name = 'mine'\n"
        "@hookimpl\ndef register_codecs():\n    return [Mine()]\n"
    )
    install(folder, "codecs", "oddwire.codecs", mine="codec_installed", yours="codec_installed")
    assert plugins.codec("mine").name == "mine"
    assert plugins.codec("mine") is plugins.codec("mine")
    with pytest.raises(ExtensionError, match="is installed as the codec 'yours', but provides mine"):
        plugins.codec("yours")


def test_warns_of_extensions_that_do_nothing(plugins: PluginManager, folder: Path) -> None:
    (folder / "market.py").write_text("from oddwire import Extension\nextension = Extension('market', version='1.0')\n")
    plugins.load(str(folder / "market.py"))
    plugins.load("echo")
    [warning] = plugins.warnings()
    assert warning == (
        f"extension 'market' (an extension of {folder}/market.py) does nothing: it has no handlers, RPC methods or "
        "callbacks; is the module that has them imported?"
    )
