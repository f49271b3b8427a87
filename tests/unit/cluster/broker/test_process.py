"""A nats-server whose end and whose words are scripted; tests/unit/cli/test_broker.py runs real ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oddwire.cluster.broker.configuration import BrokerConfiguration
from oddwire.cluster.broker.process import BrokerProcess
from oddwire.errors import TransportError


def scripted(folder: Path, *lines: str) -> BrokerProcess:
    """A program in nats-server's place: ``$2`` is its configuration, beside which it writes where it listens."""
    program = folder / "nats-server"
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    return BrokerProcess(program, BrokerConfiguration(host="127.0.0.1", port=0, data_dir=folder / "d"))


READY = """echo '{"nats": ["nats://127.0.0.1:1"]}' > "$(dirname "$2")/x.ports\""""


async def test_what_it_says_at_its_end_is_the_reason(tmp_path: Path) -> None:
    server = scripted(tmp_path, "echo '[1] [INF] hello'", "echo '[1] [FTL] no such port'", "exit 1")
    with pytest.raises(TransportError, match="nats-server could not start: no such port"):
        await server.start()


async def test_one_that_says_nothing_has_an_exit_code(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="nats-server could not start: exit code 3"):
        await scripted(tmp_path, "exit 3").start()


async def test_an_end_that_nobody_asked_for_is_an_error(tmp_path: Path) -> None:
    server = scripted(tmp_path, READY, "read line < /dev/null; sleep 0.05; echo '[1] [ERR] it hurts'; exit 4")
    await server.start()
    assert server.url == "nats://127.0.0.1:1"
    with pytest.raises(TransportError, match="nats-server has ended: it hurts"):
        await server.wait()


async def _run(server: BrokerProcess) -> None:
    await server.start()
    await server.wait()


async def test_a_disk_that_is_full_ends_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = "[1] [ERR] JetStream failed to store a msg: write x: no space left on device"
    server = scripted(tmp_path, READY, f"echo '{line}'", "exec sleep 60")
    with pytest.raises(TransportError, match=r"cannot write to .*/d, and has to be started anew once there is room: J"):
        await _run(server)
    assert "no space left on device" in caplog.text


async def test_one_that_is_stopped_has_ended_in_order(tmp_path: Path) -> None:
    server = scripted(tmp_path, READY, "head -c 100000 /dev/zero | tr '\\0' x", "exec sleep 60")
    await server.start()
    waiting = asyncio.create_task(server.wait())
    await server.stop()
    await waiting
    await server.stop()
