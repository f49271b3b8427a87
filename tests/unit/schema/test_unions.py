"""Unions in annotations: what is accepted, and what is refused with which words when the class is made."""

from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import (
    Message,
    UnknownVariant,
    as_text,
    bigsize,
    counted,
    field,
    fixed,
    message,
    point,
    rest,
    s8,
    scalar,
    short_channel_id,
    subtype,
    tagged,
    tu16,
    tu64,
    u8,
    u16,
    u64,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import PLAIN_INT, Choice, Float, Integer, Maybe, Nested, Octets, Text
from oddwire.schema.union_kinds import Either, Tagged, Variant

U8, BIGSIZE = Integer("u8", 8), Integer("bigsize", 64, form="bigsize")


class Level(IntEnum):
    LOW = 1
    HIGH = 300


class Word(Enum):
    YES = "yes"


@subtype(tag=0)
class Single:
    total: u64


@subtype(tag=1)
class Disjoint:
    totals: tuple[u64, ...]


@subtype
class Bare:
    number: u8


@subtype
class Child(Single):
    pass


@subtype(tag="text")
class Textual:
    number: u8


@subtype(tag=0)
class Again:
    number: u8


@subtype(tag=Level.HIGH)
class High:
    number: u8


@subtype(tag=-3)
class Negative:
    number: u8


@subtype(tag=7)
class Typed:
    kind: str = field(key="type")


@message(0x8C01)
class Whole(Message):
    number: u8


SINGLE, DISJOINT = Variant(0, Single.__oddwire__), Variant(1, Disjoint.__oddwire__)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Annotated[Single | Disjoint, tagged(u8)], Tagged((SINGLE, DISJOINT), U8)),
        (Annotated[Single, tagged(u8)], Tagged((SINGLE,), U8)),
        (Annotated[Single | Disjoint, tagged(bigsize, length=u8)], Tagged((SINGLE, DISJOINT), BIGSIZE, U8)),
        (Annotated[Single | Disjoint, tagged("kind")], Tagged((SINGLE, DISJOINT), key="kind")),
        (Annotated[Single | Disjoint, tagged(u8, key="kind")], Tagged((SINGLE, DISJOINT), U8, key="kind")),
        (Annotated[Single | Disjoint, tagged()], Tagged((SINGLE, DISJOINT))),
        (Annotated[Single | UnknownVariant, tagged(u8)], Tagged((SINGLE,), U8, unknown=True)),
        (Annotated[UnknownVariant, tagged(u8, length=u8)], Tagged((), U8, U8, unknown=True)),
        (Annotated[Single | None, tagged(u8)], Maybe(Tagged((SINGLE,), U8))),
        (Annotated[Single | Disjoint, tagged(u8)] | None, Maybe(Tagged((SINGLE, DISJOINT), U8))),
        (Annotated[Whole, tagged(bigsize)], Tagged((Variant(0x8C01, Whole.__oddwire__),), BIGSIZE)),
        (Annotated[High, tagged(u16)], Tagged((Variant(300, High.__oddwire__),), Integer("u16", 16))),
        (Annotated[Negative, tagged(s8)], Tagged((Variant(-3, Negative.__oddwire__),), Integer("s8", 8, signed=True))),
        (Annotated[Textual, tagged("is")], Tagged((Variant("text", Textual.__oddwire__),), key="is")),
        (
            Annotated[Single | Bare, tagged(u8, tags={Bare: 9})],
            Tagged((SINGLE, Variant(9, Bare.__oddwire__)), U8),
        ),
        (
            Annotated[Single | Whole, tagged("is", tags={Whole: Word.YES, Single: "no"})],
            Tagged((Variant("no", Single.__oddwire__), Variant("yes", Whole.__oddwire__)), key="is"),
        ),
        (str | int, Either((Text(), PLAIN_INT))),
        (str | int | None, Maybe(Either((Text(), PLAIN_INT)))),
        (Annotated[str | None, ...] | u8, Maybe(Either((Text(count=kind_of(Annotated[str, ...]).count), U8)))),
        (int | float, Either((PLAIN_INT, Float()))),
        (bytes | str, Either((Octets(), Text()))),
        (Bare | str, Either((Nested(Bare.__oddwire__), Text()))),
        (
            Annotated[Single | Disjoint, tagged("is")] | int,
            Either((Tagged((SINGLE, DISJOINT), key="is"), PLAIN_INT)),
        ),
        (Literal["a"] | int, Either((Choice("Literal['a']", Text(), {"a": "a"}, str), PLAIN_INT))),
    ],
)
def test_kinds(annotation: Any, kind: Any) -> None:
    assert kind_of(annotation) == kind


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (
            Single | Disjoint,
            "nothing tells Single and Disjoint apart: give them tags, Annotated[Single | Disjoint, tagged(bigsize)], ",
        ),
        (Single | dict[str, u8], "Single and dict are both maps in msgpack"),
        (str | Word, "str and Word are both strings in msgpack, so nothing tells them apart: put one of them into"),
        (point | bytes, "point and bytes are both bytes in msgpack"),
        (Annotated[u64, as_text] | int, "u64 and int are both integers in msgpack"),
        (tuple[u8, ...] | list[u8], "tuple and list are both arrays"),
        (str | Any, "Any takes every other value too: write Any alone"),
        (str | UnknownVariant, "UnknownVariant is not a field type; it is a member of a tagged union"),
        (UnknownVariant, "Annotated[A | B | UnknownVariant, tagged(bigsize)]"),
        (
            Annotated[Single | Bare, tagged(u8)],
            "Bare has no tag: write @subtype(tag=0) above it, or tagged(..., tags={B",
        ),
        (Annotated[Single | Child, tagged(u8)], "Child has no tag (that of its base Single is not inherited): write"),
        (Annotated[Single | Again, tagged(u8)], "Single | Again: Single and Again have one tag, 0: choose another"),
        (Annotated[Single | Textual, tagged("is")], "tags should be all integers or all texts, not 0, 'text'"),
        (Annotated[Annotated[Single | Disjoint, tagged(u8)], tagged(u16)], "two tags are one too many: leave the last"),
        (Annotated[u8, tagged(u8)], "only a class under @subtype, or a message, has a tag: leave the last tagged(...)"),
        (Annotated[Single, tagged("\ud800")], r"tagged(key='\ud800') should be a text that UTF-8 can hold"),
        (
            Annotated[Single, tagged("is", tags={Single: "a\udfff"})],
            r"the tag of Single should be a text that UTF-8 can hold, not 'a\udfff'",
        ),
        (Annotated[Textual, tagged(u8)], "the tag of Textual is a text, 'text', which u8 cannot hold"),
        (Annotated[High, tagged(u8)], "the tag of High is 300, which u8 cannot hold: it has 0 to 255"),
        (Annotated[Negative, tagged(bigsize)], "the tag of Negative is -3, which bigsize cannot hold"),
        (Annotated[Bare, tagged("is", tags={Bare: 2**64})], "which int cannot hold"),
        (Annotated[Bare, tagged(u8, tags={Bare: True})], "the tag of Bare should be an integer or a text, not True"),
        (Annotated[Bare, tagged(u8, tags={Bare: 1.5})], "the tag of Bare should be an integer or a text, not 1.5"),
        (Annotated[Single, tagged(u8, tags={Bare: 1})], "tagged(tags=...) names Bare, which is no member"),
        (Annotated[Single, tagged(u8, tags=[Single])], "should be a dict of classes and tags, {Single: 0} say, not ["),
        (Annotated[Single, tagged(tu16)], "should be an integer for the tag, u8 to u64, s8 to s64 or bigsize"),
        (Annotated[Single, tagged(int)], "tagged(int) should be an integer for the tag"),
        (Annotated[Single, tagged(u8, length=s8)], "should be u8 to u64, or bigsize"),
        (Annotated[Single, tagged(u8, length=4)], "tagged(length=4) should be u8 to u64, or bigsize"),
        (Annotated[Single, tagged(length=u8)], "give the tag's integer too, tagged(bigsize, ...)"),
        (Annotated[Single, tagged("a", key="b")], "tagged('a') should be an integer for the tag"),
        (Annotated[Single, tagged(u8, key="")], "tagged(key='') should be a text"),
        (
            Annotated[Typed, tagged(u8)],
            "Typed has a field of the key 'type': give the tag another, tagged(..., key='kind')",
        ),
        (Annotated[Single | int, tagged(u8)], "int should be a class under @subtype, or a message"),
        (Annotated[tuple[u8, ...], tagged(u8)], "should be a class under @subtype, or a message"),
    ],
)
def test_what_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(SchemaError) as caught:
        kind_of(annotation)
    assert text in str(caught.value)


@subtype
class Texts:
    x: str | short_channel_id


@subtype(tag=7)
class Wide:
    data: Annotated[bytes, fixed(300)]


@subtype(tag=2)
class Ended:
    more: u8 | None = field(tlv=1, default=None)


@pytest.mark.parametrize(
    ("codec", "annotation", "text"),
    [
        (
            "bolt",
            Annotated[Single, tagged("type")],
            "M.x: bolt needs to know how the tag of Single is written: tagged(big",
        ),
        (
            "bolt",
            Annotated[Single | UnknownVariant, tagged(u8)],
            "M.x: an UnknownVariant takes the rest of the message",
        ),
        (
            "bolt",
            Annotated[Ended, tagged(u8)],
            "M.x: Ended ends in a TLV stream, which should come last in what holds it, but y follows: put its size in",
        ),
        (
            "bolt",
            str | int,
            "M.x: bolt cannot carry str or int: it writes no types, so put each into a @subtype of its",
        ),
        ("bolt", Annotated[Single | None, tagged(u8)], "M.x: bolt has no None among positional fields"),
        (
            "json",
            dict[str, Annotated[Texts | Single, tagged("t", tags={Texts: 1})] | None],
            "Texts.x: json cannot carry str or short_channel_id: str and short_channel_id are both strings in JSON",
        ),
        (
            "bolt",
            Annotated[Single | Wide, tagged(u8, length=u8)],
            "M.x: Wide takes 300 bytes or more, but length=u8 cou",
        ),
        ("json", Annotated[tuple[str | bytes, ...], rest, counted(u16)], "M.x: json cannot carry str or bytes: str an"),
        ("json", Annotated[tuple[str | bytes, ...], field(length=3)], "M.x: json cannot carry str or bytes: str and"),
        (
            "json",
            Annotated[list, scalar("listed", python=list, wire=tuple[str | bytes, ...], load=list, dump=tuple)],
            "M.x: json cannot carry str or bytes: str and",
        ),
        ("json", str | bytes, "M.x: json cannot carry str or bytes: str and bytes are both strings in JSON"),
    ],
)
def test_unions_that_a_codec_cannot_carry(codec: str, annotation: Any, text: str) -> None:
    with pytest.raises(SchemaError) as caught:

        @message(0x8C03, codec=codec)
        class M(Message):
            x: annotation
            y: u8

    assert text in str(caught.value)


def test_the_same_where_a_length_says_where_the_body_ends() -> None:
    @subtype(tag=2)
    class Ended:
        amount: tu64

    @message(0x8C03, codec="bolt")
    class Middle(Message):
        x: Annotated[Ended | UnknownVariant, tagged(u8, length=u8)]
        y: u8

    assert Middle(x=Ended(amount=1), y=2).x == Ended(amount=1)


@pytest.mark.parametrize("tag", [None, True, 1.5, b"a"])
def test_the_tag_of_a_subtype(tag: Any) -> None:
    with pytest.raises(SchemaError, match="should be an integer or a text; without a tag it is @subtype"):
        subtype(tag=tag)


def test_names_of_the_scope_of_a_class_with_a_tag() -> None:
    """As with a bare ``@subtype``, annotations may be strings."""

    @subtype
    class Inner:
        number: u8

    @subtype(tag=5)
    class Outer:
        inner: "Inner"

    assert Outer(inner=Inner(number=1)).inner.number == 1
    assert Outer.__oddwire__.tag == 5
    assert Inner.__oddwire__.tag is None
    assert Whole.__oddwire__.tag == 0x8C01


@pytest.mark.parametrize(
    ("codec", "body", "text"),
    [
        (
            "msgpack",
            b"x",
            "msgpack cannot carry it: the body of UnknownVariant should be a dict with msgpack, not bytes",
        ),
        ("json", b"x", "json cannot carry it: the body of UnknownVariant should be a dict with json, not bytes"),
        ("json", {"a": b"x"}, "json cannot carry it: json cannot carry bytes"),
        ("bolt", {}, "bolt cannot carry it: the body of UnknownVariant should be bytes with bolt, not dict"),
    ],
)
def test_defaults_that_a_codec_cannot_carry(codec: str, body: Any, text: str) -> None:
    unknown = UnknownVariant(5, body)

    @subtype
    class Inner:
        kept: Annotated[Single | UnknownVariant, tagged(u8, length=u8)] = unknown

    with pytest.raises(SchemaError) as caught:

        @message(0x8C03, codec=codec)
        class Direct(Message):
            x: Annotated[Single | UnknownVariant, tagged(u8, length=u8)] = unknown

    assert f"Direct.x: the default does not fit: {text}" in str(caught.value)
    with pytest.raises(SchemaError) as caught:

        @message(0x8C03, codec=codec)
        class Deep(Message):
            x: tuple[Inner, ...] = field(default_factory=lambda: (Inner(),))

    assert f"Deep.x: the default does not fit: {text}" in str(caught.value)
    with pytest.raises(SchemaError) as caught:

        @message(0x8C03, codec=codec)
        class Within(Message):
            x: Inner

    assert f"Inner.kept: the default does not fit: {text}" in str(caught.value)


@pytest.mark.parametrize(("codec", "body"), [("msgpack", {"a": b"x"}), ("json", {"a": 1}), ("bolt", b"x")])
def test_defaults_that_a_codec_can_carry(codec: str, body: Any) -> None:
    @message(0x8C03, codec=codec)
    class Direct(Message):
        x: Annotated[Single | UnknownVariant, tagged(u8)] = UnknownVariant(5, body)

    assert Direct().x == UnknownVariant(5, body)
