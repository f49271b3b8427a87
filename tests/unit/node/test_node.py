"""The node's life: what it needs to start, what it leaves when it ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from oddwire.errors import DefinitionError, NodeRefused, TransportError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.node.node import COMPATIBLE_VERSION, Node
from oddwire.node.node_log import Log


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        async with Node(tmp_path, listen=["127.0.0.1:0"]) as node, JsonRpcClient(node.rpc_path) as client:
            await client.call("getinfo")
    assert descriptors() == before
    names = {path.name for path in (tmp_path / "bitcoin").iterdir()}
    assert names == {"hsm_secret", "oddwire.sqlite3"}


@pytest.mark.parametrize("part", ["secret", "store", "transport", "peers", "rpc", "node_id", "uris"])
def test_parts_that_only_the_start_makes(tmp_path: Path, part: str) -> None:
    with pytest.raises(TransportError, match=r"^the node is not started: 'async with node:' or"):
        getattr(Node(tmp_path), part)


async def test_it_is_the_same_node_every_time(tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        async with Node(tmp_path) as node:
            ids.add(node.node_id)
            assert node.uris == []
    assert len(ids) == 1
    async with Node(tmp_path, network="signet") as other:
        assert other.node_id not in ids
        assert other.lightning_dir == tmp_path / "signet"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"network": "mainnet"}, "network should be one of"),
        ({"listen": ["x:y"]}, "port should be"),
        ({"connect": ["x"]}, "URI should be"),
        ({"proxy": "ftp://alice:sesame@x:1"}, r"^proxy should be host:port or socks5://user:password@host:port$"),
        ({"proxy": "localhost:x"}, "proxy: port should be 0 to 65535"),
    ],
)
def test_what_can_never_start(tmp_path: Path, options, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Node(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


async def test_what_fails_to_start_leaves_nothing(tmp_path: Path) -> None:
    async with Node(tmp_path / "one", listen=["127.0.0.1:0"]) as node:
        taken = node.uris[0].partition("@")[2]
        before = descriptors()
        with pytest.raises(TransportError, match=taken):
            await Node(tmp_path / "two", listen=[taken]).start()
        with pytest.raises(TransportError, match="is in use by process"):
            await Node(tmp_path / "one").start()
        with pytest.raises(DefinitionError, match="no-such-option"):
            await Node(tmp_path / "two", plugin_options=[("no-such-option", None)]).start()
        own = f"{node.node_id}@127.0.0.1:1"
        assert descriptors() == before
        assert not (tmp_path / "two" / "bitcoin" / "lightning-rpc").exists()
        async with JsonRpcClient(node.rpc_path) as client:
            assert (await client.call("getinfo"))["id"] == node.node_id  # the one that runs was not disturbed
    with pytest.raises(DefinitionError, match="that is this node itself"):
        await Node(tmp_path / "one", connect=[own]).start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TransportError, match="Permission denied"):
        await Node(tmp_path / "x").start()


async def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "bitcoin").touch()
    with pytest.raises(TransportError, match=str(tmp_path)):
        await Node(tmp_path).start()


async def test_stopping(tmp_path: Path) -> None:
    log = Log()
    async with Node(tmp_path, log=log) as node:
        waiting = asyncio.create_task(node.run_until_stopped())
        await asyncio.sleep(0)
        assert not waiting.done()
        node.stop("enough")
        node.stop("twice")
        await waiting
    assert [line["log"] for line in log.lines("unusual")] == ["enough"]
    await node.wait_ended()


async def test_what_it_says_of_itself(start_node) -> None:
    node = await start_node(alias="me")
    assert node.alias == "me"
    assert node.version.startswith(COMPATIBLE_VERSION)
    features = node.feature_set()
    assert features["init"] == features["node"] == "20000000a202"
    assert features["channel"] == ""


@pytest.mark.parametrize(
    ("proxy", "address"),
    [
        ("localhost", "localhost:9050"),
        ("[::1]:9150", "[::1]:9150"),
        ("socks5://alice:sesame@127.0.0.1:9050", "127.0.0.1:9050"),
        ("socks5://alice:sesame@[::1]:1", "[::1]:1"),
    ],
)
async def test_a_proxy_may_have_a_password_which_nobody_is_shown(tmp_path: Path, proxy: str, address: str) -> None:
    async with Node(tmp_path, proxy=proxy) as node, JsonRpcClient(node.rpc_path) as client:
        assert node.proxy == address, "what plugins are told"
        configs = (await client.call("listconfigs"))["configs"]
        assert configs["proxy"] == {"value_str": address, "source": "cmdline"}


@pytest.mark.parametrize(("said", "taken"), [(None, False), ("1000", False), ("6000000", True)])
async def test_requests_may_be_as_large_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, taken: bool
) -> None:
    if said is not None:
        monkeypatch.setenv("ODDWIRE_MAX_DOCUMENT", said)
    async with Node(tmp_path) as node, JsonRpcClient(node.rpc_path, max_document=1 << 24) as rpc:
        with pytest.raises(NodeRefused) as caught:
            await rpc.call("sendcustommsg", ["02" * 33, "ab" * 2_200_000])
    assert ("bytes, of at most 4194304" in str(caught.value)) is not taken
