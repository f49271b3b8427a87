"""One extension, unchanged, wherever it runs, and a plain peer: questions at once, messages sent again, JSON-RPC."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until_answered

from .stages import KINDS, Stage, stage_of

pytestmark = pytest.mark.interop

EXTENSION = Path(__file__).parent / "extensions" / "asking.py"
PRICE, ASK, NOTE, RPC = b"\x8e\x51", b"\x8e\x53", b"\x8e\x55", b"\x8e\x57"


def say(type_id: bytes, **fields: object) -> bytes:
    return type_id + json.dumps(fields).encode()


async def told(stage: Stage, type_id: bytes, count: int = 1) -> list[dict[str, Any]]:
    payloads = await stage.received(count)
    assert {payload[:2] for payload in payloads} == {type_id}
    return [json.loads(payload[2:]) for payload in payloads]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_question_has_its_own_answer(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start) as stage:
        asking = asyncio.ensure_future(stage.call("asking-prices", stage.peer_id, ["eur", "usd", "chf"]))
        assert {question["asset"] for question in await told(stage, ASK, 3)} == {"eur", "usd", "chf"}
        answers = [
            say(PRICE, asset=asset, sats=sats) for asset, sats in (("chf", 3), ("xau", 9), ("usd", 2), ("eur", 1))
        ]
        await stage.send(say(NOTE, text="wait"), *answers, say(PRICE, asset="usd", sats=7), say(NOTE, text="all"))
        assert await asking == [1, 2, 3]

        async def kept() -> bool:
            found = (await stage.call("asking-known", stage.peer_id))["kept"]
            return {*found} == {"note/wait", "note/all", "price/xau", "price/usd"}  # the second answer, too

        await until_answered(kept)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_again_ends_with_its_answer(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start) as stage:
        for asset in ("eur", "usd"):
            await stage.call("asking-again", stage.peer_id, asset)
        seen: list[str] = []
        while min(seen.count("eur"), seen.count("usd")) < 3:
            seen += [question["asset"] for question in await told(stage, ASK)]
        await stage.send(say(PRICE, asset="usd", sats=2), say(PRICE, asset="xau", sats=9))

        async def waiting(count: int) -> bool:
            return bool((await stage.call("asking-known", stage.peer_id))["waiting"] == count)

        await until_answered(lambda: waiting(1))
        marked = asyncio.ensure_future(stage.call("asking-prices", stage.peer_id, ["mark"]))
        while (await told(stage, ASK))[0]["asset"] != "mark":  # what was sent before
            pass
        assert [question["asset"] for question in await told(stage, ASK, 3)] == ["eur"] * 3
        await stage.send(say(PRICE, asset="eur", sats=1), say(PRICE, asset="mark", sats=0))
        assert await marked == [0]
        await until_answered(lambda: waiting(0))


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_go_both_ways(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, EXTENSION, start_ours, start) as stage:
        calls = [asyncio.ensure_future(stage.call("asking-call", stage.peer_id, name)) for name in ("spell", "fail")]
        requests = {request["method"]: request for request in await told(stage, RPC, 2)}
        assert requests["spell"]["params"] == requests["fail"]["params"] == {"word": "odd"}
        identities = {name: request["id"] for name, request in requests.items()}
        await stage.send(
            say(RPC, jsonrpc="2.0", id="unasked", result="even"),
            say(RPC, jsonrpc="2.0", id="ours", method="asking.add", params={"one": 40, "other": 2}),
            say(RPC, jsonrpc="2.0", id=identities["fail"], error={"code": 7, "message": "no", "data": {"word": "odd"}}),
            say(RPC, jsonrpc="2.0", id=identities["spell"], result=["o", "d", "d"]),
        )
        assert await told(stage, RPC) == [{"jsonrpc": "2.0", "id": "ours", "result": 42}]
        assert await calls[0] == ["o", "d", "d"]
        with pytest.raises(Exception, match="no") as caught:
            await calls[1]
        error = getattr(caught.value, "error", None) or vars(caught.value)
        assert (error["code"], error["data"]) == (7, {"word": "odd"})
