from __future__ import annotations

import pytest

from oddwire.app import Application, Context, Extension
from oddwire.app.assembly import Assembly
from oddwire.app.plugins import PluginManager
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message
from oddwire.session.basics import SESSION_TYPE
from oddwire.testing import ScriptedTransport


@message(0x8C01)
class Ask(Message):
    what: str


def extension() -> Extension:
    quote = Extension("quote", version="1.0", feature=513)
    quote.register(Ask)

    @quote.rpc("quote-ask")
    async def ask(context: Context, what: str = "all") -> dict[str, str]:
        """Ask."""
        return {what: context.extension}

    @quote.option("quote-asset")
    def asset(value: str = "eur") -> str:
        return value.upper()

    return quote


def assembly(*, session: bool = True) -> Assembly:
    plugins = PluginManager()
    plugins.add(extension())
    return Assembly(plugins, {"quote-asset": "usd"}, session)


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
        with pytest.raises(ExtensionError, match="an assembly has"):
            Application(assembly=assembly(), transport=ScriptedTransport(), **more)
    with pytest.raises(ExtensionError, match="an assembly has"):
        Application(extension(), assembly=assembly(), transport=ScriptedTransport())
