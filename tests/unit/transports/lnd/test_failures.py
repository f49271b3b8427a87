"""What LND's errors mean."""

import pytest

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.errors import LndError, LndRefused, LndUnavailable
from oddwire.transports.lnd.failures import call_failure, is_not_ready, send_failure

PEER = NodeId("02" + "11" * 32)
CLOSED = "use of closed network connection"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (LndError(5, "peer is not connected"), PeerNotConnected, f"no connection to {PEER}"),
        (
            LndError(2, "msg type: 17 not in custom range: <unknown> and not overridden"),
            EncodeError,
            "custom-message=17",
        ),
        (LndError(2, "peer exiting"), ConnectionClosed, "peer exiting"),
        (LndError(2, f"write tcp 127.0.0.1:1->127.0.0.1:2: {CLOSED}"), ConnectionClosed, "write tcp"),
        (LndError(2, f"set tcp [::1]:45272: {CLOSED}"), ConnectionClosed, "set tcp"),
        (LndError(2, "set tcp quotas, please"), NodeRefused, "set tcp"),
        (LndError(2, f"peer {PEER} disconnected"), ConnectionClosed, "disconnected"),
        (LndError(2, "server is shutting down"), ConnectionClosed, "shutting down"),
        (LndError(2, "permission denied"), NodeRefused, "does not permit SendCustomMessage; this line makes one"),
        (LndError(2, "peer of mine has a cold"), NodeRefused, "a cold"),
        (LndUnavailable("LND has gone"), ConnectionClosed, "LND has gone"),
        (LndRefused("another macaroon"), TransportError, "another macaroon"),
    ],
)
def test_of_a_send(error, kind, text):
    failure = send_failure(error, PEER, 17)
    assert type(failure) is kind
    assert text in str(failure)


def test_of_a_call():
    refused = call_failure(LndError(2, "no route"), "ConnectPeer")
    assert isinstance(refused, NodeRefused)
    assert (refused.code, str(refused)) == (2, "no route")
    assert "another node id" in str(call_failure(LndError(2, "EOF"), "ConnectPeer"))
    denied = "permission denied"
    assert "uri:/lnrpc.Lightning/ConnectPeer" in str(call_failure(LndError(2, denied), "ConnectPeer"))
    assert "uri:/lnrpc.Lightning/ConnectPeer" not in str(call_failure(LndError(2, denied), "ListPeers"))


@pytest.mark.parametrize("method", [name for name, call in CALLS.items() if call.entity])
def test_a_call_that_is_not_permitted_is_in_the_line_that_bakes_once(method):
    refused = call_failure(LndError(2, "permission denied"), method)
    assert isinstance(refused, NodeRefused)
    assert str(refused).split().count(f"uri:/lnrpc.Lightning/{method}") == 1


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("waiting to start, RPC services not available", True),
        ("wallet locked, unlock it to enable full RPC access", True),
        ("wallet not created, create one to enable full RPC access", True),
        ("the RPC server is in the process of starting up, but not yet ready to accept calls", True),
        ("server is still in the process of starting", True),
        ("permission denied", False),
    ],
)
def test_what_passes(text, waits):
    assert is_not_ready(LndError(2, text)) is waits
