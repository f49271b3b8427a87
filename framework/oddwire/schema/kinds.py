"""The kinds of fields, as plain records: made by `fields` and `annotations`, compiled by the codecs.

A kind says which Python values are valid and what the wire may carry; each codec decides how to write them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from oddwire.errors import SchemaError
from oddwire.records import FrozenRecord

if TYPE_CHECKING:
    from oddwire.schema.class_records import Record

__all__ = [
    "PLAIN_INT",
    "Anything",
    "Array",
    "Boolean",
    "Choice",
    "Count",
    "Fixed",
    "Float",
    "Integer",
    "Kind",
    "Led",
    "Maybe",
    "Named",
    "Nested",
    "Octets",
    "Opaque",
    "Prefixed",
    "Rest",
    "Sized",
    "Table",
    "Text",
    "unboxed",
]


class Kind(FrozenRecord):
    """Base of all kinds."""

    @property
    def label(self) -> str:
        """The name for errors: ``u64``, ``str``, ``list``."""
        return type(self).__name__.lower()


class Integer(Kind):
    """A whole number from ``low`` to ``high``.

    ``form`` is how BOLT 1 writes it: ``fixed`` in ``bits`` bits, ``truncated`` (tu16, tu32, tu64), ``bigsize``, or
    ``plain``: a Python ``int`` without a wire type, from -2**63 to 2**64 - 1, which the bolt codec refuses. With
    ``quoted`` it is a string of decimal digits in JSON.
    """

    name: str
    bits: int
    signed: bool = False
    form: Literal["fixed", "truncated", "bigsize", "plain"] = "fixed"
    quoted: bool = False

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name

    @property
    def low(self) -> int:
        """The smallest value."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value."""
        return (1 << 64) - 1 if self.form == "plain" else (1 << self.bits - self.signed) - 1


class Boolean(Kind):
    """True or False. The bolt codec writes 0 or ``true``; unless that is 1, it reads any byte but 0 as True."""

    name: str = "bool"
    true: int = 1

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name


class Float(Kind):
    """A finite number of double precision. An ``int`` that a float holds exactly is accepted."""


# Counts: where the bolt codec finds the number of elements or bytes --------------------------------------------------


class Fixed(FrozenRecord):
    """Always ``size``, so no count is written; every codec checks it."""

    size: int


class Prefixed(FrozenRecord):
    """A count written before the elements, as this kind of integer."""

    integer: Integer


class Rest(FrozenRecord):
    """All up to the end of the message or TLV record: BOLT's ``...*byte``."""

    if not TYPE_CHECKING:  # type checkers see at once that it cannot be called

        def __call__(self) -> NoReturn:  # noqa: D102 - it is an error
            raise SchemaError("rest has no parentheses: Annotated[bytes, rest]")


class Named(FrozenRecord):
    """The value of an earlier integer field of the same class, not necessarily the one just before."""

    field: str


class Led(FrozenRecord):
    """The first byte decides: ``sizes`` maps it to the number of bytes (BOLT 1, sciddir_or_pubkey). For bytes only."""

    sizes: tuple[int, ...]


Count = Fixed | Prefixed | Rest | Named | Led


class Octets(Kind):
    """Bytes. ``count`` None leaves the count to the codec (bolt: a u16 before them, or the rest of a TLV record)."""

    count: Count | None = None
    max_length: int | None = None
    name: str = "bytes"

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name


class Text(Kind):
    """A string, UTF-8 on the wire. ``count`` counts bytes, ``max_length`` characters."""

    count: Count | None = None
    max_length: int | None = None

    @property
    def label(self) -> str:
        """The name for errors."""
        return "str"


class Opaque(Kind):
    """``size`` bytes on the wire that are a ``python`` object in a message.

    ``load`` makes the object from the bytes and raises `ValueError` if it cannot; ``dump`` returns the bytes.
    ``parse`` and ``show`` do the same for text: hex for a point, ``539268x845x1`` for a channel. ``stored``, if set,
    names the attribute where objects of exactly that class keep the result of ``dump``, or, if they are ``numeric``,
    those eight bytes as an integer: reading it is faster than calling a method.
    """

    name: str
    size: int
    python: type
    load: Callable[[bytes], Any]
    dump: Callable[[Any], bytes]
    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    stored: str | None = None
    numeric: bool = False

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name


class Choice(Kind):
    """One of a few values: an `Enum` class, or a `Literal`.

    ``members`` maps wire values (of kind ``base``: integer or text) to the values in a message, whose class is
    ``python``.
    """

    name: str
    base: Integer | Text
    members: Mapping[int | str, Any]
    python: type

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name

    def wire(self, value: Any) -> int | str:
        """Return the wire value of ``value``, a member."""
        return value.value if isinstance(value, Enum) else value  # type: ignore[no-any-return]


class Maybe(Kind):
    """``X | None``. With ``flag`` the bolt codec writes in front whether there is a value: 0 or 1, or a bool."""

    inner: Kind
    flag: Integer | Boolean | None = None

    @property
    def label(self) -> str:
        """The name for errors."""
        return f"{self.inner.label} or None"


class Sized(Kind):
    """What the bolt codec writes behind its size in bytes, which is an ``integer``; other codecs write it alone."""

    inner: Kind
    integer: Integer

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.inner.label


def unboxed(kind: Kind) -> Kind:
    """Return the kind of a value that is there: what is in `Maybe` and `Sized`."""
    while isinstance(kind, Maybe | Sized):
        kind = kind.inner
    return kind


class Array(Kind):
    """Elements of one kind. ``python`` is the class that decoding makes: `tuple` (also for ``Sequence[X]``) or `list`.

    Encoding accepts exactly that class, or with ``loose`` (``Sequence[X]``) either.
    """

    element: Kind
    python: type[tuple[Any, ...]] | type[list[Any]]
    loose: bool = False
    count: Count | None = None
    max_length: int | None = None

    @property
    def label(self) -> str:
        """The name for errors."""
        return "tuple or list" if self.loose else self.python.__name__


class Table(Kind):
    """``dict[str, X]``; msgpack and json only."""

    value: Kind
    max_length: int | None = None

    @property
    def label(self) -> str:
        """The name for errors."""
        return "dict"


class Nested(Kind):
    """A ``@subtype`` class."""

    record: Record

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.record.name

    def __repr__(self) -> str:
        return f"Nested({self.record.qualified_name})"  # not its fields, which may be of the class itself


class Anything(Kind):
    """``Any`` or ``object``: any value that the codec's format has; msgpack and json only.

    None, bool, int of 64 bits, finite float, str, list, dict with str keys, and bytes with msgpack, max 32 levels
    deep.
    """

    @property
    def label(self) -> str:
        """The name for errors."""
        return "plain value"


PLAIN_INT: Final = Integer("int", 64, signed=True, form="plain")
