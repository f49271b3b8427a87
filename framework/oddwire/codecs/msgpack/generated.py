"""The generated fast path between messages and trees of plain objects, as msgpack carries them.

The inverse of each ``dump_*`` stands beside it as ``load_*``. Generated code does the same as `oddwire.schema.tree`, or
raises `Retry` (or the error of a failed operation) for anything unusual.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final

from oddwire.codecs.base import Retry
from oddwire.schema.class_records import Field, Record
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Led,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Sized,
    Table,
    Text,
)
from oddwire.schema.nesting import MAX_LEVELS, nests
from oddwire.schema.source import Source
from oddwire.schema.tree import MSGPACK
from oddwire.schema.tree_values import check_anything
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["TreeWriter"]

_PLAIN: Final[dict[type[Kind], type]] = {Boolean: bool, Float: float, Integer: int, Octets: bytes, Text: str}
_EXACT: Final = 1 << 53  # all ints up to it are exact as floats
_WIDEST: Final = (-(1 << 63), (1 << 64) - 1)
"""The range of msgpack's integers: the unpacker returns no others, and the packer refuses others."""

_refuse_anything = partial(check_anything, form=MSGPACK)


class TreeWriter:
    """Writes into ``source`` statements that make a tree of a message, or a message of a tree."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._retry = source.bind(Retry, "Retry")
        self._dumpers: dict[int, str] = {}
        self._loaders: dict[int, str] = {}
        self._levels = ""  # the last argument of all functions where classes nest: how deep

    def _start(self, record: Record) -> None:
        if nests(record):
            self._levels = ", levels"
            self._source.line(f"levels = {int(record.recursive)}")

    # Records ---------------------------------------------------------------------------------------------------------

    def dump_record(self, record: Record, name: str) -> str:
        """Write statements that check the fields of the instance ``name``; return the expression for its map."""
        self._start(record)
        return self._dump_record(record, name)

    def _dump_record(self, record: Record, name: str, *lead: str) -> str:
        """Do as `dump_record`; ``lead`` are items before the fields."""
        source = self._source
        self._unless(f"type({name}) is {source.bind(record.cls, record.cls.__name__)}")
        self._validate(record, name)
        always: list[str] = [*lead]
        sometimes: list[tuple[Field, str]] = []
        for field in record.fields:
            local = source.fresh("v")
            source.line(f"{local} = {name}.{field.name}")
            if field.omitted_if_none:
                sometimes.append((field, local))
            else:
                always.append(f"{field.key!r}: {self._dump(field.kind, local)}")
        literal = f"{{{', '.join(always)}}}"
        if not sometimes:
            return literal
        made = source.fresh("made")
        source.line(f"{made} = {literal}")
        for field, local in sometimes:
            kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
            with source.block(f"if {local} is not None:"):
                source.line(f"{made}[{field.key!r}] = {self._dump(kind, local)}")
        return made

    def load_record(self, record: Record, name: str) -> str:
        """Write statements that check the map ``name`` and make the instance; return its name."""
        self._start(record)
        return self._load_record(record, name)

    def _load_record(self, record: Record, name: str) -> str:
        source = self._source
        values: list[tuple[str, str]] = []
        if not any(field.required for field in record.fields):  # otherwise a look-up fails for all but maps
            self._unless(f"type({name}) is dict")
        for field in record.fields:
            local = source.fresh("v")
            if field.required:
                source.line(f"{local} = {name}[{field.key!r}]")
                values.append((field.name, self._load(field.kind, local)))
                continue
            with source.block(f"if {field.key!r} in {name}:"):
                source.line(f"{local} = {name}[{field.key!r}]")
                self._assign(local, self._load(field.kind, local))
            with source.block("else:"):
                source.line(f"{local} = {self._default(field)}")
            values.append((field.name, local))
        made = source.fresh("made")
        source.line(f"{made} = {source.bind(record.blank, 'blank')}()")
        for field_name, value in values:
            source.line(f"{made}.{field_name} = {value}")
        source.line(f"{made}.__class__ = {source.bind(record.cls, record.cls.__name__)}")
        self._validate(record, made)
        return made

    def _validate(self, record: Record, name: str) -> None:
        """Write calls of a record's validators with the instance ``name``."""
        for validator in record.validators:
            value = f", {name}.{validator.field}" if validator.field else ""
            self._call("_", validator.function, f"{name}{value}")

    def _default(self, field: Field) -> str:
        if field.default_factory is not None:
            return f"{self._source.bind(field.default_factory, 'make')}()"
        return self._source.bind(field.default, "default")

    # One value -------------------------------------------------------------------------------------------------------

    def _dump(self, kind: Kind, name: str) -> str:
        """Write statements that check the value ``name``; return the expression for its plain object."""
        source = self._source
        match kind:
            case Integer() | Boolean() | Octets() | Text():
                self._check_plain(kind, name)
            case Float():
                self._make_float(name)
                self._check_plain(kind, name)
            case Opaque():
                self._unless(f"type({name}) is {source.bind(kind.python, kind.name)}")
                return f"{source.bind(kind.dump, f'dump_{kind.name}')}({name})"
            case Choice():
                if issubclass(kind.python, Enum):
                    self._unless(f"type({name}) is {source.bind(kind.python, kind.python.__name__)}")
                    return f"{name}._value_"
                self._unless(
                    f"type({name}) is {kind.python.__name__} and {name} in {source.bind(kind.members, 'members')}"
                )
            case Maybe():
                with source.block(f"if {name} is not None:"):
                    self._assign(name, self._dump(kind.inner, name))
            case Sized():
                return self._dump(kind.inner, name)
            case Array():
                return self._dump_array(kind, name)
            case Table():
                return self._table(kind, name, self._dumper)
            case Nested() | Tagged():
                return f"{self._dumper(kind)}({name}{self._levels})"
            case Either():
                from oddwire.codecs.msgpack.generated_unions import dump_either  # imported late: few need it

                return dump_either(source, kind, name, self._dump)
            case Anything():
                self._unless(f"not {source.bind(_refuse_anything, 'refuse')}({name})")
            case Scalar():
                wire = source.fresh("wire")
                self._unless(f"type({name}) is {source.bind(kind.python, kind.python.__name__)}")
                self._call(wire, kind.dump, name)
                return self._dump(kind.inner, wire)
            case Limited():
                made = self._dump(kind.inner, name)  # the type first: other types may compare in any way
                self._limit(kind, name)
                return made
        return name

    def _load(self, kind: Kind, name: str) -> str:
        """Write statements that check the plain object ``name``; return the expression for its value."""
        source = self._source
        match kind:
            case Integer() | Boolean() | Octets() | Text():
                self._check_plain(kind, name)
            case Float():
                self._make_float(name)
                self._check_plain(kind, name)
            case Opaque():
                self._unless(f"type({name}) is bytes")
                return f"{source.bind(kind.load, f'load_{kind.name}')}({name})"
            case Choice():
                self._check_plain(kind.base, name)
                return f"{source.bind(kind.members, 'members')}[{name}]"
            case Maybe():
                with source.block(f"if {name} is not None:"):
                    self._assign(name, self._load(kind.inner, name))
            case Sized():
                return self._load(kind.inner, name)
            case Array():
                return self._load_array(kind, name)
            case Table():
                return self._table(kind, name, self._loader)
            case Nested() | Tagged():
                return f"{self._loader(kind)}({name}{self._levels})"
            case Either():
                from oddwire.codecs.msgpack.generated_unions import load_either  # imported late: few need it

                return load_either(source, kind, name, self._load)
            case Anything():
                self._unless(f"not {source.bind(_refuse_anything, 'refuse')}({name})")
            case Scalar():
                made = source.fresh("v")
                self._call(made, kind.load, self._load(kind.inner, name))
                return made
            case Limited():
                made = source.fresh("v")
                self._assign(made, self._load(kind.inner, name))
                self._limit(kind, made)
                return made
        return name

    # Arrays and tables -----------------------------------------------------------------------------------------------

    def _dump_array(self, kind: Array, name: str) -> str:
        self._unless(f"type({name}) in (tuple, list)" if kind.loose else f"type({name}) is {kind.python.__name__}")
        self._check_length(kind, name)
        if self._check_all(kind.element, name):
            return name
        return f"[{self._dumper(kind.element)}(element{self._levels}) for element in {name}]"

    def _load_array(self, kind: Array, name: str) -> str:
        self._unless(f"type({name}) is list")
        self._check_length(kind, name)
        made = name
        if not self._check_all(kind.element, name):
            load = self._loader(kind.element)
            made = f"[{load}(element, levels) for element in {name}]" if self._levels else f"map({load}, {name})"
        if kind.python is list and made == name:
            return name
        return f"{kind.python.__name__}({made})"

    def _table(self, kind: Table, name: str, helper: Callable[[Kind], str]) -> str:
        self._unless(f"type({name}) is dict and not set(map(type, {name})) - {self._types(str)}")
        self._check_length(kind, name)
        if self._check_all(kind.value, f"{name}.values()", f"{name}"):
            return name
        return f"{{key: {helper(kind.value)}(value{self._levels}) for key, value in {name}.items()}}"

    def _check_all(self, kind: Kind, names: str, truth: str | None = None) -> bool:
        """Write a check of all elements at once, in C, if they are plain; return whether they are."""
        if type(kind) not in (Boolean, Integer, Octets, Text) or getattr(kind, "max_length", None) is not None:
            return False
        if isinstance(kind, Octets) and isinstance(kind.count, Led):
            return False
        conditions = [f"set(map(type, {names})) == {self._types(_PLAIN[type(kind)])}"]
        if isinstance(kind, Integer) and kind.low > _WIDEST[0]:
            conditions.append(f"min({names}) >= {kind.low}")
        if isinstance(kind, Integer) and kind.high < _WIDEST[1]:
            conditions.append(f"max({names}) <= {kind.high}")
        if isinstance(kind, Octets) and isinstance(kind.count, Fixed):
            conditions.append(f"set(map(len, {names})) == {self._source.bind(frozenset([kind.count.size]), 'sizes')}")
        self._unless(f"not {truth or names} or ({' and '.join(conditions)})")
        return True

    # Parts -----------------------------------------------------------------------------------------------------------

    def _make_float(self, name: str) -> None:
        """Write a conversion of an int, such as a default written as 0, to a float that holds it exactly."""
        with self._source.block(f"if type({name}) is int and {-_EXACT} <= {name} <= {_EXACT}:"):
            self._source.line(f"{name} = float({name})")

    def _check_plain(self, kind: Kind, name: str) -> None:
        """Write a check of a value that is the same object in a message and in its tree."""
        conditions = [f"type({name}) is {_PLAIN[type(kind)].__name__}"]
        if isinstance(kind, Integer):
            low, high = kind.low > _WIDEST[0], kind.high < _WIDEST[1]
            if low and high:
                conditions.append(f"{kind.low} <= {name} <= {kind.high}")
            elif low:
                conditions.append(f"{name} >= {kind.low}")
            elif high:
                conditions.append(f"{name} <= {kind.high}")
        elif isinstance(kind, Float):
            conditions.append(f"{name} - {name} == 0.0")  # False for NaN and infinities
        self._unless(" and ".join(conditions))
        if isinstance(kind, Octets | Text):
            self._check_length(kind, name)

    def _check_length(self, kind: Octets | Text | Array | Table, name: str) -> None:
        if not isinstance(kind, Table | Text) and isinstance(kind.count, Fixed):
            self._unless(f"len({name}) == {kind.count.size}")
        elif not isinstance(kind, Table) and isinstance(kind.count, Led):
            sizes = {bytes([first]): size for first, size in enumerate(kind.count.sizes)}
            self._unless(f"len({name}) == {self._source.bind(sizes.get, 'size_after')}({name}[:1])")
        if kind.max_length is not None:
            self._unless(f"len({name}) <= {kind.max_length}")

    def _dumper(self, kind: Kind) -> str:
        """Return the name of a generated function that does what `_dump` writes."""
        if isinstance(kind, Tagged):
            from oddwire.codecs.msgpack.generated_unions import dump_tagged  # imported late: few need it

            if id(kind) not in self._dumpers:
                name = self._dumpers[id(kind)] = self._source.fresh("dump_union")
                dump_tagged(self._source, kind, name, self._dump_variant, self._levels)
            return self._dumpers[id(kind)]
        return self._helper(kind, self._dumpers, self._dump_record, self._dump)

    def _loader(self, kind: Kind) -> str:
        """Return the name of a generated function that does what `_load` writes."""
        if isinstance(kind, Tagged):
            from oddwire.codecs.msgpack.generated_unions import load_tagged  # imported late: few need it

            if id(kind) not in self._loaders:
                name = self._loaders[id(kind)] = self._source.fresh("load_union")
                load_tagged(self._source, kind, name, self._load_variant, self._levels)
            return self._loaders[id(kind)]
        return self._helper(kind, self._loaders, self._load_record, self._load)

    def _dump_variant(self, record: Record, tag: str) -> str:
        """Write statements that check ``value``; return the expression for its map, in which ``tag`` is first."""
        if record.recursive:
            return f"{{{tag}, **{self._dumper(Nested(record))}(value{self._levels})}}"
        return self._dump_record(record, "value", tag)

    def _load_variant(self, record: Record) -> str:
        """Write statements that check the map ``value``; return the expression for its instance."""
        if record.recursive:
            return f"{self._loader(Nested(record))}(value{self._levels})"
        return self._load_record(record, "value")

    def _helper(
        self,
        kind: Kind,
        known: dict[int, str],
        for_record: Callable[[Record, str], str],
        for_kind: Callable[[Kind, str], str],
    ) -> str:
        subject: Record | Kind = kind.record if isinstance(kind, Nested) else kind
        if id(subject) not in known:
            name = known[id(subject)] = self._source.fresh("helper")
            with self._source.function(f"def {name}(value{self._levels}):"):
                if isinstance(subject, Record) and subject.recursive:
                    self._source.line("levels += 1")
                    self._unless(f"levels <= {MAX_LEVELS}")
                made = for_record(subject, "value") if isinstance(subject, Record) else for_kind(subject, "value")
                self._source.line(f"return {made}")
        return known[id(subject)]

    def _types(self, python: type) -> str:
        return self._source.bind(_TYPE_SETS[python], f"only_{python.__name__}")

    def _call(self, made: str, function: object, argument: str) -> None:
        """Write a call of an author's function, ``made`` being its result; whatever it raises is `Retry`."""
        with self._source.block("try:"):
            self._source.line(f"{made} = {self._source.bind(function, 'call')}({argument})")
        with self._source.block("except Exception:"):
            self._source.line(f"raise {self._retry}")

    def _limit(self, kind: Limited, name: str) -> None:
        """Write a check of the limits of the value ``name``."""
        if kind.compares_objects:
            self._unless(f"not {self._source.bind(kind.refuse, 'refuse')}({name})")
        else:
            self._unless(kind.conditions(name, self._source.bind))

    def _assign(self, name: str, expression: str) -> None:
        self._source.line(f"{name} = {expression}" if expression != name else "pass")

    def _unless(self, condition: str) -> None:
        with self._source.block(f"if not ({condition}):"):
            self._source.line(f"raise {self._retry}")


_TYPE_SETS: Final[dict[type, frozenset[type]]] = {python: frozenset([python]) for python in (bool, bytes, int, str)}
