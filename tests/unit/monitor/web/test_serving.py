"""Where the page is served: on loopback, at an address with a token of its own."""

from __future__ import annotations

import pytest

from oddwire.errors import TransportError
from oddwire.monitor.model import Model
from oddwire.monitor.web.serving import listen_address, serving


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("127.0.0.2:8080", ("127.0.0.2", 8080)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:8080", ("::1", 8080)),
    ],
)
def test_loopback_is_served(text, address):
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", "192.168.1.2:80", "example.org:80", ":80", "127.0.0.1.x:80"])
def test_nothing_else_is(text):
    with pytest.raises(ValueError, match=r"on loopback alone.*ssh -L"):
        listen_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "8080", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:" + "1" * 5000, ""])
def test_an_address_has_a_port(text):
    with pytest.raises(ValueError, match="should be HOST:PORT"):
        listen_address(text)


async def test_each_monitor_has_a_token_of_its_own():
    async with serving(Model(), "127.0.0.1", 0) as one, serving(Model(), "127.0.0.1", 0) as other:
        assert one.partition("#token=")[2] != other.partition("#token=")[2]
        assert len(one.partition("#token=")[2]) == 32


async def test_a_port_that_is_taken_is_told_of():
    async with serving(Model(), "127.0.0.1", 0) as address:
        port = int(address.rpartition("/")[0].rpartition(":")[2])
        with pytest.raises(TransportError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
            async with serving(Model(), "127.0.0.1", port):
                pytest.fail("it is taken")
