"""Brokers that cannot be used, as whoever asks for one by the command line is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.broker import Broker

from oddwire.cli.broker_options import broker_address, connect_broker
from oddwire.cli.exit import FAILED, USAGE, CommandFailure


async def refusal(broker: Broker, url: str | None = None) -> CommandFailure:
    address = broker_address("gateway", url or broker.url)
    with pytest.raises(CommandFailure) as caught:
        await connect_broker(address, name="a test", patience=0.2)
    return caught.value


async def test_one_that_will_do(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        connection = await connect_broker(broker_address("gateway", broker.url), name="a test")
        assert connection.is_connected
        await connection.aclose()


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    failure = await refusal(Broker(tmp_path))
    assert str(failure).startswith("broker: no broker answers at nats://127.0.0.1:")
    assert failure.code == FAILED


async def test_one_that_does_not_let_us_in(tmp_path: Path) -> None:
    with Broker(tmp_path, settings='authorization { token: "right" }') as broker:
        failure = await refusal(broker, broker.url.replace("nats://", "nats://wrong@"))
    assert "does not let us in" in str(failure)
    assert "wrong@" not in str(failure)
    assert failure.code == USAGE


async def test_one_that_will_not_do(tmp_path: Path) -> None:
    with Broker(tmp_path, max_payload="65536") as broker:
        failure = await refusal(broker)
    assert "takes messages of at most 65536 bytes" in str(failure)
    assert failure.code == USAGE


def test_a_ca_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(CommandFailure, match=r"--broker: the broker's CA file .* has no certificates"):
        broker_address("gateway", "tls://h:1", ca=tmp_path / "ca")


def test_without_nats_py_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['nats'] = None\n"
        "from oddwire.cli.gateway import program\nfrom typer.main import get_command\n"
        "sys.exit(get_command(program).main(['--broker', 'nats://h:1', '--data-dir', 'd'], standalone_mode=False))"
    )
    quiet = os.environ | {"PYTHONASYNCIODEBUG": ""}  # on a busy machine it warns among what is compared here
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=quiet)
    assert (done.returncode, done.stderr) == (
        2,
        "oddwire: the broker's client needs nats-py: pip install 'oddwire[cluster]'\n",
    )
