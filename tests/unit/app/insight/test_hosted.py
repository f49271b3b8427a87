from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until
from tests.unit.insight.test_metrics_server import ask

from oddwire import AppContext, Application, Extension, ExtensionError
from oddwire.app import PluginManager
from oddwire.app.insight.hosted import HostedInsight, words_of
from oddwire.transports import MemoryNetwork


class Plugin:
    """A plugin file of a node: what its `HostedInsight` offers, and an application with it."""

    def __init__(self, folder: Path, file: str = "talk.py", extension: Extension | None = None) -> None:
        self.plugins = PluginManager()
        self.plugins.register(extension or Extension("chatter", version="1"))
        self.log = logging.NullHandler()
        self.insight = HostedInsight(str(folder / file), str(folder), self.log, self.plugins.contributions)
        self.plugins.register(self.insight)
        (self.offer,) = [owner for owner in self.plugins.contributions if owner.plugin is self.insight]

    @property
    def names(self) -> set[str]:
        return {option.name for option in self.offer.options} | {method.name for method in self.offer.rpc_methods}

    def app(self, network: MemoryNetwork | None = None, **options: Any) -> Application:
        given = {name.replace("_", "-"): value for name, value in options.items()}
        return Application(plugins=self.plugins, options=given, transport=(network or MemoryNetwork()).transport())


OWN = {"talk-log-level", "talk-trace", "talk-metrics", "talk-stats"}


def test_the_first_of_a_node_has_the_nodes_name_too(tmp_path: Path) -> None:
    first, second = Plugin(tmp_path), Plugin(tmp_path, "shop")
    assert first.names == OWN | {"oddwire-stats"}
    assert second.names == {name.replace("talk", "shop") for name in OWN}
    elsewhere = Plugin(tmp_path / "elsewhere")
    assert "oddwire-stats" not in elsewhere.names  # its folder is not there: nobody can tell who is first


def test_of_two_files_of_one_name_the_first_has_the_options(tmp_path: Path) -> None:
    first, second = Plugin(tmp_path), Plugin(tmp_path, "other/talk.py")
    assert first.names >= OWN
    assert second.names == set()


def test_an_extensions_own_names_are_its_own(tmp_path: Path) -> None:
    extension = Extension("chatter", version="1")

    @extension.option("talk-trace")
    def trace(value: str = "no") -> str:
        return value

    @extension.rpc("oddwire-stats")
    async def stats(context: AppContext) -> str:
        return "mine"

    plugin = Plugin(tmp_path, extension=extension)
    assert plugin.names == OWN - {"talk-trace"}
    plugin.app()  # no name is there twice


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("/a/talk.py", "talk"),
        ("talk", "talk"),
        ("My_Plugin 2.py", "my-plugin-2"),
        ("2talk.py", "plugin-2talk"),
        ("-.py", "plugin"),
        ("Größe.py", "gr-e"),
    ],
)
def test_names_of_files_as_words(file: str, words: str) -> None:
    assert words_of(file) == words


async def test_the_log_level_is_an_option_that_changes(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        plugin = Plugin(tmp_path)
        async with plugin.app(talk_log_level="debug") as app:
            assert (plugin.log.level, root.level) == (logging.DEBUG, logging.DEBUG)
            (option,) = [option for option in app.manifest.options if option.name == "talk-log-level"]
            assert option.dynamic
            assert option.set is not None
            option.set("broken")
            assert (plugin.log.level, root.level) == (logging.ERROR, logging.INFO)
            with pytest.raises(ValueError, match=r"debug.*info.*unusual.*broken"):
                option.set("loud")
    finally:
        root.setLevel(before)


async def test_methods_answer_and_the_first_names_sockets(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    async with plugin.app() as app:
        (tmp_path / "oddwire.programs" / "shop.rpc").touch()
        own = await app.call("talk-stats")
        assert (own["program"], own["kind"], "sockets" in own) == ("talk", "plugin", False)
        whole = await app.call("oddwire-stats")
        assert whole["sockets"] == [str(tmp_path / "oddwire.programs" / "shop.rpc")]


async def test_a_trace_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin, network = Plugin(tmp_path), MemoryNetwork()
    with caplog.at_level(logging.INFO, "oddwire.trace"):
        async with plugin.app(network, talk_trace=True) as app, Application(transport=network.transport()) as other:
            peer = await other.connect(app.uris[0])
            await peer.send_raw(0x9001, b"\x1b[2J")
            await until(lambda: "0x9001" in caplog.text)
            assert dict(app.options) == {}  # an extension sees its own alone
            with pytest.raises(KeyError, match="there are: none"):
                app.options["talk-trace"]
    (record,) = [record for record in caplog.records if "0x9001" in record.getMessage()]
    assert record.getMessage() == f"received {other.node_id} type 0x9001 [6 bytes]"
    assert (record.peer, record.type) == (str(other.node_id), 0x9001)  # type: ignore[attr-defined]
    assert f"connected {other.node_id} memory" in caplog.text


async def test_metrics_are_served_at_the_address_of_the_option(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin, other = Plugin(tmp_path), tmp_path / "other"
    other.mkdir()
    with caplog.at_level(logging.INFO):
        async with plugin.app(talk_metrics="127.0.0.1:0"):
            address = caplog.text.rpartition("metrics at http://")[2].partition("/")[0]
            _, _, body = await asyncio.wait_for(
                ask(int(address.rpartition(":")[2]), b"GET /metrics HTTP/1.1\r\n\r\n"), 10
            )
            assert b'kind="plugin"' in body
            assert b'program="talk"' in body
    with pytest.raises(ExtensionError, match=r"option 'talk-metrics' of 'oddwire\.insight' cannot be 'nowhere'"):
        await Plugin(other).app(talk_metrics="nowhere").start()
