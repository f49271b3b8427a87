from __future__ import annotations

from typing import Any, NoReturn

import pytest

from oddwire.app import CallNext, Context, Extension, Middleware
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message


@message(0x8C01)
class Ask(Message): ...


@message(0x8C03)
class Answer(Message): ...


async def good(context: Context, message: Message, call_next: CallNext) -> Message | None:
    return await call_next(message)


async def narrow(context: Context, message: Ask, call_next: CallNext) -> Message | None:
    return await call_next(message)


async def forgetful(context: Context, message: Message, call_next: CallNext) -> None:
    await call_next(message)


async def without_a_return(context: Context, message: Message, call_next: CallNext) -> Any:
    try:
        await call_next(message)
    finally:
        print("handled")


class Silent:
    async def __call__(self, context: Context, message: Message, call_next: CallNext) -> Any:
        if message is not None:
            return
        await call_next(message)


async def one_way(context: Context, message: Message, call_next: CallNext) -> Any:
    if isinstance(message, Ask):
        return None
    return await call_next(message) if message else None


async def inside(context: Context, message: Message, call_next: CallNext) -> Any:
    async def later() -> Message | None:
        return await call_next(message)

    try:
        return await later()
    finally:
        print("handled")


async def swallowing(context: Context, message: Message, call_next: CallNext) -> Any:
    print(message)


async def refusing(context: Context, message: Message, call_next: CallNext) -> NoReturn:
    raise NotImplementedError


async def strange(context: Context, message: Message, call_next: CallNext) -> str:
    return ""


async def lost(context: Context, message: Message, call_next: CallNext) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821


async def answering(context: Context, message: Message, call_next: CallNext) -> Answer | None:
    return Answer()


async def untyped(context, message, call_next):  # type: ignore[no-untyped-def]
    return await call_next(message)


async def two(context: Context, message: Message) -> Message | None: ...


def plain(context: Context, message: Message, call_next: CallNext) -> Any: ...


async def wrong_context(context: int, message: Message, call_next: CallNext) -> Message | None: ...


async def untaken(context: Context, message: Message, call_next: CallNext, more) -> Message | None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(("function", "text"), [
    (two, r"two, middleware: should be 'async def' with \(context, message, call_next\), not \(context, message\)$"),
    (plain, r"plain, middleware: should be 'async def' with \(context, message, call_next\), not a plain function$"),
    (wrong_context, r"wrong_context, middleware: parameter 'context' should be Context, not int$"),
    (untaken, r"what follows is provided by its type, and 'more' has none$"),
])  # fmt: skip
def test_another_function_is_refused_at_once(function: Any, text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        Extension("shop", version="1.0").middleware(function)


@pytest.mark.parametrize(("function", "text"), [
    (narrow, r"narrow, middleware: parameter 'message' should be Message, as all messages come here, not Ask$"),
    (forgetful, r"the reply: 'return await call_next\(message\)', -> Message \| None$"),
    (without_a_return, r"without_a_return, middleware: should return what call_next returned, the reply"),
    (Silent(), r"Silent object at .*, middleware: should return what call_next returned, the reply"),
    (strange, r"strange, middleware: should return a message class or None, not str$"),
    (lost, r"lost, middleware: the annotation 'Missing' of 'return' should be known at run time"),
])  # fmt: skip
def test_another_annotation_is_refused_at_load(function: Any, text: str) -> None:
    extension = Extension("shop", version="1.0")
    extension.middleware(function)
    with pytest.raises(ExtensionError, match=text):
        _ = extension.messages


@pytest.mark.parametrize(
    ("function", "replies"),
    [(good, ()), (answering, (Answer,)), (untyped, ()), (refusing, ()), (one_way, ()), (inside, ()), (swallowing, ())],
)
def test_the_messages_that_it_names_are_those_of_the_extension(function: Any, replies: tuple[type[Message]]) -> None:
    assert Middleware(function=function).replies() == replies
    extension = Extension("shop", version="1.0")
    assert extension.middleware(function) is function
    assert extension.messages == replies
    assert extension.middleware()(function) is function


def test_a_function_made_inside_another_may_use_its_names() -> None:
    @message(0x8C05)
    class Local(Message): ...

    extension = Extension("shop", version="1.0")

    @extension.middleware
    async def local(context: Context, message: Message, call_next: CallNext) -> Local | None: ...

    assert extension.messages == (Local,)
