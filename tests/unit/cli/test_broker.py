"""`oddwire broker` as a process, and what its users may do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waiting import until
from typer.main import get_command

from oddwire.cli.broker import program
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused


def server_of(process: int) -> int | None:
    """The process of the nats-server that is a child of ``process``."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        if name == "nats-server" and int(rest.split()[1]) == process:
            return int(status.parent.name)
    return None


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def stored(url: str) -> bool:
    """Whether the broker there has a stream of the test's; makes it."""
    connection = await BrokerConnection.open(BrokerAddress(url=url))
    try:
        names = (await connection.api("STREAM.NAMES"))["streams"] or []
        await connection.api("STREAM.CREATE.KEPT", {"name": "KEPT", "subjects": ["kept"]})
        return "KEPT" in names
    finally:
        await connection.aclose()


async def test_it_runs_until_it_is_asked_to_end_and_keeps_its_data(start, tmp_path: Path) -> None:
    arguments = ("broker", "--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0", "--json")
    broker = await start(*arguments)
    assert not await stored((await broker.event("listening"))["uri"])
    again = await start(*arguments)
    code, _, err = await again.end()
    assert code == 1
    assert f"data directory {tmp_path / 'd'} is in use by another broker, process {broker.process.pid}; stop" in err
    assert (await broker.interrupt(signal.SIGTERM))[0] == 0
    broker = await start(*arguments)
    url = (await broker.event("listening"))["uri"]
    assert await stored(url)
    child = server_of(broker.process.pid)
    assert child is not None
    os.kill(child, signal.SIGKILL)
    code, out, err = await broker.end()
    assert (code, "nats-server has ended: SIGKILL" in err) == (1, True)
    assert json.loads(out.splitlines()[-1])["event"] == "error"

    broker = await start("broker", "--data-dir", tmp_path / "d", "--listen", url.removeprefix("nats://"))
    await broker.line("listening", url)
    taken = await start("broker", "--data-dir", tmp_path / "e", "--listen", url.removeprefix("nats://"))
    code, _, err = await taken.end()
    assert (code, "address already in use" in err) == (1, True)
    child = server_of(broker.process.pid)
    broker.process.kill()  # then the kernel ends the server
    await until(lambda: child is not None and not is_there(child))
    await broker.end()


async def test_only_who_says_the_password_is_let_in(start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pw$1\n")
    secret.chmod(0o600)
    login = ("--user", "me", "--password-file", secret)
    broker = await start("broker", "--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0", *login)
    place = (await broker.line("listening")).partition("nats://")[2]
    assert (tmp_path / "d" / "nats-server.conf").stat().st_mode & 0o077 == 0
    with pytest.raises(BrokerRefused, match="does not let us in"):
        await BrokerConnection.open(BrokerAddress(url=f"nats://{place}"))
    connection = await BrokerConnection.open(BrokerAddress(url=f"nats://me:pw$1@{place}"))
    await connection.aclose()
    code, _, err = await broker.interrupt()
    assert code == 0
    assert err.endswith("authentication error\n")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "broker needs --data-dir DIR"),
        (["--listen", "0.0.0.0:4222"], "--listen 0.0.0.0:4222 lets in whoever reaches it: say --user NAME and"),
        (["--listen", "127.0.0.1:x"], "--listen 127.0.0.1:x: "),
        (["--user", "me"], "a user has a name and a password: --password-file FILE is missing"),
        (["--password-file", "f"], "a user has a name and a password: --user NAME is missing"),
        (["--user", "me", "--password-file", "nowhere"], "--password-file nowhere: No such file or directory"),
        (["--user", "me", "--token-file", "f"], "--token-file is for clients without a user"),
        (["--token-file", "open"], "open: has mode 0644: others than its owner may use it; run: chmod 600 open"),
        (["--token-file", "empty"], "--token-file empty: should hold one line of text"),
        (["--token-file", "two"], "--token-file two: should hold one line of text"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], wrong: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text, mode in (("open", "x", 0o644), ("empty", "", 0o600), ("two", "a\nb\n", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    folder = ["--data-dir", str(tmp_path / "d")] if arguments else []
    code = get_command(program).main([*folder, *arguments], standalone_mode=False)
    assert code == 2
    assert wrong in capsys.readouterr().err


def test_a_path_without_a_server_says_how_to_get_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    (tmp_path / "nats-server").write_text("#!/bin/sh\necho v2.2.0\n")
    (tmp_path / "nats-server").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "oddwire.cli.main", "broker", "--data-dir", "d"],
        env={**os.environ, "PATH": f"{tmp_path}:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "which is too old: a cluster needs 2.11.0 or newer; install it from https://nats.io/download" in done.stderr


def test_permissions_are_printed(capsys) -> None:
    command = get_command(program)
    assert not command.main(["permissions", "worker"], standalone_mode=False)
    out = capsys.readouterr().out
    assert '"ow.out.*"' in out
    assert "gateways" not in out
    assert not command.main(["permissions", "--json"], standalone_mode=False)
    value = json.loads(capsys.readouterr().out)["value"]
    assert set(value) == {"gateway", "worker"}
    node = "02" + "11" * 32
    assert not command.main(["permissions", "gateway", "--node", node], standalone_mode=False)
    assert f'"ow.in.{node}.*"' in capsys.readouterr().out
    assert command.main(["permissions", "--node", "x"], standalone_mode=False) == 2
    assert "--node: node id should be 66 hex digits" in capsys.readouterr().err
