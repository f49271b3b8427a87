"""For tests of extensions, transports and codecs: conformance kits, strategies, doubles.

The fixtures are loaded by pytest's plugin (`oddwire.testing.pytest_plugin`). Names are imported when they are first
used: every pytest run loads this package, and `CodecConformance` and `messages` need hypothesis.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.testing.codec_conformance import CodecConformance as CodecConformance
    from oddwire.testing.conversations import Stage as Stage
    from oddwire.testing.doubles import ScriptedTransport as ScriptedTransport
    from oddwire.testing.fixture_types import (
        AppPair as AppPair,
        RunApp as RunApp,
    )
    from oddwire.testing.pairs import (
        Pair as Pair,
        Side as Side,
    )
    from oddwire.testing.sinks import (
        Connected as Connected,
        Disconnected as Disconnected,
        Received as Received,
        RecordingSink as RecordingSink,
    )
    from oddwire.testing.strategies import messages as messages
    from oddwire.testing.transport_conformance import TransportConformance as TransportConformance
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
