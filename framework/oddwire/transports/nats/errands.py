"""What a transport asks its gateway for beside payloads: calls that take long, and what is told without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.log_limits import get_logger
from oddwire.transports.nats.controls import Controls, GatewayRefused
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.peer_connections import PeerConnection

__all__ = ["Errands"]

logger = get_logger("oddwire.transports.nats")

_LATE: Final = 1.0  # seconds that an answer of the gateway may come later than its time limit
_CLOSED: Final = "closed by us"


class Errands:
    """The tasks of a transport. ``refused`` is called when the gateway takes nothing of this owner any more."""

    def __init__(self, controls: Controls, refused: Callable[[GatewayRefused], object]) -> None:
        self._controls = controls
        self._refused = refused
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows: dict[int, PeerConnection] = {}  # whose flow the gateway is to be told
        self._telling: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reason = _CLOSED

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task, which `end` cancels."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, do: str, seconds: float, **values: Any) -> Any:
        """Ask the gateway for what may take long. Raises as `Controls.call`, and `ConnectionClosed` at the end."""
        if self._over.done():
            raise ConnectionClosed(self._reason)
        asking = asyncio.ensure_future(self._controls.call(do, seconds + _LATE, timeout=seconds, **values))
        try:
            await asyncio.wait([asking, self._over], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ConnectionClosed(f"{do}: {self._reason}; it may be done or not")
            return asking.result()
        except GatewayRefused as error:
            if error.is_final:
                self._refused(error)
            raise
        finally:
            asking.cancel()
            del asking  # its error's traceback holds this frame

    async def tell(self, do: str, **values: Any) -> None:
        """Ask the gateway for something, until it has answered; nobody waits for what came of it."""
        try:
            await self._controls.ask(do, **values)
        except GatewayRefused as error:
            if error.is_final:
                self._refused(error)
            elif error.status != "gone":
                logger.warning("the gateway: %s: %s", do, error)
        except (TransportError, BrokerFailure) as error:
            logger.warning("the gateway: %s: %s", do, error)

    def flow(self, connection: PeerConnection) -> None:
        """Tell the gateway to pause or resume a peer, whatever ``connection.stopped`` is when it is its turn."""
        self._flows[connection.number] = connection
        if self._telling is None or self._telling.done():
            self.spawn(self._tell_flows())

    async def _tell_flows(self) -> None:
        self._telling = asyncio.current_task()
        while self._flows:
            number, connection = self._flows.popitem()
            if not connection.gone:
                await self.tell("pause" if connection.stopped else "resume", conn=number)

    def end(self, reason: str) -> None:
        """Cancel all tasks but the running one, and fail the calls."""
        if not self._over.done():
            self._reason = reason
            self._over.set_result(None)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def aclose(self) -> None:
        """Wait until all tasks have ended, after `end`."""
        if self._tasks:
            await asyncio.wait([*self._tasks])
