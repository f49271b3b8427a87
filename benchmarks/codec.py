"""The codecs alone, against pyln-proto's on the same BOLT message."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

from benchmarks.harness import ROUNDS, Row, median_ratio
from benchmarks.payloads import rates


def rate(work: Callable[[], object], seconds: float = 0.3) -> float:
    done = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(100):
            work()
        done += 100
    return done / elapsed


def rows() -> list[Row]:
    from pyln.proto.message import Message as PylnMessage
    from pyln.proto.message import MessageNamespace
    from pyln.spec import bolt7

    from oddwire.codecs.bolt import BoltCodec
    from oddwire.schema import schema_of
    from oddwire.schema.bolt_csv import load_csv

    name = "channel_update"
    cls = load_csv(bolt7.csv).messages[name]
    plan = BoltCodec().compile(schema_of(cls))
    namespace = MessageNamespace()
    namespace.load_csv(bolt7.csv)
    pyln_type = namespace.get_msgtype(name)
    wire = (
        (258).to_bytes(2, "big") + b"\x07" * 64 + b"\x06" * 32 + (539268 << 40 | 845 << 16 | 1).to_bytes(8, "big")
        + (1_700_000_000).to_bytes(4, "big") + b"\x01\x00" + (144).to_bytes(2, "big") + (1000).to_bytes(8, "big")
        + (1000).to_bytes(4, "big") + (250).to_bytes(4, "big") + (10**9).to_bytes(8, "big")
    )  # fmt: skip

    def ours() -> bytes:
        return plan.encode(plan.decode(wire))

    def pyln() -> bytes:
        out = io.BytesIO()
        PylnMessage.read(namespace, io.BytesIO(wire)).write(out)
        return out.getvalue()

    if ours() != wire or pyln() != wire:
        raise RuntimeError(f"{pyln_type} does not come back as it was: {ours().hex()}, {pyln().hex()}")
    mine, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(rate(pyln))
        mine.append(rate(ours))
    text = f"codec, {name} decoded and encoded, against pyln-proto"
    return [Row(text, median_ratio(mine, theirs), "ratio", ">= 20", rates(mine, theirs))]
