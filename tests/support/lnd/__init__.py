"""A scripted LND: a gRPC server on loopback that answers as tests/vectors/lnd_grpc.jsonl shows a real one to do."""

from tests.support.lnd.node import Peer as Peer
from tests.support.lnd.node import Refusal as Refusal
from tests.support.lnd.scripted import ScriptedLnd as ScriptedLnd
