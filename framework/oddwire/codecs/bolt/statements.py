"""Statements of the generated fast path: checks, whose failure is `Retry`, and calls of authors' functions."""

from __future__ import annotations

from oddwire.codecs.base import Retry
from oddwire.schema.class_records import Record
from oddwire.schema.nesting import MAX_LEVELS
from oddwire.schema.source import Source
from oddwire.schema.value_kinds import Limited

__all__ = ["call_function", "limit", "next_level", "retry", "unless", "validate"]


def unless(source: Source, condition: str) -> None:
    """Write a check."""
    with source.block(f"if not ({condition}):"):
        retry(source)


def retry(source: Source) -> None:
    """Write that the reference path decides."""
    source.line(f"raise {source.bind(Retry, 'Retry')}")


def call_function(source: Source, made: str, function: object, argument: str) -> None:
    """Write a call of an author's function, ``made`` being its result; whatever it raises is `Retry`."""
    with source.block("try:"):
        source.line(f"{made} = {source.bind(function, 'call')}({argument})")
    with source.block("except Exception:"):
        retry(source)


def limit(source: Source, kind: Limited, name: str) -> None:
    """Write a check of the limits of the value ``name``, whose type has been checked."""
    if kind.compares_objects:
        unless(source, f"not {source.bind(kind.refuse, 'refuse')}({name})")
    else:
        unless(source, kind.conditions(name, source.bind))


def validate(source: Source, record: Record, name: str, values: dict[str, str]) -> None:
    """Write calls of a record's validators with the instance ``name``."""
    for validator in record.validators:
        value = f", {values[validator.field]}" if validator.field else ""
        call_function(source, "_", validator.function, f"{name}{value}")


def next_level(source: Source) -> None:
    """Write the count of levels, at the start of what reads or writes an instance of a recursive class."""
    source.line("levels += 1")
    unless(source, f"levels <= {MAX_LEVELS}")
