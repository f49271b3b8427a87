"""The generated fast path of unions, for `oddwire.codecs.msgpack.generated`.

A few members are told apart by comparisons; more, by a dict of functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from oddwire.codecs.base import Retry
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Float, Kind
from oddwire.schema.source import Source
from oddwire.schema.tree import MSGPACK
from oddwire.schema.tree_values import check_anything
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant, python_classes
from oddwire.schema.value_kinds import unlimited

__all__ = ["dump_either", "dump_tagged", "load_either", "load_tagged"]

_FEW: Final = 6
_Write = Callable[[Kind, str], str]
_refuse = partial(check_anything, form=MSGPACK)
_ENCODED: Final = (bytearray, Mapping)  # classes that only the reference path takes


# Tagged: a function for each union -----------------------------------------------------------------------------------


def dump_tagged(source: Source, kind: Tagged, helper: str, dump: Callable[[Record, str], str], levels: str) -> None:
    """Write a function ``helper`` that checks a member and returns its map.

    ``dump`` writes one member; ``levels`` is the last argument of functions, if they have one.
    """
    with source.function(f"def {helper}(value{levels}):"):
        members = [
            (source.bind(one.record.cls, one.record.name), partial(dump, one.record, f"{kind.key!r}: {one.tag!r}"))
            for one in kind.variants
        ]
        _write_members(source, helper, members, ("type(value)", "is"), levels)
        if kind.unknown:
            with source.block(f"if type(value) is {source.bind(UnknownVariant, 'UnknownVariant')}:"):
                source.line("tag, body = value.tag, value.body")
                source.line(f"if {_bad_tag(source, kind)} or type(body) is not dict or {kind.key!r} in body:")
                source.line(f"    raise {source.bind(Retry, 'Retry')}")
                source.line(f"if not {source.bind(_refuse, 'refuse')}(body):")
                source.line(f"    return {{{kind.key!r}: tag, **body}}")
        _retry(source)


def load_tagged(source: Source, kind: Tagged, helper: str, load: Callable[[Record], str], levels: str) -> None:
    """Write a function ``helper`` that checks a map and returns the member it is; others are as in `dump_tagged`."""
    with source.function(f"def {helper}(value{levels}):"):
        source.line(f"tag = value[{kind.key!r}]")
        with source.block(f"if {_bad_class(kind)}:"):  # True and 1.0 are equal to 1
            _retry(source)
        members = [(repr(one.tag), partial(load, one.record)) for one in kind.variants]
        _write_members(source, helper, members, ("tag", "=="), levels)
        if kind.unknown:
            with source.block(f"if not ({_bad_tag(source, kind)}):"):
                source.line("body = {**value}")
                source.line(f"del body[{kind.key!r}]")
                source.line(f"if not {source.bind(_refuse, 'refuse')}(body):")
                source.line(f"    return {source.bind(UnknownVariant, 'UnknownVariant')}(tag, body)")
        _retry(source)


def _write_members(
    source: Source,
    helper: str,
    members: Sequence[tuple[str, Callable[[], str]]],
    found_by: tuple[str, str],
    levels: str,
) -> None:
    """Write the choice of a member: a few are compared, of many each has a function, which is looked up.

    Of each member there is what it is told apart by, and what writes its statements and returns its expression.
    ``found_by`` is the expression that says which one it is, and the operator.
    """
    subject, equals = found_by
    if len(members) <= _FEW:
        for name, write in members:
            with source.block(f"if {subject} {equals} {name}:"):
                source.line(f"return {write()}")
        return
    functions = []
    for name, write in members:
        inner = source.fresh("member")
        with source.function(f"def {inner}(value{levels}):"):
            source.line(f"return {write()}")
        functions.append(f"{name}: {inner}")
    table = f"{helper}_members"
    source.finally_line(f"{table} = {{{', '.join(functions)}}}")
    with source.block(f"if {subject} in {table}:"):
        source.line(f"return {table}[{subject}](value{levels})")


def _bad_class(kind: Tagged) -> str:
    return f"type(tag) is not {kind.tag_class.__name__}" if kind.tag_class else "type(tag) not in (int, str)"


def _bad_tag(source: Source, kind: Tagged) -> str:
    """Return the condition on which an `UnknownVariant` has no such ``tag``."""
    known = f"{_bad_class(kind)} or tag in {source.bind(frozenset(kind.by_tag), 'known')}"
    if kind.integer is None:  # a msgpack library has no other integers
        return known
    return f"{known} or not {kind.number.low} <= tag <= {kind.number.high}"


# Either: where it stands ---------------------------------------------------------------------------------------------


def dump_either(source: Source, kind: Either, name: str, write: _Write) -> str:
    """Write statements that check the value ``name``; return the name of its plain object."""
    return _either(source, kind, name, write, python_classes)


def load_either(source: Source, kind: Either, name: str, write: _Write) -> str:
    """Write statements that check the plain object ``name``; return the name of its value."""
    classes = {id(option): cls for cls, option in kind.in_msgpack.items()}
    return _either(source, kind, name, write, lambda option: (classes[id(option)],))


def _either(
    source: Source, kind: Either, name: str, write: _Write, classes_of: Callable[[Kind], tuple[type, ...]]
) -> str:
    made, header = source.fresh("either"), "if"
    taken = {cls for option in kind.options for cls in classes_of(option)}
    for option in kind.options:
        classes = [cls for cls in classes_of(option) if cls not in _ENCODED]
        if isinstance(unlimited(option), Float) and int not in taken:
            classes.append(int)
        condition = " or ".join(f"type({name}) is {source.bind(cls, cls.__name__)}" for cls in classes)
        with source.block(f"{header} {condition}:"):
            source.line(f"{made} = {write(option, name)}")
        header = "elif"
    with source.block("else:"):
        _retry(source)
    return made


def _retry(source: Source) -> None:
    source.line(f"raise {source.bind(Retry, 'Retry')}")
