"""`scalar`: field types of an author's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from oddwire.errors import SchemaError
from oddwire.records import replace
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of, show_annotation
from oddwire.schema.kinds import (
    Anything,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Maybe,
    Octets,
    Opaque,
    Text,
)
from oddwire.schema.value_kinds import Scalar, unlimited

__all__ = ["scalar"]

P = TypeVar("P")


def scalar(
    name: str,
    *,
    python: type[P],
    size: int | None = None,
    wire: Any = None,
    load: Callable[[Any], P] | None = None,
    dump: Callable[[P], Any] | None = None,
    parse: Callable[[str], P] | None = None,
    show: Callable[[P], str] | None = None,
) -> Any:
    """Return a field type of one's own: values of the class ``python`` that travel as another field type.

    ``Sat: TypeAlias = Annotated[int, scalar("sat", python=int, size=8)]`` is a type for annotations, ``fee: Sat``,
    that type checkers read as ``int``. What `scalar` returns stands for it at run time.

    - ``name``: for errors, and on the command line.
    - ``wire``: the field type that carries it: ``u64``, ``str``, ``Annotated[bytes, fixed(4)]``. Or ``size``, a
      number of bytes: for ``python=int`` without ``load``, 1 to 8 bytes of an unsigned integer, big endian, which is
      a number in msgpack and json; otherwise so many ``bytes``.
    - ``load``: makes an object of a value of that type, by default ``python`` itself; ``dump``: returns that value of
      an object, by default the class of such values: ``int``, ``str``, ``bytes``. ``load`` raises `ValueError`, in
      words that say what would be right, for a value that is none: the message is malformed. Any other error is
      reported so, too. A value that ``dump`` refuses is a `ValueOutOfRange`.
    - ``parse`` and ``show``: the same for text, in json, in dicts and on the command line. Without them that of the
      field type is used: digits, or hex for bytes.

    ``load`` should accept what ``dump`` returns, and make an equal object of it. Both are called for each value,
    perhaps more than once, and see what peers send. Raises `SchemaError` for what cannot work.
    """
    if not isinstance(name, str) or not name.strip():
        raise SchemaError(f"scalar({name!r:.100}): should have a name, a text")
    if fields.is_alias(name):
        raise SchemaError(f"scalar({name!r}): is the name of a field type of oddwire: choose another")
    try:
        kind = _scalar_kind(name, python, size, wire, load, dump, parse, show)
    except SchemaError as error:
        raise SchemaError(f"scalar({name!r}): {error}") from None
    return Annotated[python, kind]


def _scalar_kind(
    name: str, python: Any, size: Any, wire: Any, load: Any, dump: Any, parse: Any, show: Any
) -> Kind:  # fmt: skip
    if not isinstance(python, type):
        raise SchemaError(f"python should be a class, not {python!r:.100}")
    for argument, function in {"load": load, "dump": dump, "parse": parse, "show": show}.items():
        if function is not None and not callable(function):
            raise SchemaError(f"{argument} should be a function, not {function!r:.100}")
    if (parse is None) is not (show is None):
        raise SchemaError("parse and show come together: what one writes, the other reads")
    inner = _wire_kind(name, python, size, wire, plain=load is None and dump is None)
    carried = _class_of(inner)
    is_plain = load is None and dump is None and parse is None and python is carried
    if is_plain and isinstance(inner, Integer | Octets):
        return replace(inner, name=name)
    dump = dump or carried
    if dump is None:
        raise SchemaError(f"should have a dump=, which returns {inner.label} for a {python.__name__}")
    return Scalar(name, inner, python, load or python, dump, parse, show)


def _wire_kind(name: str, python: type, size: Any, wire: Any, *, plain: bool) -> Kind:
    if (size is None) is (wire is None):
        raise SchemaError("should have either size=, a number of bytes, or wire=, the field type that carries it")
    if size is None:
        kind = kind_of(wire)
        if isinstance(kind, Maybe | Anything):
            raise SchemaError(f"wire={show_annotation(wire)} should always have a value: None goes beside the scalar")
        return kind
    if type(size) is not int or size < 1:
        raise SchemaError(f"size={size!r} should be a number of bytes")
    if python is int and plain:
        if size > 8:
            raise SchemaError(f"size={size} should be 1 to 8 bytes for an int: larger ones travel as bytes, with load=")
        return Integer(name, 8 * size)
    return Octets(Fixed(size), name=name)


def _class_of(kind: Kind) -> type | None:
    """Return the class of a kind's values, whose call makes one of an object."""
    match unlimited(kind):
        case Integer():
            return int
        case Octets():
            return bytes
        case Text():
            return str
        case Float():
            return float
        case Boolean():
            return bool
        case Opaque() | Choice() | Scalar() as known:
            return known.python
    return None
