"""The field types an author writes in annotations: ``u64``, ``point``, ``Annotated[bytes, fixed(32)]``, ``field()``.

The aliases are `Annotated` types: to a type checker ``nonce: u64`` is an ``int``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from typing import Annotated, Any, Final, TypeAlias, TypeVar, overload

from oddwire.proto.keys import PublicKey, ShortChannelId
from oddwire.records import FrozenRecord
from oddwire.schema.kinds import Fixed, Integer, Led, Octets, Opaque, Rest

__all__ = [
    "AsText",
    "Counted",
    "FieldSpec",
    "MaxLength",
    "as_text",
    "bigsize",
    "bip340sig",
    "byte",
    "chain_hash",
    "channel_id",
    "counted",
    "field",
    "fixed",
    "max_length",
    "point",
    "rest",
    "s8",
    "s16",
    "s32",
    "s64",
    "sciddir_or_pubkey",
    "sha256",
    "short_channel_id",
    "signature",
    "tu16",
    "tu32",
    "tu64",
    "u8",
    "u16",
    "u32",
    "u64",
]

T = TypeVar("T")

_SEEN: Final = 4096
"""Max points and channel ids that are cached: checking that a point lies on the curve costs 100 times as much as
a look-up, and a peer sends the same keys and channels over and over. An entry takes a few hundred bytes."""


class _Seen(dict[bytes, T]):
    """Objects made from bytes. When full it is cleared: tracking the oldest would make each look-up dearer."""

    def __init__(self, make: Callable[[bytes], T]) -> None:
        self._make = make

    def __missing__(self, data: bytes) -> T:
        made = self._make(data)
        if len(self) >= _SEEN:
            self.clear()
        self[data] = made
        return made


# BOLT 1, Fundamental Types ---------------------------------------------------------------------------------------

u8: TypeAlias = Annotated[int, Integer("u8", 8)]
u16: TypeAlias = Annotated[int, Integer("u16", 16)]
u32: TypeAlias = Annotated[int, Integer("u32", 32)]
u64: TypeAlias = Annotated[int, Integer("u64", 64)]
byte: TypeAlias = u8
s8: TypeAlias = Annotated[int, Integer("s8", 8, signed=True)]
s16: TypeAlias = Annotated[int, Integer("s16", 16, signed=True)]
s32: TypeAlias = Annotated[int, Integer("s32", 32, signed=True)]
s64: TypeAlias = Annotated[int, Integer("s64", 64, signed=True)]
tu16: TypeAlias = Annotated[int, Integer("tu16", 16, form="truncated")]
tu32: TypeAlias = Annotated[int, Integer("tu32", 32, form="truncated")]
tu64: TypeAlias = Annotated[int, Integer("tu64", 64, form="truncated")]
bigsize: TypeAlias = Annotated[int, Integer("bigsize", 64, form="bigsize")]
sha256: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="sha256")]
chain_hash: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="chain_hash")]
channel_id: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="channel_id")]
signature: TypeAlias = Annotated[bytes, Octets(Fixed(64), name="signature")]
bip340sig: TypeAlias = Annotated[bytes, Octets(Fixed(64), name="bip340sig")]
sciddir_or_pubkey: TypeAlias = Annotated[bytes, Octets(Led((9, 9, 33, 33)), name="sciddir_or_pubkey")]
point: TypeAlias = Annotated[
    PublicKey,
    Opaque(
        "point",
        33,
        PublicKey,
        _Seen(PublicKey).__getitem__,
        PublicKey.to_bytes,
        PublicKey.from_hex,
        PublicKey.hex,
        stored="_raw",
    ),
]
short_channel_id: TypeAlias = Annotated[
    ShortChannelId,
    Opaque(
        "short_channel_id",
        8,
        ShortChannelId,
        _Seen(ShortChannelId.from_bytes).__getitem__,
        ShortChannelId.to_bytes,
        ShortChannelId.from_str,
        str,
        stored="_number",
        numeric=True,
    ),
]

# Markers beside a type in Annotated[...] ----------------------------------------------------------------------------


class Counted(FrozenRecord):
    """`counted` with the alias still unresolved."""

    integer: object


class MaxLength(FrozenRecord):
    """`max_length`, for `Annotated`."""

    size: int


class AsText(FrozenRecord):
    """The class of `as_text`."""


as_text: Final = AsText()
"""``Annotated[u64, as_text]``: in JSON the integer is a string of decimal digits, as LSPS0 writes amounts: ``"546"``.

Parsers that keep numbers in floats would lose digits of a large one. Other codecs do not differ.
"""

rest: Final = Rest()
"""``Annotated[bytes, rest]``: all bytes up to the end of the message or TLV record, BOLT's ``...*byte``."""


def fixed(size: int) -> Fixed:
    """Require exactly ``size`` bytes or elements, with any codec.

    Stands beside a type: ``Annotated[bytes, fixed(32)]``.
    """
    return Fixed(size)


def counted(integer: object) -> Counted:
    """Make the bolt codec write the number of elements first, as ``integer``: ``u8`` to ``u64``, or ``bigsize``.

    Stands beside a type: ``Annotated[tuple[point, ...], counted(bigsize)]``. The default is ``u16``.
    """
    return Counted(integer)


def max_length(size: int) -> MaxLength:
    """Allow at most ``size`` characters, bytes, elements or keys.

    Stands beside a type: ``Annotated[str, max_length(80)]``.
    """
    return MaxLength(size)


class FieldSpec(FrozenRecord):
    """The arguments of `field`; `dataclasses.MISSING` stands for no default."""

    default: Any
    default_factory: Any
    tlv: int | None = None
    count: object = None
    max_length: int | None = None
    key: str | None = None


@overload
def field(
    *, tlv: int | None = None, count: object = None, max_length: int | None = None, key: str | None = None
) -> Any: ...
@overload
def field(
    *, default: T, tlv: int | None = None, count: object = None, max_length: int | None = None, key: str | None = None
) -> T: ...
@overload
def field(
    *,
    default_factory: Callable[[], T],
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
) -> T: ...
def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
) -> Any:
    """Specify more of a field than its type.

    ``fee: tu64 = field(tlv=3, default=0)``:

    - ``default``, or ``default_factory`` for one made anew each time: the value when none is passed, and when a peer
      leaves the field out (msgpack, json, and TLV records).
    - ``tlv``: the type of the TLV record the bolt codec puts the field in, after the positional ones. Left out when
      None.
    - ``count``: the number of bytes or elements. A number: exactly that; ``u8`` to ``u64`` or ``bigsize``: the
      number is written first, as that type; `rest` or ``...``: all up to the end; the name of an earlier integer
      field: that field's value.
    - ``max_length``: the max number of characters, bytes, elements or keys.
    - ``key``: the field's name in msgpack and json, if it is not its Python name.

    Arguments that cannot work raise `SchemaError` when the class is made.
    """
    return FieldSpec(default, default_factory, tlv, count, max_length, key)
