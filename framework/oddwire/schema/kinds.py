"""What a field can hold, as plain records: the codecs compile these, `fields` and `annotations` make them.

A kind says which Python values are right and what the wire may carry; how each codec writes it is the codec's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.values import Value

if TYPE_CHECKING:  # record.py holds kinds: the other way round this is only a name for the checkers
    from oddwire.schema.record import Record

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
    "Table",
    "Text",
]


class Kind(Value):
    """Base of all kinds."""

    @property
    def label(self) -> str:
        """What to call this in an error: ``u64``, ``str``, ``list``."""
        return type(self).__name__.lower()


class Integer(Kind):
    """A whole number from ``low`` to ``high``.

    ``form`` is how BOLT 1 writes it: ``fixed`` in ``bits`` bits, ``truncated`` (tu16, tu32, tu64), ``bigsize``, or
    ``plain``: a Python ``int`` without a wire type, from -2**63 to 2**64 - 1, which the bolt codec refuses.
    """

    name: str
    bits: int
    signed: bool = False
    form: Literal["fixed", "truncated", "bigsize", "plain"] = "fixed"

    @property
    def label(self) -> str:
        """What to call this in an error."""
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
    """True or False."""

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return "bool"


class Float(Kind):
    """A finite number of double precision. An ``int`` that it can hold exactly is as good."""


# How many elements or bytes: where the bolt codec finds the number ---------------------------------------------------


class Fixed(Value):
    """Always ``size``, so nothing is written; every codec checks it."""

    size: int


class Prefixed(Value):
    """Written before the elements, as this kind of integer."""

    integer: Integer


class Rest(Value):
    """As many as there are up to the end of the message or the TLV record: BOLT's ``...*byte``."""


class Named(Value):
    """The value of an earlier integer field of the same class, which may stand anywhere before."""

    field: str


class Led(Value):
    """``sizes`` has how many there are by the first of them, as with BOLT 1's sciddir_or_pubkey. For bytes only."""

    sizes: tuple[int, ...]


Count = Fixed | Prefixed | Rest | Named | Led


class Octets(Kind):
    """Bytes. ``count`` None leaves it to the codec (bolt: a u16 before them, or the rest of a TLV record)."""

    count: Count | None = None
    max_length: int | None = None
    name: str = "bytes"

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return self.name


class Text(Kind):
    """A string, UTF-8 on the wire. ``count`` counts bytes, ``max_length`` characters."""

    count: Count | None = None
    max_length: int | None = None

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return "str"


class Opaque(Kind):
    """``size`` bytes on the wire that are a ``python`` object in a message.

    ``load`` makes the object from the bytes and raises `ValueError` if it cannot; ``dump`` gives the bytes back.
    ``parse`` and ``show`` do the same for the text people write: hex for a point, ``539268x845x1`` for a channel.
    ``stored``, if it is told, names the attribute where objects of exactly that class keep what ``dump`` gives, or,
    if they are ``numeric``, those eight bytes as an integer: quicker to read than a method is to call.
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
        """What to call this in an error."""
        return self.name


class Choice(Kind):
    """One of a few values: an `Enum` class, or a `Literal`.

    ``members`` maps what travels (``base``: an integer or text) to what a message holds. ``python`` is the class of
    the latter.
    """

    name: str
    base: Integer | Text
    members: Mapping[int | str, Any]
    python: type

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return self.name

    def wire(self, value: Any) -> int | str:
        """Give what travels for ``value``, a member."""
        return value.value if isinstance(value, Enum) else value  # type: ignore[no-any-return]


class Maybe(Kind):
    """``X | None``."""

    inner: Kind

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return f"{self.inner.label} or None"


class Array(Kind):
    """Elements of one kind. ``python`` is what decoding makes: `tuple` (also for ``Sequence[X]``) or `list`.

    Encoding takes exactly that, or with ``loose`` (``Sequence[X]``) either.
    """

    element: Kind
    python: type[tuple[Any, ...]] | type[list[Any]]
    loose: bool = False
    count: Count | None = None
    max_length: int | None = None

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return "tuple or list" if self.loose else self.python.__name__


class Table(Kind):
    """``dict[str, X]``; msgpack and json only."""

    value: Kind
    max_length: int | None = None

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return "dict"


class Nested(Kind):
    """A ``@subtype`` class."""

    record: Record

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return self.record.name


class Anything(Kind):
    """``Any`` or ``object``: whatever the codec carries by itself; msgpack and json only.

    None, bool, int of 64 bits, finite float, str, list, dict with str keys, and bytes with msgpack, 32 levels deep at
    most.
    """

    @property
    def label(self) -> str:
        """What to call this in an error."""
        return "plain value"


PLAIN_INT: Final = Integer("int", 64, signed=True, form="plain")
