"""`oddwire run --lnd` as a process, beside a scripted LND."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.lnd.scripted import ScriptedLnd
from tests.support.waiting import until

from oddwire.proto.keys import NodeId

NUMBERED = """
from oddwire import Context, Extension, Message, message

extension = Extension("numbered", version="1.0")

@message(0x8D01)
class Ping(Message):
    text: str

@extension.on_startup
async def start(context) -> None:
    print("program", context.app.program, flush=True)

@extension.rpc("numbered-node")
async def node(context) -> str:
    return (await context.node.call("GetInfo"))["identity_pubkey"]

if __name__ == "__main__":
    extension.run()
"""
KEEPING = (
    NUMBERED
    + """
@extension.on(Ping, reliable=True)
async def pinged(context: Context, ping: Ping) -> None: ...
"""
)
PEER = NodeId("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


@pytest.fixture
async def lnd(tmp_path: Path) -> AsyncIterator[ScriptedLnd]:
    async with ScriptedLnd(tmp_path / "lnd") as lnd:
        yield lnd


def beside(lnd: ScriptedLnd, macaroon: str = "oddwire") -> list[str]:
    file = lnd.macaroons / f"{macaroon}.macaroon"
    return ["--lnd", lnd.address, "--tlscert", str(lnd.tlscert), "--macaroon", str(file)]


async def test_an_extension_answers_lnds_peers(start, lnd: ScriptedLnd) -> None:
    echo = await start("run", "echo", *beside(lnd), "--json")
    ready = await echo.event("ready")
    assert (ready["node_id"], ready["address"]) == (str(lnd.node_id), lnd.address)
    lnd.add_peer(PEER)
    assert (await echo.event("connected"))["peer"] == str(PEER)
    lnd.deliver(PEER, 0x8C05, bytes.fromhex("00000000000000010000"))
    assert (await echo.event("received", schema="echo.BoltRequest"))["message"]["number"] == 1
    await until(lambda: 0x8C07 in [request.get("type") for _, request in lnd.calls])
    lnd.remove_peer(PEER)
    await echo.event("disconnected")
    code, _, err = await echo.interrupt(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in err
    assert (lnd.macaroons / "oddwire.macaroon").read_bytes().hex() not in "".join(echo.lines) + err


async def test_it_waits_for_lnd_and_says_for_what(start, lnd: ScriptedLnd) -> None:
    lnd.set_state("LOCKED")
    echo = await start("run", "echo", *beside(lnd))
    await until(lambda: lnd.count("GetState") >= 1)
    lnd.set_state("SERVER_ACTIVE")
    line = await echo.line("ready ")
    assert line.split() == ["ready", str(lnd.node_id), "beside", "the", "node", "at", lnd.address]
    _, _, err = await echo.interrupt()
    assert "wallet locked; unlock it with lncli unlock" in err


async def test_a_signal_ends_the_waiting_at_once(start, lnd: ScriptedLnd) -> None:
    lnd.set_state("LOCKED")
    echo = await start("run", "echo", *beside(lnd))
    await until(lambda: lnd.count("GetState") >= 1)
    found, out, err = await echo.interrupt(signal.SIGTERM)
    assert (found, out) == (143, "")
    assert "Traceback" not in err


async def test_what_waiting_does_not_mend_is_a_wrong_use(oddwire, lnd: ScriptedLnd, tmp_path: Path) -> None:
    code, out, err = await oddwire("run", "echo", *beside(lnd, "readonly"))
    assert (code, out) == (2, "")
    assert "lncli bakemacaroon" in err
    code, _, err = await oddwire("run", "echo", *beside(lnd), "--network", "testnet4")
    assert (code, err.splitlines()[-1]) == (
        2,
        f"oddwire: LND at {lnd.address} is on regtest, not testnet4; --network regtest is for it",
    )
    assert "Traceback" not in err


async def test_lnds_folder_is_enough(start, lnd: ScriptedLnd, tmp_path: Path) -> None:
    (lnd.folder / "lnd.conf").write_text(f"[Application Options]\nrpclisten={lnd.address}\n")
    echo = await start("run", "echo", "--lnddir", lnd.folder, "--network", "regtest", "--json")
    assert (await echo.event("ready"))["address"] == lnd.address
    _, _, err = await echo.interrupt()
    assert "offchain:write (pays)" in err  # what its admin.macaroon permits


async def test_a_script_of_its_own_and_what_calls_it(start, oddwire, lnd: ScriptedLnd, tmp_path: Path) -> None:
    """Its number for peers is the same whenever it has the same directory."""
    script = tmp_path / "numbered.py"
    script.write_text(NUMBERED)
    numbers = []
    for folder in ("one", "./one"):
        program = await start(*beside(lnd), "--data-dir", folder, program=script)
        numbers.append(await program.line("program "))
        await program.line("ready ")
        if folder == "one":
            code, out, _ = await oddwire("call", "numbered-node", "--data-dir", folder)
            assert (code, json.loads(out)) == (0, str(lnd.node_id))
        assert (await program.interrupt())[0] == 0
    assert numbers[0] == numbers[1]
    assert not (tmp_path / "one" / "node_key").exists()


async def test_what_is_kept_in_memory_is_told(start, lnd: ScriptedLnd, tmp_path: Path) -> None:
    (tmp_path / "keeping.py").write_text(KEEPING)
    program = await start("run", "./keeping.py", *beside(lnd))
    await program.line("ready ")
    _, _, err = await program.interrupt()
    assert "without --data-dir what extensions keep is lost at the end" in err


async def test_it_goes_on_when_lnd_restarts_and_ends_when_another_node_answers(
    start, lnd: ScriptedLnd, tmp_path: Path
) -> None:
    echo = await start("run", "echo", *beside(lnd), "--json")
    await echo.event("ready")
    lnd.add_peer(PEER)
    await echo.event("connected")
    await lnd.kill()
    await echo.event("disconnected")
    lnd.renew_certificate()
    await lnd.start()
    assert (await echo.event("ready"))["node_id"] == str(lnd.node_id)
    lnd.add_peer(PEER)
    await echo.event("connected")
    await lnd.kill()
    lnd.node_id = PEER
    await lnd.start()
    code, _, err = await echo.end()
    assert code == 1
    assert str(PEER) in err
