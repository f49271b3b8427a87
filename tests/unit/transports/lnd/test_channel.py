import pytest

from oddwire.transports.lnd.channel import options, target
from oddwire.transports.lnd.credentials import LndCredentials


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("localhost", "dns:///localhost:10009"),
        ("[::1]:10010", "dns:///[::1]:10010"),
        ("unix:///run/lnd.sock", "unix:/run/lnd.sock"),
    ],
)
def test_the_target(address, name):
    assert target(LndCredentials(address)) == name


def test_half_of_the_time_is_between_pings_and_half_for_the_answer():
    found = dict(options(LndCredentials("localhost"), 30))
    assert {found[f"grpc.{name}_ms"] for name in ("keepalive_time", "keepalive_timeout", "http2.ping_timeout")} == {
        15000
    }


def test_only_a_unix_socket_needs_another_name():
    assert "grpc.ssl_target_name_override" not in dict(options(LndCredentials("localhost"), 30))
    assert dict(options(LndCredentials("unix:///s"), 30))["grpc.ssl_target_name_override"] == "localhost"
