from __future__ import annotations

from typing import Any

import pytest

from oddwire import Application, Extension, NodeRefused
from oddwire.app.insight.methods import local_methods, stats_method, watch_method
from oddwire.transports import MemoryNetwork


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"after": -1}, "after: should be a whole number from 0"),
        ({"after": 1.5}, "after: should be a whole number"),
        ({"wait": 61}, "wait: should be a number from 0 to 60"),
        ({"wait": "soon"}, "wait: should be a number"),
        ({"limit": 0}, "limit: should be a whole number from 1 to 1000"),
        ({"limit": True}, "limit: should be a number"),
        ({"types": ["x"]}, "types: should be a list of type numbers"),
        ({"types": [70_000]}, "types: should be a list of type numbers"),
        ({"types": ["70000"]}, "types: should be a list of type numbers"),
        ({"types": [10**400]}, "types: should be a list of type numbers"),
        ({"after": 10**400}, "after: should be a number"),
        ({"peers": [7]}, "peers: should be a list of node ids"),
        ({"when": 1}, "unknown parameter"),
    ],
)
async def test_parameters_that_will_not_do_are_named(params: dict[str, Any], text: str) -> None:
    method = watch_method("oddwire-watch", lambda: None)
    with pytest.raises(NodeRefused, match=text):
        method.check(params)
    with pytest.raises(NodeRefused, match=text):
        await method.call(params)


async def test_both_answer_for_an_application_that_runs() -> None:
    app = Application(Extension("quiet", version="1"), transport=MemoryNetwork().transport())
    stats, watch = local_methods(app)
    assert (stats.name, stats.usage, watch.name) == ("oddwire-stats", "", "oddwire-watch")
    assert watch.usage == "[after] [wait] [limit] [types] [peers]"
    with pytest.raises(NodeRefused, match="not started"):
        await stats.call([])
    with pytest.raises(NodeRefused, match="not started"):
        await watch.call([])
    async with app:
        assert (await stats.call({}))["program"] == "quiet"
        found = await watch.call([0, "0", 10, ["0x8c01", 5], []])
        assert found == {"events": [], "next": 0, "missed": 0, "node_id": str(app.node_id)}
        assert (await watch.call({"types": 5, "peers": "AB"}))["events"] == []


async def test_before_there_is_an_application_they_say_so() -> None:
    for method in (stats_method("talk-stats", lambda: None), watch_method("oddwire-watch", lambda: None)):
        with pytest.raises(NodeRefused, match="not started yet"):
            await method.call([])
