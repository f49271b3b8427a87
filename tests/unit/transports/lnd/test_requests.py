"""What the application may ask LND."""

import base64

import pytest

from oddwire.errors import NodeRefused
from oddwire.transports.lnd.requests import read_request


@pytest.mark.parametrize("params", [None, {}, [], ()])
def test_no_parameters(params):
    assert read_request("GetInfo", params) == {}


def test_parameters_by_name():
    assert read_request("ListPeers", {"latest_error": True}) == {"latest_error": True}


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("getinfo", "no call 'getinfo': LND calls it GetInfo; the calls of LND that can be made are ConnectPeer, "),
        ("listpeers", "LND calls it ListPeers"),
        ("connect", "LND calls it ConnectPeer"),
        ("disconnect", "LND calls it DisconnectPeer"),
        ("sendcustommsg", "LND calls it SendCustomMessage"),
        ("ListPeer", "LND calls it ListPeers"),
        ("SendPaymentV2", "no call 'SendPaymentV2'; the calls"),
        ("SubscribeCustomMessages", "is a stream, which the transport reads itself; the calls"),
        ("\x1b[2J", "the calls"),
    ],
)
def test_what_is_no_call_of_ours(method, text):
    with pytest.raises(NodeRefused, match=text) as caught:
        read_request(method, None)
    assert caught.value.code == 12
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("ListPeers", [True], "takes its parameters by name"),
        ("SendCustomMessage", {"type": 98305}, "type should be 0 to 65535, not 98305: LND would cut it off"),
        ("SendCustomMessage", {"type": -1}, "type should be 0 to 65535"),
        ("SendCustomMessage", {"data": base64.b64encode(bytes(65534)).decode()}, "65533 bytes at most"),
    ],
)
def test_parameters_that_do_harm(method, params, text):
    with pytest.raises(NodeRefused, match=text) as caught:
        read_request(method, params)
    assert caught.value.code == 3


def test_the_longest_message():
    params = {"type": 65535, "data": base64.b64encode(bytes(65533)).decode()}
    assert read_request("SendCustomMessage", params) == params
