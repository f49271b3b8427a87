"""`Gateway`: a node's transport on one side, its workers, over the broker, on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from oddwire.cluster.broker.checking import check_broker
from oddwire.cluster.gateway.announced import announcement
from oddwire.cluster.gateway.controls import Controls
from oddwire.cluster.gateway.inbound import Inbound
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.log_terms import term_in_log
from oddwire.cluster.gateway.manifest_watch import ManifestWatch
from oddwire.cluster.gateway.node_lease import NodeLease
from oddwire.cluster.gateway.outbound import Outbound
from oddwire.cluster.gateway.owners import Owners
from oddwire.cluster.gateway.partition_queue import PartitionQueue
from oddwire.cluster.gateway.publisher import Publisher
from oddwire.cluster.gateway.refusals import Refusals
from oddwire.cluster.gateway.streams import Setup, set_up
from oddwire.cluster.lease_times import TIMES, LeaseTimes
from oddwire.cluster.manifests import ExtensionManifest, read_manifests
from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, Transport
from oddwire.transports.host import HostTransport
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.packing import pack_control
from oddwire.transports.nats.patience import patiently
from oddwire.transports.nats.subjects import (
    LEASES,
    META,
    PARTITIONS,
    control_subject,
    in_stream,
    in_subject,
    out_subject,
)
from oddwire.version import __version__

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["Gateway"]

logger = get_logger("oddwire.cluster.gateway")

_CONTROLS: Final = 256  # requests under way; more are told that we are busy
_SOON: Final = 2.0  # seconds
_LOOK: Final = 0.02  # seconds between looks


class Gateway:
    """Carries the messages of a node's peers to workers, and theirs to peers.

    ``transport`` is the node's, not open yet; ``connection`` is open, and stays the caller's. ``partitions`` is for how
    many workers the peers are dealt out; it is fixed when the node is first set up, and None is what was said then, 16
    at first. ``methods`` are those of the host node that workers may call. ``max_waiting`` bytes of messages wait for
    workers at the broker at most, 1 GiB unless it is said; ``replicas`` is how many brokers keep each message.
    ``place`` is for `NodeLease`. ``announced`` is what a host's transport was configured with, if it was, ``inbound``
    the sink with which it was opened. ``on_manifests`` is called with what extensions announce, at first and when it
    has changed.
    """

    def __init__(
        self,
        transport: Transport,
        connection: BrokerConnection,
        *,
        partitions: int | None = None,
        methods: Collection[str] = (),
        max_waiting: int | None = None,
        replicas: int | None = None,
        limits: GatewayLimits | None = None,
        place: str = "",
        announced: Manifest | None = None,
        inbound: Inbound | None = None,
        on_manifests: Callable[[Sequence[ExtensionManifest]], object] | None = None,
        times: LeaseTimes = TIMES,
    ) -> None:
        if isinstance(methods, str):
            raise TypeError("methods should be a list of names, not one text")
        if partitions is not None and not 1 <= partitions <= 1024:
            raise ValueError(f"partitions should be 1 to 1024, not {partitions}")
        self.transport = transport
        self.connection = connection
        self.limits = limits or GatewayLimits()
        self.announced = announced or Manifest()
        """What the node announces for the workers, once it is started."""
        self._is_configured = announced is not None
        self.refusals = Refusals()
        self.partitions = partitions or PARTITIONS
        self._setup = Setup(
            partitions=self.partitions, chosen=partitions is not None, replicas=replicas, max_waiting=max_waiting
        )
        self._methods = methods
        self._place = place
        self._times = times
        self._is_open = inbound is not None
        self._inbound = inbound or Inbound(transport, self.limits)
        self._inbound.on_stopping = self._host_stops
        self._on_manifests = on_manifests
        self._outbound: Outbound | None = None
        self._controls: Controls | None = None
        self._lease: NodeLease | None = None
        self._run = 0
        self._subscriptions: list[Subscription] = []
        self._publishing: list[asyncio.Task[None]] = []
        self._answering: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[str] | None = None
        self._watch: ManifestWatch | None = None

    @property
    def node_id(self) -> NodeId:
        """The node's id. Raises `TransportError` as long as it is not known."""
        if self.transport.node_id is None:
            raise TransportError("the node's id is not known: its transport is not open")
        return self.transport.node_id

    @property
    def run(self) -> int:
        """The number of the run; 0 while another gateway may have the lease."""
        return self._run if self._lease is not None and self._lease.is_held else 0

    @property
    def peers(self) -> int:
        """How many peers are connected."""
        return len(self._inbound.table)

    # Start and end ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Set up the cluster, take the node's lease, open the transport, and answer workers.

        Raises `TransportError` for a broker that will not do or is gone, and for another gateway of the node;
        `DefinitionError` for streams with other settings. Then nothing runs. A lease that a killed gateway has left is
        waited for, some ten seconds.
        """
        self._ended = asyncio.get_running_loop().create_future()
        try:
            await self._start()
        except BrokerFailure as failure:
            await self.aclose()
            raise TransportError(f"the broker at {self.connection.address.shown}: {failure.reason}") from failure
        except BaseException:
            await self.aclose()
            raise

    async def _start(self) -> None:
        await check_broker(self.connection)
        meta = Bucket(self.connection, META)
        await patiently(lambda: meta.create_bucket(replicas=self._setup.replicas or 1), _waits)
        if not self._is_configured:
            self.announced = announcement(await patiently(lambda: read_manifests(meta), _waits))
            if isinstance(self.transport, HostTransport):
                await self.transport.configure(self.announced)
        if self.transport.node_id is None:  # some hosts tell it once we are there
            await self._open()
        node = self.node_id
        self.partitions = await patiently(lambda: set_up(self.connection, node, self._setup), _waits)
        leases = Bucket(self.connection, LEASES, max_age=TIMES.ttl)
        self._lease = NodeLease(leases, node, self._describe, place=self._place, times=self._times)
        await patiently(self._lease.take, _waits)
        owners = Owners(self.partitions)
        self._outbound = Outbound(self.transport, self._inbound, owners, self.limits, self.refusals)
        self._controls = Controls(
            self.transport,
            self._inbound,
            owners,
            self.refusals,
            self.limits,
            methods=self._methods,
            term_of=partial(term_in_log, self.connection, node),
        )
        self._inbound.begin([self._publisher(number) for number in range(self.partitions)])
        self._begin_run()
        watch = self._watch = ManifestWatch(self.connection, self.announced, self._on_manifests)
        subscribe = self.connection.client.subscribe
        self._subscriptions = [
            await subscribe(out_subject(node), cb=self._take_batch),
            await subscribe(control_subject(node), cb=self._take_control),
            await subscribe(watch.subject, cb=watch.written),
        ]
        await patiently(lambda: self.connection.api("INFO"), _waits)  # answered once the subscriptions are in effect
        await self._open()
        self.connection.on_back.append(watch.look)
        self._tasks = [
            asyncio.create_task(self._guarded(self._live), name="the node's lease"),
            asyncio.create_task(self._guarded(watch.watch), name="manifests"),
        ]

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await self.transport.open(self.announced, self._inbound)

    async def wait(self) -> str:
        """Wait until the host node ends, and return why. Raises `TransportError` if we cannot go on."""
        if self._ended is None:
            raise TransportError("this gateway was not started")
        return await asyncio.shield(self._ended)

    async def aclose(self) -> None:
        """Hand over what peers and workers have sent, as far as that takes no long time, and end. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await self.connection.end(subscription)
        if self._watch is not None and self._watch.look in self.connection.on_back:
            self.connection.on_back.remove(self._watch.look)
        outbound = self._outbound
        if outbound is not None:
            await _soon(lambda: not outbound.unsent)
        await self.transport.aclose()
        if self._publishing:
            await _soon(lambda: not self._inbound.waiting)
        await self._end_publishing()
        if self._controls is not None:
            self._controls.begin(0)
        for task in list(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        if outbound is not None:
            await outbound.aclose()
        if self._lease is not None:
            await self._lease.release()

    def _host_stops(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one of our lasting works; if it fails, `wait` says so."""
        try:
            await work()
        except Exception as error:
            reason = error.reason if isinstance(error, BrokerFailure) else None
            if reason is None:
                logger.exception("the gateway fails")
            failure = TransportError(f"the gateway cannot go on: {reason or repr(error)}")
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(failure)
                self._ended.exception()  # perhaps nobody waits

    # Runs ---------------------------------------------------------------------------------------------

    def _publisher(self, number: int) -> Publisher:
        queue = PartitionQueue(self._inbound.released)
        stream, subject = in_stream(self.node_id), in_subject(self.node_id, number)
        return Publisher(self.connection, stream, subject, number, queue, self._inbound.relax)

    def _begin_run(self) -> None:
        lease, controls = self._lease, self._controls
        assert lease is not None and controls is not None  # noqa: S101, PT018 - narrows the types for checkers
        self._run = run = lease.run
        controls.begin(run)
        self._publishing = [
            asyncio.create_task(self._guarded(partial(each.publish, run)), name=f"publishes {number}")
            for number, each in enumerate(self._inbound.publishers)
        ]
        logger.info("node %s: run %d, %d partitions", self.node_id, run, self.partitions)

    async def _end_publishing(self) -> None:
        publishing, self._publishing = self._publishing, []
        for task in publishing:
            task.cancel()
        await asyncio.gather(*publishing, return_exceptions=True)

    async def _live(self) -> None:
        """Keep the lease; when it is lost, end the run and begin another one."""
        lease, controls = self._lease, self._controls
        assert lease is not None and controls is not None  # noqa: S101, PT018 - narrows the types for checkers
        while True:
            reason = await lease.keep()
            logger.error("node %s: run %d ends: %s", self.node_id, lease.run, reason)
            lease.forget()
            self._run = 0
            controls.begin(0)
            await self._end_publishing()
            infos = self._inbound.start_over()
            if isinstance(self.transport, HostTransport):
                for info in infos:  # its connections are not ours to end
                    self._inbound.peer_connected(info)
            else:
                await asyncio.gather(
                    *(self.transport.disconnect(info.node_id, "the gateway begins anew") for info in infos)
                )
            await patiently(lambda: lease.take(wait=True), _waits)
            self._begin_run()

    def _describe(self) -> Mapping[str, Any]:
        outbound = self._outbound
        return {
            "node": str(self.node_id),
            "version": __version__,
            "partitions": self.partitions,
            "peers": self.peers,
            "waiting": self._inbound.waiting,
            "unsent": 0 if outbound is None else outbound.unsent,
            "dropped": self.transport.dropped.total,
            "refused": self.refusals.counts,
        }

    # Requests of workers ------------------------------------------------------------------------------

    async def _take_batch(self, message: Msg) -> None:
        outbound = self._outbound
        if outbound is not None and message.reply:
            await self._answer(message.reply, outbound.take(message.data, self.run))

    async def _take_control(self, message: Msg) -> None:
        if not message.reply:
            return
        if len(self._answering) >= _CONTROLS:
            self.refusals.add("busy", f"{_CONTROLS} requests are under way")
            await self._answer(message.reply, pack_control({"error": ["busy", "too many requests are under way"]}))
            return
        task = asyncio.create_task(self._control(message), name="answers a worker")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _control(self, message: Msg) -> None:
        controls = self._controls
        if controls is not None:
            await self._answer(message.reply, await controls.take(message.data, held=self.run != 0))

    async def _answer(self, subject: str, data: bytes) -> None:
        with contextlib.suppress(BrokerFailure):  # the worker asks again
            await self.connection.publish(subject, data)


def _waits(reason: str) -> None:
    logger.warning("waiting for the broker: %s", reason)


async def _soon(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, but for two seconds at most."""
    for _ in range(round(_SOON / _LOOK)):
        if condition():
            return
        await asyncio.sleep(_LOOK)
