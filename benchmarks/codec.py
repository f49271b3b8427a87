"""The codecs alone, against pyln-proto's on the same bytes: messages of BOLTs 1, 2 and 7 decoded and encoded again."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

from benchmarks.harness import ROUNDS, Row, median_ratio
from benchmarks.payloads import rates

POINT = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
SCID = (539268 << 40 | 845 << 16 | 1).to_bytes(8, "big")
CHAIN = bytes(range(32))


def u(size: int, value: int) -> bytes:
    return value.to_bytes(size, "big")


# One of every kind: flat, with TLVs, with a large array, and with points, which pyln-proto does not check
SAMPLES = {
    "channel_update": u(2, 258) + b"\x07" * 64 + CHAIN + SCID + u(4, 1_700_000_000) + b"\1\0" + u(2, 144)
    + u(8, 1000) + u(4, 1000) + u(4, 250) + u(8, 10**9),
    "init": u(2, 16) + u(2, 0) + u(2, 7) + bytes.fromhex("08a0000a0aa222") + u(1, 1) + u(1, 32) + CHAIN,
    "reply_channel_range": u(2, 264) + CHAIN + u(4, 800_000) + u(4, 1000) + b"\1" + u(2, 17) + b"\0" + SCID * 2
    + b"\3\x10" + u(16, 2**99),
    "update_add_htlc": u(2, 128) + CHAIN + u(8, 5) + u(8, 10**6) + CHAIN + u(4, 800_144) + b"\5" * 1366,
    "channel_reestablish": u(2, 136) + CHAIN + u(8, 5) + u(8, 6) + CHAIN + POINT,
}  # fmt: skip


def rate(work: Callable[[], object], seconds: float = 0.2) -> float:
    done = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(20):
            work()
        done += 20
    return done / elapsed


def rows() -> list[Row]:
    from pyln.proto.message import Message as PylnMessage
    from pyln.proto.message import MessageNamespace
    from pyln.spec import bolt1, bolt2, bolt7

    from oddwire.codecs.bolt import BoltCodec
    from oddwire.schema import schema_of
    from oddwire.schema.bolt_csv import load_csv

    classes = {}
    namespace = MessageNamespace()
    for spec in (bolt1, bolt2, bolt7):
        classes.update(load_csv(spec.csv).messages)
        namespace.load_csv(spec.csv)
    results = []
    for name, wire in SAMPLES.items():
        plan = BoltCodec().compile(schema_of(classes[name]))

        def ours(wire: bytes = wire, plan: object = plan) -> bytes:
            return plan.encode(plan.decode(wire))  # type: ignore[no-any-return, attr-defined]

        def pyln(wire: bytes = wire) -> bytes:
            out = io.BytesIO()
            PylnMessage.read(namespace, io.BytesIO(wire)).write(out)
            return out.getvalue()

        if ours() != wire or pyln() != wire:
            raise RuntimeError(f"{name} does not come back as it was: {ours().hex()}, {pyln().hex()}")
        mine, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(rate(pyln))
            mine.append(rate(ours))
        # Decoded points are remembered: in this row the same one comes again, as node ids do
        text = f"codec, {name}, against pyln-proto"
        results.append(Row(text, median_ratio(mine, theirs), "ratio", ">= 20", rates(mine, theirs)))
    middle = statistics.median(row.value for row in results)
    return [Row("codec, the median of five BOLT messages, against pyln-proto", middle, "ratio", ">= 20"), *results]
