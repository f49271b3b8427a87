"""What is a broker's URL, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path

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


def test_files_to_be_let_in_by_can_be_read_and_are_one(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("SU...")
    for name, said in (("credentials", "credentials"), ("nkey", "NKEY"), ("ca", "CA")):
        BrokerAddress(url="nats://a:1", **{name: there})
        with pytest.raises(ValueError, match=f"the broker's {said} file cannot be read: '.*missing'"):
            BrokerAddress(url="nats://a:1", **{name: tmp_path / "missing"})
    with pytest.raises(ValueError, match="a credentials file or an NKEY, not both"):
        BrokerAddress(url="nats://a:1", credentials=there, nkey=there)


def test_a_password_is_not_shown() -> None:
    assert repr(BrokerAddress(url="tls://me:secret@a:1")) == "BrokerAddress('tls://a:1')"


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    assert BrokerAddress(url="tls://a:1").tls() is None
    none = tmp_path / "none.pem"
    none.write_text("nothing")
    with pytest.raises(ValueError, match=r"the broker's CA file '.*none.pem' has no certificates: "):
        BrokerAddress(url="tls://a:1", ca=none).tls()
