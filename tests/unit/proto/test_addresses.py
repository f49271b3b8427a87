"""oddwire.proto.addresses."""

import pytest

from oddwire.proto.addresses import DEFAULT_PORT, NodeUri, join_address, parse_address, parse_listen, proxy_url
from oddwire.proto.keys import NodeId

ID = "02" + "11" * 32


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1234", ("127.0.0.1", 1234)),
        ("127.0.0.1", ("127.0.0.1", 9735)),
        ("localhost:0", ("localhost", 0)),
        ("node.example.org:65535", ("node.example.org", 65535)),
        ("[::1]:9736", ("::1", 9736)),
        ("[::1]", ("::1", 9735)),
        ("::1", ("::1", 9735)),
        ("fe80::1%eth0", ("fe80::1%eth0", 9735)),
        ("abcdefghijklmnop.onion:9735", ("abcdefghijklmnop.onion", 9735)),
    ],
)
def test_an_address_is_read(text, address):
    assert parse_address(text) == address
    assert parse_address(join_address(*address)) == address


def test_the_default_port_may_be_another():
    assert DEFAULT_PORT == 9735
    assert parse_address("host", default_port=1) == ("host", 1)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "[]:1", "a b:1", "a\n:1", "a@b:1", "[::1", "::1]:2", "http://a:1", "a:b:c", "1.2.3.4:5:6", "[a:b]:1"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="address should be host:port, not"):
        parse_address(text)


@pytest.mark.parametrize("host", ["a..b", ".a", "x" * 64, f"{'x' * 64}.onion", "."])
def test_a_name_that_nobody_could_look_up_is_refused(host):
    with pytest.raises(ValueError, match=r"^host should be an address, or a name in parts of 1 to 63 characters, not "):
        parse_address(f"{host}:1")
    assert parse_address(f"{host}:1", any_name=True) == (host, 1)


@pytest.mark.parametrize("host", ["x" * 63, "host.", "münchen.example", "a_b"])
def test_other_names_are_taken(host):
    assert parse_address(f"{host}:1") == (host, 1)


@pytest.mark.parametrize("port", ["", "-1", "65536", "x", "1.5", "٣", " 1", "99999999999999999999", "1" * 5000])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ValueError, match="port should be 0 to 65535, not"):
        parse_address(f"host:{port}")


def test_an_ipv6_host_is_written_in_brackets():
    assert join_address("::1", 1) == "[::1]:1"
    assert join_address("127.0.0.1", 1) == "127.0.0.1:1"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:9735", "[2001:db8::1]:1", "node.example.org:42", "ws://127.0.0.1:1", "wss://[::1]:443", "ws://a.b:3"],
)
def test_a_uri_is_read_and_written(address):
    uri = NodeUri.parse(f"  {ID}@{address}\n")
    assert type(uri.node_id) is NodeId
    assert uri.node_id.hex() == ID
    assert uri.address == address
    assert str(uri) == f"{ID}@{address}"
    assert NodeUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0, "")),
        ("ws://127.0.0.1:0", ("127.0.0.1", 0, "ws")),
        ("WS://[::1]:9736/", ("::1", 9736, "ws")),
        ("ws://host", ("host", 9735, "ws")),
        ("ws:127.0.0.1:9736", ("127.0.0.1", 9736, "ws")),
        ("ws:[::1]:9736", ("::1", 9736, "ws")),
        ("ws:9736", ("ws", 9736, "")),  # a host of that name
    ],
)
def test_where_to_listen(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("wss://host:1", "TLS needs a certificate; listen at ws:// behind a server that has one, nginx say"),
        ("http://host:1", "should be host:port, ws://host:port or wss://host:port, not 'http://host:1'"),
        ("ws://host:x", "port should be 0 to 65535, not 'x'"),
        ("ws://host:1/path", "port should be 0 to 65535, not '1/path'"),
    ],
)
def test_where_nobody_can_listen(text, why):
    with pytest.raises(ValueError, match=why):
        parse_listen(text)


def test_a_uri_without_a_port_has_the_default():
    assert NodeUri.parse(f"{ID}@host") == (bytes.fromhex(ID), "host", 9735, "")
    assert NodeUri.parse(f"{ID}@ws://host") == (bytes.fromhex(ID), "host", 9735, "ws")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ID, "URI should be node_id@host:port"),
        ("", "URI should be node_id@host:port"),
        ("@host:1", "node id should be 66 hex digits, not ''"),
        (f"{ID[:-1]}@host:1", "node id should be 66 hex digits"),
        (f"zz{ID[2:]}@host:1", "node id should be 66 hex digits"),
        (f"04{ID[2:]}@host:1", "node id should be 33 bytes starting with 02 or 03"),
        (f"{ID}@", "address should be host:port, not ''"),
        (f"{ID}@host:x", "port should be 0 to 65535, not 'x'"),
        (f"{ID}@a@b:1", "address should be host:port, not 'a@b:1'"),
        (f"{ID}@http://a:1", "should be host:port, ws://host:port or wss://host:port, not 'http://a:1'"),
        (f"{ID}@ws://a:1/path", "port should be 0 to 65535, not '1/path'"),
        (f"{ID}@ws://", "address should be host:port, not ''"),
    ],
)
def test_what_is_no_uri_is_refused_naming_the_part(text, why):
    with pytest.raises(ValueError, match=why):
        NodeUri.parse(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:9050", "socks5://127.0.0.1:9050"),
        ("tor", "socks5://tor:9050"),
        ("[::1]:1080", "socks5://[::1]:1080"),
        ("socks5://a:b@tor:1", "socks5://a:b@tor:1"),
    ],
)
def test_a_proxy_has_a_url(text, url):
    assert proxy_url(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tor:x", r"proxy: port should be 0 to 65535, not 'x' \(in 'tor:x'\)"),
        ("", "proxy: address should be host:port, not ''"),
        ("socks5://tor", "proxy should be host:port or socks5://user:password@host:port"),
        ("socks5://a:b@tor:x", "proxy should be host:port or socks5://user:password@host:port"),
        ("tor://a:sesame@tor:1", "proxy should be host:port or socks5://user:password@host:port"),
    ],
)
def test_what_is_no_proxy_is_refused_without_its_password(text, why):
    with pytest.raises(ValueError, match=f"^{why}$"):
        proxy_url(text)
