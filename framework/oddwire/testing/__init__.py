"""For tests of extensions, transports and codecs: types of the fixtures, conformance kits, strategies, doubles.

The fixtures are loaded by pytest's plugin (`oddwire.testing.pytest_plugin`). Names are imported when they are first
used: every pytest run loads this package, and `CodecConformance` and `messages` need hypothesis.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.testing.clock import Clock as Clock
    from oddwire.testing.codec_conformance import CodecConformance as CodecConformance
    from oddwire.testing.conversations import Stage as Stage
    from oddwire.testing.doubles import ScriptedTransport as ScriptedTransport
    from oddwire.testing.fixture_types import (
        AppPair as AppPair,
        RawPeers as RawPeers,
        RunApp as RunApp,
    )
    from oddwire.testing.pairs import (
        Pair as Pair,
        Side as Side,
    )
    from oddwire.testing.raw_peers import RawPeer as RawPeer
    from oddwire.testing.replay_script import Unreplayable as Unreplayable
    from oddwire.testing.replaying import Replayed as Replayed, replay as replay
    from oddwire.testing.running_app import RunningApp as RunningApp
    from oddwire.testing.sinks import (
        Connected as Connected,
        Disconnected as Disconnected,
        Received as Received,
        RecordingSink as RecordingSink,
    )
    from oddwire.testing.strategies import messages as messages, register_strategy as register_strategy
    from oddwire.testing.transport_conformance import TransportConformance as TransportConformance
    from oddwire.testing.wire import assert_wire as assert_wire
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
