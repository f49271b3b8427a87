"""The life beside LND: waiting until it is there, living with it, and beginning again when it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.errors import LndError, LndFailure, LndRefused, LndUnavailable
from oddwire.transports.lnd.failures import call_failure, is_not_ready
from oddwire.transports.lnd.limits import LndLimits
from oddwire.transports.lnd.peer_directory import PeerDirectory
from oddwire.transports.lnd.tasks import end_tasks, let_go
from oddwire.transports.redial import wait_after

__all__ = ["Life", "OtherNode"]

logger = get_logger("oddwire.transports.lnd")

_ACTIVE: Final = ("RPC_ACTIVE", "SERVER_ACTIVE")
_PATIENCE: Final = 30.0  # seconds for an answer to GetInfo
_STATES: Final = {
    "NON_EXISTING": "no wallet; make one with lncli create",
    "LOCKED": "wallet locked; unlock it with lncli unlock",
    "UNLOCKED": "wallet unlocked, and LND is starting",
    "WAITING_TO_START": "LND waits until it may start, as another one runs",
}


class OtherNode(TransportError):
    """At LND's address is another node than before."""


class Life:
    """Connections to LND, one after the other.

    ``make_client`` makes a client of LND at ``address``. ``check`` is given each client with its ``GetInfo``, and
    raises `TransportError` where it cannot be used. What LND is doing is waited for, ``start_timeout`` seconds at most
    until peers are told for the first time; until then, what waiting does not mend is raised.
    """

    def __init__(
        self,
        make_client: Callable[[], LndClient],
        address: str,
        check: Callable[[LndClient, Mapping[str, Any]], None],
        limits: LndLimits,
        start_timeout: float | None,
    ) -> None:
        self.client: LndClient | None = None
        """The client that is connected to an active LND; None while there is none."""
        self.reason = f"LND at {address} is not connected yet"
        """Why there is none."""
        self.node_id: NodeId | None = None
        self._make_client = make_client
        self._name = f"LND at {address}"
        self._check = check
        self._limits = limits
        self._start_timeout = start_timeout
        self._has_lived = False
        self._said = ""
        self._up = asyncio.Event()

    async def up(self) -> None:
        """Wait until LND's peers are told."""
        await self._up.wait()

    async def reach(self) -> LndClient:
        """Wait until LND is active, and return a client connected to it; at once if there is one.

        Raises `TransportError`. Cancelled: nothing stays open.
        """
        if self.client is not None:
            return self.client
        deadline = asyncio.timeout(None if self._has_lived else self._start_timeout)
        try:
            async with deadline:
                return await self._reach()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            let_go(error)
            text = f"{self._name} was waited for in vain for {self._start_timeout:g} s: {self._said or self.reason}"
            raise TransportError(text) from None

    async def run(self, directory: PeerDirectory, opened: Callable[[], object]) -> None:
        """Live with LND for ever; ``opened`` is called once peers are told. Cancelled: nothing stays open.

        Raises what `reach` does before that, and later `OtherNode`.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            client = await self.reach()
            since = loop.time()
            try:
                self.reason = await self._live(client, directory, opened)
            finally:
                self._up.clear()
                self.client = None
                directory.end(self.reason)
                await client.aclose()
            if self._has_lived:
                logger.warning("%s: its peers are gone until it is back", self.reason)
            else:
                self._say(self.reason)
            failures = 1 if loop.time() - since >= self._limits.retry_most else failures + 1
            await self._rest(failures)

    async def aclose(self) -> None:
        """Close the client of a `reach` that no `run` followed. Idempotent."""
        client, self.client = self.client, None
        if client is not None:
            await client.aclose()

    # Reaching it --------------------------------------------------------------------------------------

    async def _reach(self) -> LndClient:
        failures = 0
        while True:
            client = self._make_client()
            try:
                await client.connect()
                info = await self._active(client)
                self._recognize(info)
                self._check(client, info)
            except (LndFailure, TransportError) as error:
                await client.aclose()
                failure = error if isinstance(error, TransportError) else call_failure(error, "GetInfo")
                if isinstance(error, OtherNode) or not (self._has_lived or isinstance(error, LndUnavailable)):
                    raise failure from None
                self._say(str(failure))
            except BaseException:
                await client.aclose()
                raise
            else:
                self._said = ""
                self.client = client
                return client
            failures += 1
            await self._rest(failures)

    async def _active(self, client: LndClient) -> dict[str, Any]:
        """Wait until LND is active, and return its ``GetInfo``. Raises `LndFailure`."""
        while True:
            try:
                state = await client.state()
                if state in _ACTIVE:
                    info = await client.call("GetInfo", timeout=_PATIENCE)
                    if state != _ACTIVE[-1]:
                        logger.info("%s has no peers yet: it waits for its chain", self._name)
                    return info
                doing = _STATES.get(state, state)
            except LndError as error:
                if not is_not_ready(error):
                    raise
                doing = error.text
            self._say(f"{self._name}: {doing}")
            await asyncio.sleep(self._limits.retry_first)

    def _recognize(self, info: Mapping[str, Any]) -> None:
        """Check that LND is the node that it was. Raises `OtherNode`, and `LndRefused` if it does not say."""
        try:
            node_id = NodeId(info["identity_pubkey"])
        except ValueError as error:
            raise LndRefused(f"{self._name} is no LND, as it does not say which node it is: {error}") from None
        if self.node_id is None:
            self.node_id = node_id
        elif node_id != self.node_id:
            raise OtherNode(f"{self._name} is another node now: {node_id}, and was {self.node_id}")

    def _say(self, reason: str) -> None:
        """Log why we wait, unless it is what was logged last."""
        if reason != self._said:
            self._said = self.reason = reason
            logger.info("%s; waiting", reason)

    async def _rest(self, failures: int) -> None:
        await asyncio.sleep(wait_after(failures, self._limits.retry_first, self._limits.retry_most))

    # Living with it -----------------------------------------------------------------------------------

    async def _live(self, client: LndClient, directory: PeerDirectory, opened: Callable[[], object]) -> str:
        """Tell peers and messages until LND is lost; return why. Raises `TransportError` as `run` does."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        doing = "SubscribeCustomMessages"
        try:
            messages, events = client.custom_messages(), client.peer_events()
            tasks.append(loop.create_task(directory.read_messages(messages)))
            tasks.append(loop.create_task(directory.read_events(events)))
            doing = "GetInfo"  # a call's answer: by then the subscriptions are in force
            self._recognize(await client.call(doing, timeout=_PATIENCE))
            doing = "ListPeers"
            await directory.begin(client)
            doing = "SubscribeCustomMessages"
            if not any(task.done() for task in tasks):
                self._up.set()
                if self._has_lived:
                    logger.info("%s is back", self._name)
                self._has_lived = True
                opened()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            return f"{self._name} is stopping"
        except LndUnavailable as error:
            return error.reason
        except LndFailure as error:
            failure = call_failure(error, doing)
            if not self._has_lived and not (isinstance(error, LndError) and is_not_ready(error)):
                raise failure from None
            return f"{self._name}: {failure}"
        finally:
            await end_tasks(tasks)
