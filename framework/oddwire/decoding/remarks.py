"""What bytes mean beyond their type, in words: names of feature bits, chains, the texts in BOLT 1's errors."""

from __future__ import annotations

from typing import Final

from oddwire.decoding.spans import Span
from oddwire.printable import quoted
from oddwire.proto.bolt1 import CHAINS
from oddwire.proto.features import FEATURES, OTHER_FEATURES, feature_bits

__all__ = ["feature_names", "with_remarks"]

_TEXTS: Final = {"bolt1.error", "bolt1.warning"}
_CHAINS: Final = {value: name for name, value in CHAINS.items()}
_MOST: Final = 40
"""Feature bits that are named."""


def with_remarks(name: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return the spans of a message, ``bolt1.init``, with notes in words where there is something to say."""
    if not name.startswith("bolt"):
        return spans
    return tuple(_remarked(name, span) for span in spans)


def feature_names(data: bytes) -> str:
    """Return the names of the bits in a feature map, those that a peer must know with ``!``."""
    bits = sorted(feature_bits(data))
    names = [f"{_name(bit)}{'!' if bit % 2 == 0 else ''}" for bit in bits[:_MOST]]
    return ", ".join([*names, *([f"and {len(bits) - _MOST} more"] if len(bits) > _MOST else [])])


def _name(bit: int) -> str:
    even = bit & ~1
    name = FEATURES.get(even) or OTHER_FEATURES.get(even)
    return f"{bit}" if name is None else f"{name} ({bit})"


def _remarked(name: str, span: Span) -> Span:
    if span.parts:
        span = span._replace(parts=tuple(_remarked(name, part) for part in span.parts))
    if span.role != "value" or not isinstance(span.value, bytes):
        return span
    field = span.path.rpartition(".")[2]
    note = span.note
    if field.endswith("features"):
        note = feature_names(span.value)
    elif name in _TEXTS and field == "data":
        note = quoted(span.value.decode("utf-8", "replace"))
    elif span.value in _CHAINS:
        note = _CHAINS[span.value]
    return span._replace(note=note)
