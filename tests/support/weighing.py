"""What a decoded message really takes of memory, beside what its weigher says."""

from __future__ import annotations

import gc
import tracemalloc

from oddwire.codecs.registry import Registry
from oddwire.schema import Message, schema_of
from oddwire.schema.weight import weigher


def check_weight(whole: Message) -> None:
    """Check that a message's weight is about what Python takes for it."""
    registry = Registry()
    registry.register(type(whole))
    payload = registry.encode(whole)
    weigh = weigher(schema_of(type(whole)))
    assert weigh is not None
    weight = weigh(registry.decode(payload))
    ratios = []
    for _ in range(3):  # threads of other tests may take memory meanwhile, and give it back
        ratios.append(weight / _taken(registry, payload))
        if 0.75 < ratios[-1] < 4:
            return
    raise AssertionError(f"a weight is {ratios} times what Python takes")


def _taken(registry: Registry, payload: bytes) -> float:
    """Return the bytes that Python takes for a decoded message."""
    gc.collect()
    gc.disable()  # what is collected meanwhile would count as less taken
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [registry.decode(payload) for _ in range(5)]
        return (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()
        gc.enable()
