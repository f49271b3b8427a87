from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Any

import pytest

from oddwire.app import Application, Extension, hookimpl
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message
from oddwire.session.limits import Limits
from oddwire.transports.memory import MemoryNetwork, MemoryTransport


@message(0x8C01)
class Note(Message):
    text: str = ""


class Mine(Extension):
    pass


class Watcher:
    @hookimpl
    def startup(self) -> None: ...


class Static:
    @staticmethod
    @hookimpl
    def startup() -> None: ...


def _place(value: object) -> str:
    """Name a case alike in every process: a function's repr has its address."""
    return value if isinstance(value, str) else "-".join(value) if isinstance(value, dict) else type(value).__name__


@pytest.mark.parametrize("session", ["no", None, 0, 1])
def test_session_is_true_or_false(session: Any) -> None:
    with pytest.raises(ExtensionError, match=rf"^session should be True or False, not {session!r}$"):
        Application(make(), transport=MemoryTransport(), session=session)


def make() -> Extension:
    return Extension("test", version="1.0")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Mine, "Mine'> is no extension or plugin: give an instance, Mine(...)"),
        (Extension, "Extension'> is no extension or plugin: give an instance, Extension(...)"),
        (Watcher, "Watcher'> is no extension or plugin: give an instance, Watcher(...)"),
        (Note, "Note'> is no extension or plugin: messages come with the extension that handles or registers them"),
        (Message, "is no extension or plugin: messages come with the extension"),
        (Note(), "Note 0x8c01 text='' is no extension or plugin: it should be an Extension, an object with functions"),
        (
            None,
            "None is no extension or plugin: it should be an Extension, an object with functions marked",
        ),
        (5, "5 is no extension or plugin: it should be"),
        (b"echo", "b'echo' is no extension or plugin: it should be"),
        (MemoryTransport, "is no extension or plugin: it should be given as transport=..."),
        (MemoryTransport(), "is no extension or plugin: it should be given as transport=..."),
        ([make()], "is no extension or plugin: give what is in it one by one, Application(*extensions)"),
        ((make(),), "give what is in it one by one"),
        ({"test": make()}, "give what is in it one by one"),
        (object(), "should have functions marked @hookimpl; it has none"),
        (print, "should have functions marked @hookimpl; it has none"),
        (types.ModuleType("empty"), "plugin 'empty' (module empty) should have an Extension, or functions marked"),
        ("ecko", "no extension is called 'ecko'; did you mean 'echo'?"),
        (Path("nowhere.py"), "nowhere.py does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_extension_is_told_what_would_be(given: Any, told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Application(given, transport=MemoryTransport())
    assert told in str(caught.value)


def test_a_class_of_static_functions_and_a_module_with_an_extension_are_plugins(tmp_path: Path) -> None:
    module = types.ModuleType("market")
    module.__dict__["anything"] = extension = make()
    app = Application(Static, module, transport=MemoryTransport())
    assert [owner.plugin for owner in app.plugins.contributions][1:] == [Static, extension]
    module.__dict__["other"] = Extension("other", version="1.0")
    with pytest.raises(ExtensionError, match=r"module market holds several extensions \(other, test\): give those"):
        Application(module, transport=MemoryTransport())
    module.__dict__["extension"] = module.__dict__["other"]
    assert Application(module, transport=MemoryTransport()).plugins.contributions[1].name == "other"
    file = tmp_path / "given_as_a_path.py"
    file.write_text("from oddwire import Extension\nextension = Extension('path', version='1.0')\n")
    assert Application(file, transport=MemoryTransport()).plugins.contributions[1].name == "path"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"transport": MemoryTransport}, "MemoryTransport'>: give an instance, MemoryTransport(...)"),
        ({"transport": None}, "transport should be a Transport, or the name of one, not None"),
        ({"transport": make}, "transport should be a Transport, or the name of one, not <function"),
        ({"transport": "memory", "transport_options": [1]}, "transport_options should be a mapping of names to values"),
        ({"transport": "memory", "transport_options": {1: 2}}, "transport_options should be a mapping of names to"),
        (
            {"transport": "memory", "transport_options": {"nope": 1}},
            "transport 'memory' does not take these options: MemoryTransport.__init__() got an unexpected",
        ),
        (
            {"transport": "lnd", "transport_options": {"lnd": "a:1"}},
            "argument 'lnd'; it has address, tlscert, macaroon",
        ),
        ({"transport": "memory", "transport_options": {"network": 5}}, "network should be a MemoryNetwork, not int"),
        ({"transport": "bolt8"}, "transport 'bolt8' does not take these options: Bolt8Transport.__init__() missing"),
        ({"transport": "bolt8", "transport_options": {"key": "aa" * 32}}, "key should be a PrivateKey, not str"),
        (
            {"transport": "bolt8", "transport_options": {"key": "x", "listen": "127.0.0.1:1"}},
            "key should be a PrivateKey",
        ),
        ({"options": ["a"]}, "options should be a mapping of names to values, not ['a']"),
        ({"options": "a=b"}, "options should be a mapping of names to values, not 'a=b'"),
        ({"options": {1: 2}}, "options should be a mapping of names to values, not {1: 2}"),
        ({"limits": {"requests": 5}}, "limits should be Limits(...), not {'requests': 5}"),
        ({"limits": Limits}, "limits should be Limits(...), not <class"),
        ({"store": 5}, "store should be the path of a database, or ':memory:', not 5"),
        ({"store": b"x"}, "store should be the path of a database, or ':memory:', not b'x'"),
        ({"store": ""}, "store should be the path of a database, or ':memory:', not ''"),
        (
            {"plugins": [make()]},
            "plugins should be a PluginManager (extensions come first: Application(",
        ),
        ({"grace": "5"}, "grace should be a number of seconds, 0 or more, not '5'"),
        ({"grace": -1}, "grace should be a number of seconds, 0 or more, not -1"),
        ({"grace": -(10**400)}, "grace should be a number of seconds, 0 or more, not -1000"),
        ({"grace": math.nan}, "grace should be a number of seconds, 0 or more, not nan"),
        ({"assembly": 5}, "assembly should be an Assembly, not 5"),
    ],
    ids=_place,
)
def test_arguments_of_another_kind_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Application(make(), **{"transport": MemoryTransport(), **given})
    assert told in str(caught.value)


@pytest.mark.parametrize("given", [None, 5, b"uri", ["uri"]], ids=_place)
async def test_what_is_no_uri_is_told_what_would_be(given: Any) -> None:
    async with Application(make(), transport=MemoryNetwork().transport()) as app:
        with pytest.raises(TypeError, match="connect should be given a URI, node_id@host:port, not "):
            await app.connect(given)


@pytest.mark.parametrize("given", [None, 5, b"test"], ids=_place)
async def test_what_is_no_loaded_extension_is_told_which_there_are(given: Any) -> None:
    async with Application(make(), transport=MemoryNetwork().transport()) as app:
        with pytest.raises(ExtensionError, match="is loaded; there are: "):
            app.counters_of(given)


@pytest.mark.parametrize("grace", [10**400, math.inf, 1e300])
async def test_a_grace_may_be_as_long_as_one_likes(grace: float) -> None:
    async with Application(make(), transport=MemoryTransport(), grace=grace):
        pass
