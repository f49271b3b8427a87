from __future__ import annotations

import json
from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.node.plugins import PluginHost

FLAG = {"name": "flag", "type": "flag", "description": ""}


def named(name: str) -> dict[str, str]:
    return {"name": name, "usage": ""}


@pytest.mark.parametrize(
    ("clash", "reason"),
    [
        (
            {"rpcmethods": [named("help")]},
            'Could not register method "help", a method with that name is already registered by the node itself',
        ),
        (
            {"rpcmethods": [named("hello")]},
            'Could not register method "hello", a method with that name is already registered by plugin {first}',
        ),
        ({"rpcmethods": [named("twice"), named("twice")]}, 'Could not register method "twice"'),
        ({"options": [FLAG]}, "option flag is already registered by plugin {first}"),
        ({"options": [{**FLAG, "name": "network"}]}, "option network: the node itself has an option of this name"),
        (
            {"hooks": [{"name": "custommsg", "before": ["first"], "after": ["first"]}]},
            'hook custommsg: its "before" and "after" contradict those of other plugins',
        ),
    ],
)
async def test_what_others_have_cannot_be_had(
    make_host: Any, services: Any, bare: Any, clash: dict[str, Any], reason: str
) -> None:
    host: PluginHost = make_host(reserved_options=("network",))
    first = bare("first", rpcmethods=[named("hello")], options=[FLAG], hooks=["custommsg"])
    await host.start([first])
    with pytest.raises(NodeRefused) as caught:
        await host.plugin_start(bare("second", **{"rpcmethods": [named("fresh")], **clash}))
    assert reason.format(first=first) in str(caught.value)
    # Nothing of it stays, nothing of the first is touched
    assert [row["name"] for row in host.plugin_list()["plugins"]] == [first]
    assert (await services.call("fresh"))["message"] == "Unknown command 'fresh'"
    assert set(host.listconfigs()) == {"flag"}
    assert await services.seen("first")


@pytest.mark.parametrize(
    ("features", "reason"),
    [({"init": "80"}, "featurebits.init: bit 7 is already present"), ({"node": "01" + "00" * 7}, None)],
)
async def test_feature_bits_that_are_there_already(
    host: PluginHost, services: Any, bare: Any, features: dict[str, str], reason: str | None
) -> None:
    services.features = {"init": "81", "node": "80"}
    await host.start([bare(featurebits=features, dynamic=False)])
    assert len(host.plugin_list()["plugins"]) == (reason is None)
    if reason is not None:
        assert services.logged("Killing plugin") == [f"unusual plugin-bare: Killing plugin: {reason}"]


async def test_an_even_feature_bit_is_worth_a_warning(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(featurebits={"init": "01" + "00" * 32}, dynamic=False)])
    assert host.features == {"init": "01" + "00" * 32}
    (line,) = services.logged("is even")
    assert line.startswith("unusual plugin-bare: featurebits.init: bit 256 is even")
    assert line.endswith("257 would be right")


async def test_all_of_a_cycle_that_starts_together_is_refused(host: PluginHost, services: Any, bare: Any) -> None:
    def before(other: str) -> list[dict[str, Any]]:
        return [{"name": "custommsg", "before": [other]}]

    await host.start(
        [bare("one", hooks=before("two")), bare("two", hooks=before("one")), bare("three", hooks=before("one"))]
    )
    assert [row["name"].rpartition("/")[2] for row in host.plugin_list()["plugins"]] == ["three"]


async def test_a_new_plugin_cannot_push_out_an_old_one(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare("old", hooks=[{"name": "custommsg", "before": ["new"]}])])
    with pytest.raises(NodeRefused, match="hook custommsg"):
        await host.plugin_start(bare("new", hooks=[{"name": "custommsg", "before": ["old"]}]))
    assert [row["name"].rpartition("/")[2] for row in host.plugin_list()["plugins"]] == ["old"]


async def test_remarks_on_what_has_no_effect(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start(
        [
            bare(
                "one",
                subscriptions=["nosuchtopic", "later", "connect", "*"],
                hooks=["htlc_accepted", {"name": "custommsg", "after": ["ghost"]}],
            ),
            bare("two", notifications=[{"method": "later"}]),
        ]
    )
    assert services.logged("notification topic") == [
        "unusual plugin-one: topic 'nosuchtopic' is not a known notification topic"
    ]
    assert services.logged("ghost") == [
        "debug plugin-one: hook custommsg: there is no plugin ghost to be before or after"
    ]
    assert services.logged("never called") == ["debug plugin-one: hook htlc_accepted is never called by this node"]


async def test_plugins_of_one_name_in_two_places(host: PluginHost, services: Any, bare: Any) -> None:
    one = bare("same", folder="here", options=[FLAG])
    two = bare("same", folder="there")
    await host.start([one])
    with pytest.raises(NodeRefused, match="already registered by plugin"):
        await host.plugin_start(two)  # its seen-same is the other's
    assert await services.seen("same")
    assert set(host.listconfigs()) == {"flag"}


async def test_before_init_is_answered_nothing_is_told(host: PluginHost, services: Any, bare: Any) -> None:
    body = "def init(request):\n    time.sleep(0.2)\n    return {}"
    await host.load([bare("slow", body, subscriptions=["connect"], hooks=["custommsg"], custommessages=[32768])])
    host.notify("connect", {})
    assert host.custommsg("02" * 33, b"\xc0\xdf", pytest.fail)
    assert host.custommessages == frozenset()
    await host.initialize()
    host.notify("connect", {"id": 1})
    assert host.custommessages == {32768}
    methods = [json.loads(text)["method"] for text in await services.seen("slow")]
    assert methods == ["getmanifest", "init", "connect"]
