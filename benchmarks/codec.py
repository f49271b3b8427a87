"""The codecs alone, against pyln-proto's on the same bytes: every message of BOLTs 1, 2 and 7 decoded and encoded.

What is in the messages is drawn from a fixed seed, as long as it is in practice, with all the TLV records that the CSV
has. Both sides must give back exactly the bytes that they read.

Our codec remembers points, as node ids come again and again, and pyln-proto never looks whether what it reads is one.
So the points of the messages are 64 in all, and the note says what the row would be if no point had been seen before.
"""

from __future__ import annotations

import io
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from benchmarks.harness import ROUNDS, Row, median_ratio
from oddwire.proto.keys import PrivateKey, PublicKey, ShortChannelId
from oddwire.schema import Message, schema_of
from oddwire.schema.class_records import Record, Schema
from oddwire.schema.kinds import Array, Fixed, Integer, Kind, Maybe, Nested, Octets, Opaque

SEED: Final = 2
VARIANTS: Final = 64
"""How many messages of one type take turns; their points are as many, too."""
UNSEEN: Final = 4200
"""Points in turn that are always new: more than are remembered."""

LENGTHS: Final = {
    "init.globalfeatures": (0, 2),
    "init.features": (8, 15),
    "init.tlvs.networks.chains": (1, 1),
    "init.tlvs.remote_addr.data": (7, 19),
    "error.data": (20, 80),
    "warning.data": (20, 80),
    "ping.ignored": (0, 64),
    "pong.ignored": (0, 64),
    "open_channel.tlvs.upfront_shutdown_script.shutdown_scriptpubkey": (22, 34),
    "open_channel.tlvs.channel_type.type": (2, 4),
    "accept_channel.tlvs.upfront_shutdown_script.shutdown_scriptpubkey": (22, 34),
    "accept_channel.tlvs.channel_type.type": (2, 4),
    "shutdown.scriptpubkey": (22, 34),
    "update_fail_htlc.reason": (292, 292),
    "commitment_signed.htlc_signature": (1, 4),
    "channel_announcement.features": (0, 2),
    "node_announcement.features": (8, 15),
    "node_announcement.addresses": (7, 45),
    "query_short_channel_ids.encoded_short_ids": (801, 4001),
    "query_short_channel_ids.tlvs.query_flags.encoded_query_flags": (100, 500),
    "reply_channel_range.encoded_short_ids": (801, 4001),
    "reply_channel_range.tlvs.timestamps_tlv.encoded_timestamps": (800, 4000),
    "reply_channel_range.tlvs.checksums_tlv.checksums": (100, 500),
}
"""The shortest and the longest of each field whose length the BOLTs leave open, in bytes or elements."""


class Sampler:
    """Draws messages."""

    def __init__(self, points: Iterator[PublicKey]) -> None:
        self._random = random.Random(SEED)
        self._points = points

    def record(self, record: Record, path: str) -> Any:
        return record.cls(**{field.name: self._value(field.kind, f"{path}.{field.name}") for field in record.fields})

    def _value(self, kind: Kind, path: str) -> Any:
        draw = self._random
        match kind:
            case Maybe():
                return self._value(kind.inner, path)
            case Nested():
                return self.record(kind.record, path)
            case Integer(form="bigsize"):
                return draw.randrange(4)
            case Integer():
                return draw.randrange(1 << min(kind.bits, 40))
            case Opaque(name="point"):
                return next(self._points)
            case Opaque(name="short_channel_id"):
                return ShortChannelId(draw.randrange(900_000), draw.randrange(4000), draw.randrange(4))
            case Octets(count=Fixed(size=size)):
                return draw.randbytes(size)
            case Octets():
                return draw.randbytes(draw.randint(*LENGTHS[path]))
            case Array():
                return tuple(self._value(kind.element, path) for _ in range(draw.randint(*LENGTHS[path])))
        raise NotImplementedError(kind)


class Side(NamedTuple):
    """One of the two codecs."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]

    def rate(self, wires: Iterator[bytes], number: int) -> float:
        """Messages a second of this process's own time, whatever else the machine does meanwhile."""
        decode, encode = self
        start = time.process_time()
        for wire in itertools.islice(wires, number):
            encode(decode(wire))
        return number / (time.process_time() - start)


class Turns(NamedTuple):
    """A side, the messages it gets in turn, and how many of them fill a hundredth of a second."""

    side: Side
    wires: Iterator[bytes]
    number: int

    @classmethod
    def of(cls, side: Side, wires: list[bytes]) -> Turns:
        turn = itertools.cycle(wires)
        return cls(side, turn, int(side.rate(turn, VARIANTS) / 100) + 1)


def make_points(number: int) -> list[PublicKey]:
    return [PrivateKey(secret.to_bytes(32, "big")).public_key() for secret in range(1, number + 1)]


def has_points(record: Record) -> bool:
    kinds = [field.kind.inner if isinstance(field.kind, Maybe) else field.kind for field in record.fields]
    return any(
        has_points(kind.record) if isinstance(kind, Nested) else getattr(kind, "name", "") == "point" for kind in kinds
    )


def compare(schema: Schema, ours: Side, theirs: Side, points: list[PublicKey]) -> tuple[float, float]:
    """Return how often faster we are with points seen before, and with points never seen."""
    known = Sampler(itertools.cycle(points[:VARIANTS]))
    wires = [ours.encode(known.record(schema, schema.name)) for _ in range(VARIANTS)]
    for wire in wires:
        for side in (ours, theirs):
            if side.encode(side.decode(wire)) != wire:
                raise RuntimeError(f"{schema.name} does not come back as it was: {wire.hex()}")
    turns = [Turns.of(theirs, wires), Turns.of(ours, wires)]
    if has_points(schema):
        unseen = Sampler(itertools.cycle(points))
        turns.append(Turns.of(ours, [ours.encode(unseen.record(schema, schema.name)) for _ in points]))
    rounds = [[turn.side.rate(turn.wires, turn.number) for turn in turns] for _ in range(3 * ROUNDS)]
    others, *mine = (list(rates) for rates in zip(*rounds, strict=True))
    return median_ratio(mine[0], others), median_ratio(mine[-1], others)


def rows() -> list[Row]:
    from pyln.proto.message import Message as PylnMessage
    from pyln.proto.message import MessageNamespace
    from pyln.spec import bolt1, bolt2, bolt7

    from oddwire.codecs.bolt.codec import BoltCodec
    from oddwire.schema.bolt_csv import load_csv

    classes: dict[str, type[Message]] = {}
    namespace = MessageNamespace()
    for spec in (bolt1, bolt2, bolt7):
        classes.update(load_csv(spec.csv).messages)
        namespace.load_csv(spec.csv)

    def read(wire: bytes) -> Any:
        return PylnMessage.read(namespace, io.BytesIO(wire))

    def write(message: Any) -> bytes:
        out = io.BytesIO()
        message.write(out)
        return out.getvalue()

    points = make_points(UNSEEN)
    ratios: dict[str, tuple[float, float]] = {}
    for name, cls in classes.items():
        plan = BoltCodec().compile(schema_of(cls))
        ratios[name] = compare(schema_of(cls), Side(plan.decode, plan.encode), Side(read, write), points)
    middle, unseen = (statistics.median(ratio) for ratio in zip(*ratios.values(), strict=True))
    ascending = sorted((known, name) for name, (known, _) in ratios.items())
    note = f"{VARIANTS} points, remembered; were they never seen before: {unseen:.1f}"
    lowest = ", ".join(f"{name} {ratio:.1f}" for ratio, name in ascending[1:6])
    return [
        Row(
            f"codec, the median of all {len(ratios)} BOLT messages, against pyln-proto", middle, "ratio", ">= 20", note
        ),
        Row(f"codec, the lowest of them, {ascending[0][1]}", ascending[0][0], "ratio", ">= 20", f"then {lowest}"),
    ]
