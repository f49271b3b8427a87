"""What a receiver cannot make of what a sender may send: `Gap`, and the rule that it is, by who is the sender."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Gap", "rule_of", "shown"]


class Gap(NamedTuple):
    """One difference in one direction. ``error`` is what the receiver says, empty if it understands all the same."""

    kind: str
    path: str
    sent: str
    """What the sender's contract has there, in words."""
    read: str
    """What the receiver's has."""
    error: str = ""


_PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "by position": ("BY_POSITION_CHANGED", "BY_POSITION_CHANGED"),
    "closed": ("UNION_CLOSED", "UNION_OPENED"),
    "opened": ("UNION_OPENED", "UNION_CLOSED"),
    "codec": ("UNKNOWN_CODEC", "UNKNOWN_CODEC"),
    "count": ("COUNT_CHANGED", "COUNT_CHANGED"),
    "default": ("DEFAULT_CHANGED", "DEFAULT_CHANGED"),
    "enum": ("ENUM_VALUE_REMOVED", "ENUM_VALUE_ADDED"),
    "enum value": ("ENUM_VALUE_CHANGED", "ENUM_VALUE_CHANGED"),
    "even": ("FIELD_REMOVED_EVEN", "FIELD_ADDED_EVEN"),
    "extra": ("FIELD_REMOVED", "FIELD_ADDED"),
    "key": ("FIELD_KEY_CHANGED", "FIELD_KEY_CHANGED"),
    "lacking": ("FIELD_ADDED", "FIELD_REMOVED"),
    "limit": ("LIMIT_TIGHTENED", "LIMIT_LOOSENED"),
    "max_size": ("MAX_SIZE_LOWERED", "MAX_SIZE_RAISED"),
    "member": ("UNION_MEMBER_REMOVED", "UNION_MEMBER_ADDED"),
    "missing": ("FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED"),
    "moved": ("FIELD_MOVED", "FIELD_MOVED"),
    "none": ("FIELD_MADE_REQUIRED", "FIELD_MADE_OPTIONAL"),
    "order": ("FIELD_REORDERED", "FIELD_REORDERED"),
    "parameter": ("PARAMETER_REMOVED", "PARAMETER_ADDED"),
    "pattern": ("PATTERN_CHANGED", "PATTERN_CHANGED"),
    "place": ("FIELD_REMOVED_POSITIONAL", "FIELD_ADDED_POSITIONAL"),
    "place lacking": ("FIELD_ADDED_POSITIONAL", "FIELD_REMOVED_POSITIONAL"),
    "range": ("FIELD_NARROWED", "FIELD_WIDENED"),
    "renamed": ("FIELD_RENAMED", "FIELD_RENAMED"),
    "resized": ("FIELD_RESIZED", "FIELD_RESIZED"),
    "reused": ("TLV_NUMBER_REUSED", "TLV_NUMBER_REUSED"),
    "scalar": ("SCALAR_CHANGED", "SCALAR_CHANGED"),
    "stream": ("TLV_STREAM_REMOVED", "TLV_STREAM_ADDED"),
    "tag": ("UNION_TAG_CHANGED", "UNION_TAG_CHANGED"),
    "tag form": ("UNION_FORM_CHANGED", "UNION_FORM_CHANGED"),
    "tlv": ("TLV_RENUMBERED", "TLV_RENUMBERED"),
    "type": ("FIELD_TYPE_CHANGED", "FIELD_TYPE_CHANGED"),
    "validator": ("VALIDATOR_ADDED", "VALIDATOR_REMOVED"),
}


def rule_of(gap: Gap, *, forward: bool) -> str:
    """Return the rule of a gap: ``forward`` if the sender is old and the receiver new."""
    return _PAIRS[gap.kind][0 if forward else 1]


def shown(value: Any) -> str:
    """Return a part of a contract in a few words: ``u16``, ``optional u8``, ``enum Side``."""
    if not isinstance(value, Mapping) or "type" not in value:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
    name, inner = value.get("class", ""), value.get("of")
    kind = value["type"]
    match kind:
        case "scalar" | "subtype" | "opaque":
            words = f"{name}"
        case "enum":
            words = f"enum {name}"
        case "optional":
            words = f"{shown(inner)} or None"
        case "sized":
            words = f"{shown(inner)} behind its size ({value['size']})"
        case "array":
            words = f"list of {shown(inner)}"
        case "map":
            words = f"map of {shown(inner)}"
        case "union":
            words = "union of " + ", ".join(str(member["subtype"]) for member in value["members"])
        case "either":
            words = " or ".join(shown(option) for option in value["options"])
        case _:
            words = kind
    extra = []
    if "count" in value:
        extra.append(f"count {shown(value['count'])}")
    if "flag" in value:
        extra.append(f"flag {value['flag']}")
    if "max_length" in value:
        extra.append(f"max_length {value['max_length']}")
    if value.get("quoted"):
        extra.append("as text")
    for limits in value.get("limits", ()):
        extra += [f"{key} {shown(limit)}" for key, limit in limits.items()]
    return f"{words} ({', '.join(extra)})" if extra else str(words)
