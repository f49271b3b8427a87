"""What is said of a macaroon, and of the bits that LND offers."""

import pytest
from tests.support.lnd.macaroons import ADMIN, READONLY, bake, uris

from oddwire.errors import TransportError
from oddwire.transports.base import Manifest
from oddwire.transports.lnd.calls import CONNECTING, NEEDED
from oddwire.transports.lnd.checks import check_macaroon, missing_features
from oddwire.transports.lnd.macaroon import Macaroon


def macaroon(permissions):
    return Macaroon.read(bake(b"k" * 32, permissions))


@pytest.mark.parametrize("connects", [False, True])
def test_a_macaroon_for_our_calls(connects):
    assert check_macaroon(macaroon(uris(*NEEDED, *CONNECTING)), "FILE", connects=connects) == ""


def test_one_that_permits_too_much():
    warning = check_macaroon(macaroon(ADMIN), "FI\nLE", connects=False)
    assert warning.startswith("the macaroon FI\\nLE permits more than oddwire needs: address:write (makes addresses), ")
    assert "offchain:write (pays)" in warning
    assert warning.partition("; this line makes one that does not: ")[2].startswith("lncli bakemacaroon --save_to")


def test_one_that_permits_too_little():
    with pytest.raises(TransportError, match="FILE does not permit SendCustomMessage; this line makes one that does:"):
        check_macaroon(macaroon(READONLY), "FILE", connects=False)
    assert check_macaroon(macaroon(uris(*NEEDED)), "FILE", connects=False) == ""
    with pytest.raises(TransportError, match=r"does not permit ConnectPeer; .*uri:/lnrpc.Lightning/ConnectPeer"):
        check_macaroon(macaroon(uris(*NEEDED)), "FILE", connects=True)


@pytest.mark.parametrize(
    ("wanted", "offered", "lines"),
    [
        ((), (0,), []),
        ((513,), (0, 513), []),
        ((513,), (0, 512), []),
        ((513,), (0, 514), [513]),
        ((903, 513, 901), (513,), [901, 903]),
    ],
)
def test_feature_bits(wanted, offered, lines):
    text = missing_features(Manifest(features=frozenset(wanted)), {"features": {str(bit): {} for bit in offered}})
    assert bool(text) is bool(lines)
    for bit in wanted:
        assert (f"protocol.custom-init={bit}" in text) is (bit in lines)
