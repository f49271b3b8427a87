"""An extension's protocol as a document, in the form of a bLIP: what is generated is what the code does.

What only its author knows, why it is there and who wrote it, is left to be filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from oddwire.contracts.bolt_data import lines_of, records_of, snake
from oddwire.contracts.examples import Example, examples
from oddwire.contracts.interface import Interface, Method
from oddwire.contracts.json_schema import text_of
from oddwire.contracts.shown import is_object, shown_json
from oddwire.contracts.types import default_of
from oddwire.contracts.words import choices_of, in_words, limits_in_words
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema import Field, Message, Record, Schema, schema_of
from oddwire.schema.kinds import Maybe, Nested
from oddwire.schema.message import DEFAULT_MAX_SIZE
from oddwire.schema.nesting import records_of as records_in

__all__ = ["markdown"]

_USUAL: Final = (DEFAULT_MAX_SIZE, MAX_MESSAGE)
_WIDTH: Final = 64  # hex digits in a line
_CODECS: Final = {
    "bolt": "BOLT 1's fundamental types, one after the other",
    "json": "one JSON object, in UTF-8",
    "msgpack": "one map of MessagePack",
    "raw": "bytes",
}


def markdown(interface: Interface) -> str:
    """Return the document."""
    return "\n".join(_lines(interface)).rstrip() + "\n"


def _lines(interface: Interface) -> Iterator[str]:
    first, _, rest = _as_markdown(interface.text).partition("\n\n")
    yield "```"
    yield "bLIP: ?"
    yield f"Title: {interface.name}"
    yield "Status: Draft"
    yield "Author: NAME <ADDRESS>"
    yield "Created: YYYY-MM-DD"
    yield "License: CC0"
    yield "```"
    yield from _section("## Abstract", first or "What the protocol is for: to be written.")
    yield from _section("## Copyright", "This bLIP is licensed under the CC0 license.")
    yield from _section("## Motivation", rest or "Why it is needed: to be written.")
    yield from _section("## Specification", *_overview(interface))
    made = {cls: examples(cls) for cls in interface.messages}
    for cls in interface.messages:
        yield from _message(schema_of(cls), interface, made[cls])
    for record in _subtypes(interface):
        yield from _subtype(record, _codecs_of(record, interface))
    for method in interface.methods:
        yield from _method(method)
    yield from _section("## Rationale", "Why it is made as it is: to be written.")
    yield from _section("## Backwards Compatibility", *_compatibility(interface))
    vectors = [one for cls in interface.messages for one in made[cls]]
    if vectors:
        yield from _section(
            "## Test Vectors", "Each payload begins with the two bytes of its type.", *_vectors(vectors)
        )
    where = f" Its specification: {interface.document}" if interface.document else ""
    yield from _section("## Reference Implementations", f"{interface.name} {interface.version}, with oddwire.{where}")


def _section(title: str, *paragraphs: str) -> Iterator[str]:
    yield from ("", title)
    for paragraph in paragraphs:
        yield from ("", paragraph)


def _overview(interface: Interface) -> Iterator[str]:
    if interface.messages:
        yield "Messages are custom messages of BOLT 1, sent over the encrypted connection of BOLT 8."
        rows = ["| type | message | written as |", "|---|---|---|"]
        for cls in interface.messages:
            schema = schema_of(cls)
            link = f"[`{snake(schema.name)}`](#{_anchor(schema)})"
            rows.append(f"| {schema.type_id} (`{schema.type_id:#06x}`) | {link} | {schema.codec} |")
        yield "\n".join(rows)
    if interface.feature is not None:
        pair = interface.feature - 1 if interface.feature % 2 else interface.feature + 1
        bits = f"{pair}/{interface.feature}"
        yield f"A node that speaks it sets feature bit {interface.feature} in its `init`, the odd one of {bits}."
    if interface.peer_feature is not None:
        yield f"Peers that speak it announce feature bit {interface.peer_feature}."
    if interface.versions:
        yield f"Versions of the protocol: {', '.join(interface.versions)}."


def _anchor(schema: Schema) -> str:
    return f"the-{snake(schema.name)}-message"


# Messages ------------------------------------------------------------------------------------------------------------


def _message(schema: Schema, interface: Interface, found: Sequence[Example]) -> Iterator[str]:
    cls: type[Message] = schema.cls
    name = snake(schema.name)
    yield from ("", f"### The `{name}` Message")
    if text := _as_markdown(text_of(cls)):
        yield from ("", text)
    yield from ("", f"1. type: {schema.type_id} (`{name}`)", f"2. data: {_codec(schema)}")
    yield from _data(schema, schema.codec)
    yield from _enums(schema)
    yield from ("", "#### Requirements", "")
    yield from _requirements(schema, interface)
    for message, payload in found[:1]:
        yield from (
            "",
            "#### Example",
            "",
            "```json",
            json.dumps(shown_json(message), indent=2, ensure_ascii=False),
            "```",
        )
        yield from ("", "```text", *_hex(payload), "```")


def _codec(schema: Schema) -> str:
    words = _CODECS.get(schema.codec, f"as the codec {schema.codec} writes it")
    own = "" if schema.own_codec is None else f", as `{type(schema.own_codec).__name__}` writes it"
    return f"{words}{own}{'' if schema.fields else ', without any fields'}"


def _data(record: Record, codec: str) -> Iterator[str]:
    if isinstance(record, Schema) and is_object(record):
        yield "  * any keys"
    elif codec == "bolt":
        yield from lines_of(record)
        if streams := [*records_of(record)]:
            yield from ("", *streams)
    elif codec == "raw":
        yield f"  * [`...*byte`:`{record.fields[0].name}`]"
    else:
        yield from (f"  * `{field.key}`: {_told(field, codec)}" for field in record.fields)


def _told(field: Field, codec: str) -> str:
    kind = field.kind
    if field.omitted_if_none and isinstance(kind, Maybe):
        return f"{in_words(kind.inner, codec)}; may be left out"
    words = in_words(kind, codec)
    return words if field.required else f"{words}; `{_default(field)}` if it is left out"


def _default(field: Field) -> str:
    return json.dumps(default_of(field), ensure_ascii=False)


def _enums(record: Record) -> Iterator[str]:
    for field in record.fields:
        choice = choices_of(field.kind)
        if choice is None or all(
            str(getattr(member, "name", wire)) == str(wire) for wire, member in choice.members.items()
        ):
            continue
        yield from ("", f"The values of `{field.key}`:", "")
        yield from (f"* {wire}: {getattr(member, 'name', wire)}" for wire, member in choice.members.items())


def _requirements(schema: Schema, interface: Interface) -> Iterator[str]:
    yield "The sender:"
    yield "  - MUST send it as above."
    for field in schema.fields:
        for words in limits_in_words(field.kind):
            yield f"  - MUST set `{_name(field, schema.codec)}` to what is {words}."
    if schema.max_size not in _USUAL:
        yield f"  - MUST NOT send more than {schema.max_size} bytes, the type included."
    if schema.type_id % 2 == 0:
        yield "  - MUST NOT send it to a peer that has not shown that it knows it."
    replies = schema.replies or interface.answers.get(schema.cls, ())
    yield ""
    yield "The receiver:"
    if schema.codec in ("msgpack", "json"):
        yield "  - MUST ignore keys that it does not know."
    if schema.codec == "bolt" and schema.fields:
        yield "  - MUST ignore TLV records of odd type that it does not know, and MUST refuse those of even type."
    yield "  - MUST refuse a message that is not as above."
    if replies:
        names = " or ".join(f"`{snake(schema_of(reply).name)}`" for reply in replies)
        match = f" that has the same `{schema.match}`" if schema.match else ""
        kind = "a stream of " if schema.cls in interface.streams else ""
        yield f"  - MUST answer with {kind}{names}{match}."
    if schema.cls in interface.reliable:
        yield "  - takes it by reliable delivery: it takes effect once."
    if text := _as_markdown(interface.handlers.get(schema.cls, "")):
        yield from ("", text)


def _name(field: Field, codec: str) -> str:
    return field.name if codec in ("bolt", "raw") else field.key


# Subtypes, methods ---------------------------------------------------------------------------------------------------


def _subtypes(interface: Interface) -> Iterator[Record]:
    """Yield the classes that are parts of messages, each once."""
    seen: set[type] = {*interface.messages}
    for cls in interface.messages:
        for record in records_in(Nested(schema_of(cls))):
            if record.cls not in seen:
                seen.add(record.cls)
                yield record
    for method in interface.methods:
        kinds = [field.kind for field in method.params] + ([method.result] if method.result is not None else [])
        for record in (record for kind in kinds for record in records_in(kind)):
            if record.cls not in seen:
                seen.add(record.cls)
                yield record


def _codecs_of(record: Record, interface: Interface) -> str:
    for cls in interface.messages:
        if any(one.cls is record.cls for one in records_in(Nested(schema_of(cls)))):
            return schema_of(cls).codec
    return "json"


def _subtype(record: Record, codec: str) -> Iterator[str]:
    name = snake(record.name) if codec == "bolt" else record.name
    yield from ("", f"### The `{name}` Subtype")
    if text := _as_markdown(text_of(record.cls)):
        yield from ("", text)
    yield from ("", f"1. subtype: `{name}`", f"2. data:{'' if record.fields else ' none'}")
    yield from _data(record, codec)
    yield from _enums(record)
    limits = [(field, words) for field in record.fields for words in limits_in_words(field.kind)]
    if limits:
        yield ""
        yield from (f"* `{_name(field, codec)}` MUST be {words}." for field, words in limits)


def _method(method: Method) -> Iterator[str]:
    kind = "Notification" if method.notification else "Method"
    yield from ("", f"### The `{method.name}` {kind}", "")
    yield f"JSON-RPC 2.0, carried by type {method.type_id}."
    if text := _as_markdown(method.text):
        yield from ("", text)
    yield from ("", f"Parameters:{'' if method.params else ' none.'}")
    if method.params:
        yield ""
    for field in method.params:
        limits = "".join(f"; {words}" for words in limits_in_words(field.kind))
        yield f"* `{field.key}`: {_told(field, 'json')}{limits}"
    if not method.notification:
        result = "any" if not method.typed else "null" if method.result is None else in_words(method.result, "json")
        yield from ("", f"Result: {result}.")


# The end -------------------------------------------------------------------------------------------------------------


def _compatibility(interface: Interface) -> Iterator[str]:
    numbers = [schema_of(cls).type_id for cls in interface.messages]
    odd, even = [number for number in numbers if number % 2], [number for number in numbers if not number % 2]
    if odd:
        yield "Peers that do not speak the protocol ignore its messages of odd type, as BOLT 1 says."
    if even:
        shown = ", ".join(map(str, even))
        yield f"Peers that do not know messages of even type ({shown}) disconnect: these go to those alone that do."
    if not numbers:
        yield "It has no messages of its own."


def _vectors(found: Sequence[Example]) -> Iterator[str]:
    for message, payload in found:
        fields = json.dumps(shown_json(message), ensure_ascii=False)
        yield f"`{snake(schema_of(message).name)}` {fields}\n\n```text\n" + "\n".join(_hex(payload)) + "\n```"


def _hex(payload: bytes) -> list[str]:
    digits = payload.hex()
    return [digits[at : at + _WIDTH] for at in range(0, len(digits), _WIDTH)]


def _as_markdown(text: str) -> str:
    """Return a docstring as Markdown: its literal blocks and code are those of reStructuredText."""
    lines: list[str] = []
    block = False
    for line in text.replace("``", "`").splitlines():
        if block and line and not line.startswith("    "):
            lines[-1:] = ["```", ""] if not lines[-1] else [lines[-1], "```"]
            block = False
        if line.rstrip() == "::" or (line.endswith("::") and not block):
            start = line.rstrip(":").rstrip()
            lines += [f"{start}:"] if start else []
            lines += ["", "```text"] if start else ["```text"]
            block = True
            continue
        if block and not line and lines[-1] == "```text":
            continue
        lines.append(line[4:] if block else line)
    if block:
        lines.append("```")
    return re.sub(r"`([A-Za-z_.]+)` ", r"`\1` ", "\n".join(lines)).strip()
