import asyncio
import json
import socket

import pytest

from oddwire.cli.reload_link import VARIABLE, ReloadLink, reload_link


def pair(told: object) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.send(json.dumps(told).encode())
    return ours, theirs


async def test_a_program_has_its_key_and_the_ports_it_had() -> None:
    ours, theirs = pair({"key": "ab", "listen": {"127.0.0.1:0": "127.0.0.1:4000"}})
    link = ReloadLink(theirs)
    assert link.key == "ab"
    assert link.addresses(["127.0.0.1:0", "[::1]:0", "a:1"]) == ["127.0.0.1:4000", "[::1]:0", "a:1"]
    link.tell(["127.0.0.1:0", "a:1"], ["id@127.0.0.1:4000", "id@a:1"])
    assert json.loads(ours.recv(1000)) == {"127.0.0.1:0": "127.0.0.1:4000"}
    ended = asyncio.Event()
    link.end_with_it(ended.set)
    ours.close()
    async with asyncio.timeout(30):
        await ended.wait()
    link.tell(["127.0.0.1:0"], ["id@127.0.0.1:4000"])  # nobody hears it
    theirs.close()


def test_a_process_has_one_if_its_supervisor_says_so_and_its_children_have_none(monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert reload_link() is None
    ours, theirs = pair({"key": "", "listen": {}})
    monkeypatch.setenv(VARIABLE, str(theirs.detach()))
    link = reload_link()
    assert link is not None
    assert link.key == ""
    assert reload_link() is None
    link._end.close()
    ours.close()


@pytest.mark.parametrize("value", ["", "x", "-1"])
def test_what_is_no_descriptor_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert reload_link() is None
