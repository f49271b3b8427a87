"""What a class declares, as records: `Field`, `Record` (any class with fields) and `Schema` (a message)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

from oddwire.schema.kinds import Kind, Maybe
from oddwire.values import Value

__all__ = ["Field", "Record", "Schema"]


class Field(Value):
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
        """Whether msgpack and json leave the field out when it is None: reading that gives None again."""
        return self.default is None

    @property
    def none_is_absent(self) -> bool:
        """Whether the bolt codec leaves the field's TLV record out when it is None: its absence means None again."""
        return isinstance(self.kind, Maybe) and (self.required or self.default is None)

    def make_default(self) -> Any:
        """Give the default; only for a field that is not `required`."""
        return self.default if self.default_factory is None else self.default_factory()


class Record(Value):
    """The fields of a class, inherited ones first.

    ``blank`` makes an instance with no field set, of a twin class that is not frozen: codecs set the fields and then
    its ``__class__`` to ``cls``, the cheapest way to build a frozen object. ``values`` gives an instance's values in
    order.
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
        """Find a field by its Python name."""
        return next((field for field in self.fields if field.name == name), None)

    def build(self, values: dict[str, Any]) -> Any:
        """Make an instance from all its fields' values, unchecked."""
        blank = self.blank()
        for name, value in values.items():
            setattr(blank, name, value)
        blank.__class__ = self.cls
        return blank


class Schema(Record):
    """A message: its `Record`, its number, and the name of its codec.

    ``spec`` says that the type number is the message's by a specification, so it may lie below 32768 or be in use in
    the wild. ``max_size`` is how many bytes a payload may have, its type included. ``owner`` is the extension in whose
    name a registry has it, empty outside of one.
    """

    type_id: int
    codec: str
    spec: bool
    max_size: int
    owner: str = ""

    @property
    def full_name(self) -> str:
        """``owner.Name``, or ``Name`` without an owner."""
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def title(self) -> str:
        """The full name and the type number, for errors and logs: ``market.Quote 0x8c03``."""
        return f"{self.full_name} {self.type_id:#06x}"
