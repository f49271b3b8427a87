"""`oddwire demo`: two processes talk over BOLT 8 on loopback, and every byte is accounted for.

This process is alice. It starts bob, another ``oddwire run``, and compares the messages that each reports as sent with
those that the other reports as received.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oddwire.app import Application, TraceEvent, hookimpl
from oddwire.cli.applications import make_app, make_transport, start
from oddwire.cli.delivery_report import PATIENCE, Delivery, DeliveryReport, Direction
from oddwire.cli.events import Printer
from oddwire.cli.exit import CommandFailure
from oddwire.cli.reporter import log_to
from oddwire.cli.running import execute
from oddwire.cli.shutdown import on_abandon
from oddwire.cli.variables import without_options
from oddwire.durations import duration
from oddwire.proto.bolt1 import DEFAULT_NETWORK
from oddwire.schema import Schema
from oddwire.schema.spelling import show_fields

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_BURST: Final = 1000
"""Requests sent at once at the end, with as many replies: more than one key rotation each way (BOLT 8)."""
_BOB: Final = ("run", "echo", "chat", "--listen", "127.0.0.1:0", "--json")
_LINE_LIMIT: Final = 1 << 20  # an event with a payload of 65535 bytes in hex fits


@program.command("demo")
def _command() -> None:
    """Watch two processes talk over BOLT 8: echo and chat, in both codecs."""
    printer = Printer()
    log_to(printer, logging.WARNING)
    raise typer.Exit(execute(lambda: _demonstrate(Console(highlight=False)), printer))


class _Alice:
    """A plugin that adds the messages of this process's application to the report."""

    name = "oddwire.cli.demo"

    def __init__(self, ledger: DeliveryReport) -> None:
        self._ledger = ledger
        self.round_trips: list[float] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        """Add a message that was sent or received, or an error, to the report."""
        if event.direction == "refused":
            self._ledger.fail(f"alice: {event.error}")
            return
        delivery = Delivery(event.payload, event.time + time.time() - time.monotonic())
        direction: Direction = "alice → bob" if event.direction == "sent" else "bob → alice"
        self._ledger.write(direction, event.direction, delivery)
        if event.error is not None:
            self._ledger.fail(f"alice: {event.error}")
        if event.direction == "received" and event.latency is not None:
            self.round_trips.append(event.latency)

    @hookimpl
    def handler_failed(self, extension: str, what: str, error: BaseException) -> None:
        """Add a failure to the report."""
        self._ledger.fail(f"alice: {what} of {extension!r} failed: {error!r}")


class _Bob:
    """The other process: an `oddwire run` like any other."""

    def __init__(self, process: asyncio.subprocess.Process, ledger: DeliveryReport) -> None:
        self._process = process
        self._ledger = ledger
        self._uri: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, ledger: DeliveryReport) -> _Bob:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        program = (sys.executable, "-m", "oddwire.cli.main")
        process = await asyncio.create_subprocess_exec(
            *program,
            *_BOB,
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_LIMIT,
            env=without_options({**os.environ}),
        )
        return cls(process, ledger)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def listening(self) -> str:
        """Wait until bob listens, and return his URI. Raises `CommandFailure`."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._uri)
        except TimeoutError:
            raise CommandFailure(f"bob does not listen after {duration(PATIENCE)}") from None

    def say(self, text: str) -> None:
        """Write a line to bob's stdin, for his console."""
        assert self._process.stdin is not None  # noqa: S101 - narrows the type for checkers
        self._process.stdin.write(text.encode() + b"\n")

    def kill(self) -> None:
        """Kill the process without waiting for its end. Callable from any thread."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)

    async def stop(self) -> int:
        """Send SIGINT, wait for the end, and return the exit code; after `PATIENCE` seconds the process is killed."""
        self._uri.cancel()  # no longer awaited
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._reading
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - narrows the type for checkers
        async for line in self._process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "listening":
                    self._uri.set_result(event["uri"])
                case "sent" | "received" as page:
                    direction: Direction = "bob → alice" if page == "sent" else "alice → bob"
                    self._ledger.write(direction, page, Delivery(bytes.fromhex(event["payload"]), event["time"]))
                case "error":
                    self._ledger.fail(f"bob: {event['message']}")
        if not self._uri.done():
            self._uri.set_exception(CommandFailure(next(iter(self._ledger.errors), "bob ended before it listened")))


class _Show:
    """Runs the steps of the demo, and prints the messages of each once they are delivered."""

    def __init__(self, console: Console, ledger: DeliveryReport, app: Application) -> None:
        self._console = console
        self._ledger = ledger
        self._app = app
        self._names = {schema.type_id: name for name, schema in app.registry.by_name.items()}
        self._shown: dict[Direction, int] = {"alice → bob": 0, "bob → alice": 0}
        self.handshake = 0.0
        self.latencies: list[float] = []
        self.round_trips: list[float] = []
        self.burst_seconds = 0.0

    async def step(self, title: str, messages: int, action: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run ``action``, wait until ``messages`` more were delivered, and print them in the order they were sent.

        Raises `CommandFailure`.
        """
        before = self._ledger.settled
        self._console.print(Text(f"\n{title}", style="bold"))
        await action()
        await self._ledger.settle(before + messages)
        lines: list[tuple[float, Text]] = []
        for direction, sent in self._ledger.sent.items():
            first = self._shown[direction]
            self._shown[direction] = len(sent)
            for one, other in zip(sent[first:], self._ledger.received[direction][first:], strict=True):
                latency = max(other.time - one.time, 0.0)
                self.latencies.append(latency)
                lines.append((one.time, self._line(direction, one.payload, latency)))
        for _, line in sorted(lines, key=lambda timed: timed[0]):
            self._console.print(line, no_wrap=True, overflow="ellipsis", crop=False, soft_wrap=False)

    async def burst(self, title: str, messages: int, action: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run ``action``, wait until ``messages`` more were delivered, measure the time. Raises `CommandFailure`."""
        before = self._ledger.settled
        self._console.print(Text(f"\n{title}", style="bold"))
        began = time.monotonic()
        await action()
        await self._ledger.settle(before + messages)
        self.burst_seconds = time.monotonic() - began

    def _line(self, direction: Direction, payload: bytes, latency: float) -> Text:
        message = self._app.registry.decode(payload)
        schema = self._schema(payload)
        style = "green" if direction == "alice → bob" else "cyan"
        return Text.assemble(
            (direction, style),
            f"  {schema.type_id:#06x} ",
            (f"{self._names[schema.type_id]:<16}", "bold"),
            f" {len(payload):>4} B ",
            (f"{latency * 1000:>5.2f} ms  ", "dim"),
            show_fields(schema, message, " "),
        )

    def _schema(self, payload: bytes) -> Schema:
        schema = self._app.registry.lookup(int.from_bytes(payload[:2], "big"))
        if schema is None:
            raise CommandFailure(f"a message arrived that was never declared: {payload.hex()}")
        return schema

    def summary(self) -> Table:
        """Return a table of the delivered messages by type. Raises `CommandFailure` if none of a type was delivered."""
        table = Table(title="Delivered, byte for byte", title_justify="left", title_style="bold")
        for heading in ("type", "message", "codec"):
            table.add_column(heading)
        for heading in ("alice → bob", "bob → alice", "bytes"):
            table.add_column(heading, justify="right")
        for type_id in sorted(self._app.registry.type_ids):
            schema = self._app.registry.lookup(type_id)
            assert schema is not None  # noqa: S101 - narrows the type for checkers
            there, back = (
                [d.payload for d in book if d.payload[:2] == type_id.to_bytes(2, "big")]
                for book in self._ledger.received.values()
            )
            if not there and not back:
                raise CommandFailure(f"no {self._names[type_id]} was delivered")
            size = sum(map(len, there + back))
            counts = (f"{len(there):,}", f"{len(back):,}", f"{size:,}")
            table.add_row(f"{type_id:#06x}", self._names[type_id], schema.codec, *counts)
        table.caption = (
            f"handshake and init {self.handshake * 1000:.1f} ms · medians: "
            f"one way {statistics.median(self.latencies) * 1000:.2f} ms, "
            f"round trip {statistics.median(self.round_trips) * 1000:.2f} ms\n"
            f"{_BURST:,} requests and replies in {self.burst_seconds:.2f} s, with both sides writing a trace"
        )
        table.caption_justify = "left"
        return table


async def _demonstrate(console: Console) -> int:
    ledger = DeliveryReport()
    alice = _Alice(ledger)
    transport = make_transport(data_dir=None, network=DEFAULT_NETWORK, proxy=None)
    app = make_app(Printer(), alice, "echo", "chat", transport=transport)
    began = time.monotonic()
    bob = await _Bob.start(ledger)
    on_abandon(bob.kill)
    try:
        await start(app)
        try:
            uri = await bob.listening()
            console.print(f"alice  is this process, {os.getpid()}")
            console.print(f"bob    is process {bob.pid}: [bold]oddwire {' '.join(_BOB)}[/]", soft_wrap=True)
            console.print(f"       {uri}", style="dim", soft_wrap=True)
            show = _Show(console, ledger, app)
            await _converse(show, app, alice, bob, uri)
        finally:
            await app.aclose()
    finally:
        code = await bob.stop()
    ledger.balance()
    if code != 0:
        raise CommandFailure(f"bob ended with exit code {code}")
    console.print()
    console.print(show.summary())
    seconds = time.monotonic() - began
    console.print(
        f"\n[bold green]ok[/]  all {ledger.settled:,} messages were delivered; {seconds:.1f} s from start to end"
    )
    return 0


async def _converse(show: _Show, app: Application, alice: _Alice, bob: _Bob, uri: str) -> None:
    request, bolt_request = (app.registry.by_name[f"echo.{name}"].cls for name in ("Request", "BoltRequest"))
    reply, bolt_reply = (app.registry.by_name[f"echo.{name}"].cls for name in ("Reply", "BoltReply"))

    async def connect() -> None:
        began = time.monotonic()
        await app.connect(uri)
        show.handshake = time.monotonic() - began

    await show.step("Handshake (BOLT 8) and init (BOLT 1); then chat says hello, on both sides", 4, connect)
    (peer,) = app.peers

    async def echo() -> None:
        for number, text in enumerate(("ahoy", "señor ⚡"), 1):
            await peer.request(request(text=text, number=number), reply, timeout=PATIENCE)

    await show.step("echo, carried by msgpack", 4, echo)

    async def bolt_echo() -> None:
        for number, note in ((1, "a"), (2, "b")):
            asked = bolt_request(number=number, data=b"\xff", note=note)
            await peer.request(asked, bolt_reply, timeout=PATIENCE)

    await show.step("echo, in BOLT 1's own wire format", 4, bolt_echo)

    async def talk() -> None:
        await app.call("chat-say", "hear me?")
        bob.say("I do.")

    await show.step("chat: a line and its receipt, from either side", 4, talk)
    show.round_trips = list(alice.round_trips)

    async def burst() -> None:
        requests = (bolt_request(number=number, data=bytes(64)) for number in range(_BURST))
        await asyncio.gather(*(peer.request(one, bolt_reply, timeout=PATIENCE) for one in requests))

    await show.burst(f"{_BURST:,} requests in one go: keys rotate every 500 messages each way", 2 * _BURST, burst)
