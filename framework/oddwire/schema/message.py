"""`Message`, `@message` and `@subtype`: frozen, slotted, keyword-only classes, checked when they are made.

Making an instance is cheap: its values are checked by type checkers as the author writes them, and by the codec when
it is sent. Nothing invalid is sent: `encode` raises. A peer's values are checked while they are decoded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Final, Literal, TypeVar, cast, dataclass_transform, overload

from oddwire.errors import SchemaError
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.proto.type_numbers import check_claim
from oddwire.records import replace as with_changes
from oddwire.schema import fields, rules
from oddwire.schema.annotations import is_generic
from oddwire.schema.class_records import Record, Schema, SchemaCodec
from oddwire.schema.classes import Frozen, RecordType, complete, qualified_name, remake
from oddwire.schema.spelling import show_fields

__all__ = ["DEFAULT_MAX_SIZE", "Message", "declare", "describe", "message", "schema_of", "subtype"]

T = TypeVar("T")
M = TypeVar("M", bound="Message")

DEFAULT_MAX_SIZE: Final = 16 << 20
"""Default max bytes of a payload; `MAX_MESSAGE` for messages of a specification."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(fields.field,))
class Message(Frozen):
    """Base of every message; decorate each subclass with `message`.

    A subclass without the decorator may hold fields for others to inherit; it has no type number and no instances. A
    decorated class may be subclassed too: the subclass is a message of its own, under its own number.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return describe(self)


def message(
    type_id: int,
    *,
    codec: str | SchemaCodec = "msgpack",
    spec: bool = False,
    name: str | None = None,
    max_size: int | None = None,
    even: Literal["known"] | None = None,
    replies: type[Message] | UnionType | Iterable[type[Message]] | None = None,
    match: str | None = None,
) -> Callable[[type[M]], type[M]]:
    """Declare a message: its two-byte type, and the codec that writes it.

    ``type_id`` is 32768 to 65535; others only with ``spec=True``, which says that a specification assigned the number;
    never one that lightningd reserves for itself. ``codec`` is ``msgpack``, ``bolt``, ``json``, ``raw``, the name of
    one that a plugin registers, or a `Codec` itself, such as `oddwire.codecs.enveloped` returns. ``name`` is the
    message's name in traces and on the command line, by default the class's name. ``max_size`` is the max bytes of a
    payload, its type included: by default 16 MiB, or 65535 with ``spec=True``, where more is for a specification that
    cuts long messages in a way of its own. Payloads of more than 65535 bytes are sent in fragments, to peers that
    reassemble them. ``even="known"`` says that whoever speaks the protocol of this even type knows it: it is sent to a
    peer that shows nothing, having no hello.

    ``replies`` are the classes of its replies, one or several, ``(Quote, NoQuote)``: a handler of the message returns
    only these, and `Peer.request` expects them by default. ``match`` is the name of a field of the message and of each
    reply; a reply belongs to the request with an equal value in it.

    Raises `SchemaError` naming module, class and field for anything that cannot work.
    """
    number: object = type_id
    if isinstance(number, type):
        raise SchemaError(f"{qualified_name(number)}: @message should have a type number: @message(0x8c01)")

    def decorate(cls: type[M]) -> type[M]:
        given: object = cls
        if not isinstance(given, type):
            raise SchemaError(f"@message is for subclasses of Message, not {given!r}")
        if not isinstance(spec, bool):
            raise SchemaError(f"{qualified_name(cls)}: spec should be True or False, not {spec!r:.200}")
        check_claim(type_id, spec, qualified_name(cls))
        return declare(
            cls, type_id, codec=codec, spec=spec, name=name, max_size=max_size, even=even, replies=replies, match=match
        )

    return decorate


def declare(
    cls: type[M],
    type_id: int,
    *,
    codec: str | SchemaCodec = "bolt",
    spec: bool = True,
    name: str | None = None,
    max_size: int | None = None,
    even: Literal["known"] | None = None,
    replies: type[Message] | UnionType | Iterable[type[Message]] | None = None,
    match: str | None = None,
) -> type[M]:
    """Declare a message as `message` does, without `check_claim`: for the BOLTs' own messages.

    They can be encoded and decoded, but a `Registry` accepts none that lightningd reserves. Raises `SchemaError`.
    """
    if not _is_message(cls):
        text = "@message is for subclasses of Message; use @subtype for what is part of one"
        raise SchemaError(f"{qualified_name(cls)}: {text}")
    if is_generic(cls):
        text = f"is generic, and a message is not: declare a subclass of {cls.__name__}[...] without parameters"
        raise SchemaError(f"{qualified_name(cls)}: {text}")
    most = _check_max_size(cls, spec, max_size)
    if even is not None and (even != "known" or type_id % 2):
        where = qualified_name(cls)
        if type_id % 2:
            raise SchemaError(f"{where}: even={even!r:.200} is for even types; {type_id:#06x} is odd, for any peer")
        raise SchemaError(f"{where}: even should be 'known' or left out, not {even!r:.200}")
    codec_name, own = _check_codec(cls, codec)
    if name is not None and not (isinstance(name, str) and name):
        raise SchemaError(f"{qualified_name(cls)}: name should be a text, not {name!r:.200}")
    record = complete(cls, name)
    schema = Schema(
        *(record.cls, record.name, record.module, record.fields, record.blank, record.values, record.validators),
        *(type_id, codec_name, spec, most),
        even=even,
        own_codec=own,
    )
    rules.check(schema)
    if replies is not None or match is not None:
        schema = _declared(schema, replies, match)
    cls.__oddwire__ = schema
    return cls


@overload
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(fields.field,))
def subtype(cls: type[T], /) -> type[T]: ...
@overload
def subtype(*, tag: int | str) -> Callable[[type[T]], type[T]]: ...
def subtype(cls: type[T] | None = None, /, *, tag: int | str | None = None) -> type[T] | Callable[[type[T]], type[T]]:
    """Declare a class that is part of messages: ``orders: tuple[Order, ...]``.

    It is frozen, slotted and keyword-only, as messages are, and may inherit from other subtypes. Any codec can carry
    it. ``@subtype(tag=0)`` gives it the tag that tells it apart in a union, ``Annotated[Single | Disjoint,
    tagged(bigsize)]``. Raises `SchemaError` naming module, class and field for anything that cannot work.
    """
    if cls is not None:
        return _subtype(cls, None, sys._getframe(1).f_locals)  # noqa: SLF001 - no other way
    if isinstance(tag, bool) or not isinstance(tag, int | str):
        raise SchemaError(f"@subtype(tag={tag!r:.100}) should be an integer or a text; without a tag it is @subtype")

    def decorate(cls: type[T]) -> type[T]:
        return _subtype(cls, tag, sys._getframe(1).f_locals)  # noqa: SLF001 - no other way

    return decorate


def _subtype(cls: type[T], tag: int | str | None, local_names: Mapping[str, Any]) -> type[T]:
    given: object = cls
    if not isinstance(given, type):
        raise SchemaError(f"@subtype is for classes, not {given!r}")
    if _is_message(cls):
        raise SchemaError(f"{qualified_name(cls)}: a subclass of Message takes @message(type_id), not @subtype")
    made = cls if isinstance(cls, RecordType) else remake(cls, local_names)
    if is_generic(made):
        if tag is not None:
            text = "is generic: a tag is for a class that has its types, @subtype(tag=0) above a subclass"
            raise SchemaError(f"{qualified_name(cls)}: {text}")
        made.__oddwire_generic__.complete = subtype  # type: ignore[attr-defined] # of each class that it becomes
        return cast("type[T]", made)
    record = complete(made, None)
    if tag is not None:
        made.__oddwire_tag__ = tag
    rules.check(record)
    made.__oddwire__ = record
    return cast("type[T]", made)


def schema_of(message: Message | type[Message]) -> Schema:
    """Return the schema of a message or message class. Raises `SchemaError` for anything else."""
    cls = message if isinstance(message, type) else type(message)
    schema = getattr(cls, "__oddwire__", None)
    if not isinstance(schema, Schema):
        if isinstance(schema, Record):
            text = "is not a message, but a subtype: a message is a subclass of Message under @message(type_id)"
            raise SchemaError(f"{qualified_name(cls)} {text}")
        raise SchemaError(f"{qualified_name(cls)} is not a message: decorate it with @message(type_id)")
    return schema


def describe(message: Message, size: int | None = None) -> str:
    """Return a message on one line: ``QuoteRequest 0x8c01 [23 bytes] asset='eur' nonce=7``.

    ``size`` is its payload's in bytes, if known. Long bytes and strings are shortened. A subtype, which has no number,
    is printed by ``repr``. Raises `SchemaError` for anything but a message.
    """
    if isinstance(message, type):
        raise SchemaError(f"describe takes a message, an instance, and {qualified_name(message)} is a class")
    if type(getattr(message, "__oddwire__", None)) is Record:
        text = "is a subtype, which has no type number to describe it by: print it, or its repr()"
        raise SchemaError(f"{qualified_name(type(message))} {text}")
    schema = schema_of(message)
    parts = [schema.name, f"{schema.type_id:#06x}"]
    if size is not None:
        parts.append(f"[{size} byte{'' if size == 1 else 's'}]")
    return " ".join([*parts, show_fields(schema, message, " ")]).rstrip()


def _check_codec(cls: type, codec: str | SchemaCodec) -> tuple[str, SchemaCodec | None]:
    """Return a codec's name, and the codec itself if it was given in place of a name."""
    if isinstance(codec, str):
        return codec, None
    if isinstance(codec, type) or not callable(getattr(codec, "compile", None)):
        hint = f": an instance, {codec.__name__}(...)" if isinstance(codec, type) else ""
        text = f"codec should be a name, 'json' say, or a Codec{hint}, not {codec!r:.200}"
        raise SchemaError(f"{qualified_name(cls)}: {text}")
    if not isinstance(getattr(codec, "name", None), str):
        raise SchemaError(f"{qualified_name(cls)}: the codec {codec!r:.200} should have a name, a text")
    return codec.name, codec


def _declared(schema: Schema, replies: object, match: str | None) -> Schema:
    from oddwire.schema.replies import check_match, classes_of  # imported late: a node waits for it

    answers = () if replies is None else classes_of(schema.cls, replies)
    schema = with_changes(schema, replies=answers, match=match)
    if match is not None:
        check_match(schema)
    return schema


def _check_max_size(cls: type, spec: bool, max_size: int | None) -> int:
    if max_size is None:
        return MAX_MESSAGE if spec else DEFAULT_MAX_SIZE
    most = (1 << 32) - 1  # a length in a frame of the session protocol is a u32
    if type(max_size) is not int or not 2 <= max_size <= most:
        raise SchemaError(f"{qualified_name(cls)}: max_size should be 2 to {most} bytes, not {max_size!r}")
    return max_size


def _is_message(cls: type) -> bool:
    return issubclass(cls, Message)
