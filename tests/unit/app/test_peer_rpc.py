"""Declarations of `PeerRpc`: what is refused, when, and in which words."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest

from oddwire import Application, Context, Extension, ExtensionError, Message, SchemaError, message, subtype
from oddwire.app import PeerRpc
from oddwire.codecs import KnownTypeWarning
from oddwire.errors import TypeConflict
from oddwire.transports import MemoryTransport


@subtype
class Order:
    price: int


@message(0x8C03)
class Answer(Message):
    number: int


def build(*extensions: Extension) -> Application:
    return Application(*extensions, transport=MemoryTransport())


def make(name: str = "one", type_id: int = 37913) -> tuple[Extension, PeerRpc]:
    extension = Extension(name, version="1.0")
    return extension, PeerRpc(extension, type_id)


@pytest.mark.parametrize(
    ("type_id", "text"),
    [
        (37912, "its type should be odd, not 37912: peers that do not know an even one disconnect"),
        (7, "kept for the BOLTs"),
        (17, "can never be sent"),
        (65537, "should be 0 to 65535"),
        ("37913", "should be an integer"),
    ],
)
def test_types_that_cannot_be(type_id: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=rf"PeerRpc of <Extension 'one' of .*: .*{text}"):
        make(type_id=type_id)


def test_a_type_that_others_use_is_warned_of() -> None:
    with pytest.warns(KnownTypeWarning, match="type 42069 is used by PeerSwap") as caught:
        make(type_id=42069)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PeerRpc(Extension("one", version="1.0"), 42069, spec=True)
        make(type_id=37913)  # that of JSON-RPC
        build(make()[0])


def test_it_is_for_an_extension() -> None:
    with pytest.raises(ExtensionError, match="should be given an Extension and a type, not 37913"):
        PeerRpc(37913, 37913)  # type: ignore[arg-type]


def test_names_of_methods() -> None:
    _, rpc = make()
    with pytest.raises(ExtensionError, match=r"@rpc.method should be told a name: @rpc.method\('lsps0.x'\), not <func"):

        @rpc.method  # type: ignore[arg-type]
        async def bare(context: Context) -> None: ...

    with pytest.raises(ExtensionError, match=r"JSON-RPC notification 'rpc\.x': JSON-RPC keeps the names"):

        @rpc.notification("rpc.x")
        async def reserved(context: Context) -> None: ...

    with pytest.raises(ExtensionError, match="JSON-RPC method '': its name should be a text"):

        @rpc.method("")
        async def empty(context: Context) -> None: ...

    @rpc.method("x")
    async def first(context: Context) -> None: ...

    with pytest.raises(ExtensionError, match=r"'x' is both .*first and .*second; it should be one of them"):

        @rpc.notification("x")
        async def second(context: Context) -> None: ...


def test_two_extensions_with_a_method_of_one_name_do_not_load() -> None:
    first, first_rpc = make("one")
    second, second_rpc = make("two")
    for rpc in (first_rpc, second_rpc):

        @rpc.method("x")
        async def x(context: Context) -> None: ...

    text = r"JSON-RPC method 'x' of type 37913 is both .*x of 'one' and .*x of 'two'; it should be one of them"
    with pytest.raises(ExtensionError, match=text):
        build(first, second)
    third, third_rpc = make("three", 0x9001)
    third_rpc.method("x")(x)
    build(first, third)  # of another type


def test_one_extension_may_have_several() -> None:
    extension, first = make()
    second = PeerRpc(extension, 37913)
    other = PeerRpc(extension, 0x9001)

    @first.method("x")
    async def x(context: Context) -> None: ...

    @second.method("y")
    async def y(context: Context) -> None: ...

    @other.method("x")
    async def z(context: Context) -> None: ...

    app = build(extension)
    assert first.message is second.message is not other.message
    assert {37913, 0x9001} <= app._manifest.type_ids
    assert [*app.registry.by_name] == ["one.JsonRpc37913", "one.JsonRpc36865"]
    second.method("x")(x)
    with pytest.raises(ExtensionError, match="it should be one of them"):
        build(extension)


def test_a_message_of_the_same_type_is_a_conflict() -> None:
    @message(0x9001)
    class Mine(Message): ...

    other = Extension("other", version="1.0")
    other.register(Mine)
    with pytest.raises(TypeConflict, match="is claimed by both one"):
        build(make("one", 0x9001)[0], other)


def test_a_handler_of_the_objects_themselves_is_a_conflict() -> None:
    extension, rpc = make()

    @extension.on(rpc.message)
    async def take(context: Context, message: Message) -> None: ...

    with pytest.raises(ExtensionError, match=r"take of 'one' handles what is the JSON-RPC of one; one of them"):
        build(extension)


def plain(context: Context) -> None: ...


async def without() -> None: ...


async def star(context: Context, *more: int) -> None: ...


async def positional(context: Context, a: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (plain, "plain, JSON-RPC method 'x': should be 'async def', not a plain function"),
        (without, "its first parameter should be the context"),
        (star, "parameter 'more' should be one that can be given by name"),
        (positional, "parameter 'a' should be one that can be given by name"),
    ],
)
def test_functions_that_are_no_methods(function: Any, text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        make()[1].method("x")(function)


async def no_context(context: Order) -> None: ...


async def of_a_set(context: Context, a: set[int]) -> None: ...


async def of_both(context: Context, a: bytes | str) -> None: ...


async def unknown(context: Context, a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def gives_two(context: Context) -> tuple[int, ...] | list[int]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_context, "parameter 'context' should be Context, not Order"),
        (of_a_set, r"of_a_set, JSON-RPC method 'x': parameter 'a': set\[int\] is not a field type"),
        (of_both, r"parameter 'a': json cannot carry bytes or str: bytes and str are both strings in JSON"),
        (unknown, "the annotation 'Nowhere' of 'a' should be known at run time"),
        (gives_two, r"its result: tuple\[int, \.\.\.\] \| list\[int\]: tuple and list are both arrays in msgpack"),
    ],
)
def test_annotations_that_are_no_fields_do_not_load(function: Any, text: str) -> None:
    extension, rpc = make()
    rpc.method("x")(function)
    with pytest.raises(ExtensionError, match=text):
        build(extension)


def test_a_notification_has_no_result() -> None:
    extension, rpc = make()

    @rpc.notification("x")
    async def x(context: Context) -> int:
        return 5

    with pytest.raises(ExtensionError, match="a notification is not answered, so it should return None"):
        build(extension)


def test_classes_that_are_defined_below_and_inside_functions_are_found() -> None:
    extension, rpc = make()

    @subtype
    class Inner:
        number: int

    @rpc.method("x")
    async def x(context: Context, a: Inner, b: Below | None = None) -> Inner:
        return a

    build(extension)


@subtype
class Below:
    price: int


def test_a_decorated_method_keeps_its_parameters() -> None:
    extension, rpc = make()

    async def bound(prefix: str, context: Context, a: int) -> str:
        return prefix * a

    rpc.method("x")(partial(bound, "."))
    build(extension)
    assert rpc.methods["x"].names == ("a",)


def test_an_extension_with_methods_alone_does_something() -> None:
    extension, rpc = make()
    assert extension.does_nothing

    @rpc.method("x")
    async def x(context: Context) -> None: ...

    assert not extension.does_nothing


def test_what_it_is_told_as() -> None:
    extension, rpc = make()
    assert repr(rpc) == f"<PeerRpc 37913 of {extension!r}>"
