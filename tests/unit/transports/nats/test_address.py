"""What is a broker's URL, and what is said of one that is none."""

from __future__ import annotations

import pytest

from oddwire.transports.nats.address import BrokerAddress


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1", "nats://HOST:PORT or tls://HOST:PORT, not '127.0.0.1'"),
        ("me:secret@host:4222", "nats://HOST:PORT or tls://HOST:PORT, not 'host:4222'"),
        ("http://me:secret@host:4222", "nats://HOST:PORT or tls://HOST:PORT, not 'http://host:4222'"),
        ("", "nats://HOST:PORT or tls://HOST:PORT, not ''"),
        ("nats://host:4222x", "the port of a broker's URL is a number from 1 to 65535, not as in 'nats://host:4222x'"),
        ("nats://host:99999", "the port of a broker's URL is a number from 1 to 65535"),
        ("tls://host/path", "is tls://HOST:PORT, and nothing more, not 'tls://host/path'"),
        ("nats://a:1,b:2", "nats://HOST:PORT or tls://HOST:PORT, not 'b:2'"),
    ],
)
def test_what_is_no_url_is_quoted_without_the_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        BrokerAddress(url=url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_several_brokers_of_one_cluster() -> None:
    address = BrokerAddress(url="nats://me:secret@a:1, tls://b")
    assert address.urls == ["nats://me:secret@a:1", "tls://b"]
    assert address.shown == "nats://a:1,tls://b"
