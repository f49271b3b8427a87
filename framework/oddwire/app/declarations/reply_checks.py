"""The check that what a handler replies belongs to the message: for messages that declare a ``match``.

Imported by the first of them that has a handler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from oddwire.app.context import Context
from oddwire.app.declarations.annotations import either
from oddwire.app.declarations.handlers import Handler, place, yields
from oddwire.errors import LocalProtocolError
from oddwire.schema import Message, schema_of
from oddwire.schema.spelling import show_value

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["with_checked_replies"]


def with_checked_replies(handler: Handler, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, that of ``handler``, with a check of what it returns or yields.

    The check raises `LocalProtocolError`, a failure of the handler, for a reply that no asker would take for one: of
    a class that the message does not declare, or with another value in the ``match`` field.
    """
    schema = schema_of(handler.message)
    field, wanted = schema.match or "", frozenset(schema.replies)

    def check(message: Message, reply: Message) -> None:
        if type(message) is not schema.cls:
            return  # `Malformed`
        if type(reply) not in wanted:
            names = either(schema.replies)
            what = f"with a {type(reply).__name__}, and not with {names}, as @message(replies=) says"
        elif getattr(reply, field) != getattr(message, field):
            found, asked = show_value(getattr(reply, field)), show_value(getattr(message, field))
            says = f"@message(match={field!r})"
            what = f"with {field}={found} in {type(reply).__name__}, and not {asked} as in the message, as {says} says"
        else:
            return
        raise LocalProtocolError(f"{place(handler.function)} answers {schema.name} {what}; it was not sent")

    if yields(handler.function):

        async def stream(context: Context, message: Message) -> AsyncGenerator[Message, None]:
            parts: AsyncGenerator[Message, None] = function(context, message)
            async with aclosing(parts):
                async for part in parts:
                    check(message, part)
                    yield part

        return stream

    async def handle(context: Context, message: Message) -> Message | None:
        returned: Coroutine[Any, Any, Message | None] = function(context, message)
        reply = await returned
        if reply is not None:
            check(message, reply)
        return reply

    return handle
