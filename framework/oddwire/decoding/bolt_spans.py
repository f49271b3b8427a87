"""What BOLT 1's wire types say where: the reference path, which takes notes."""

from __future__ import annotations

from typing import Any, Final

from oddwire.codecs.bolt.reference_reading import Reader
from oddwire.decoding.spans import Trail, is_composed
from oddwire.errors import DecodeError
from oddwire.proto.primitives import bigsize_decode
from oddwire.schema.class_records import Field, Record
from oddwire.schema.kinds import Integer, Kind, Maybe
from oddwire.schema.spelling import show_value
from oddwire.schema.union_kinds import Tagged

__all__ = ["note_bolt"]

_EXTENSION: Final = Record(object, "extension", "", (), object, lambda _: (), ())
"""The TLV stream that may end any message: of no known record."""


def note_bolt(record: Record, payload: bytes, trail: Trail, at: int) -> None:
    """Note what the fields of a record say, in a payload from ``at`` on, and the BOLT 1 extension behind them.

    Raises `DecodeError` where reading ends, with all noted that was read before.
    """
    noting = _NotingReader(payload, trail)
    _, at = noting.fields(record, at, len(payload), "$")
    noting.extension(at)


class _NotingReader(Reader):
    """A `Reader` that notes on a `Trail` what it reads."""

    __slots__ = ("_kinds", "_trail")

    def __init__(self, buffer: bytes, trail: Trail) -> None:
        super().__init__(buffer)
        self._trail = trail
        self._kinds: list[Kind] = []

    def extension(self, at: int) -> None:
        """Note the TLV stream that may end any message. Raises `DecodeError`."""
        self.stream(_EXTENSION, at, len(self.buffer), "$", {})

    def value(
        self, kind: Kind, at: int, end: int, path: str, earlier: dict[str, Any], *, is_record: bool = False
    ) -> tuple[Any, int]:
        """Return one value, and note it."""
        self._kinds.append(kind)
        self._trail.open(path, at, kind.label, "group" if is_composed(kind) else "value")
        value, stop = super().value(kind, at, end, path, earlier, is_record=is_record)
        self._kinds.pop()
        if isinstance(kind, Maybe) and kind.flag is not None:
            self._trail.change_first("count", "flag")
        if value is not None and is_composed(kind):
            self._trail.close(stop)
        else:
            self._trail.close(stop, value, show_value(value, kind))
        return value, stop

    def integer(self, kind: Integer, at: int, end: int, path: str) -> tuple[int, int]:
        """Return an integer, and note it unless it is the value itself."""
        value, stop = super().integer(kind, at, end, path)
        around = self._kinds[-1]
        if not isinstance(around, Integer):
            is_tag = isinstance(around, Tagged) and self._trail.start == at
            self._trail.leaf("tag" if is_tag else "count", path, at, stop, kind.label, value, str(value))
        return value, stop

    def stream(self, record: Record, at: int, end: int, path: str, starts: dict[str, int]) -> dict[str, Any]:
        """Return the values of the fields in TLV records, and note the records, also those before one that is wrong."""
        depth = self._trail.depth
        noted = self._trail.end
        try:
            return super().stream(record, at, end, path, starts)
        except DecodeError:
            if self._trail.depth == depth and self._trail.end == noted:  # the stream cannot be taken apart
                self._records_before_the_fault(record, at, end, path)
            raise

    def record(self, record_type: int, field: Field | None, at: int, start: int, stop: int, path: str) -> Any:
        """Return the value of one TLV record, and note it."""
        where = f"{path}[{record_type}]" if field is None else f"{path}.{field.name}"
        self._trail.open(where, at, f"TLV {record_type}", "group")
        self._trail.leaf("tag", where, at, start, f"TLV {record_type}, {stop - start} bytes")
        value = super().record(record_type, field, at, start, stop, path)
        if field is None and stop > start:
            self._trail.leaf("ignored", where, start, stop, f"unknown TLV {record_type}")
        self._trail.close(stop)
        return value

    def _records_before_the_fault(self, record: Record, at: int, end: int, path: str) -> None:
        """Note the records of a stream up to the first that is wrong."""
        known = {field.tlv: field for field in record.fields if field.tlv is not None}
        last, depth = -1, self._trail.depth
        try:
            while at < end:
                record_type, length_at = bigsize_decode(self.buffer, at, end)
                length, start = bigsize_decode(self.buffer, length_at, end)
                if start + length > end or record_type <= last:
                    return
                last = record_type
                self.record(record_type, known.get(record_type), at, start, start + length, path)
                at = start + length
        except DecodeError:
            self._trail.unwind(depth)
