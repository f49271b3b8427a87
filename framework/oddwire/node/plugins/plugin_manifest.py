"""A plugin's manifest, its answer to ``getmanifest``, checked field by field. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oddwire.errors import ExtensionError
from oddwire.node.plugins.hook_table import HOOKS, HookClaim, NodeHook
from oddwire.node.plugins.log_text import brief, plain
from oddwire.node.plugins.plugin_options import OptionSpec, is_deprecated, parse_option
from oddwire.node.plugins.subscriptions import NATIVE_TOPICS

__all__ = ["FEATURE_CONTEXTS", "MethodSpec", "PluginManifest", "parse_manifest"]

FEATURE_CONTEXTS: Final = (
    "init",
    "node",
    "channel",
    "invoice",
    "bolt12_offer",
    "bolt12_invreq",
    "bolt12_invoice",
    "channel_type",
)
_DIGITS: Final = frozenset("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """One entry of ``rpcmethods``."""

    name: str
    usage: str
    description: str = ""
    long_description: str = ""
    category: str = "plugin"
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginManifest:
    """A checked manifest. ``disable`` is the plugin's reason not to run, None if it runs."""

    options: tuple[OptionSpec, ...] = ()
    methods: tuple[MethodSpec, ...] = ()
    subscriptions: tuple[str, ...] = ()
    hooks: tuple[HookClaim, ...] = ()
    notifications: frozenset[str] = frozenset()
    custommessages: frozenset[int] = frozenset()
    features: Mapping[str, int]
    """Feature bits by context, as integers: feature 0 is the lowest bit."""
    can_check: bool = False
    dynamic: bool = False
    disable: str | None = None


def parse_manifest(answer: Any) -> PluginManifest:
    """Parse the result of ``getmanifest``. Raises `ExtensionError` naming the field and what it should be."""
    if not isinstance(answer, dict):
        raise ExtensionError(f"the answer to getmanifest should be an object, not {brief(answer)}")
    if "disable" in answer:
        return PluginManifest(disable=plain(answer["disable"]), features={})
    dynamic = _flag(answer, "dynamic")
    if not _flag(answer, "nonnumericids", default=True):
        raise ExtensionError("nonnumericids should be true: ids are strings here")
    for field in ("options", "rpcmethods"):
        if field not in answer:
            raise ExtensionError(f'{field} is missing; it may be an empty array: "{field}": []')
    return PluginManifest(
        options=tuple(parse_option(f"options[{i}]", item) for i, item in enumerate(_array(answer, "options"))),
        methods=tuple(_method(f"rpcmethods[{i}]", item) for i, item in enumerate(_array(answer, "rpcmethods"))),
        subscriptions=_subscriptions(answer),
        hooks=_hooks(answer),
        notifications=_notifications(answer),
        custommessages=_custommessages(answer),
        features=_features(answer, dynamic=dynamic),
        can_check=_flag(answer, "cancheck"),
        dynamic=dynamic,
    )


def _flag(answer: dict[str, Any], field: str, *, default: bool = False) -> bool:
    value = answer.get(field, default)
    if not isinstance(value, bool):
        raise ExtensionError(f"{field} should be true or false, not {brief(value)}")
    return value


def _array(answer: dict[str, Any], field: str, where: str = "") -> list[Any]:
    value = answer.get(field, [])
    if not isinstance(value, list):
        raise ExtensionError(f"{where}{field} should be an array, not {brief(value)}")
    return value


def _strings(answer: dict[str, Any], field: str, where: str = "") -> tuple[str, ...]:
    values = _array(answer, field, where)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise ExtensionError(f"{where}{field}[{i}] should be a string, not {brief(value)}")
    return tuple(values)


def _integer(value: Any, bits: int) -> int | None:
    # lightningd reads "49375" as it reads 49375
    if isinstance(value, str) and value and _DIGITS.issuperset(value) and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        return None
    return value


def _method(where: str, item: Any) -> MethodSpec:
    if not isinstance(item, dict):
        raise ExtensionError(f"{where} should be an object, not {brief(item)}")
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise ExtensionError(f"{where}.name should be a string, not {brief(name)}")
    where = f"rpcmethod {name}"
    if "usage" not in item:
        raise ExtensionError(f'{where}: usage is missing; for a method without parameters it is ""')
    if not isinstance(item["usage"], str):
        raise ExtensionError(f"{where}: usage should be a string, not {brief(item['usage'])}")
    texts = {}
    for field in ("description", "long_description", "category"):
        if isinstance(text := item.get(field), str) and text:
            texts[field] = text
    deprecated = is_deprecated(where, item.get("deprecated"))
    return MethodSpec(name=name, usage=item["usage"], deprecated=deprecated, **texts)


def _subscriptions(answer: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_strings(answer, "subscriptions")))


def _hooks(answer: dict[str, Any]) -> tuple[HookClaim, ...]:
    claims: dict[str, HookClaim] = {}
    for i, item in enumerate(_array(answer, "hooks")):
        claim = _hook(f"hooks[{i}]", item)
        if claim.name in claims:
            raise ExtensionError(f"hooks[{i}]: hook {claim.name} is registered twice")
        claims[claim.name] = claim
    return tuple(claims.values())


def _hook(where: str, item: Any) -> HookClaim:
    if isinstance(item, str):
        item = {"name": item}
    if not isinstance(item, dict):
        raise ExtensionError(f"{where} should be a hook's name or an object, not {brief(item)}")
    # Some libraries write null for absent fields
    item = {key: value for key, value in item.items() if value is not None or key == "filters"}
    name = item.get("name")
    if not isinstance(name, str):
        raise ExtensionError(f"{where}.name should be a string, not {brief(name)}")
    if (hook := HOOKS.get(name)) is None:
        raise ExtensionError(f"{where}: there is no hook {brief(name)}; there are {', '.join(sorted(HOOKS))}")
    where = f"hook {name}: "
    return HookClaim(
        name=name,
        before=_strings(item, "before", where),
        after=_strings(item, "after", where),
        filters=_filters(hook, item, where),
    )


def _filters(hook: NodeHook, item: dict[str, Any], where: str) -> frozenset[int | str] | None:
    if "filters" not in item:
        return None
    if hook.filters is None:
        raise ExtensionError(f"{where}it takes no filters")
    if hook.filters is str:
        return frozenset(_strings(item, "filters", where))
    filters: set[int | str] = set()
    for i, value in enumerate(_array(item, "filters", where)):
        if (number := _integer(value, 64)) is None:
            raise ExtensionError(f"{where}filters[{i}] should be a message type, not {brief(value)}")
        filters.add(number)
    return frozenset(filters)


def _notifications(answer: dict[str, Any]) -> frozenset[str]:
    topics: set[str] = set()
    for i, item in enumerate(_array(answer, "notifications")):
        topic = item.get("method") if isinstance(item, dict) else None
        if not isinstance(topic, str):
            raise ExtensionError(f'notifications[{i}] should be {{"method": "a topic"}}, not {brief(item)}')
        if topic in NATIVE_TOPICS:
            raise ExtensionError(f"notifications[{i}]: only the node itself can send notifications of {brief(topic)}")
        topics.add(topic)
    return frozenset(topics)


def _custommessages(answer: dict[str, Any]) -> frozenset[int]:
    types: set[int] = set()
    for i, value in enumerate(_array(answer, "custommessages")):
        if (number := _integer(value, 16)) is None:
            raise ExtensionError(f"custommessages[{i}] should be a message type from 0 to 65535, not {brief(value)}")
        types.add(number)
    return frozenset(types)


def _features(answer: dict[str, Any], *, dynamic: bool) -> dict[str, int]:
    value = answer.get("featurebits", {})
    if not isinstance(value, dict):
        raise ExtensionError(f"featurebits should be an object, not {brief(value)}")
    features: dict[str, int] = {}
    for context in FEATURE_CONTEXTS:
        text = value.get(context, "")
        try:
            features[context] = int.from_bytes(bytes.fromhex(_no_spaces(text)), "big")
        except (TypeError, ValueError):
            raise ExtensionError(f"featurebits.{context} should be a feature map in hex, not {brief(text)}") from None
    features = {context: bits for context, bits in features.items() if bits}
    if dynamic and features:
        names = ", ".join(f"{context} {bits:x}" for context, bits in features.items())
        raise ExtensionError(
            f"featurebits ({names}) need a plugin that is not dynamic: peers learn them when they connect;"
            ' "dynamic": false would be right'
        )
    return features


def _no_spaces(text: Any) -> str:
    # bytes.fromhex skips white space
    if not isinstance(text, str) or any(character.isspace() for character in text):
        raise ValueError(text)
    return text
