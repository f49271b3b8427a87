"""The manifest for lightningd, and the option values that it sends. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oddwire.proto.features import feature_bytes
from oddwire.transports.base import HostMethod, HostOption, Manifest
from oddwire.transports.cln.reader import Receive

__all__ = ["getmanifest_result", "has_custommsg_notification", "option_values"]

# The custommsg notification came with v24.02
_NOTIFIES = (24, 2)


def getmanifest_result(manifest: Manifest, receive: Receive) -> dict[str, Any]:
    """Return the result of ``getmanifest``, for every lightningd from v23.11 on: older ones ignore newer members."""
    by_hook = receive == "hook" and bool(manifest.type_ids)
    by_notification = receive == "notification" and bool(manifest.type_ids)
    features = feature_bytes(manifest.features).hex()
    result: dict[str, Any] = {
        "options": [_option(option) for option in manifest.options],
        "rpcmethods": [_method(method) for method in manifest.rpc_methods],
        "subscriptions": ["connect", "disconnect", "shutdown", *(["custommsg"] if by_notification else [])],
        "hooks": [{"name": "custommsg", "filters": sorted(manifest.type_ids)}] if by_hook else [],
        "custommessages": sorted(manifest.even_ids),
        "nonnumericids": True,
        "cancheck": True,
        # Peers learn feature bits when they connect, so lightningd accepts them only at its own start
        "dynamic": not features,
    }
    if features:
        result["featurebits"] = {"init": features, "node": features}
    return result


def option_values(manifest: Manifest, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of our options from the parameters of ``init``, without those that are not set."""
    values = params.get("options")
    if not isinstance(values, dict):
        return {}
    return {option.name: values[option.name] for option in manifest.options if values.get(option.name) is not None}


def has_custommsg_notification(version: str | None, unknown: bool = True) -> bool:
    """Return whether a lightningd of this LIGHTNINGD_VERSION sends it; ``unknown`` is for one without a number."""
    found = re.match(r"v?(\d+)\.(\d+)", version or "")
    return unknown if found is None else (int(found[1]), int(found[2])) >= _NOTIFIES


def _option(option: HostOption) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": option.name, "type": option.type, "description": option.description}
    default = option.default
    # A flag is false unless set; lightningd accepts no list as a default, so the application keeps that
    if isinstance(default, (str, int)) and option.type != "flag":
        entry["default"] = default
    if option.multi:
        entry["multi"] = True
    if option.dynamic:
        entry["dynamic"] = True
    return entry


def _method(method: HostMethod) -> dict[str, Any]:
    return {"name": method.name, "usage": method.usage, "description": method.description}
