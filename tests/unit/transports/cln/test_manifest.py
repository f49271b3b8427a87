"""What lightningd is told of an application; that it takes it is seen where it is run."""

from __future__ import annotations

import pytest

from oddwire.errors import NodeRefused
from oddwire.node.plugins.plugin_manifest import parse_manifest
from oddwire.transports.base import HostMethod, HostOption, Manifest
from oddwire.transports.cln.manifest import getmanifest_result, has_custommsg_notification, option_values


async def call(params: object) -> object:
    raise NodeRefused("not here", code=-1)


def check(params: object) -> None:
    return None


METHOD = HostMethod(name="quote-ask", usage="node_id [asset]", description="Ask.", call=call, check=check)
OPTIONS = (
    HostOption(name="quote-asset", type="string", description="Which.", default="eur"),
    HostOption(name="quote-depth", type="int", description="How deep.", default=3, dynamic=True, set=check),
    HostOption(name="quote-live", type="bool", description="Really.", default=True),
    HostOption(name="quote-dry", type="flag", description="Not really.", default=False),
    HostOption(name="quote-also", type="string", description="More.", default=("a", "b"), multi=True),
    HostOption(name="quote-none", type="string", description="Perhaps."),
)
FULL = Manifest(type_ids=frozenset({0x8C02, 0x8C01}), rpc_methods=(METHOD,), options=OPTIONS)


def test_an_application() -> None:
    result = getmanifest_result(FULL, "hook")
    assert result == {
        "options": [
            {"name": "quote-asset", "type": "string", "description": "Which.", "default": "eur"},
            {"name": "quote-depth", "type": "int", "description": "How deep.", "default": 3, "dynamic": True},
            {"name": "quote-live", "type": "bool", "description": "Really.", "default": True},
            {"name": "quote-dry", "type": "flag", "description": "Not really."},
            {"name": "quote-also", "type": "string", "description": "More.", "multi": True},
            {"name": "quote-none", "type": "string", "description": "Perhaps."},
        ],
        "rpcmethods": [{"name": "quote-ask", "usage": "node_id [asset]", "description": "Ask."}],
        "subscriptions": ["connect", "disconnect", "shutdown"],
        "hooks": [{"name": "custommsg", "filters": [0x8C01, 0x8C02]}],
        "custommessages": [0x8C02],
        "nonnumericids": True,
        "cancheck": True,
        "dynamic": True,
    }
    parsed = parse_manifest(result)
    assert parsed.dynamic
    assert parsed.hooks[0].filters == {0x8C01, 0x8C02}


def test_nothing_at_all_claims_no_hook() -> None:
    for receive in ("hook", "notification"):
        result = getmanifest_result(Manifest(), receive)
        assert result["hooks"] == []
        assert "custommsg" not in result["subscriptions"]
        assert parse_manifest(result).dynamic


def test_by_notification() -> None:
    result = getmanifest_result(FULL, "notification")
    assert result["hooks"] == []
    assert "custommsg" in result["subscriptions"]
    assert result["custommessages"] == [0x8C02]


def test_feature_bits_make_it_static() -> None:
    result = getmanifest_result(Manifest(features=frozenset({513, 1})), "hook")
    bits = f"{1 << 513 | 2:0130x}"
    assert result["featurebits"] == {"init": bits, "node": bits}
    assert result["dynamic"] is False
    assert parse_manifest(result).features["init"] == 1 << 513 | 2


def test_values() -> None:
    options = {"quote-asset": "usd", "quote-depth": 0, "quote-dry": False, "quote-none": None, "other": 1}
    assert option_values(FULL, {"options": options}) == {"quote-asset": "usd", "quote-depth": 0, "quote-dry": False}
    assert option_values(FULL, {}) == {}
    assert option_values(FULL, {"options": []}) == {}


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("v23.11", False),
        ("v23.11.2-12-gabcdef", False),
        ("0.12.1", False),
        ("v24.02rc1", True),
        ("v26.06.6-oddwire-0.1.0", True),
        ("v26.06", True),
        ("basedon-abc", True),
        (None, True),
    ],
)
def test_versions(version: str | None, has: bool) -> None:
    assert has_custommsg_notification(version) is has
