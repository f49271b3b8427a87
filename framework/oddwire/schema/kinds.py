"""The kinds of fields, as plain records: made by `fields` and `annotations`, compiled by the codecs.

A kind says which Python values are valid and what the wire may carry; each codec decides how to write them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from enum import Enum
from typing import Any, Final, Literal, Protocol

from oddwire.records import FrozenRecord

__all__ = [
    "PLAIN_INT",
    "Anything",
    "Array",
    "Boolean",
    "Choice",
    "Count",
    "Field",
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
    "Record",
    "Rest",
    "Schema",
    "SchemaCodec",
    "Table",
    "Text",
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
    """True or False."""

    @property
    def label(self) -> str:
        """The name for errors."""
        return "bool"


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
    """``X | None``."""

    inner: Kind

    @property
    def label(self) -> str:
        """The name for errors."""
        return f"{self.inner.label} or None"


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


class Field(FrozenRecord):
    """One field.

    ``key`` is its name in msgpack and json, ``tlv`` its TLV record's type with bolt, or None. Without a default,
    ``default`` is `dataclasses.MISSING` and ``default_factory`` None.
    """

    name: str
    kind: Kind
    key: str
    default: Any
    default_factory: Callable[[], Any] | None
    tlv: int | None = None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING and self.default_factory is None

    @property
    def omitted_if_none(self) -> bool:
        """Whether msgpack and json leave the field out when it is None: then it decodes to None again."""
        return self.default is None

    @property
    def none_is_absent(self) -> bool:
        """Whether the bolt codec leaves the field's TLV record out when it is None, which decodes to None again."""
        return isinstance(self.kind, Maybe) and (self.required or self.default is None)

    def make_default(self) -> Any:
        """Return the default; only for a field that is not `required`."""
        return self.default if self.default_factory is None else self.default_factory()


class Record(FrozenRecord):
    """The fields of a class, inherited ones first.

    ``blank`` makes an instance with no field set, of a twin class that is not frozen: codecs set the fields and then
    its ``__class__`` to ``cls``, the cheapest way to build a frozen object. ``values`` returns an instance's values
    in order.
    """

    cls: type
    name: str
    module: str
    fields: tuple[Field, ...]
    blank: Callable[[], Any]
    values: Callable[[Any], tuple[Any, ...]]

    def __eq__(self, other: object) -> bool:
        return self is other  # a class has one record

    def __hash__(self) -> int:
        return id(self)

    @property
    def qualified_name(self) -> str:
        """``module.Class``, for errors."""
        return f"{self.module}.{self.cls.__qualname__}"

    def field(self, name: str) -> Field | None:
        """Return the field of this Python name, or None."""
        return next((field for field in self.fields if field.name == name), None)

    def build(self, values: dict[str, Any]) -> Any:
        """Return an instance with these values for all fields, unchecked."""
        blank = self.blank()
        for name, value in values.items():
            setattr(blank, name, value)
        blank.__class__ = self.cls
        return blank


class SchemaCodec(Protocol):
    """What a schema needs to know of a codec, which is an `oddwire.codecs.Codec`."""

    name: str

    def compile(self, schema: Schema) -> Any:
        """Return the plan for one message."""


class Schema(Record):
    """A message: its `Record`, its number, and the name of its codec.

    ``spec``: a specification assigned the type number, so it may be below 32768 or in use in the wild. ``max_size`` is
    the max bytes of a payload, its type included. ``owner`` is the extension that registered the message, empty
    outside a registry. ``even`` says that whoever speaks the message's protocol knows this even type. ``own_codec`` is
    the codec itself, if the message was given one in place of a name. ``replies`` are the message classes that answer
    it, empty unless declared; ``match`` is the field whose value a reply repeats, None unless declared.
    """

    type_id: int
    codec: str
    spec: bool
    max_size: int
    owner: str = ""
    even: Literal["known"] | None = None
    own_codec: SchemaCodec | None = None
    replies: tuple[type, ...] = ()
    match: str | None = None

    @property
    def full_name(self) -> str:
        """``owner.Name``, or ``Name`` without an owner."""
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def title(self) -> str:
        """The full name and the type number, for errors and logs: ``market.Quote 0x8c03``."""
        return f"{self.full_name} {self.type_id:#06x}"
