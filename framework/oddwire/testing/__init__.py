"""For tests of extensions, transports and codecs: conformance kits, strategies, doubles.

The fixtures come by themselves, with pytest's plugin (`oddwire.testing.pytest_plugin`). Names are imported when
they are first used: every pytest run loads this package, and `CodecConformance` and `messages` need hypothesis.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy

if TYPE_CHECKING:
    from oddwire.testing.codec_conformance import CodecConformance
    from oddwire.testing.conversations import Stage
    from oddwire.testing.doubles import ScriptedTransport
    from oddwire.testing.pairs import Pair, Side
    from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
    from oddwire.testing.strategies import messages
    from oddwire.testing.transport_conformance import TransportConformance

__all__ = [
    "CodecConformance",
    "Connected",
    "Disconnected",
    "Pair",
    "Received",
    "RecordingSink",
    "ScriptedTransport",
    "Side",
    "Stage",
    "TransportConformance",
    "messages",
]

_MODULES = {
    "codec_conformance": ("CodecConformance",),
    "conversations": ("Stage",),
    "doubles": ("ScriptedTransport",),
    "pairs": ("Pair", "Side"),
    "sinks": ("Connected", "Disconnected", "Received", "RecordingSink"),
    "strategies": ("messages",),
    "transport_conformance": ("TransportConformance",),
}

__getattr__, __dir__ = _lazy.lazy(
    __name__, {name: f".{module}" for module, names in _MODULES.items() for name in names}
)
