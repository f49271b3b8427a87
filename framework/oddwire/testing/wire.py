"""`assert_wire`: checks a message's bytes, and names the fields that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from oddwire.codecs.base import Codec, Plan
from oddwire.codecs.registry import builtin_codecs
from oddwire.errors import DecodeError, SchemaError
from oddwire.schema import Message, schema_of

__all__ = ["assert_wire", "payload_of", "plan_of"]

_MOST_SHOWN: Final = 20  # differences
_AROUND: Final = 24  # bytes shown before and behind the first that differs
_VALUE: Final = 200  # characters of a value


def assert_wire(message: Message, expected: str | bytes, *, codecs: Iterable[Codec] = ()) -> None:
    """Check that a message has these bytes, its type included, and that these bytes are read as the message.

    ``expected`` is hex, which may contain spaces, or bytes. ``codecs`` are those that the message names, besides the
    built-in ones. Raises `AssertionError` that names the fields and offsets that differ, `ValueError` for what is no
    hex, and `EncodeError` for a message that cannot be encoded.
    """
    __tracebackhide__ = True
    wanted = payload_of(expected)
    schema, plan = schema_of(type(message)), plan_of(type(message), codecs)
    encoded = plan.encode(message)
    problems, read = _read(plan, wanted, schema.type_id)
    if read is not None:
        differing = [*_differences("", message, read)]
        if encoded == wanted and not differing:
            return
        problems = [f"{path}: {left}, and the bytes that were expected say {right}" for path, left, right in differing]
        if encoded == wanted:
            problems = [f"{path}: {left}, which its own bytes give back as {right}" for path, left, right in differing]
        elif not differing:
            problems = ["the bytes that were expected say the same in other words"]
    if len(problems) > _MOST_SHOWN:
        problems = [*problems[:_MOST_SHOWN], f"and {len(problems) - _MOST_SHOWN} more"]
    lines = [
        f"{schema.name} {schema.type_id:#06x} is not what was expected",
        *problems,
        *_side_by_side(wanted, encoded),
    ]
    raise AssertionError("\n  ".join(lines))


def payload_of(given: str | bytes) -> bytes:
    """Return a payload given in hex, with any white space, or as bytes. Raises `ValueError` saying what is wrong."""
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(given)
    if not isinstance(given, str):
        raise ValueError(f"a payload should be given in hex, or as bytes, not {given!r:.200}")
    digits = "".join(given.split())
    for place, digit in enumerate(digits):
        if digit not in "0123456789abcdefABCDEF":
            raise ValueError(f"a payload should be given in hex: digit {place + 1} is {digit!r} in {given!r:.200}")
    if len(digits) % 2:
        raise ValueError(f"a payload should be whole bytes, two digits each: there are {len(digits)} in {given!r:.200}")
    return bytes.fromhex(digits)


def plan_of(message: type[Message], codecs: Iterable[Codec] = ()) -> Plan:
    """Return how a message's class is encoded, without an application. Raises `SchemaError` for an unknown codec."""
    schema = schema_of(message)
    if schema.own_codec is not None:
        return cast("Codec", schema.own_codec).compile(schema)
    known = {codec.name: codec for codec in (*builtin_codecs(), *codecs)}
    codec = known.get(schema.codec)
    if codec is None:
        names = ", ".join(sorted(known))
        raise SchemaError(f"{schema.qualified_name}: there is no codec {schema.codec!r} in codecs=; there are {names}")
    return codec.compile(schema)


def _read(plan: Plan, payload: bytes, type_id: int) -> tuple[list[str], Message | None]:
    """Return the message of the expected bytes, or why there is none."""
    if payload[:2] != type_id.to_bytes(2, "big"):
        has = f"of type 0x{payload[:2].hex()}" if len(payload) >= 2 else "too short for a type"
        return [f"the bytes that were expected are {has}"], None
    try:
        message: Message = plan.decode(payload)
    except DecodeError as error:
        return [f"the bytes that were expected cannot be read: {error}"], None
    return [], message


def _differences(path: str, left: Any, right: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the paths at which two values differ, and what is there in each."""
    schema = getattr(type(left), "__oddwire__", None)
    if schema is not None and type(left) is type(right):
        for field in schema.fields:
            inner = f"{path}.{field.name}" if path else field.name
            yield from _differences(inner, getattr(left, field.name), getattr(right, field.name))
    elif _are(Mapping, left, right):
        for key in {**left, **right}:
            yield from _items(f"{path}[{key!r:.60}]", left, right, key, key in left, key in right)
    elif _are(Sequence, left, right) and not isinstance(left, (str, bytes, bytearray)):
        for number in range(max(len(left), len(right))):
            yield from _items(f"{path}[{number}]", left, right, number, number < len(left), number < len(right))
    elif left != right and (left == left or right == right):  # NaN is not itself
        yield path, _spelled(left), _spelled(right)


def _items(path: str, left: Any, right: Any, key: Any, in_left: bool, in_right: bool) -> Iterator[tuple[str, str, str]]:
    if in_left and in_right:
        yield from _differences(path, left[key], right[key])
    else:
        nothing = "nothing"
        yield path, _spelled(left[key]) if in_left else nothing, _spelled(right[key]) if in_right else nothing


def _spelled(value: object) -> str:
    return f"{value!r:.{_VALUE}}"


def _are(kind: type, left: object, right: object) -> bool:
    return isinstance(left, kind) and isinstance(right, kind)


def _side_by_side(wanted: bytes, encoded: bytes) -> list[str]:
    """Return both payloads in hex, around their first difference, and a mark there."""
    pairs = enumerate(zip(wanted, encoded, strict=False))
    at = next((place for place, (left, right) in pairs if left != right), min(len(wanted), len(encoded)))
    start = max(0, at - _AROUND)
    cut = "..." if start else ""
    lines = []
    for name, payload in (("expected", wanted), ("encoded", encoded)):
        end = at + _AROUND
        lines.append(f"{name:8}  {cut}{payload[start:end].hex()}{'...' if len(payload) > end else ''}")
    if wanted != encoded:
        lines.append(f"{'':10}{' ' * (len(cut) + 2 * (at - start))}^^ at byte {at} of {len(wanted)} and {len(encoded)}")
    return lines
