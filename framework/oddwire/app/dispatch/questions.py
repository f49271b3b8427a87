"""What a request asks for, and the functions and fields by which its answer is known."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from types import CoroutineType
from typing import Any, NamedTuple

from oddwire.app.declarations.annotations import either
from oddwire.errors import EncodeError
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.schema import Message, Schema, schema_of
from oddwire.schema.replies import wrong_field

__all__ = [
    "Match",
    "Question",
    "check_field",
    "check_function",
    "is_match",
    "match_failure",
    "question_of",
    "without_own_frame",
]

Match = Callable[[Any], object]
"""Says of a message whether it is the one."""


def question_of(message: Message, accepted: tuple[type[Any], ...], match: str | Match | None) -> Question:
    """Return what a request asks for. Raises `EncodeError` for a field that cannot tell, `TypeError`."""
    schema = schema_of(message)
    if match is not None and not isinstance(match, str):
        check_function("request()", match, ", or the name of a field")
        return Question(schema.name, accepted, match=match)
    field = schema.match if match is None else match
    if field is None:
        return Question(schema.name, accepted)
    if field != schema.match or not set(accepted) <= set(schema.replies):
        check_field(schema, accepted, field)
    value = getattr(message, field)
    if value is None:
        raise EncodeError(f"{schema.name}.{field} is None: it should tell which reply is the one, as its match")
    return Question(schema.name, accepted, field, value)


def check_function(call: str, match: object, more: str = "") -> None:
    """Raise `TypeError` unless ``match`` is None or a function that is no coroutine function."""
    if match is None or (callable(match) and not inspect.iscoroutinefunction(match)):
        return
    given = "an async function" if callable(match) else f"{match!r:.100}"
    should = f"a function of the message that returns whether it is the one{more}"
    raise TypeError(f"{call}: match should be {should}, not {given}")


def check_field(request: Schema, accepted: Sequence[type[Message]], field: str) -> None:
    """Raise `EncodeError` unless a request and all of its replies have a field, of kinds that can be equal."""
    own = request.field(field)
    if own is None:
        names = ", ".join(known.name for known in request.fields)
        raise EncodeError(f"match={field!r}: {request.name} has no such field; it has {names or 'none'}")
    for reply in accepted:
        if why := wrong_field(request, own, schema_of(reply)):
            raise EncodeError(f"match={field!r}: {why}; a function can tell, too: match=lambda reply: ...")


def is_match(match: Match, message: Message) -> bool:
    """Return what a function says of a message. Raises what it raises, and `TypeError` if it returns a coroutine."""
    found = match(message)
    if isinstance(found, CoroutineType):  # true of any message
        found.close()  # suppresses the warning that it was never awaited
        raise TypeError(f"match returned the coroutine {found.__qualname__}(), which nobody awaits")
    return bool(found)


def match_failure(error: BaseException) -> BaseException:
    """Return how whoever waits learns what a match has raised; raise it again if the program is to end.

    What is no `Exception`, and StopIteration, which no future can hold, are the cause of a RuntimeError.
    """
    if must_pass(error):
        raise error
    error = without_own_frame(error)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    failure = RuntimeError(f"match raised {spelled(error)}")
    failure.__cause__ = error
    return failure


def without_own_frame(error: BaseException) -> BaseException:
    """Return an error without the frame that caught it in its traceback, as that has what keeps the error."""
    trace = error.__traceback__
    return error.with_traceback(None if trace is None else trace.tb_next)


class Question(NamedTuple):
    """What a request asks for: a message of one of the ``accepted`` classes.

    It is one with the ``value`` in the ``field``, or for which the function ``match`` is true, or the next one.
    """

    name: str
    """The request's class, for errors."""
    accepted: tuple[type[Message], ...]
    field: str | None = None
    value: object = None
    match: Match | None = None

    def accepts(self, message: Message) -> bool:
        """Return whether a message answers it. Raises what the function raises."""
        if type(message) not in self.accepted:
            return False
        if self.field is not None:
            return bool(getattr(message, self.field) == self.value)
        return self.match is None or is_match(self.match, message)

    @property
    def slots(self) -> tuple[Hashable, ...]:
        """What no other exchange may have at the same time. Raises `EncodeError` for a value that cannot be a key."""
        if self.match is not None:
            return ()
        if self.field is None:
            return self.accepted
        try:
            hash(self.value)
        except TypeError:
            text = f"{self.name}.{self.field}, its match, should be a single value, not {type(self.value).__name__}"
            raise EncodeError(text) from None
        return tuple((cls, self.field, self.value) for cls in self.accepted)

    @property
    def in_order(self) -> bool:
        """Whether only the order of messages tells what answers it."""
        return self.field is None and self.match is None

    @property
    def wanted(self) -> str:
        """The names of the accepted classes, for errors."""
        return either(self.accepted)
