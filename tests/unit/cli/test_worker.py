"""oddwire.cli.worker: what is refused, and what is announced. Its work is tested in test_cluster.py."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.support.broker import Broker
from typer.testing import CliRunner

from oddwire.cli.worker import LOCK_FILE, program
from oddwire.cluster.manifests import read_manifests
from oddwire.files import FileLock
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import META

BROKER = ("--broker", "nats://127.0.0.1:1")


def run(*arguments):
    done = CliRunner().invoke(program, [*map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (BROKER, "worker needs the names of extensions: 'oddwire worker chat'"),
        (("echo",), "worker needs --broker URL"),
        (("echo", "--broker", "http://x"), "--broker: a broker's URL is nats://HOST:PORT"),
        (("echo", *BROKER, "--nodes", "02ab"), "--nodes should be node ids, with commas between"),
        (("echo", *BROKER, "--id", "a.b"), "--id should be letters, digits and dashes, up to 64, not 'a.b'"),
        (("echo", *BROKER, "--colour", "red"), "no such option: --colour"),
        (("nobodys", *BROKER), "nobodys"),
    ],
)
def test_a_wrong_use_is_told(arguments, wrong):
    code, _, told = run(*arguments)
    assert code == 2
    assert wrong in told


def test_a_cache_is_a_folder_of_one_worker(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    code, _, told = run("echo", *BROKER, "--cache", file)
    assert (code, "should be a folder; it is a file" in told) == (2, True)

    folder = tmp_path / "cache"
    folder.mkdir(0o700)
    lock = FileLock(folder / LOCK_FILE)
    try:
        code, _, told = run("echo", *BROKER, "--cache", folder)
    finally:
        lock.release()
    assert code == 1
    assert f"is in use by another worker, process {os.getpid()}; stop that, or choose another folder" in told


def test_what_is_in_force_is_shown(tmp_path):
    code, out, _ = run("echo", *BROKER, "--show-config", "--cache", tmp_path)
    assert code == 0
    assert "broker" in out
    assert str(tmp_path) in out


def test_what_extensions_announce_is_written_before_any_gateway_is_there(tmp_path):
    async def manifests(address):
        connection = await BrokerConnection.open(address)
        try:
            return await read_manifests(Bucket(connection, META))
        finally:
            await connection.aclose()

    with Broker(tmp_path / "broker") as broker:
        code, _, told = run("echo", "--broker", broker.url, "--announce")
        found = asyncio.run(manifests(broker.address))

    assert (code, told) == (0, "announced to gateways: echo 1.0\n")
    assert [each.name for each in found] == ["echo"]
    assert 0x8C01 in found[0].types


def test_methods_of_extensions_are_said_not_to_be_there(tmp_path):
    with Broker(tmp_path / "broker") as broker:
        code, _, told = run("chat", "--broker", broker.url, "--announce")
    assert code == 0
    assert "a worker has no RPC methods: chat-say can be called where 'oddwire run' runs them" in told
