"""oddwire.proto.dialing: names with several addresses, dead ones among them, and what is said of each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.support.ports import free_port

from oddwire.errors import HandshakeFailed, TransportError
from oddwire.proto import PrivateKey, connect, serve
from oddwire.proto.dialing import (
    Address,
    DialFailed,
    addresses_of,
    dial_proxy,
    first_socket,
    spelled,
    websocket_link,
)

DIALER, LISTENER, STRANGER = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 3))
NODE_ID = LISTENER.public_key()
NAME = "several.test"
WELL, OTHER, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have the system know a name by these addresses; gives the list of look-ups."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def know(*addresses: str) -> list[str]:
        def look_up(host, port, *rest, **named):
            if host != NAME:
                return real(host, port, *rest, **named)
            asked.append(host)
            return [one for address in addresses for one in real(address, port, *rest, **named)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return know


@contextlib.contextmanager
def dropping(host: str, port: int) -> Iterator[None]:
    """A port whose connections come to nothing: its queue is full, and what comes then is dropped."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex((host, port))
        yield


@contextlib.contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """A port that takes connections and says nothing."""
    with socket.create_server((host, port)):
        yield


@contextlib.contextmanager
def refusing(host: str, port: int) -> Iterator[None]:
    yield


async def test_families_take_turns_in_the_systems_order(names):
    names("::1", "::2", THIRD, OTHER, "::3")
    found = [str(address) for address in await addresses_of(NAME, 9735)]
    assert found == ["[::1]:9735", f"{THIRD}:9735", "[::2]:9735", f"{OTHER}:9735", "[::3]:9735"]


async def test_a_literal_address_is_not_looked_up(names):
    asked = names("::1")
    assert await addresses_of("::1", 1) == [Address(socket.AF_INET6, ("::1", 1))]
    assert await addresses_of(WELL, 1) == [Address(socket.AF_INET, (WELL, 1))]
    assert asked == []


@pytest.mark.parametrize("dead", [refusing, dropping, silent])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_name_with_a_dead_address_is_reached_at_the_other(names, dead, place):
    async with await serve(None, LISTENER, WELL, 0) as server:
        addresses = [WELL]
        addresses.insert(place, OTHER)
        asked = names(*addresses)
        with dead(OTHER, server.port):
            for turn in range(1, 3):
                connection = await connect(DIALER, NODE_ID, NAME, server.port, timeout=8)
                assert connection.remote_pubkey == NODE_ID
                await connection.aclose()
                assert len(asked) == turn, "it is looked up anew each time"


async def test_a_name_whose_other_address_is_another_node_is_reached(names):
    async with await serve(None, LISTENER, WELL, 0) as server:
        names(OTHER, WELL)
        async with await serve(None, STRANGER, OTHER, server.port):
            connection = await connect(DIALER, NODE_ID, NAME, server.port)
            assert connection.peer_address == f"{WELL}:{server.port}"
            await connection.aclose()


async def test_where_all_addresses_fail_each_is_told_with_its_reason(names):
    async with await serve(None, STRANGER, THIRD, 0) as server:
        names(WELL, OTHER, THIRD)
        port = server.port
        with pytest.raises(HandshakeFailed) as caught:
            await connect(DIALER, NODE_ID, NAME, port)
        text = str(caught.value)
        assert f"{WELL}:{port}: Connection refused; {OTHER}:{port}: Connection refused; {THIRD}:{port}: " in text
        assert caught.value.code == "ACT2_READ_FAILED"
    with pytest.raises(TransportError) as refused:
        await connect(DIALER, NODE_ID, NAME, port)
    assert str(refused.value) == (
        f"{NAME}:{port}: " + "; ".join(f"{host}:{port}: Connection refused" for host in (WELL, OTHER, THIRD))
    )


async def test_a_name_that_takes_too_long_says_what_each_address_has_come_to(names):
    port = free_port(WELL, OTHER, THIRD)
    names(WELL, OTHER, THIRD)
    with dropping(OTHER, port), silent(THIRD, port), pytest.raises(TransportError) as caught:
        await connect(DIALER, NODE_ID, NAME, port, timeout=3)
    text = str(caught.value)
    assert text.startswith(f"{NAME}:{port}: no connection within 3 s: {WELL}:{port}: Connection refused")
    assert re.search(rf"{THIRD}:{port}:? (it )?accepts connections, but sends nothing", text)


async def test_giving_up_leaves_no_socket_behind(names):
    port = free_port(WELL, OTHER, THIRD)
    names(WELL, OTHER, THIRD)
    with dropping(OTHER, port), silent(THIRD, port):
        for turns in range(0, 60, 3):
            dial = asyncio.create_task(connect(DIALER, NODE_ID, NAME, port))
            for _ in range(turns):
                await asyncio.sleep(0)
            dial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dial
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_only_one_socket_of_several_that_answer_stays(names):
    took = []
    port = free_port(WELL, OTHER, THIRD)
    servers = [await asyncio.start_server(lambda r, w: took.append(w), host, port) for host in (WELL, OTHER)]
    failed = []
    address, sock = await first_socket(
        [Address(socket.AF_INET, (host, port)) for host in (THIRD, WELL, OTHER)], lambda *what: failed.append(what)
    )
    assert (str(address), [str(dead) for dead, _ in failed]) == (f"{WELL}:{port}", [f"{THIRD}:{port}"])
    sock.close()
    for server in servers:
        server.close()
    for writer in took:
        writer.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "this machine has no address to reach it from"),
        (OSError(errno.EINVAL, "x"), "a link-local address needs its interface"),
        (OSError(errno.EMFILE, "x"), "ulimit -n"),
        (PermissionError(errno.EPERM, "x"), "a firewall of this machine forbids it"),
        (OSError("several"), "several"),
        (HandshakeFailed("no", act=2, code="X"), "no"),
        (DialFailed([(Address(0, ("::1", 1)), OSError(errno.ENETUNREACH, "x"))]), r"\[::1\]:1: Network is unreachable"),
    ],
)
def test_what_the_system_says_is_told_with_what_it_means(error, text):

    assert re.search(text, spelled(error))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x01, "general SOCKS server failure"),
        (0x02, "connection not allowed"),
        (0x03, "network unreachable"),
        (0x04, "Host unreachable"),
        (0x05, "Connection refused by destination host"),
        (0x06, "TTL expired"),
        (0x07, "command not supported"),
        (0x08, "address type not supported"),
        (0xF0, "descriptor cannot be found: it is offline, or its address is mistyped"),
        (0xF1, "descriptor is invalid"),
        (0xF2, "introduction failed"),
        (0xF3, "rendezvous .* failed"),
        (0xF4, "wants client authorization"),
        (0xF5, "client authorization failed"),
        (0xF6, "onion address is invalid"),
        (0xF7, "introduction timed out"),
        (0x77, "Invalid reply code: 0X77"),
    ],
)
async def test_what_a_proxys_code_means_is_told(code, text):
    async def proxy(reader, writer):
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        await reader.readexactly(5)
        writer.write(bytes([5, code, 0, 1]) + bytes(6))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(proxy, WELL, 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(TransportError, match=f"the proxy says: .*{text}"):
            await dial_proxy(f"{host}:{port}", "abc.onion", 9735)


async def test_a_proxy_with_several_addresses_is_reached_at_the_one_where_it_listens(names):
    """Tor listens on 127.0.0.1, and localhost is ::1 first."""

    async def proxy(reader, writer):
        await reader.readexactly(3)
        writer.write(b"\x05\xff")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(proxy, WELL, 0) as server:
        names("::1", OTHER, WELL)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match=r"the proxy says: .*it wants a password: socks5://user:password@host"):
            await dial_proxy(f"{NAME}:{port}", "abc.onion", 9735)
    with pytest.raises(TransportError, match=rf"Could not connect to proxy {NAME}:{port}: \[::1\].*{WELL}:{port}: "):
        await dial_proxy(f"{NAME}:{port}", "abc.onion", 9735)


# WebSocket


class Missing:
    """A finder that finds a module, and not what it imports."""

    def __init__(self, module, missing):
        self.module, self.missing = module, missing

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            raise ModuleNotFoundError(f"No module named {self.missing!r}", name=self.missing)


def test_what_carries_websocket_is_imported_when_it_is_needed():
    assert websocket_link().__name__ == "WebSocketLink"


@pytest.mark.parametrize("missing", ["websockets", "websockets.client"])
def test_without_the_package_for_websocket_the_error_names_the_extra(monkeypatch, missing):
    monkeypatch.delitem(sys.modules, "oddwire.proto.websocket", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing("oddwire.proto.websocket", missing), *sys.meta_path])
    with pytest.raises(TransportError, match=r"websockets 16 or later: pip install 'oddwire\[ws\]'"):
        websocket_link()


def test_another_module_that_is_missing_is_a_fault_of_ours(monkeypatch):
    monkeypatch.delitem(sys.modules, "oddwire.proto.websocket", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing("oddwire.proto.websocket", "oddwire.proto.gone"), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match=r"oddwire\.proto\.gone"):
        websocket_link()
