"""Answers as large as ``listchannels`` on mainnet, and larger than is taken, on lightningd and on the embedded node."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.interop
KIND = pytest.mark.parametrize("kind", ["node", pytest.param("lightningd", marks=pytest.mark.cln)])
MAINNET = 34_000_000
LIMIT = 60  # seconds; reached only by what hangs


@KIND
async def test_an_extension_gets_34_mb_while_it_sends(start, start_ours, kind: str) -> None:
    daemon = getattr(start, kind)("large", "asker")
    transport, sink = await start_ours()
    await daemon.connect(transport.uris[0])
    peer = str(transport.node_id)
    answer = await daemon.call("asker-ask", peer, MAINNET)
    assert answer["channels"] == MAINNET // 114
    assert sink.disconnected.empty()
    assert (await daemon.call("asker-ask", peer, 1140))["channels"] == 10


@KIND
async def test_an_answer_that_is_too_large_fails_alone(start, start_ours, kind: str, monkeypatch) -> None:
    monkeypatch.setitem(start._environment, "ODDWIRE_MAX_DOCUMENT", "1000000")
    daemon = getattr(start, kind)("large", "asker")
    transport, sink = await start_ours()
    await daemon.connect(transport.uris[0])
    peer = str(transport.node_id)
    answer = await daemon.call("asker-ask", peer, 5_000_000)
    assert answer["sent"] >= 10
    assert "too large: " in answer["error"]
    assert "bytes, of at most 1000000 (" in answer["error"]
    assert "ODDWIRE_MAX_DOCUMENT" in answer["error"]
    assert (await daemon.call("asker-ask", peer, 114_000))["channels"] == 1000
    assert sink.disconnected.empty()


@KIND
def test_oddwire_call_takes_34_mb(start, kind: str) -> None:
    daemon = getattr(start, kind)("large")
    command = [sys.executable, "-m", "oddwire.cli.main", "call", f"--lightning-dir={daemon.folder}"]
    command += ["--network=regtest", "large", str(MAINNET)]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["channels"]) == MAINNET // 114
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "ODDWIRE_MAX_DOCUMENT": "1000"}
    )
    assert done.returncode == 1
    assert "the node's answer to large is too large: " in done.stderr
    assert "bytes, of at most 1000 (" in done.stderr
