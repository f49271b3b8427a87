"""What is known of a class: its fields, and of a message its number and codec. Made by `classes` and `message`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, Literal, Protocol

from oddwire.records import FrozenRecord
from oddwire.schema.kinds import Kind, Maybe

if TYPE_CHECKING:
    from oddwire.schema.value_kinds import Validator

__all__ = ["Field", "Record", "Schema", "SchemaCodec"]


class Field(FrozenRecord, hidden=("declared",)):
    """One field.

    ``key`` is its name in msgpack and json, ``tlv`` its TLV record's type with bolt, or None. Without a default,
    ``default`` is `dataclasses.MISSING` and ``default_factory`` None. ``declared`` is the kind that the annotation
    alone means, None if `field` adds nothing to it.
    """

    name: str
    kind: Kind
    key: str
    default: Any
    default_factory: Callable[[], Any] | None
    tlv: int | None = None
    declared: Kind | None = None

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
        kind = self.kind
        return isinstance(kind, Maybe) and kind.flag is None and (self.required or self.default is None)

    @property
    def record_kind(self) -> Kind:
        """The kind of what is in the field's TLV record: it says None by its absence, if by no flag."""
        return self.kind.inner if isinstance(self.kind, Maybe) and self.kind.flag is None else self.kind

    def make_default(self) -> Any:
        """Return the default; only for a field that is not `required`."""
        return self.default if self.default_factory is None else self.default_factory()


class Record(FrozenRecord):
    """The fields of a class, inherited ones first.

    ``blank`` makes an instance with no field set, of a twin class that is not frozen: codecs set the fields and then
    its ``__class__`` to ``cls``, the cheapest way to build a frozen object. ``values`` returns an instance's values
    in order. ``validators`` are the methods under `validates` that every instance sent or received has to pass.
    """

    cls: type
    name: str
    module: str
    fields: tuple[Field, ...]
    blank: Callable[[], Any]
    values: Callable[[Any], tuple[Any, ...]]
    validators: tuple[Validator, ...]

    def __eq__(self, other: object) -> bool:
        return self is other  # a class has one record

    def __hash__(self) -> int:
        return id(self)

    @property
    def qualified_name(self) -> str:
        """``module.Class``, for errors."""
        return f"{self.module}.{self.cls.__qualname__}"

    @property
    def recursive(self) -> bool:
        """Whether the class names itself in its fields, so that its values nest."""
        return getattr(self.cls, "__oddwire_itself__", None) is not None

    @property
    def tag(self) -> int | str | None:
        """What tells the class apart in a tagged union: that of ``@subtype(tag=0)``, None without."""
        return vars(self.cls).get("__oddwire_tag__")

    def field(self, name: str) -> Field | None:
        """Return the field of this Python name, or None."""
        return next((field for field in self.fields if field.name == name), None)

    def field_of_key(self, key: str) -> Field | None:
        """Return the field of this key, or None."""
        return next((field for field in self.fields if field.key == key), None)

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
    def tag(self) -> int:
        """What tells the message apart in a tagged union: its type number."""
        return self.type_id

    @property
    def full_name(self) -> str:
        """``owner.Name``, or ``Name`` without an owner."""
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def title(self) -> str:
        """The full name and the type number, for errors and logs: ``market.Quote 0x8c03``."""
        return f"{self.full_name} {self.type_id:#06x}"
