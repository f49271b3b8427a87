"""How the tests run; and the application of tests/vectors/session.json, on oddwire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from oddwire import (
    Application,
    ConnectionClosed,
    Context,
    Extension,
    Message,
    NodeId,
    NotSupported,
    PeerNotConnected,
    QuotaExceeded,
    Refuse,
    RemoteFailure,
    message,
    schema_of,
)
from oddwire.errors import RemoteProtocolError
from oddwire.log_limits import LIMITED
from oddwire.session.wire.frame_types import Code

MEMORY_DISK = Path("/dev/shm")
ENOUGH_MEMORY = 2 << 30  # bytes; all the tests together leave some hundred megabytes

# No example has to be quick: a busy machine is slow. `make fuzz` tries more of them
settings.register_profile("tests", deadline=None, max_examples=30)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Start what the tests start as everywhere else, and keep their files in memory if they can be there.

    SQLite waits for the disk at each commit, and a disk is slow.
    """
    os.environ.pop("PYTEST_ADDOPTS", None)  # is for us, and not for the pytests that authors start in the docs
    # Ignored under nohup, or in a shell's background, and so by every program started here
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys() and config.option.basetemp is None:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if shutil.disk_usage(MEMORY_DISK).free >= ENOUGH_MEMORY:
                with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
                    script = Path(folder) / "script"
                    script.write_text("#!/bin/sh\n")
                    script.chmod(0o700)
                    subprocess.run([script], check=True)  # which some systems do not allow there
                os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY_DISK)


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which programs that the tests start have their sockets, and not those of who runs the tests."""
    folder = tmp_path_factory.mktemp("runtime")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    return folder


def pytest_collection_finish() -> None:
    """Keep the tests themselves from being looked through at each collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell in reports what is no Unicode, as foreign text in a log may be: no other process could be sent it."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


DEADLINE = 30  # seconds; reached only where something does not happen at all


@message(0x8CA1, codec="raw")
class Ask(Message):
    data: bytes


@message(0x8CA3, codec="raw")
class Answer(Message):
    data: bytes


@message(0x8CA5, codec="raw")
class Count(Message):
    data: bytes


@message(0x8CA7, codec="raw")
class Number(Message):
    data: bytes


@message(0x8CA9, codec="raw")
class RefuseMe(Message):
    data: bytes


@message(0x8CAB, codec="raw")
class FailMe(Message):
    data: bytes


@message(0x8CAD, codec="raw")
class Hang(Message):
    data: bytes


@message(0x8CAF, codec="raw")
class Note(Message):
    data: bytes


@message(0x8CB3, codec="raw")
class NotYours(Message):
    data: bytes


CLASSES = {schema_of(cls).type_id: cls for cls in (Ask, Count, RefuseMe, FailMe, Hang, Note)}
ANSWERS = {Ask: Answer, Count: Number}


def read(payload: bytes) -> Message:
    return CLASSES[int.from_bytes(payload[:2], "big")](data=payload[2:])


def written(message: Message) -> bytes:
    return schema_of(message).type_id.to_bytes(2, "big") + message.data


class VectorApplication:
    """Extensions that do what the vectors want; what happens to them; and what they can be told to do.

    ``on_note`` is awaited, if there is one, with the context and body of each note, in its handler.
    """

    Ask, Answer, Count, Number, RefuseMe, Hang, Note = Ask, Answer, Count, Number, RefuseMe, Hang, Note

    def __init__(self, on_note: Callable[[Context, bytes], Awaitable[None]] | None = None) -> None:
        self.extension = extension = Extension("vectors", version="1.0")
        private = Extension("private", version="1.0", allow=[])
        self.extensions = (extension, private)
        self.app: Application | None = None
        self._happened: list[tuple[str, bytes, Mapping[str, object]]] = []
        self._changed = asyncio.Event()
        self._asking: asyncio.Task[object] | None = None
        self._read_on = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

        @extension.on(Ask)
        async def answer(context: Context, message: Ask) -> Answer:
            return Answer(data=message.data)

        @extension.on(Count)
        async def count(context: Context, message: Count) -> AsyncIterator[Number]:
            for number in range(struct.unpack(">H", message.data)[0]):
                yield Number(data=struct.pack(">H", number))

        @extension.on(RefuseMe, reliable=True)
        async def refuse(context: Context, message: RefuseMe) -> None:
            raise Refuse("not today", code=1000)

        @extension.on(FailMe)
        async def fail(context: Context, message: FailMe) -> None:
            raise RuntimeError("a bug, of which nobody else should hear")

        @extension.on(Hang)
        async def hang(context: Context, message: Hang) -> None:
            self.note("handled", message)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.note("cancelled", message)
                raise

        @extension.on(Note, reliable=True)
        async def take(context: Context, message: Note) -> None:
            if on_note is not None:
                await on_note(context, message.data)
            self.note("handled", message)

        @private.on(NotYours, reliable=True)
        async def not_yours(context: Context, message: NotYours) -> None:
            self.note("handled", message)

    def note(self, what: str, message: Message, **facts: object) -> None:
        self._happened.append((what, written(message), facts))
        self._changed.set()

    async def happened(self, what: str, payload: bytes) -> Mapping[str, object]:
        async with asyncio.timeout(DEADLINE):
            while True:
                for index, (name, of, facts) in enumerate(self._happened):
                    if (name, of) == (what, payload):
                        del self._happened[index]
                        return facts
                self._changed.clear()
                await self._changed.wait()

    def unexpected(self) -> list[tuple[str, bytes]]:
        """What happened and was not waited for, but for what was cancelled."""
        return [(what, payload) for what, payload, _ in self._happened if what != "cancelled"]

    async def begin(self, node_id: NodeId, what: str, payload: bytes, step: Mapping[str, object]) -> None:
        """Do what a step says, for or with a peer."""
        peer = self.app.peer(node_id)
        match what:
            case "give up":
                self._asking.cancel()
                return
            case "request":
                doing: Awaitable[object] = self._request(peer, read(payload))
            case "stream":
                self._read_on.clear()
                doing = self._stream(peer, read(payload), step["credit"], step.get("used"))
            case "send reliably":
                note = read(payload)
                receipt = await peer.deliver(note)
                task = asyncio.create_task(self._deliver(note, receipt))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
        self._asking = asyncio.create_task(doing)

    async def result(self) -> object:
        """What became of the request or stream, as the vectors write it."""
        self._read_on.set()
        async with asyncio.timeout(DEADLINE):
            return await self._asking

    async def _request(self, peer, message) -> object:
        try:
            return {"reply": written(await peer.request(message, ANSWERS[type(message)], timeout=DEADLINE)).hex()}
        except Exception as error:
            return outcome(error)

    async def _stream(self, peer, message, credit, used) -> object:
        parts: list[str] = []
        try:
            stream = peer.stream(message, ANSWERS[type(message)], timeout=DEADLINE, credit=credit)
            if used == 0:
                first = asyncio.ensure_future(anext(stream))
                await self._read_on.wait()
                parts.append(written(await first).hex())
            async for part in stream:
                parts.append(written(part).hex())  # noqa: PERF401 - those before a failure are kept
        except Exception as error:
            found = outcome(error)
            return {"parts": parts, **found} if isinstance(found, dict) else found
        return {"parts": parts}

    async def _deliver(self, note, receipt) -> None:
        try:
            await receipt.delivered()
        except RemoteFailure as error:
            self.note("failed", note, code=error.code, text=error.text)
        else:
            self.note("delivered", note)


def outcome(error: Exception) -> object:
    match error:
        case RemoteFailure():
            return {"code": error.code, "text": error.text}
        case ConnectionClosed() | PeerNotConnected():
            return "lost"
        case NotSupported() | QuotaExceeded():
            return "not supported"
        case RemoteProtocolError():
            return {"code": Code.MALFORMED, "text": str(error)}
    raise error


@pytest.fixture
def make_vector_application() -> Callable[..., VectorApplication]:
    """Make what runs as the application of the vectors; its ``app`` has to be set."""
    return VectorApplication


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    """Let no test be short of log lines because another one had many."""
    LIMITED.reset()
