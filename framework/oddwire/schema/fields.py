"""The field types an author writes in annotations: ``u64``, ``point``, ``Annotated[bytes, fixed(32)]``, ``field()``.

The aliases are `Annotated` types: to a type checker ``nonce: u64`` is an ``int``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeAlias, TypeVar, cast, overload

from oddwire.errors import SchemaError
from oddwire.proto.keys import PublicKey, ShortChannelId
from oddwire.records import FrozenRecord
from oddwire.schema.kinds import Boolean, Fixed, Integer, Led, Octets, Opaque, Rest
from oddwire.schema.value_kinds import Limits

__all__ = [
    "NO_LIMITS",
    "AsText",
    "Counted",
    "FieldSpec",
    "Flagged",
    "MaxLength",
    "TaggedBy",
    "as_text",
    "bigsize",
    "bip340sig",
    "bool8",
    "byte",
    "chain_hash",
    "channel_id",
    "counted",
    "field",
    "fixed",
    "flag",
    "is_alias",
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
    "tagged",
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
"""An integer of 8 bits, 0 to 255, in one byte (BOLT 1)."""
u16: TypeAlias = Annotated[int, Integer("u16", 16)]
"""An integer of 16 bits, 0 to 65535, big endian (BOLT 1)."""
u32: TypeAlias = Annotated[int, Integer("u32", 32)]
"""An integer of 32 bits, from 0, big endian (BOLT 1)."""
u64: TypeAlias = Annotated[int, Integer("u64", 64)]
"""An integer of 64 bits, from 0, big endian (BOLT 1)."""
byte: TypeAlias = u8
"""`u8`, by BOLT 1's other name."""
s8: TypeAlias = Annotated[int, Integer("s8", 8, signed=True)]
"""A signed integer of 8 bits, -128 to 127, two's complement (BOLT 1)."""
s16: TypeAlias = Annotated[int, Integer("s16", 16, signed=True)]
"""A signed integer of 16 bits, two's complement, big endian (BOLT 1)."""
s32: TypeAlias = Annotated[int, Integer("s32", 32, signed=True)]
"""A signed integer of 32 bits, two's complement, big endian (BOLT 1)."""
s64: TypeAlias = Annotated[int, Integer("s64", 64, signed=True)]
"""A signed integer of 64 bits, two's complement, big endian (BOLT 1)."""
tu16: TypeAlias = Annotated[int, Integer("tu16", 16, form="truncated")]
"""An integer of 16 bits without its leading zero bytes: 0 to 2 bytes, at the end of a TLV record (BOLT 1)."""
tu32: TypeAlias = Annotated[int, Integer("tu32", 32, form="truncated")]
"""An integer of 32 bits without its leading zero bytes: 0 to 4 bytes, at the end of a TLV record (BOLT 1)."""
tu64: TypeAlias = Annotated[int, Integer("tu64", 64, form="truncated")]
"""An integer of 64 bits without its leading zero bytes: 0 to 8 bytes, at the end of a TLV record (BOLT 1)."""
bigsize: TypeAlias = Annotated[int, Integer("bigsize", 64, form="bigsize")]
"""An integer of 64 bits, from 0, in 1, 3, 5 or 9 bytes, the fewest that hold it (BOLT 1, BigSize)."""
sha256: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="sha256")]
"""32 bytes: a hash (BOLT 1). In JSON and text, hex, as all bytes."""
chain_hash: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="chain_hash")]
"""32 bytes: a chain, by the hash of its genesis block (BOLT 0)."""
channel_id: TypeAlias = Annotated[bytes, Octets(Fixed(32), name="channel_id")]
"""32 bytes: a channel (BOLT 2)."""
signature: TypeAlias = Annotated[bytes, Octets(Fixed(64), name="signature")]
"""64 bytes: an ECDSA signature, r and s (BOLT 1). It is not verified."""
bip340sig: TypeAlias = Annotated[bytes, Octets(Fixed(64), name="bip340sig")]
"""64 bytes: a Schnorr signature (BIP 340). It is not verified."""
sciddir_or_pubkey: TypeAlias = Annotated[bytes, Octets(Led((9, 9, 33, 33)), name="sciddir_or_pubkey")]
"""9 bytes, a direction and a short channel id, or 33, a public key; the first byte says which (BOLT 12)."""
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
"""A `PublicKey`, 33 bytes, compressed (BOLT 1). What is no point of the curve is malformed."""
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
"""A `ShortChannelId`, 8 bytes: block, transaction and output, ``539268x845x1`` as text (BOLT 7)."""

# Of scodec, which eclair and other programs in Scala are written with: bool(8) -------------------------------------

bool8: TypeAlias = Annotated[bool, Boolean("bool8", true=0xFF)]
"""A bool in a byte as scodec's ``bool(8)``: ff for True, 00 for False; any byte but 00 is read as True."""


def is_alias(name: str) -> bool:
    """Return whether a field type above has this name."""
    return hasattr(globals().get(name), "__metadata__")


# Markers beside a type in Annotated[...] ----------------------------------------------------------------------------


class Counted(FrozenRecord):
    """`counted` with the alias still unresolved."""

    integer: object


class Flagged(FrozenRecord):
    """`flag` with the alias still unresolved."""

    kind: object


class MaxLength(FrozenRecord):
    """`max_length`, for `Annotated`."""

    size: int


class AsText(FrozenRecord):
    """The class of `as_text`."""

    if not TYPE_CHECKING:  # type checkers see at once that it cannot be called

        def __call__(self) -> NoReturn:  # noqa: D102 - it is an error
            raise SchemaError("as_text has no parentheses: Annotated[u64, as_text]")


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
    """Make the bolt codec write first how long a value is, as ``integer``: ``u8`` to ``u64``, or ``bigsize``.

    Stands beside a type. For bytes, str and arrays that is the number of bytes or elements:
    ``Annotated[tuple[point, ...], counted(bigsize)]``; the default is ``u16``. For all else it is the size in bytes, a
    subtype's say: ``Annotated[Order, counted(u16)]``. So it is for what needs no number, as it has a fixed one or takes
    the `rest`: ``Annotated[tuple[Order, ...], rest, counted(u16)]`` is that many bytes of orders. What is inside ends
    there, so it may be a TLV stream, and nothing may be left over.
    """
    return Counted(integer)


def flag(kind: object) -> Flagged:
    """Make the bolt codec write ``X | None`` as a flag and what follows: 0 for None, or 1 and then the value.

    Stands beside a type: ``Annotated[Order | None, flag(u8)]``, also of an element. The flag is a ``u8`` to ``u64`` or
    a ``bigsize``; any other number in it is malformed. ``flag(bool8)`` is a `bool8`: 255 before a value, and any byte
    but 0 is read so. Other codecs write None as they do without it.
    """
    return Flagged(kind)


def max_length(size: int) -> MaxLength:
    """Allow at most ``size`` characters, bytes, elements or keys.

    Stands beside a type: ``Annotated[str, max_length(80)]``.
    """
    return MaxLength(size)


class TaggedBy(FrozenRecord):
    """`tagged`, for `Annotated`, still unchecked."""

    integer: object
    length: object
    key: object
    tags: object

    def __hash__(self) -> int:
        return hash((TaggedBy, str(self.key)))  # Python hashes annotations; a dict has no hash


def tagged(
    integer: object = None,
    *,
    length: object = None,
    key: str | None = None,
    tags: Mapping[type, int | str] | None = None,
) -> TaggedBy:
    """Make a union of subtypes or messages a field type: a tag before the value says which of them it is.

    Stands beside the union: ``Annotated[Single | Disjoint, tagged(bigsize)]``. A member's tag is that of its
    ``@subtype(tag=0)``, a message's is its type number, unless ``tags``, ``{Single: 0, Disjoint: 1}``, has another.

    - ``integer``: how bolt writes the tag: ``u8`` to ``u64``, ``s8`` to ``s64``, or ``bigsize``. A string in its place,
      ``tagged("type")``, is ``key``, for a union that only msgpack and json carry; its tags may be strings then.
    - ``length``: how bolt writes the number of the body's bytes, behind the tag: ``u8`` to ``u64``, or ``bigsize``. A
      body with a length may end in anything, also a TLV stream.
    - ``key``: the tag's key in the maps of msgpack and json, by default ``type``.

    Other tags are malformed, unless `UnknownVariant` is a member of the union. Anything that cannot work raises
    `SchemaError` when the class is made.
    """
    if isinstance(integer, str) and key is None:
        return TaggedBy(None, length, integer, tags)
    return TaggedBy(integer, length, "type" if key is None else key, tags)


NO_LIMITS: Final = Limits()
"""Of a field whose type says all that its values should be."""


class FieldSpec(FrozenRecord):
    """The arguments of `field`; `dataclasses.MISSING` stands for no default."""

    default: Any
    default_factory: Any
    tlv: int | None = None
    count: object = None
    max_length: int | None = None
    key: str | None = None
    limits: Limits = NO_LIMITS


@overload
def field(
    *,
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    length: int | tuple[int, int] | None = None,
    pattern: str | None = None,
) -> Any: ...
@overload
def field(
    *,
    default: T,
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    length: int | tuple[int, int] | None = None,
    pattern: str | None = None,
) -> T: ...
@overload
def field(
    *,
    default_factory: Callable[[], T],
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    length: int | tuple[int, int] | None = None,
    pattern: str | None = None,
) -> T: ...
def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    tlv: int | None = None,
    count: object = None,
    max_length: int | None = None,
    key: str | None = None,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    length: int | tuple[int, int] | None = None,
    pattern: str | None = None,
) -> Any:
    """Specify more of a field than its type.

    ``fee: tu64 = field(tlv=3, default=0)``:

    - ``default``, or ``default_factory`` for one made anew each time: the value when none is passed, and when a peer
      leaves the field out (msgpack, json, and TLV records).
    - ``tlv``: the type of the TLV record the bolt codec puts the field in, after the positional ones. Left out when
      None.
    - ``count``: the number of bytes or elements. A number: exactly that; ``u8`` to ``u64`` or ``bigsize``: the
      number is written first, as that type, of bytes for what has no elements; `rest` or ``...``: all up to the end;
      the name of an earlier integer field: that field's value.
    - ``max_length``: the max number of characters, bytes, elements or keys.
    - ``key``: the field's name in msgpack and json, if it is not its Python name.
    - ``ge``, ``gt``, ``le``, ``lt``: values are at least, above, at most, below this bound: of integers, floats, and
      scalars whose values have an order, `Decimal` and `datetime` among them.
    - ``length``: the number of characters, bytes, elements or keys: exactly so many, or ``(min, max)``.
    - ``pattern``: a regular expression that a ``str`` matches as a whole.

    The last three lines limit the values of any codec, sent and received, and may stand in a type as well:
    ``tuple[Annotated[u16, field(ge=1)], ...]``. What is not within them is refused: `ValueOutOfRange` when it is sent,
    `MalformedMessage` when it is received. Arguments that cannot work raise `SchemaError` when the class is made.
    """
    given = (ge, gt, le, lt, length, pattern)
    limits = NO_LIMITS if given == _NOTHING else Limits(ge, gt, le, lt, cast("Any", length), pattern)
    return FieldSpec(default, default_factory, tlv, count, max_length, key, limits)


_NOTHING: Final = (None,) * 6
