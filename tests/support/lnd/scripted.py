"""`ScriptedLnd`: LND's API and habits, as far as the transport meets them, and in the order that a test chooses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.lnd.certificates import NAMES, make_certificate
from tests.support.lnd.handler import LndHandler
from tests.support.lnd.macaroons import ADMIN, READONLY, bake, uris
from tests.support.lnd.node import BITS, LndNode
from tests.support.lnd.relay import Relay

from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.credentials import LndCredentials

import grpc  # isort: skip
from grpc import aio  # isort: skip


class ScriptedLnd(LndNode):
    """One LND: ``async with ScriptedLnd(folder) as lnd:``.

    ``folder`` becomes its lnddir, with ``tls.cert`` and, in regtest, ``admin.macaroon``, ``readonly.macaroon`` and
    ``oddwire.macaroon``, which permits our calls alone. ``name`` gives the node its key.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "alice",
        *,
        state: str = "SERVER_ACTIVE",
        features: frozenset[int] = BITS,
        custom_messages: Sequence[int] = (),
        no_macaroons: bool = False,
        socket_path: str | None = None,
        node_id: NodeId | None = None,
        host: str | None = None,
    ) -> None:
        self.folder = folder
        super().__init__(name, state, features, custom_messages, node_id=node_id, host=host)
        self.folder = folder
        self.no_macaroons = no_macaroons
        self._relay = Relay(socket_path)
        self._server: aio.Server | None = None
        self._certificate = make_certificate()

    # Life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._write_files()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    @property
    def address(self) -> str:
        """What `LndCredentials` takes."""
        path = self._relay.socket_path
        return f"127.0.0.1:{self._relay.port}" if path is None else f"unix://{path}"

    @property
    def macaroons(self) -> Path:
        """The folder of the macaroons."""
        return self.folder / "data" / "chain" / "bitcoin" / "regtest"

    @property
    def tlscert(self) -> Path:
        return self.folder / "tls.cert"

    @property
    def connections(self) -> int:
        """How many connections clients have made to it."""
        return self._relay.accepted

    def credentials(self, macaroon: str = "oddwire") -> LndCredentials:
        """Return credentials with one of its macaroons."""
        return LndCredentials(
            self.address, tlscert=self.tlscert, macaroon=self.macaroons / f"{macaroon}.macaroon", network="regtest"
        )

    def renew_certificate(self, names: Sequence[str] = NAMES, *, write: bool = True, **changes: Any) -> None:
        """Have another certificate from the next `start` on; without ``write`` the file stays the old one."""
        self._certificate = make_certificate(names, **changes)
        if write:
            self._write_files()

    async def start(self, state: str | None = None) -> None:
        """Run, at the same address as before."""
        self.state = self.state if state is None else state
        self._server = aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((LndHandler(self),))
        certificate, key = self._certificate
        self._relay.upstream = self._server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)])
        )
        await self._server.start()
        await self._relay.open()
        self.is_running = True

    async def stop(self) -> None:
        """End as after ``lncli stop``: the stream of events ends well, the others with the connection."""
        self.end_events()
        await self._end(0.05)

    async def kill(self) -> None:
        """End as after SIGKILL: every connection is reset."""
        await self._relay.close()
        await self._end(None)

    def freeze(self) -> None:
        """Stand still as after SIGSTOP: connections stay, nothing is read or answered."""
        self._relay.freeze()

    def thaw(self) -> None:
        self._relay.thaw()

    async def restart(self, state: str | None = None) -> None:
        """`kill` and `start`."""
        await self.kill()
        await self.start(state)

    # ----------------------------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        self.macaroons.mkdir(parents=True, exist_ok=True)
        self.tlscert.write_bytes(self._certificate[0])
        ours = uris(*(name for name, call in CALLS.items() if call.entity and "Onion" not in name))
        for name, permissions in (("admin", ADMIN), ("readonly", READONLY), ("oddwire", ours)):
            (self.macaroons / f"{name}.macaroon").write_bytes(bake(self.root_key, permissions))

    async def _end(self, grace: float | None) -> None:
        self.is_running = False
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)
        await self._relay.close()
        self.forget_peers()
