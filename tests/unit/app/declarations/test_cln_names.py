import json

import pytest

from oddwire.app.declarations.cln_names import LIGHTNINGD_METHODS


@pytest.mark.parametrize(
    "name", ["getinfo", "sendcustommsg", "help", "check", "pay", "xpay", "bkpr-report", "dev-splice"]
)
def test_knows_the_nodes_own_methods_and_its_plugins(name: str) -> None:
    assert name in LIGHTNINGD_METHODS


async def test_knows_what_the_embedded_node_has(tmp_path) -> None:
    from oddwire.node.node import Node

    node = Node(tmp_path)
    await node.start()
    try:
        answer = json.loads(await _ask(node, "help"))
    finally:
        await node.aclose()
    own = {"node-stats", "node-watch"}
    assert {entry["command"].split()[0] for entry in answer["result"]["help"]} - own <= LIGHTNINGD_METHODS


async def _ask(node, method: str) -> bytes:
    answer = node.commands.dispatch({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}})
    return answer if isinstance(answer, bytes) else await answer
