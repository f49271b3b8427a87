"""A gateway as a plugin of lightningd: the life of the plugin's process.

As with a plugin of extensions, asyncio is imported only after the manifest has been sent: the node waits for it. And
the node never waits for the broker: until that is there, what peers send is kept up to a limit, then dropped and
counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from oddwire.app.gc_tuning import hold_collector, relax_collector
from oddwire.app.hosted_logging import log_to_node
from oddwire.app.lightningd import WATCHDOG, is_hosted
from oddwire.app.main_program import on_fork
from oddwire.cluster.gateway.announced import announcement
from oddwire.cluster.manifests import ExtensionManifest
from oddwire.errors import DefinitionError, OddwireError, TransportError
from oddwire.log_limits import LIMITED, get_logger
from oddwire.printable import printable
from oddwire.transports.base import HostOption, Manifest
from oddwire.transports.cln.early_manifest import EarlyManifest
from oddwire.transports.cln.stdio_capture import take_stdio

if TYPE_CHECKING:
    import asyncio

    from oddwire.transports.cln.transport import ClnTransport
    from oddwire.transports.nats.address import BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["OPTIONS", "announced_file", "lock_file", "run_gateway_plugin"]

logger = get_logger("oddwire.cluster.gateway")

_SUCCESSION: Final = WATCHDOG + 1.0  # seconds after which a plugin whose node has died has certainly ended
_ASK: Final = 0.1  # seconds between looks whether it has
_LARGEST: Final = 1 << 20  # bytes of the file with what was announced

OPTIONS: Final = (
    HostOption(name="oddwire-broker", type="string", description="The cluster's NATS: nats://HOST:PORT or tls://..."),
    HostOption(name="oddwire-broker-credentials", type="string", description="A .creds file to log in there by"),
    HostOption(name="oddwire-broker-nkey", type="string", description="A file with the seed of an NKEY to log in by"),
    HostOption(name="oddwire-broker-ca", type="string", description="A file with the CA to trust for its TLS"),
    HostOption(name="oddwire-partitions", type="int", description="Deal peers into so many parts; fixed at first; 16"),
    HostOption(name="oddwire-allow-method", type="string", multi=True, description="Workers may call this method"),
    HostOption(name="oddwire-max-waiting", type="int", description="So much waits for workers at most; 1 GiB at first"),
    HostOption(name="oddwire-replicas", type="int", description="Keep all on so many servers of NATS; 1 at first"),
)
"""What a plugin of this kind takes from lightningd's command line or configuration."""


def run_gateway_plugin() -> NoReturn:
    """Run a gateway as a plugin of the lightningd that started this process; exits when it is done.

    The files that ``oddwire gateway --plugin`` writes call this. If no node started this process, it says on stderr how
    it is run, and exits with 0. SIGTERM, SIGINT, ``plugin stop`` and the end of the node end it, within 4.5 seconds.
    """
    hold_collector()
    file = os.path.abspath(sys.argv[0])  # noqa: PTH100 - pathlib takes its time to load
    if not is_hosted():
        text = f"{file} is a plugin: lightningd --plugin={file} --oddwire-broker=nats://HOST:PORT runs it"
        print(printable(text), file=sys.stderr)  # noqa: T201
        sys.exit(0)
    stdio = take_stdio()
    early_manifest = EarlyManifest(stdio.stdin, stdio.stdout)
    log = log_to_node(early_manifest.log)
    known = _KnownManifests(announced_file(file))
    found = announcement(known.read())
    manifest = Manifest(type_ids=found.type_ids, features=found.features, options=OPTIONS)
    program = _Program(lock_file(file), manifest, known)
    program.prepare()
    early_manifest.answer(manifest)
    from oddwire.transports.cln.transport import ClnTransport

    transport = ClnTransport(
        early_manifest=early_manifest, foreign=stdio.foreign, on_stop=lambda _: program.stop(), linger=True
    )
    log.write = transport.log
    try:
        program.run(transport)
    finally:
        transport.finish()
        stdio.release()
    sys.exit(program.code)


def announced_file(program: str) -> str:
    """Return the name of the file with what a plugin file has announced, in lightningd's folder."""
    return f"{_stem(program)}.announced.json"


def lock_file(program: str) -> str:
    """Return the name of the file that a plugin file locks, beside that."""
    return f"{_stem(program)}.lock"


def _stem(program: str) -> str:
    return f"oddwire-{os.path.basename(program).removesuffix('.py')}"  # noqa: PTH119


class _KnownManifests:
    """What extensions had announced when a gateway last saw it: lightningd wants to know before the broker is asked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = b""

    def read(self) -> list[ExtensionManifest]:
        """Return them; none if there is no file, or none that can be read."""
        found = []
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 - pathlib takes its time to load
                self._written = file.read(_LARGEST)
            found = [ExtensionManifest.decode(json.dumps(each).encode()) for each in json.loads(self._written)]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, RecursionError) as error:
            logger.warning("%s is not read, so nothing is announced for workers: %s", self._path, error)
        return found

    def write(self, manifests: Sequence[ExtensionManifest]) -> None:
        """Keep them for the next start."""
        content = json.dumps([json.loads(each.encode()) for each in manifests]).encode()
        if content == self._written:
            return
        try:
            with open(f"{self._path}.new", "wb") as file:  # noqa: PTH123
                file.write(content)
            os.replace(f"{self._path}.new", self._path)  # noqa: PTH105
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)
        else:
            self._written = content


class _Program:
    """One run of the gateway, which ends when it is stopped, or by an alarm if that takes too long."""

    def __init__(self, lock: str, manifest: Manifest, known: _KnownManifests) -> None:
        self.code = 0
        self._lock = lock
        self._manifest = manifest
        self._known = known
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._stopping = False

    def prepare(self) -> None:
        """Install the signal handlers."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        on_fork((signal.SIGTERM, signal.SIGINT), _leave_signals)

    def run(self, transport: ClnTransport) -> None:
        """Run the gateway until it is stopped."""
        import asyncio

        relax_collector()
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._main = self._loop.create_task(self._serve(transport))
            if self._stopping:
                self._stop_soon()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._main)
            LIMITED.flush()
            self._watch()

    def stop(self) -> None:
        """End it, and set the alarm. Called in the channel's thread and by signal handlers."""
        self._watch()
        if not self._stopping:
            self._stopping = True
            self._stop_soon()

    def _stop_soon(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _watch(self) -> None:
        """Set the alarm, once: the kernel's."""
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, WATCHDOG)

    async def _serve(self, transport: ClnTransport) -> None:
        from oddwire.exit_exceptions import must_pass

        try:
            values = await transport.configure(self._manifest)
            try:
                address = _address(values)
            except (DefinitionError, TransportError) as error:
                self._failed(error)
                transport.refuse(str(error))
                return
            await self._run(transport, address, values)
        except BaseException as error:
            if must_pass(error):
                raise
            if not self._stopping:
                self._failed(error)
        finally:
            await transport.aclose()

    async def _run(self, transport: ClnTransport, address: BrokerAddress, values: Mapping[str, Any]) -> None:
        from oddwire.cluster.gateway.gateway import Gateway
        from oddwire.cluster.gateway.inbound import Inbound
        from oddwire.cluster.gateway.limits import GatewayLimits

        limits = GatewayLimits()
        inbound = Inbound(transport, limits)
        await transport.open(self._manifest, inbound)
        async with contextlib.AsyncExitStack() as stack:
            place = await self._take_place(stack)
            connection = await _connect(address)
            stack.push_async_callback(connection.aclose)
            gateway = Gateway(
                transport,
                connection,
                partitions=values.get("oddwire-partitions"),
                methods=values.get("oddwire-allow-method") or (),
                max_waiting=values.get("oddwire-max-waiting"),
                replicas=values.get("oddwire-replicas"),
                limits=limits,
                place=place,
                announced=self._manifest,
                inbound=inbound,
                on_manifests=self._known.write,
            )
            stack.push_async_callback(gateway.aclose)
            await gateway.start()
            logger.info("%s", await gateway.wait())

    async def _take_place(self, stack: contextlib.AsyncExitStack) -> str:
        """Be the only process of this plugin file at this node; return a name of that place, which no other has.

        The one of a node that was killed ends a moment later than that.
        """
        import asyncio

        from oddwire.cluster.locked_place import Place

        place = Place(self._lock)
        for _ in range(round(_SUCCESSION / _ASK)):
            if place.take():
                stack.callback(place.release)
                return place.name
            await asyncio.sleep(_ASK)
        raise TransportError(f"{place.path} is in use by process {place.holder}, a gateway of the same name")

    def _failed(self, error: BaseException) -> None:
        self.code = 1
        foreseen = isinstance(error, OddwireError)
        logger.error("the gateway cannot run: %s", error, exc_info=None if foreseen else error)


def _address(values: Mapping[str, Any]) -> BrokerAddress:
    """Return where the broker is. Raises `DefinitionError`."""
    from oddwire.transports.nats.address import BrokerAddress

    url = values.get("oddwire-broker")
    if not url:
        raise DefinitionError("the option oddwire-broker should say where the cluster's NATS is: nats://HOST:PORT")
    try:
        address = BrokerAddress(
            url=url,
            credentials=values.get("oddwire-broker-credentials"),
            nkey=values.get("oddwire-broker-nkey"),
            ca=values.get("oddwire-broker-ca"),
        )
        address.tls()
    except ValueError as error:
        raise DefinitionError(f"oddwire-broker: {error}") from error
    import oddwire.transports.nats.connection  # noqa: F401 - raises TransportError if nats-py is missing

    return address


async def _connect(address: BrokerAddress) -> BrokerConnection:
    """Connect to the broker, however long that takes. Raises `TransportError` if it does not let us in."""
    from oddwire.transports.nats.connection import BrokerConnection
    from oddwire.transports.nats.errors import BrokerFailure

    try:
        return await BrokerConnection.open(address, name="oddwire gateway", patience=None)
    except BrokerFailure as failure:
        raise TransportError(f"broker: {failure.reason}") from failure


def _leave_signals() -> None:
    """Restore the default signal handlers in a forked child, which is not the plugin."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
