from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from tests.support.texts import Answer, Ask

from oddwire.app import AppContext, Application, Context, Extension, Peer, PluginManager, hookimpl
from oddwire.errors import ExtensionError, LocalProtocolError, TransportError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.session.constants import SESSION_TYPE
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import Manifest, Sink
from oddwire.transports.host import HostTransport
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

ALICE = NodeId("02" + "aa" * 32)


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0", feature=513)

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        return Answer(text=request.text.upper())

    @extension.rpc("shout")
    async def shout(context: AppContext, node_id: str, text: str = "hey") -> str:
        with pytest.raises(AttributeError, match=r"context\.app\.peer\(node_id\) returns one"):
            _ = context.peer  # type: ignore[attr-defined]
        return (await context.app.peer(node_id).request(Ask(text=text), Answer)).text

    return extension


class Step:
    """A plugin that writes down its startup and shutdown, and fails when told."""

    def __init__(self, name: str, log: list[str], *, fail: str = "", startup: bool = True) -> None:
        self.name = name
        self._log = log
        self._fail = fail

    @hookimpl
    async def startup(self, app: Application) -> None:
        self._log.append(f"start {self.name}")
        if self._fail == "startup":
            raise RuntimeError(f"{self.name} cannot start")
        if self._fail == "hang":
            await asyncio.Event().wait()

    @hookimpl
    def shutdown(self, app: Application) -> None:
        self._log.append(f"stop {self.name}")
        if self._fail == "shutdown":
            raise RuntimeError(f"{self.name} cannot stop")


class OnlyShutdown:
    name = "only-shutdown"

    def __init__(self, log: list[str]) -> None:
        self._log = log

    @hookimpl
    async def shutdown(self) -> None:
        self._log.append("stop only-shutdown")


class LoggingTransport(ScriptedTransport):
    def __init__(self, log: list[str], error: Exception | None = None) -> None:
        super().__init__()
        self._log = log
        self._error = error

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        self._log.append("open")
        if self._error is not None:
            raise self._error
        await super().open(manifest, sink)

    async def aclose(self) -> None:
        self._log.append("close")
        await super().aclose()


async def test_two_applications_talk(extension: Extension) -> None:
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(extension, transport=network.transport()) as right,
    ):
        assert left.node_id == left.transport.node_id
        assert left.uris == (f"{left.node_id}@memory",)
        peer = await right.connect(left.uris[0])
        assert isinstance(peer, Peer)
        assert peer == right.peer(str(left.node_id)) == right.peer(bytes(left.node_id or b""))
        assert await peer.request(Ask(text="hello"), Answer) == Answer(text="HELLO")
        assert peer.supports(extension)
        assert right.peers == [peer]
        assert await right.call("shout", str(left.node_id)) == "HEY"
        assert await right.call("shout", node_id=str(left.node_id), text="you") == "YOU"
        await right.disconnect(peer.node_id)
        assert right.peers == []
    assert left.uris == ()


async def test_what_the_transport_is_told_is_frozen_before_it_opens(extension: Extension) -> None:
    transport = ScriptedTransport()
    app = Application(extension, transport=transport)
    assert transport.manifest is None
    async with app:
        assert transport.manifest is app.manifest
        assert app.manifest.type_ids == {0x8C01, 0x8C03, SESSION_TYPE}
        assert app.manifest.features == {513}
        assert [method.name for method in app.manifest.rpc_methods] == ["shout"]
    assert app.registry.lookup(0x8C01) is not None
    with pytest.raises(ExtensionError, match="before the application is built"):
        app.plugins.register(Extension("late", version="1.0"))


async def test_hooks_start_in_order_and_stop_backwards() -> None:
    log: list[str] = []
    plugins = [Step("one", log), OnlyShutdown(log), Step("two", log)]
    async with Application(*plugins, transport=LoggingTransport(log)):
        log.append("run")
    assert log == [
        "start one",
        "start two",
        "open",
        "run",
        "close",
        "stop two",
        "stop only-shutdown",
        "stop one",
    ]


async def test_a_startup_that_fails_is_rolled_back() -> None:
    log: list[str] = []
    plugins = [Step("one", log), Step("two", log), Step("three", log, fail="startup"), Step("four", log)]
    app = Application(*plugins, transport=LoggingTransport(log))
    with pytest.raises(RuntimeError, match="three cannot start"):
        await app.start()
    assert log == ["start one", "start two", "start three", "close", "stop two", "stop one"]
    await app.aclose()
    with pytest.raises(LocalProtocolError, match="starts once; this one is closed"):
        await app.start()


async def test_a_startup_that_is_cancelled_is_rolled_back() -> None:
    log: list[str] = []
    app = Application(Step("one", log), Step("two", log, fail="hang"), transport=LoggingTransport(log))
    task = asyncio.create_task(app.start())
    while len(log) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["start one", "start two", "close", "stop one"]


async def test_a_transport_that_does_not_open_is_rolled_back() -> None:
    log: list[str] = []
    app = Application(Step("one", log), transport=LoggingTransport(log, TransportError("port is taken")))
    with pytest.raises(TransportError, match="port is taken"):
        await app.start()
    assert log == ["start one", "open", "close", "stop one"]


async def test_every_shutdown_runs_and_the_first_error_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    plugins = [Step("one", log), Step("two", log, fail="shutdown"), Step("three", log, fail="shutdown")]
    app = Application(*plugins, transport=LoggingTransport(log))
    await app.start()
    with pytest.raises(RuntimeError, match="three cannot stop"):
        await app.aclose()
    assert log[-3:] == ["stop three", "stop two", "stop one"]
    assert "shutdown of 'two' failed" in caplog.text


async def test_starts_once_and_closes_any_number_of_times(extension: Extension) -> None:
    log: list[str] = []
    app = Application(Step("one", log), transport=LoggingTransport(log))
    await app.start()
    with pytest.raises(LocalProtocolError, match="starts once; this one is running"):
        await app.start()
    await asyncio.gather(app.aclose(), app.aclose())
    await app.aclose()
    assert log == ["start one", "open", "close", "stop one"]


async def test_one_that_never_started_closes_and_then_does_not_start() -> None:
    log: list[str] = []
    app = Application(Step("one", log), transport=LoggingTransport(log))
    await app.aclose()
    assert log == []
    with pytest.raises(LocalProtocolError):
        await app.start()


async def test_a_cancelled_close_waits_for_nothing_and_cleans_up() -> None:
    log: list[str] = []
    extension = Extension("slow", version="1.0")

    @extension.on(Ask)
    async def hang(context: Context, request: Ask) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("handler ended")

    transport = LoggingTransport(log)
    app = Application(extension, Step("one", log), transport=transport, grace=3600)
    await app.start()
    transport.connect_peer(ALICE)
    transport.receive(ALICE, app.registry.encode(Ask(text="")))
    await asyncio.sleep(0.01)
    task = asyncio.create_task(app.aclose())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["start one", "open", "handler ended", "close", "stop one"]


async def test_nothing_can_be_asked_of_an_application_that_does_not_run(extension: Extension) -> None:
    app = Application(extension, transport="memory")
    for ask in (lambda: app.peer(ALICE), lambda: app.peers):
        with pytest.raises(LocalProtocolError, match="the application is not started"):
            ask()
    for later in (app.connect("x"), app.disconnect(ALICE), app.call("shout")):
        with pytest.raises(LocalProtocolError, match="the application is not started"):
            await later


async def test_peers_are_named_by_a_node_id(extension: Extension) -> None:
    async with Application(extension, transport="memory") as app:
        with pytest.raises(ValueError, match="node id should be 66 hex digits"):
            app.peer("alice")
        with pytest.raises(ExtensionError, match="no RPC method 'whisper' is loaded; there are: shout"):
            await app.call("whisper")


async def test_a_transport_that_does_not_dial_says_so(extension: Extension) -> None:
    async with Application(extension, transport=ScriptedTransport()) as app:
        with pytest.raises(TransportError, match="ScriptedTransport does not connect on request"):
            await app.connect("somewhere")
        assert app.node_id is None
        assert app.uris == ()


def test_transports_are_made_by_name() -> None:
    network = MemoryNetwork()
    app = Application(transport="memory", transport_options={"network": network})
    assert isinstance(app.transport, MemoryTransport)
    assert app.transport.network is network
    with pytest.raises(ExtensionError, match=r"transport 'memory' does not take these options: .*unexpected keyword"):
        Application(transport="memory", transport_options={"speed": 9})
    with pytest.raises(ExtensionError, match="transport_options are for a transport given by name"):
        Application(transport=MemoryTransport(), transport_options={})

    class Plugin:
        @hookimpl
        def register_transports(self) -> dict[str, Any]:
            return {"odd": dict}

    with pytest.raises(ExtensionError, match=r"transport 'odd' should make a Transport, not \{\}"):
        Application(Plugin(), transport="odd")


def test_extensions_are_objects_names_or_a_manager_of_them(extension: Extension, tmp_path: Any) -> None:
    manager = PluginManager()
    manager.register(Extension("before", version="1.0"))
    file = tmp_path / "from_a_file.py"
    file.write_text("from oddwire.app import Extension\nextension = Extension('filed', version='1.0')\n")
    app = Application(extension, str(file), transport="memory", plugins=manager)
    assert [contribution.name for contribution in app.plugins.contributions] == ["oddwire", "before", "test", "filed"]
    assert app.plugins is manager


async def test_runs_until_it_is_stopped(extension: Extension) -> None:
    log: list[str] = []

    @extension.on_startup
    async def started(context: AppContext) -> None:
        log.append("start")
        asyncio.get_running_loop().call_later(0.01, context.app.stop)

    @extension.on_shutdown
    async def stopped(context: AppContext) -> None:
        log.append("stop")

    await Application(extension, transport="memory").run_until_stopped()
    assert log == ["start", "stop"]
    async with Application(extension, transport="memory") as app:
        await app.run_until_stopped()
    assert log == ["start", "stop"] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_runs_until_a_signal(extension: Extension, number: signal.Signals) -> None:
    log: list[str] = []

    @extension.on_startup
    async def started(context: AppContext) -> None:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), number)

    @extension.on_shutdown
    async def stopped(context: AppContext) -> None:
        log.append("stop")

    before = signal.getsignal(number)
    try:
        await Application(extension, transport="memory").run_until_stopped()
        assert log == ["stop"]
        assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    finally:
        signal.signal(number, before)


async def test_closing_from_elsewhere_ends_a_run(extension: Extension) -> None:
    app = Application(extension, transport="memory")
    run = asyncio.create_task(app.run_until_stopped())
    await asyncio.sleep(0.01)
    await app.aclose()
    await run


async def test_a_handler_may_stop_the_application() -> None:
    extension = Extension("stopper", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        context.app.stop()

    transport = ScriptedTransport()
    app = Application(extension, transport=transport)
    run = asyncio.create_task(app.run_until_stopped())
    await asyncio.sleep(0.01)
    transport.connect_peer(ALICE)
    transport.receive(ALICE, app.registry.encode(Ask(text="")))
    await run
    assert transport.closed


async def test_a_handler_cannot_wait_for_its_own_end() -> None:
    extension = Extension("closer", version="1.0")
    errors: list[LocalProtocolError] = []

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        try:
            await context.app.aclose()
        except LocalProtocolError as error:
            errors.append(error)

    @extension.on_shutdown
    async def close_again(context: AppContext) -> None:
        await context.app.aclose()

    transport = ScriptedTransport()
    async with Application(extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask(text="")))
    assert [str(error) for error in errors] == ["aclose would wait for the handler that called it: call stop() instead"]


async def test_one_cancelled_close_does_not_cancel_another() -> None:
    extension = Extension("slow", version="1.0")

    @extension.on(Ask)
    async def hang(context: Context, request: Ask) -> None:
        await asyncio.Event().wait()

    transport = ScriptedTransport()
    app = Application(extension, transport=transport, grace=3600)
    await app.start()
    transport.connect_peer(ALICE)
    transport.receive(ALICE, app.registry.encode(Ask(text="")))
    impatient, patient = (asyncio.create_task(app.aclose()) for _ in range(2))
    await asyncio.sleep(0.01)
    impatient.cancel()
    await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient


class HostedTransport(HostTransport, LoggingTransport):
    """Has a host, whose values for options are ``values``; `configure` waits until ``configured`` is set."""

    def __init__(self, log: list[str], values: dict[str, Any] | None = None) -> None:
        super().__init__(log)
        self.values = values or {}
        self.configured = asyncio.Event()
        self.configured.set()
        self.refusals: list[str] = []

    async def aclose(self) -> None:
        await asyncio.sleep(0)  # as a host takes its time
        await super().aclose()

    async def configure(self, manifest: Manifest) -> dict[str, Any]:
        self._log.append("configure")
        self.manifest = manifest
        await self.configured.wait()
        return self.values

    def refuse(self, reason: str) -> None:
        self._log.append("refuse")
        self.refusals.append(reason)


@pytest.fixture
def optional() -> Extension:
    extension = Extension("quote", version="1.0")

    @extension.option("quote-asset")
    def asset(value: str = "eur") -> str:
        if value not in ("eur", "usd"):
            raise ValueError("should be eur or usd")
        return value.upper()

    return extension


async def test_the_host_is_asked_for_options_before_the_startup_hooks_run(optional: Extension) -> None:
    log: list[str] = []

    @optional.on_startup
    async def started(context: AppContext) -> None:
        log.append(f"start with {context.options['quote-asset']}")

    transport = HostedTransport(log, {"quote-asset": "usd"})
    app = Application(optional, transport=transport)
    with pytest.raises(LocalProtocolError, match="options are read when the application starts"):
        _ = app.options["quote-asset"]
    async with app:
        assert transport.manifest is app.manifest
        assert [option.name for option in app.manifest.options] == ["quote-asset"]
    assert log == ["configure", "start with USD", "open", "close"]


async def test_options_are_the_hosts_or_the_programs_or_defaults(optional: Extension) -> None:
    for values, options, expected in [
        ({}, None, "EUR"),
        ({}, {"quote-asset": "usd"}, "USD"),
        ({"quote-asset": "eur"}, {"quote-asset": "usd"}, "EUR"),
    ]:
        async with Application(optional, transport=HostedTransport([], values), options=options) as app:
            assert dict(app.options) == {"quote-asset": expected}
    with pytest.raises(ExtensionError, match="no loaded extension has an option 'aset'; there are: quote-asset"):
        Application(optional, transport="memory", options={"aset": "eur"})


async def test_an_option_that_will_not_do_stops_the_start(optional: Extension) -> None:
    log: list[str] = []
    transport = HostedTransport(log, {"quote-asset": "gbp"})
    app = Application(optional, Step("one", log), transport=transport)
    with pytest.raises(ExtensionError, match="option 'quote-asset' of 'quote' cannot be 'gbp': should be eur or usd"):
        await app.start()
    assert log == ["configure", "refuse", "close"]
    assert transport.refusals == ["option 'quote-asset' of 'quote' cannot be 'gbp': should be eur or usd"]


async def test_the_host_is_told_why_a_startup_failed() -> None:
    log: list[str] = []
    transport = HostedTransport(log)
    app = Application(Step("one", log), Step("two", log, fail="startup"), transport=transport)
    with pytest.raises(RuntimeError, match="two cannot start"):
        await app.start()
    await app.aclose()
    assert log == ["configure", "start one", "start two", "refuse", "close", "stop one"]
    assert transport.refusals == ["RuntimeError: two cannot start"]


async def test_a_start_cancelled_while_the_host_is_asked_is_refused() -> None:
    log: list[str] = []
    transport = HostedTransport(log)
    transport.configured.clear()
    task = asyncio.create_task(Application(Step("one", log), transport=transport).start())
    while not log:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["configure", "refuse", "close"]
    assert transport.refusals == ["stopped before it had started"]


async def test_stopped_while_it_starts_it_starts_no_further() -> None:
    log: list[str] = []
    app = Application(Step("one", log), Step("two", log, fail="hang"), transport=HostedTransport(log))
    run = asyncio.create_task(app.run_until_stopped())
    while "start two" not in log:
        await asyncio.sleep(0)
    app.stop()
    await run
    assert log == ["configure", "start one", "start two", "refuse", "close", "stop one"]


async def test_a_run_tells_what_the_start_raised() -> None:
    log: list[str] = []
    app = Application(Step("one", log, fail="startup"), transport=HostedTransport(log))
    with pytest.raises(RuntimeError, match="one cannot start"):
        await app.run_until_stopped()
    assert log == ["configure", "start one", "refuse", "close"]


async def test_a_cancelled_run_that_starts_cleans_up() -> None:
    log: list[str] = []
    app = Application(Step("one", log), Step("two", log, fail="hang"), transport=HostedTransport(log))
    run = asyncio.create_task(app.run_until_stopped())
    while "start two" not in log:
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert log == ["configure", "start one", "start two", "refuse", "close", "stop one"]


async def test_signals_may_be_left_to_the_program(extension: Extension) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        app = Application(extension, transport="memory")

        @extension.on_startup
        async def started(context: AppContext) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            asyncio.get_running_loop().call_later(0.01, context.app.stop)

        await app.run_until_stopped(signals=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


async def test_a_host_that_ends_stops_the_application(extension: Extension, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    transport = ScriptedTransport()
    app = Application(extension, transport=transport)
    run = asyncio.create_task(app.run_until_stopped())
    await asyncio.sleep(0.01)
    assert app.host_stopped is None
    transport._opened.host_stopping("the node has ended")
    await run
    assert app.host_stopped == "the node has ended"
    assert transport.closed
    assert "stopping: the node has ended" in caplog.text


async def test_it_does_not_run_again_once_it_is_closed(extension: Extension) -> None:
    app = Application(extension, transport=ScriptedTransport())
    async with app:
        pass
    with pytest.raises(LocalProtocolError, match="an application starts once; this one is closed"):
        await app.run_until_stopped()


async def test_a_handler_cannot_wait_for_the_end_of_all_handlers() -> None:
    extension = Extension("test", version="1.0")
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @extension.on(Ask)
    async def ask(context: Context, ask: Ask) -> None:
        try:
            await context.app.run_until_stopped()
        except LocalProtocolError as error:
            told.set_result(str(error))

    network = MemoryNetwork()
    async with Application(extension, transport=MemoryTransport(network=network)) as app:
        other = Extension("other", version="1.0")
        other.register(Ask)
        async with Application(other, transport=MemoryTransport(network=network)) as asking:
            peer = await asking.connect(app.uris[0])
            await peer.send(Ask(text="hi"))
            assert "would wait for the handler that called it" in await told


# From start to end -----------------------------------------------------------------------------------


def living(name: str, log: list[str], **raising: BaseException) -> Extension:
    """An extension that writes down what happens to it, and raises in hooks as told."""
    extension = Extension(name, version="1.0")

    def note(hook: str) -> Any:
        async def function(context: AppContext) -> None:
            log.append(f"{name} {hook}")
            await asyncio.sleep(0)
            if hook in raising:
                raise raising[hook]

        return function

    for register in (extension.on_startup, extension.on_ready, extension.on_stopping, extension.on_shutdown):
        register(note(register.__name__.removeprefix("on_")))
    return extension


async def test_extensions_get_ready_when_the_transport_is_open_and_stop_while_it_still_is() -> None:
    log: list[str] = []
    one, two = living("one", log), living("two", log)

    class Plain:
        name = "plain"

        @hookimpl
        async def ready(self, app: Application) -> None:
            log.append(f"plain ready {app.peers}")

        @hookimpl
        def stopping(self) -> None:
            log.append("plain stopping")

    async with Application(one, Plain(), two, transport=LoggingTransport(log)):
        log.append("run")
    assert log == [
        *["one startup", "two startup", "open", "one ready", "plain ready []", "two ready", "run"],
        *["two stopping", "plain stopping", "one stopping", "close", "two shutdown", "one shutdown"],
    ]


async def test_the_hooks_of_one_extension_begin_in_order_and_end_backwards(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    extension = Extension("test", version="1.0")

    def note(text: str, error: BaseException | None = None) -> Any:
        async def function(context: AppContext) -> None:
            log.append(text)
            if error is not None:
                raise error

        return function

    for number in (1, 2, 3):
        extension.on_startup(note(f"startup {number}"))
        extension.on_ready(note(f"ready {number}"))
        extension.on_stopping(note(f"stopping {number}", SystemExit(number)))
        extension.on_shutdown(note(f"shutdown {number}", GeneratorExit(number)))
    with pytest.raises(ExtensionError, match="a shutdown hook raised GeneratorExit: 3"):
        async with Application(extension, transport=ScriptedTransport()):
            pass
    begun = [f"{what} {number}" for what in ("startup", "ready") for number in (1, 2, 3)]
    assert log == begun + [f"{what} {number}" for what in ("stopping", "shutdown") for number in (3, 2, 1)]
    errors = [record for record in caplog.records if record.exc_info]
    assert len(errors) == 6, "each is in the log, once"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("no"), RuntimeError),
        (SystemExit("no"), SystemExit),
        (asyncio.CancelledError("no"), ExtensionError),
        (KeyboardInterrupt("no"), ExtensionError),
    ],
)
async def test_what_is_not_ready_stops_the_start_and_what_was_is_stopped(
    error: BaseException, expected: type[BaseException]
) -> None:
    log: list[str] = []
    plugins = [living("one", log), living("two", log, ready=error), living("three", log)]
    app = Application(*plugins, transport=LoggingTransport(log))
    with pytest.raises(expected, match="no"):
        await app.start()
    assert log == [
        *["one startup", "two startup", "three startup", "open", "one ready", "two ready"],
        *["one stopping", "close", "three shutdown", "two shutdown", "one shutdown"],
    ]
    with pytest.raises(LocalProtocolError, match="is closed"):
        await app.start()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
async def test_what_is_raised_while_stopping_is_told_and_keeps_nothing_from_ending(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    one, two = living("one", log), living("two", log, stopping=error("no"))

    @two.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        log.append(f"two hears {type(error).__name__}")

    async with Application(one, two, transport=ScriptedTransport()) as app:
        log.clear()
    assert log.pop(1) == f"two hears {error.__name__}"
    assert log == ["two stopping", "one stopping", "two shutdown", "one shutdown"]
    assert app.counters.failed == {"two": 1}
    (record,) = caplog.records
    assert record.getMessage().startswith("on_stopping function of 'two' failed")
    assert record.exc_info is not None


async def test_goodbyes_that_reach_nobody_any_more_are_no_errors(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("polite", version="1.0")
    extension.register(Ask)

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        await context.app.peer(ALICE).send(Ask(text="bye"))

    async with Application(extension, transport=ScriptedTransport()) as app:
        caplog.set_level("INFO")
    assert not app.counters.failed
    (record,) = [record for record in caplog.records if "polite" in record.getMessage()]
    assert record.getMessage().startswith("on_stopping stopping of 'polite' ended early: PeerNotConnected")


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_on_stopping_has_the_grace_and_messages_are_handled_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    extension, other = Extension("slow", version="1.0"), living("other", log)
    loop = asyncio.get_running_loop()

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        log.append(request.text)

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        log.append(f"peers: {len(context.app.peers)}")
        await context.app.aclose()  # is under way
        await asyncio.sleep(3)
        transport.receive(ALICE, app.registry.encode(Ask(text="handled")))
        await asyncio.Event().wait()

    transport = ScriptedTransport()
    async with Application(other, extension, transport=transport, grace=7) as app:
        transport.connect_peer(ALICE)
        log.clear()
        begun = loop.time()
    assert 7 <= loop.time() - begun < 60
    assert log == ["peers: 1", "handled", "other stopping", "other shutdown"]
    (record,) = caplog.records
    line = stopping.__code__.co_firstlineno + 6
    assert record.getMessage() == (
        f"on_stopping stopping of 'slow' is cancelled: its time has expired; it waits at {__file__}:{line}"
    )


async def test_a_close_that_is_cancelled_does_not_wait_for_on_stopping() -> None:
    extension = Extension("slow", version="1.0")

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        await asyncio.Event().wait()

    app = Application(extension, transport=ScriptedTransport(), grace=3600)
    await app.start()
    closing = asyncio.create_task(app.aclose())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(LocalProtocolError, match="is closed"):
        await app.connect("nobody")


@pytest.mark.parametrize("hook", ["on_startup", "on_ready"])
async def test_the_start_cannot_wait_for_its_own_end_but_stop(hook: str) -> None:
    log: list[str] = []
    extension = living("test", log)

    async def begin(context: AppContext) -> None:
        with pytest.raises(LocalProtocolError, match=r"aclose would wait for the start that called it: raise, or call"):
            await context.app.aclose()
        context.app.stop()
        log.append("stopped")
        await asyncio.sleep(3600)

    getattr(extension, hook)(begin)
    async with asyncio.timeout(10):
        await Application(extension, transport=ScriptedTransport()).run_until_stopped(signals=False)
    begun = ["test startup"] if hook == "on_startup" else ["test startup", "test ready"]
    ended = [] if hook == "on_startup" else ["test shutdown"]
    assert log == [*begun, "stopped", *ended], "what had not started or got ready is not ended"


async def test_closed_from_elsewhere_while_it_gets_ready_it_says_so() -> None:
    log: list[str] = []
    extension, gate = living("test", log), asyncio.Event()

    @extension.on_ready
    async def wait(context: AppContext) -> None:
        await gate.wait()

    app = Application(extension, transport=ScriptedTransport())
    starting = asyncio.create_task(app.start())
    await asyncio.sleep(0.01)
    await app.aclose()
    gate.set()
    with pytest.raises(LocalProtocolError, match="it was closed while it started"):
        await starting
    assert log == ["test startup", "test ready", "test shutdown"]


async def test_on_ready_may_connect_send_and_ask(extension: Extension) -> None:
    network, found = MemoryNetwork(), []
    async with Application(extension, transport=network.transport()) as left:
        caller = Extension("caller", version="1.0")
        caller.register(Ask)
        caller.register(Answer)

        @caller.on_ready
        async def ready(context: AppContext) -> None:
            peer = await context.app.connect(left.uris[0])
            found.append((await peer.request(Ask(text="hello"), Answer)).text)
            found.append(context.app.peers)

        async with Application(caller, transport=network.transport()) as right:
            assert found == ["HELLO", right.peers]


@pytest.mark.parametrize("late", [False, True])
async def test_why_it_does_not_start_is_said_whatever_ends_badly_after_that(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    started, failing = Extension("started", version="1.0"), Extension("failing", version="1.0")

    @started.on_shutdown
    async def shutdown(context: AppContext) -> None:
        raise KeyError("at the end")

    @failing.on_startup
    async def startup(context: AppContext) -> None:
        if late:
            await asyncio.sleep(3600)
        raise ValueError("the reason")

    app = Application(started, failing, transport=MemoryNetwork().transport())
    with pytest.raises(TimeoutError if late else ValueError):
        async with asyncio.timeout(0.05 if late else None):
            await app.start()
    assert "shutdown of 'started' failed" in caplog.text


async def test_one_that_is_closed_while_it_starts_starts_no_further() -> None:
    first, second, began = Extension("first", version="1.0"), Extension("second", version="1.0"), []

    @first.on_startup
    async def startup(context: AppContext) -> None:
        await asyncio.create_task(context.app.aclose())

    @second.on_startup
    async def never(context: AppContext) -> None:
        began.append(context)

    app = Application(first, second, transport=MemoryNetwork().transport())
    with pytest.raises(LocalProtocolError, match="the application was closed while it started"):
        await app.start()
    assert not began
