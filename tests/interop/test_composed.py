"""One extension of several modules, with all that docs/composing.md is about, wherever it runs: the same tests."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oddwire import RpcError

from .stages import KINDS, stage_of

pytestmark = pytest.mark.interop

EXTENSION = Path(__file__).parent / "extensions" / "composed.py"


def order(number: int) -> bytes:
    return struct.pack(">HI", 0x8D31, number)


def ordered(number: int) -> bytes:
    return struct.pack(">HI", 0x8D33, number)


def ping(number: int) -> bytes:
    return struct.pack(">HI", 0x8D35, number)


def offer(number: int) -> bytes:
    return struct.pack(">HI", 0x8D36, number)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_peer_meets_all_of_it(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start, frozenset({641})) as stage:
        # Middleware of the extension and of its router, around a router's handler
        await stage.send(order(1), order(404), order(2))
        assert await stage.received(2) == [ordered(2), ordered(3)]
        # Odd and even types without a schema; the even one is no reason to hang up, and what is in no range is ignored
        await stage.send(b"\x90\x01abc", b"\x90\x11no", b"\x90\x02abc", b"\x90\x0f")
        assert await stage.received(3) == [b"\x90\x01cba", b"\x90\x02cba", b"\x90\x0f"]
        # A handler with a rate, whose answer is of an even type that is known; a plain peer shows nothing of it
        await stage.send(*map(ping, range(6)))
        assert await stage.received(6) == [*map(offer, range(6))]
        told = await stage.call("composed-journal")
        routed = [entry for entry in told["journal"] if entry != "router: Ping"]
        assert routed == ["router: Order", "reply 1", "router: Order", "reply 2", *range(6)]
        assert told["throttled"]["rate"] in (1, 2, 3, 4)  # as slowly as this machine handles them


@pytest.mark.parametrize("kind", KINDS)
async def test_an_even_type_without_a_schema_goes_to_none_that_does_not_show_it(
    kind: str, start_ours: Any, start: Any
) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start, frozenset()) as stage:
        await stage.send(b"\x90\x02abc", b"\x90\x01abc")
        assert await stage.received(1) == [b"\x90\x01cba"]


@pytest.mark.parametrize("kind", ["memory", "bolt8"])
async def test_a_program_gets_the_error_as_it_was_raised(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start, frozenset()) as stage:
        with pytest.raises(RpcError) as caught:
            await stage.call("composed-pay", 5)
        found = caught.value.code, caught.value.text, caught.value.data
        assert found == (1201, "the till has not that much", {"missing": 5, "who": ["alice", None]})


@pytest.mark.parametrize("kind", ["node", pytest.param("lightningd", marks=pytest.mark.cln)])
async def test_a_client_of_the_node_gets_its_code_text_and_data(kind: str, start: Any) -> None:
    daemon = getattr(start, kind)(EXTENSION)
    expected = {
        "code": 1201,
        "message": "the till has not that much",
        "data": {"missing": 5, "who": ["alice", None]},
    }
    with pytest.raises(Exception, match="the till has not that much") as caught:
        await daemon.call("composed-pay", 5)
    assert caught.value.error == expected  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "oddwire", "call", "--rpc-file", str(daemon.rpc.socket_path), "composed-pay", "5"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (1, expected)
