"""Clusters under the kill harness, and the same extensions without one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.soak.cluster.outages import Door, Leader, Passive
from tests.soak.cluster.processes import BrokerProgram, Program, Worker
from tests.support.broker import Broker
from tests.support.ports import free_port

from oddwire import NodeId, PrivateKey
from oddwire.transports.nats.address import BrokerAddress

WITNESS: Final = Path(__file__).with_name("witness.py")
NOTES: Final = Path(__file__).with_name("notes.py")
ODDWIRE: Final = (sys.executable, "-m", "oddwire.cli.main")
KEY: Final = b"\7" * 32

AnyProgram = Program | BrokerProgram | Passive


def _brokers(folder: Path, count: int) -> list[BrokerProgram]:
    if count == 1:
        return [BrokerProgram(Broker(folder / "nats"))]
    ports = [free_port() for _ in range(count)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        BrokerProgram(
            Broker(
                folder / f"nats-{port}",
                settings=f'cluster {{ name: "test", listen: "127.0.0.1:{port}", routes: [{routes}] }}',
            )
        )
        for port in ports
    ]


class Cluster:
    """Brokers, a gateway and workers, in a folder of their own; between gateway and broker there may be a `Door`."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        *,
        brokers: int = 1,
        door: bool = False,
        extensions: Sequence[Path] = (WITNESS, NOTES),
    ) -> None:
        port = free_port()
        self.log = folder / "witness.log"
        self.log.touch()
        self.brokers = _brokers(folder, brokers)
        self.node_id, listening = _node(folder, port)
        self.uri = f"{self.node_id}@127.0.0.1:{port}"
        self.url = ",".join(broker.broker.url for broker in self.brokers)
        environment = {"WITNESS_LOG": str(self.log)}
        replicas = ("--replicas", str(brokers)) if brokers > 1 else ()
        self._outages: list[Passive] = []
        if brokers > 1:
            self._outages.append(Leader(self.brokers, self.node_id))
        url = self.url
        if door:
            way = Door(self.brokers[0].broker)
            url = f"nats://127.0.0.1:{way.port}"
            self._outages.append(way)
        command = (*ODDWIRE, "gateway", "--broker", url, *listening, *replicas)
        self.gateway = Program("gateway", command, folder, environment)
        self.workers = [
            Worker(
                f"worker-{number}",
                (
                    *ODDWIRE,
                    "worker",
                    *map(str, extensions),
                    "--broker",
                    self.url,
                    "--cache",
                    str(folder / f"cache-{number}"),
                ),
                folder,
                environment,
            )
            for number in range(workers)
        ]
        self.programs: list[AnyProgram] = [*(self._outages or self.brokers), self.gateway, *self.workers]
        """Those to which events happen; the first is a broker, or what can happen to several, or to the way to one."""

    async def start(self) -> None:
        await asyncio.gather(*(broker.start() for broker in self.brokers))
        for outage in self._outages:
            await outage.start()
        for program in (self.gateway, *self.workers):
            await program.start()

    async def aclose(self) -> None:
        for program in (*self.workers, self.gateway):
            await program.end()
        for outage in self._outages:
            await outage.end()
        for broker in self.brokers:
            await broker.end()

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(url=self.url)

    @property
    def deaths(self) -> dict[int, int]:
        return {pid: at for program in self.programs for pid, at in program.deaths.items()}

    @property
    def surprises(self) -> list[str]:
        return [each for program in self.programs for each in program.surprises]


class Alone:
    """The same extension file under `oddwire run`, with the verbs of a `Cluster`."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "witness.log"
        self.log.touch()
        port = free_port()
        self.node_id, listening = _node(folder, port)
        self.uri = f"{self.node_id}@127.0.0.1:{port}"
        command = (*ODDWIRE, "run", str(WITNESS), str(NOTES), *listening)
        self.programs: list[AnyProgram] = [Program("run", command, folder, {"WITNESS_LOG": str(self.log)})]

    async def start(self) -> None:
        await self.programs[0].start()

    async def aclose(self) -> None:
        await self.programs[0].end()

    @property
    def deaths(self) -> dict[int, int]:
        return self.programs[0].deaths

    @property
    def surprises(self) -> list[str]:
        return self.programs[0].surprises


def _node(folder: Path, port: int) -> tuple[NodeId, Sequence[str]]:
    """Make the folder of a node with our key; return its id, and the options by which it is started."""
    node = folder / "node"
    node.mkdir()
    key = node / "node_key"
    key.touch(0o600)
    key.write_text(KEY.hex())
    listening = ("--listen", f"127.0.0.1:{port}", "--data-dir", str(node), "--network", "regtest")
    return NodeId(PrivateKey(KEY).public_key()), listening
