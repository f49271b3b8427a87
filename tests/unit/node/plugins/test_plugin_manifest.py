from __future__ import annotations

import json
from pathlib import Path

import pytest

from oddwire.errors import ExtensionError
from oddwire.node.plugins.plugin_manifest import FEATURE_CONTEXTS, PluginManifest, parse_manifest

VECTORS = Path(__file__).parents[3] / "vectors" / "plugin_manifests.jsonl"
RECORDED = [json.loads(line) for line in VECTORS.read_text().splitlines()]
WORKING = {
    "options": [{"name": "logplugin-opt", "type": "string", "default": "dflt", "description": "an option"}],
    "rpcmethods": [{"name": "logmode", "usage": "mode [arg] [hook]", "description": "set hook answer mode"}],
    "subscriptions": ["connect", "disconnect", "custommsg", "shutdown", "warning"],
    "hooks": [{"name": "custommsg"}, {"name": "peer_connected"}],
    "dynamic": True,
    "nonnumericids": True,
}
# Refused for what the node or other plugins have, not for what they are: see test_plugin_registry
TAKEN = ("getinfo", "commando")


def parse(**changes: object) -> PluginManifest:
    return parse_manifest({**WORKING, **changes})


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: json.dumps(row["manifest"])[:60])
def test_lightningd_recorded(row: dict) -> None:
    manifest = row["manifest"]
    disabled = "disable" in manifest
    taken = any(method["name"] in TAKEN for method in manifest.get("rpcmethods", []))
    if row["accepted"] or disabled or taken:
        assert parse(**manifest).disable == manifest.get("disable")
    else:
        (field,) = manifest.keys() - {"dynamic"}
        with pytest.raises(ExtensionError, match=field.removesuffix("s")):
            parse(**manifest)


def test_everything_is_read() -> None:
    manifest = parse_manifest(
        {
            "options": [{"name": "a-b_1", "type": "int", "default": 7, "description": "an int", "multi": True}],
            "rpcmethods": [
                {
                    "name": "hello",
                    "usage": "[name]",
                    "description": "Greets",
                    "long_description": "Greets at length",
                    "category": "manners",
                    "deprecated": ["v26.06", "v27.03"],
                },
                {"name": "bye", "usage": ""},
            ],
            "subscriptions": ["connect", "*", "connect"],
            "hooks": [
                "peer_connected",
                {"name": "custommsg", "before": ["x"], "after": ["y", "/z"], "filters": ["7", 9]},
            ],
            "notifications": [{"method": "topic"}],
            "custommessages": [32768, "32770", 0],
            "featurebits": {"init": "02" + "00" * 32, "node": "", "invoice": "0200", "unheard-of": 1},
            "cancheck": True,
            "unheard-of": {},
        }
    )
    (option,) = manifest.options
    assert (option.name, option.type, option.default, option.multi) == ("a-b_1", "int", 7, True)
    hello, bye = manifest.methods
    assert (hello.usage, hello.description, hello.long_description) == ("[name]", "Greets", "Greets at length")
    assert (hello.category, hello.deprecated) == ("manners", True)
    assert (bye.usage, bye.description, bye.category, bye.deprecated) == ("", "", "plugin", False)
    assert manifest.subscriptions == ("connect", "*")
    peer_connected, custommsg = manifest.hooks
    assert (peer_connected.name, peer_connected.filters) == ("peer_connected", None)
    assert (custommsg.before, custommsg.after, custommsg.filters) == (("x",), ("y", "/z"), frozenset({7, 9}))
    assert manifest.notifications == {"topic"}
    assert manifest.custommessages == {32768, 32770, 0}
    assert manifest.features == {"init": 1 << 257, "invoice": 1 << 9}
    assert manifest.can_check
    assert not manifest.dynamic


def test_little_is_needed() -> None:
    manifest = parse_manifest({"options": [], "rpcmethods": []})
    assert manifest == PluginManifest(features={})


def test_whoever_disables_itself_needs_nothing_else() -> None:
    assert parse_manifest({"disable": "not today"}).disable == "not today"


@pytest.mark.parametrize("answer", [None, [], "manifest", 1, True])
def test_an_answer_that_is_no_object(answer: object) -> None:
    with pytest.raises(ExtensionError, match="should be an object"):
        parse_manifest(answer)


@pytest.mark.parametrize("field", ["options", "rpcmethods"])
def test_what_has_to_be_there(field: str) -> None:
    with pytest.raises(ExtensionError, match=f'{field} is missing; it may be an empty array: "{field}": \\[\\]'):
        parse_manifest({key: value for key, value in WORKING.items() if key != field})


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("options", {}, "options should be an array, not {}"),
        ("options", [1], r"options\[0\] should be an object, not 1"),
        ("rpcmethods", "none", "rpcmethods should be an array"),
        ("rpcmethods", ["x"], r"rpcmethods\[0\] should be an object"),
        ("rpcmethods", [{"usage": ""}], r"rpcmethods\[0\].name should be a string, not null"),
        ("rpcmethods", [{"name": "", "usage": ""}], r"rpcmethods\[0\].name should be a string"),
        ("rpcmethods", [{"name": "x"}], r'rpcmethod x: usage is missing; for a method without parameters it is ""'),
        ("rpcmethods", [{"name": "x", "usage": 1}], "rpcmethod x: usage should be a string, not 1"),
        ("rpcmethods", [{"name": "x", "usage": "", "deprecated": "v26"}], "rpcmethod x.deprecated should be true"),
        ("rpcmethods", [{"name": "x", "usage": "", "deprecated": []}], "rpcmethod x.deprecated should be true"),
        ("subscriptions", "connect", "subscriptions should be an array"),
        ("subscriptions", ["connect", 1], r"subscriptions\[1\] should be a string, not 1"),
        ("hooks", {"name": "custommsg"}, "hooks should be an array"),
        ("hooks", [1], r"hooks\[0\] should be a hook's name or an object"),
        ("hooks", [{}], r"hooks\[0\].name should be a string"),
        ("hooks", ["custommsg", {"name": "custommsg"}], r"hooks\[1\]: hook custommsg is registered twice"),
        ("hooks", ["nosuchhook"], 'there is no hook "nosuchhook"; there are commitment_revocation, custommsg'),
        ("hooks", [{"name": "custommsg", "before": "x"}], "hook custommsg: before should be an array"),
        ("hooks", [{"name": "custommsg", "after": [1]}], r"hook custommsg: after\[0\] should be a string"),
        ("hooks", [{"name": "custommsg", "filters": 1}], "hook custommsg: filters should be an array"),
        ("hooks", [{"name": "custommsg", "filters": [-1]}], r"filters\[0\] should be a message type, not -1"),
        ("hooks", [{"name": "custommsg", "filters": [True]}], r"filters\[0\] should be a message type, not true"),
        ("hooks", [{"name": "custommsg", "filters": [1 << 64]}], r"filters\[0\] should be a message type"),
        ("hooks", [{"name": "peer_connected", "filters": []}], "hook peer_connected: it takes no filters"),
        ("hooks", [{"name": "rpc_command", "filters": [1]}], r"hook rpc_command: filters\[0\] should be a string"),
        ("notifications", ["topic"], r'notifications\[0\] should be {"method": "a topic"}, not "topic"'),
        ("notifications", [{"method": 1}], r"notifications\[0\] should be"),
        ("notifications", [{"method": "connect"}], 'only the node itself can send notifications of "connect"'),
        ("custommessages", [1.5], r"custommessages\[0\] should be a message type from 0 to 65535, not 1.5"),
        ("custommessages", [False], r"custommessages\[0\] should be"),
        ("custommessages", ["0x10"], r"custommessages\[0\] should be"),
        ("custommessages", [""], r"custommessages\[0\] should be"),
        ("custommessages", ["9" * 5000], r"custommessages\[0\] should be"),
        ("featurebits", [], "featurebits should be an object"),
        ("featurebits", {"init": 256}, "featurebits.init should be a feature map in hex, not 256"),
        ("featurebits", {"init": "02 00"}, "featurebits.init should be a feature map in hex"),
        ("featurebits", {"invoice": "020"}, "featurebits.invoice should be a feature map in hex"),
        ("featurebits", {"init": "02"}, '"dynamic": false would be right'),
        ("dynamic", "yes", 'dynamic should be true or false, not "yes"'),
        ("nonnumericids", 1, "nonnumericids should be true or false"),
        ("cancheck", None, "cancheck should be true or false"),
    ],
)
def test_every_wrong_field_is_named(field: str, value: object, text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        parse(**{field: value})


def test_feature_bits_of_all_contexts() -> None:
    features = parse(dynamic=False, featurebits=dict.fromkeys(FEATURE_CONTEXTS, "02")).features
    assert features == dict.fromkeys(FEATURE_CONTEXTS, 2)


def test_null_wishes_are_none() -> None:
    (claim,) = parse(hooks=[{"name": "custommsg", "before": None, "after": None}]).hooks
    assert (claim.before, claim.after) == ((), ())


def test_rpc_command_filters_are_names() -> None:
    (claim,) = parse(hooks=[{"name": "rpc_command", "filters": ["pay"]}]).hooks
    assert claim.filters == {"pay"}
