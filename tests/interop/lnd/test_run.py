"""`oddwire run --lnd`: programs beside a real LND, and the macaroon that they are told to have made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.interop.conftest import LIMIT
from tests.interop.lnd.lnd_node import CALLS, CONNECTING, Api, Lnd, Subscription, connect
from tests.soak.idle import echoed

pytestmark = [pytest.mark.lnd, pytest.mark.interop]

CLI = [sys.executable, "-m", "oddwire.cli.main"]


@contextlib.asynccontextmanager
async def running(lnd: Lnd, *arguments: str, ends: int = 128 + signal.SIGTERM) -> AsyncIterator[None]:
    """Have ``oddwire run echo`` run beside it, until it is told to end; it prints no macaroon."""
    process = await asyncio.create_subprocess_exec(
        *CLI, "run", "echo", "--lnd", lnd.rpc, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = b""
    try:
        yield
        assert process.returncode is None, f"it ended with {process.returncode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        output, _ = await process.communicate()
        for macaroon in (lnd.macaroon, lnd.small_macaroon):
            assert macaroon.read_bytes().hex() not in output.decode()
    assert process.returncode in (0, ends), output.decode()


async def answers(api: Api, messages: Subscription, node_id: str) -> None:
    """Wait until the extension answers there: what LND gets while nobody is subscribed is lost."""
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await echoed(api, messages, node_id, "hello")
                    return


async def test_a_program_beside_lnd_answers_peers_of_lnd_and_goes_on_when_lnd_was_killed(
    rough_lnd: Lnd, lnd: Lnd, api: Api, messages: Subscription
) -> None:
    await asyncio.to_thread(rough_lnd.start)
    files = ("--tlscert", str(rough_lnd.tlscert), "--macaroon", str(rough_lnd.small_macaroon))
    async with running(rough_lnd, *files, "--connect", lnd.uri):
        await api.until_connected(rough_lnd.node_id)
        await answers(api, messages, rough_lnd.node_id)
        await asyncio.to_thread(rough_lnd.kill)
        await asyncio.to_thread(rough_lnd.start)
        await api.until_connected(rough_lnd.node_id)
        await answers(api, messages, rough_lnd.node_id)


async def test_by_lnds_folder_as_lncli_finds_it(lnds: list[Lnd]) -> None:
    left, right = lnds
    await connect(left, right)
    async with (
        right.api() as api,
        api.subscribed() as messages,
        running(left, "--lnddir", str(left.folder), "--network", "regtest"),
    ):
        await answers(api, messages, left.node_id)


def test_the_line_that_is_printed_makes_the_macaroon(lnd: Lnd, tmp_path: Path) -> None:
    file = tmp_path / "made.macaroon"
    printed = subprocess.run(
        [*CLI, "lnd", "macaroon", "--connect", "--save-to", str(file)], capture_output=True, text=True, timeout=LIMIT
    )
    assert printed.returncode == 0, printed.stderr
    lines = [line for line in printed.stdout.splitlines() if line.startswith("lncli ")]
    program, *arguments = shlex.split(lines[0])
    assert program == "lncli"
    lnd.lncli(*arguments)
    told = json.loads(lnd.lncli("printmacaroon", f"--macaroon_file={file}"))
    assert {*told["permissions"]} == {f"uri:/lnrpc.Lightning/{method}" for method in (*CALLS, *CONNECTING)}
