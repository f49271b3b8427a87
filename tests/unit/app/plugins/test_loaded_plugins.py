from __future__ import annotations

import pytest

from oddwire.app import AppContext, Application, Extension
from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.app.plugins.manager import PluginManager
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message
from oddwire.session.constants import MAX_EXTENSIONS, MAX_HELLO, MAX_VERSION, SESSION_TYPE
from oddwire.session.wire.frame_types import Hello
from oddwire.testing import ScriptedTransport


@message(0x8C01)
class Ask(Message):
    what: str


def extension() -> Extension:
    quote = Extension("quote", version="1.0", feature=513)
    quote.register(Ask)

    @quote.rpc("quote-ask")
    async def ask(context: AppContext, what: str = "all") -> dict[str, str]:
        """Ask."""
        return {what: context.extension}

    @quote.option("quote-asset")
    def asset(value: str = "eur") -> str:
        return value.upper()

    return quote


def assembly(*, session: bool = True) -> LoadedPlugins:
    plugins = PluginManager()
    plugins.add(extension())
    return LoadedPlugins(plugins, {"quote-asset": "usd"}, session)


def test_it_knows_what_a_host_is_told() -> None:
    manifest = assembly().manifest
    assert manifest.type_ids == {0x8C01, SESSION_TYPE}
    assert manifest.features == {513}
    assert [(method.name, method.usage) for method in manifest.rpc_methods] == [("quote-ask", "[what]")]
    assert [(option.name, option.default) for option in manifest.options] == [("quote-asset", "usd")]
    assert assembly(session=False).manifest.type_ids == {0x8C01}


def test_it_takes_no_more_plugins() -> None:
    with pytest.raises(ExtensionError, match="before the application is built"):
        assembly().plugins.add(Extension("late", version="1"))


async def test_an_application_runs_it() -> None:
    made = assembly()
    transport = ScriptedTransport()
    app = Application(assembly=made, transport=transport)
    assert app.manifest is made.manifest
    assert app.plugins is made.plugins
    async with app:
        assert app.options["quote-asset"] == "USD"
        assert await app.call("quote-ask", "gold") == {"gold": "quote"}


def test_nothing_is_added_to_it() -> None:
    for more in ({"options": {"quote-asset": "eur"}}, {"plugins": PluginManager()}):
        with pytest.raises(ExtensionError, match="an assembly already has"):
            Application(assembly=assembly(), transport=ScriptedTransport(), **more)
    with pytest.raises(ExtensionError, match="an assembly already has"):
        Application(extension(), assembly=assembly(), transport=ScriptedTransport())


# What peers can be told -----------------------------------------------------------------------------


def version(length: int) -> str:
    return "1" * (2 - length % 2) + ".1" * ((length - 1) // 2)


def talkative(size: int) -> Extension:
    """Return an extension that takes so many bytes of a hello, most of them for its versions."""
    whole, rest = divmod(size - 4 - len("talkative") - 2, 1 + MAX_VERSION)
    versions = [version(MAX_VERSION)] * whole + [version(rest - 1)]
    extension = Extension("talkative", version="1", versions=versions)
    extension.register(Ask)
    return extension


async def test_peers_are_told_as_much_as_a_hello_holds() -> None:
    app = Application(talkative(MAX_HELLO), transport=ScriptedTransport())
    async with app:
        hello = app._running().session.shared.own.hello  # type: ignore[union-attr]
        assert isinstance(hello, Hello)
        assert [len(spoken.types) for spoken in hello.extensions] == [1]


def test_more_than_a_hello_holds_fails_when_the_application_is_made() -> None:
    with pytest.raises(ExtensionError) as caught:
        Application(talkative(MAX_HELLO + 1), transport=ScriptedTransport())
    assert str(caught.value) == (
        "the extensions of a hello take 32768 bytes at most (session protocol, Hello), and this would be "
        "32769; 'talkative' takes 32769 of them, 2 for each of its 1 message types: spread them over several "
        "applications, or do without sessions: Application(session=False)"
    )
    Application(talkative(MAX_HELLO + 1), transport=ScriptedTransport(), session=False)


def test_more_extensions_than_a_hello_holds_fail_when_the_application_is_made() -> None:
    many = [Extension(f"number-{number}", version="1") for number in range(MAX_EXTENSIONS + 1)]
    Application(*many[1:], transport=ScriptedTransport())
    with pytest.raises(
        ExtensionError, match=r"a hello lists 255 extensions at most .*, and these are 256: spread them"
    ):
        Application(*many, transport=ScriptedTransport())
