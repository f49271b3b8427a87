from __future__ import annotations

from typing import Any

import pytest
from tests.support.messages import Answer, Ask

from oddwire.app import Application, Context, Extension, PluginManager
from oddwire.app.declarations.undelivered import Undelivered
from oddwire.errors import ExtensionError, OddwireError, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)


@message(0x8E51)
class Parcel(Message):
    number: int


@message(0x8E53)
class Letter(Message): ...


@message(0x8E55)
class Third(Message): ...


def make() -> Extension:
    extension = Extension("post", version="1.0")
    for each in (Parcel, Letter, Third, Ask):
        extension.register(each)
    return extension


async def lose(extension: Extension, *messages: Message | None) -> None:
    """Let an extension hear that messages of its own were lost."""
    async with Application(extension, transport=ScriptedTransport()) as app:
        for each in messages:
            error = RemoteFailure("no")
            await extension.delivery_failed(app, app.peer(ALICE), extension.name, each, error)
            await extension.delivery_failed(app, app.peer(ALICE), "other", each, error)


async def test_those_with_classes_hear_of_these_and_the_bare_form_of_all_in_order() -> None:
    extension, heard = make(), list[tuple[str, Message | None]]()

    @extension.on_undelivered(Parcel)
    async def one(context: Context, message: Parcel, error: OddwireError) -> None:
        heard.append(("one", message))

    @extension.on_undelivered
    async def every(context: Context, message: Message | None, error: OddwireError) -> None:
        heard.append(("all", message))

    @extension.on_undelivered(Parcel, Letter)
    async def two(context: Context, message: Parcel | Letter, error: OddwireError) -> None:
        heard.append(("two", message))

    @extension.on_undelivered()
    async def again(context: Context, message: Message | None, error: OddwireError) -> None:
        heard.append(("again", message))

    parcel, letter = Parcel(number=1), Letter()
    await lose(extension, parcel, letter, Third(), None)
    assert heard == [
        ("one", parcel),
        ("all", parcel),
        ("two", parcel),
        ("again", parcel),
        ("all", letter),
        ("two", letter),
        ("again", letter),
        ("all", Third()),
        ("again", Third()),
        ("all", None),
        ("again", None),
    ]


async def test_what_is_provided_comes_behind_the_error() -> None:
    extension, heard = make(), list[object]()

    class Database: ...

    @extension.provide
    def database() -> Database:
        return Database()

    @extension.on_undelivered(Parcel)
    async def one(context: Context, message: Parcel, error: OddwireError, database: Database) -> None:
        heard.append(type(database))

    await lose(extension, Parcel(number=1))
    assert heard == [Database]


def load(extension: Extension) -> None:
    PluginManager().register(extension)


def test_a_class_that_is_not_the_extensions_is_refused_when_it_is_loaded() -> None:
    extension = make()

    @extension.on_undelivered(Parcel, Answer)
    async def lost(context: Context, message: Parcel | Answer, error: OddwireError) -> None: ...

    with pytest.raises(
        ExtensionError,
        match=r"lost, @on_undelivered: 'post' does not handle, return or register Answer, so none of its ",
    ):
        load(extension)


def test_one_registered_later_is_the_extensions_all_the_same() -> None:
    extension = make()

    @extension.on_undelivered(Answer)
    async def lost(context: Context, message: Answer, error: OddwireError) -> None: ...

    extension.register(Answer)
    load(extension)


def test_an_annotation_that_excludes_a_class_is_refused_when_it_is_loaded() -> None:
    extension = make()

    @extension.on_undelivered(Parcel, Letter)  # type: ignore[arg-type]
    async def lost(context: Context, message: Parcel, error: OddwireError) -> None: ...

    with pytest.raises(ExtensionError, match=r"parameter 'message' should be Letter, not Parcel$"):
        load(extension)


@pytest.mark.parametrize("annotation", [Message, "Parcel | Letter", Any, "Message | None"], ids=str)
def test_one_that_includes_them_is_not(annotation: Any) -> None:
    async def lost(context, message, error): ...

    lost.__annotations__["message"] = annotation
    undelivered = Undelivered(function=lost, classes=(Parcel, Letter), scope=globals())
    undelivered.check("post", [Parcel, Letter])


def test_one_that_is_not_known_is_refused() -> None:
    async def lost(context, message: Nowhere, error): ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ExtensionError, match="the annotation 'Nowhere' of 'message' should be known at run time"):
        Undelivered(function=lost, classes=(Parcel,)).check("post", [Parcel])


@pytest.mark.parametrize("given", [(int,), (Parcel, "Letter"), (Parcel, None)], ids=repr)
def test_what_is_no_message_class_is_refused_at_once(given: tuple[Any, ...]) -> None:
    extension = make()

    async def lost(context, message, error): ...

    with pytest.raises(
        ExtensionError, match=r"@on_undelivered: should be given message classes, \(Parcel, Letter\) say"
    ):
        extension.on_undelivered(*given)(lost)


def test_a_function_that_does_not_fit_is_refused_at_once() -> None:
    extension = make()
    with pytest.raises(ExtensionError, match="called for lost messages: should be 'async def' with"):
        extension.on_undelivered(Parcel)(lambda context, message, error: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ExtensionError, match="called for lost messages: should be 'async def' with"):
        extension.on_undelivered("Parcel")  # type: ignore[type-var]


@pytest.mark.parametrize(("given", "kind"), [((Parcel, Letter), "tuple"), ([Parcel, Letter], "list")])
def test_a_tuple_of_classes_is_told_how_they_are_passed(given: Any, kind: str) -> None:
    text = rf"on_undelivered: pass the classes, on_undelivered\(Parcel, Letter\), not a {kind}$"
    with pytest.raises(ExtensionError, match=text):
        Extension("post", version="1.0").on_undelivered(given)
