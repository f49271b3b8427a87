"""Watches what extensions announce, for a gateway that has announced what there was when it started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from oddwire.cluster.gateway.announced import changes
from oddwire.cluster.manifests import ExtensionManifest, read_manifests
from oddwire.log_limits import get_logger
from oddwire.transports.base import Manifest
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.subjects import META, manifest_key

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["ManifestWatch"]

logger = get_logger("oddwire.cluster.gateway")

_AGAIN: Final = 0.5  # seconds between attempts


class ManifestWatch:
    """Says which extensions have more to announce than ``announced``; calls ``changed`` with what all of them have."""

    subject: Final = f"$KV.{META}.{manifest_key('*')}"
    """Where the broker tells of manifests that are written."""

    def __init__(
        self,
        connection: BrokerConnection,
        announced: Manifest,
        changed: Callable[[Sequence[ExtensionManifest]], object] | None,
    ) -> None:
        self._meta = Bucket(connection, META)
        self._announced = announced
        self._changed = changed
        self._looking = asyncio.Event()
        self._said: frozenset[str] = frozenset()

    def look(self) -> None:
        """Look whether anything has changed."""
        self._looking.set()

    async def written(self, _: Msg) -> None:
        """Take what comes on `subject`."""
        self._looking.set()

    async def watch(self) -> None:
        """Look now, and whenever there is cause to, until it is cancelled."""
        self._looking.set()
        while True:
            await self._looking.wait()
            self._looking.clear()
            try:
                manifests = await read_manifests(self._meta)
            except BrokerFailure:
                await asyncio.sleep(_AGAIN)
                self._looking.set()
                continue
            if self._changed is not None:
                self._changed(manifests)
            lines = frozenset(changes(self._announced, manifests))
            for line in sorted(lines - self._said):
                logger.warning(line)
            self._said = lines
