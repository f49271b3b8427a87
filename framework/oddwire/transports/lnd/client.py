"""LND's gRPC API over one connection: calls, streams, and notice of its end. Needs grpcio: ``oddwire[lnd]``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.calls import CALLS, Call
from oddwire.transports.lnd.channel import options, target
from oddwire.transports.lnd.credentials import LndCredentials
from oddwire.transports.lnd.errors import LndError, LndFailure, LndRefused, LndUnavailable
from oddwire.transports.lnd.fields import WireError
from oddwire.transports.lnd.macaroon import Macaroon
from oddwire.transports.lnd.messages import (
    PEER_EVENT,
    STATE,
    LndPeer,
    decode_custom_message,
    encode_custom_message,
)
from oddwire.transports.lnd.peer_list import read_peers
from oddwire.transports.lnd.probe import find_fault
from oddwire.transports.lnd.send_queue import Cancellable

_asked = os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else its C core writes to stderr; it looks once, here
try:
    import grpc
    from grpc import aio
except ImportError:
    raise TransportError("the transport lnd needs grpcio: pip install 'oddwire[lnd]'") from None
finally:
    if _asked == "NONE":
        del os.environ["GRPC_VERBOSITY"]  # what we start need not be quiet

__all__ = ["LndClient", "LndError", "LndRefused", "LndUnavailable"]

logger = get_logger("oddwire.transports.lnd")
if logging.getLogger("grpc").level == logging.NOTSET:
    logging.getLogger("grpc").setLevel(logging.WARNING)  # at DEBUG it tells of each call

_KEEPALIVE: Final = 30.0
_CONNECT_TIMEOUT: Final = 10.0  # seconds until LND has to tell its state
_PATIENCE: Final = 30.0  # seconds for answers that nobody waits for but us
_SHORT: Final = 1 << 16  # bytes of an answer that is read at once
_UNKNOWN, _INVALID, _DEADLINE, _UNIMPLEMENTED, _GONE, _DATA_LOSS = 2, 3, 4, 12, 14, 15  # gRPC's status codes
_NO_LND: Final = "speaks gRPC, but is no LND, or one before v0.14"
_NO_MACAROON: Final = "expected 1 macaroon, got 0"
_BAD_MACAROON: Final = ("verification failed", "cannot determine data format", "cannot retrieve macaroon", "caveat ")
_STREAM_TYPE: Final = "a stream: the application's messages and peers come from it already"

T = TypeVar("T")
_Ended: TypeAlias = Callable[[LndFailure | None], object]
_Stream: TypeAlias = Any  # grpc.aio's calls: their types do not tell bytes from their end


class LndClient:
    """One connection to LND, of one event loop: `connect` first, and make a new client after a loss.

    ``keepalive`` is the time in seconds within which a LND that is frozen, or whose host is gone, is noticed: half of
    it is the time between pings. LND hangs up on clients that ping more often than every 5 s, so it should be 12 at
    least. Pings need a call that is open: the stream of LND's states is, as long as the client is connected.

    Once the connection is lost, whatever waits or is asked later fails with `LndUnavailable`. Calls raise `LndError`
    for LND's errors, and `LndRefused` where LND does not accept the macaroon at all.
    """

    def __init__(self, credentials: LndCredentials, *, keepalive: float = _KEEPALIVE) -> None:
        self.credentials: Final = credentials
        self.macaroon: Macaroon | None = None
        """What is sent with calls; known once one was made, or `connect` has found it."""
        self._keepalive = keepalive
        self._name = f"LND at {credentials.address}"
        self._channel: aio.Channel | None = None
        self._calls: dict[str, Callable[..., Any]] = {}
        self._metadata: tuple[tuple[str, str], ...] | None = None
        self._no_macaroon = ""  # why none is sent
        self._state = ""
        self._lost: str | None = None
        self._closed = False
        self._watch: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect, and read LND's state.

        Files are read first. Raises `LndUnavailable` for a LND that is not there or does not answer, `LndRefused` for
        files, addresses and certificates that cannot be right, naming what would be. Cancelled: nothing stays open.
        """
        certificate = self.credentials.certificate()
        missing = self._load_macaroon()
        try:
            watch = await self._open(certificate)
            if missing and self._state in ("LOCKED", "RPC_ACTIVE", "SERVER_ACTIVE"):
                raise LndRefused(missing)
        except BaseException:
            await self.aclose()
            raise
        self._watch = asyncio.get_running_loop().create_task(self._follow(watch))

    async def call(
        self,
        method: str,
        request: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it is sent to LND
    ) -> dict[str, Any]:
        """Make one of the unary calls of `CALLS`, and return its answer; both are as in JSON of LND's REST API.

        Raises `LndError`, with code 3 for a request that has no such field and 4 after ``timeout`` seconds,
        `LndUnavailable` and `LndRefused`. Cancelled: LND may have done it, or still do it.
        """
        entry = CALLS.get(method)
        if entry is None or entry.stream:
            what = "unknown" if entry is None else _STREAM_TYPE
            raise LndError(_UNIMPLEMENTED, f"{printable(method)} is {what}; calls are {', '.join(_UNARY)}")
        try:
            raw = entry.request.encode(request or {})
        except WireError as error:
            raise LndError(_INVALID, f"{method}: {error}") from None
        return await self._read_answer(method, await self._unary(entry, raw, timeout), entry.answer.decode)

    def post_custom_message(self, peer: NodeId, type_id: int, data: bytes, ended: _Ended) -> Cancellable:
        """Begin to send a message of 0 to 65533 bytes behind its type, and return the call.

        ``ended`` is called, not before this returns, with None when LND has written it to the peer's socket, else with
        the error that `call` would raise. Cancelled: LND may have sent it, or still send it.
        """
        try:
            if self._lost is not None:
                raise LndUnavailable(self._lost)
            call = self._method(_SEND)(encode_custom_message(peer, type_id, data), metadata=self._header())
        except (LndFailure, aio.UsageError) as error:
            failure = error if isinstance(error, LndFailure) else self._unusable()
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.add_done_callback(lambda _: ended(failure))
            failed.set_result(None)
            return failed
        # Not awaited: that would take a task more, and three more turns of the loop until the next message
        call.add_done_callback(partial(self._posted, ended))
        return call  # type: ignore[no-any-return]

    def _posted(self, ended: _Ended, call: aio.Call) -> None:
        code = _result(call.code())
        failed = code is not grpc.StatusCode.OK
        ended(self._failed(code.value[0], _result(call.details()) or "", _SEND) if failed else None)

    def custom_messages(self) -> AsyncIterator[tuple[NodeId, bytes]]:
        """Subscribe now, and return the peers' messages: who, and the payload with its two-byte type.

        To be read at once, whatever becomes of them: LND keeps what is not read, without a limit. Ends where LND ends
        it; raises `LndUnavailable`, `LndError` and `LndRefused`.
        """
        return self._subscribe(CALLS["SubscribeCustomMessages"], decode_custom_message)

    def peer_events(self) -> AsyncIterator[tuple[NodeId, bool]]:
        """Subscribe now, and return who comes online (True) and goes offline. Ends and raises as `custom_messages`."""
        return self._subscribe(CALLS["SubscribePeerEvents"], _read_event)

    async def state(self) -> str:
        """Return LND's state, such as ``LOCKED`` or ``SERVER_ACTIVE``; needs no macaroon. Raises `LndUnavailable`."""
        answer = await self.call("GetState", timeout=_PATIENCE)
        self._state = str(answer["state"])
        return self._state

    async def peers(self) -> list[LndPeer]:
        """Return the connected peers. Raises what `call` does."""
        call = CALLS["ListPeers"]
        raw = call.request.encode({"latest_error": True})
        return await self._read_answer(call.name, await self._unary(call, raw, _PATIENCE), read_peers)

    @property
    def lost(self) -> str | None:
        """Why the connection is lost, or closed; None while it is not."""
        return self._lost

    async def aclose(self) -> None:
        """Close the connection; what still waits fails with `LndUnavailable`. Idempotent."""
        self._closed = True
        if self._lost is None:
            self._lost = f"the connection to {self._name} was closed"
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        if watch is not None:
            await asyncio.wait([watch])

    async def _open(self, certificate: bytes, *, again: bool = True) -> _Stream:
        """Connect, read the state, and return the stream of states, which stays open. Raises as `connect`."""
        failed = False
        channel = self._channel = aio.secure_channel(
            target(self.credentials),
            grpc.ssl_channel_credentials(certificate),
            options=options(self.credentials, self._keepalive),
        )
        watch: _Stream = channel.unary_stream(CALLS["SubscribeState"].path)(b"")  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(min(_CONNECT_TIMEOUT, self._keepalive)):
                raw = await watch.read()
            if raw is not aio.EOF:
                self._state = STATE.decode(raw)["state"]
                return watch
            reason = f"{self._name} ended the connection at once"
        except TimeoutError:
            reason = f"{self._name} does not answer"
        except WireError:
            raise LndRefused(f"{self._name} {_NO_LND}") from None
        except aio.AioRpcError as error:
            if error.code().value[0] == _UNIMPLEMENTED:
                raise LndRefused(f"{self._name} {_NO_LND}") from None
            failed = error.code().value[0] == _GONE
            reason = f"{self._name} cannot be reached: {printable(error.details() or '')}"
        fault = await find_fault(self.credentials, certificate, patience=min(_CONNECT_TIMEOUT / 2, self._keepalive))
        if fault is None and failed and again:  # LND began to listen between the two looks: gRPC's is of the past
            await channel.close()
            return await self._open(certificate, again=False)
        raise fault or LndUnavailable(reason)

    def _load_macaroon(self) -> str:
        """Read the macaroon. Return what is wrong where there is none, though a file was given. Raises `LndRefused`."""
        try:
            self.macaroon = self.credentials.macaroon()
        except FileNotFoundError:
            self._no_macaroon = (
                f"macaroon {printable(str(self.credentials.macaroon_file))}: no such file; LND makes admin.macaroon"
                " when the wallet is made, and `oddwire lnd macaroon` prints the line that makes one for oddwire alone"
            )
            return self._no_macaroon if self.credentials.explicit_macaroon else ""
        if self.macaroon is None:
            self._no_macaroon = "LND wants a macaroon: give its file, which the line of `oddwire lnd macaroon` makes"
            self._metadata = ()
        else:
            self._metadata = (("macaroon", self.macaroon.header),)
        return ""

    def _header(self) -> tuple[tuple[str, str], ...]:
        if self._metadata is None:  # there was no file yet when this client connected
            self._load_macaroon()
        return self._metadata or ()

    async def _follow(self, watch: _Stream) -> None:
        """Read LND's states until their stream ends, which is the connection's end, too."""
        reason = f"{self._name} has ended the connection"
        try:
            while (raw := await watch.read()) is not aio.EOF:
                self._state = STATE.decode(raw)["state"]
        except aio.AioRpcError as error:
            reason = self._end(error.details() or "")
        except WireError as error:
            reason = f"the state of {self._name} cannot be read: {error}"
        except asyncio.CancelledError:
            if self._closed or self._lost is not None:
                return
            raise
        await self._lose(reason)

    async def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            logger.debug("%s", reason)
            if self._channel is not None:
                await self._channel.close()

    def _method(self, call: Call) -> Callable[..., Any]:
        found = self._calls.get(call.name)
        if found is None:
            if self._lost is not None or self._channel is None:
                raise self._unusable()
            make = self._channel.unary_stream if call.stream else self._channel.unary_unary
            found = self._calls[call.name] = make(call.path)
        return found

    def _unusable(self) -> LndUnavailable:
        return LndUnavailable(self._lost or f"not connected to {self._name}")

    async def _unary(self, call: Call, raw: bytes, timeout: float | None) -> bytes:  # noqa: ASYNC109
        if self._lost is not None:
            raise LndUnavailable(self._lost)
        metadata = self._header() if call.entity else ()
        try:
            answer: bytes = await self._method(call)(raw, metadata=metadata, timeout=timeout)
            return answer
        except (aio.AioRpcError, asyncio.CancelledError) as error:
            raise self._ended(error, call) from None
        except aio.UsageError:
            raise self._unusable() from None

    async def _read_answer(self, method: str, raw: bytes, read: Callable[[bytes], T]) -> T:
        try:
            # A peer can make the list of peers so long that the loop would stand still for seconds
            return read(raw) if len(raw) <= _SHORT else await asyncio.to_thread(read, raw)
        except WireError as error:
            raise LndError(_DATA_LOSS, f"LND's answer to {method} cannot be read: {error}") from None

    def _subscribe(self, call: Call, read: Callable[[bytes], T]) -> AsyncIterator[T]:
        if self._lost is not None:
            raise LndUnavailable(self._lost)
        return self._read(self._method(call)(b"", metadata=self._header()), call, read)

    async def _read(self, stream: _Stream, call: Call, read: Callable[[bytes], T]) -> AsyncIterator[T]:
        try:
            while (raw := await stream.read()) is not aio.EOF:
                try:
                    value = read(raw)
                except WireError as error:
                    logger.warning("LND sent by %s what cannot be read, which is dropped: %s", call.name, error)
                    continue
                yield value
        except (aio.AioRpcError, asyncio.CancelledError) as error:
            raise self._ended(error, call) from None
        finally:
            stream.cancel()

    def _ended(self, error: aio.AioRpcError | asyncio.CancelledError, call: Call) -> BaseException:
        """Return what to raise for the end of a call: by LND, by cancellation of our task, or with its channel."""
        if not isinstance(error, asyncio.CancelledError):
            return self._failed(error.code().value[0], error.details() or "", call)
        task = asyncio.current_task()
        if self._lost is None or (task is not None and task.cancelling() > 0):
            return error
        return LndUnavailable(self._lost)  # calls are cancelled, too, when their channel is closed

    def _end(self, details: str) -> str:
        """Return how the connection ended, for people, from gRPC's words."""
        if "ping timeout" in details:
            return f"{self._name} has not answered for {self._keepalive:g} s"
        if details.startswith(("Stream removed", "Cancelling all calls", "Socket closed", "Connection reset")):
            return f"{self._name} has ended the connection"
        return f"{self._name} has gone: {printable(details)}"

    def _failed(self, code: int, text: str, call: Call) -> LndFailure:
        if self._lost is not None:
            return LndUnavailable(self._lost)
        if code == _GONE or (code == _UNKNOWN and text.startswith("Stream removed")):
            return LndUnavailable(self._end(text))
        if text == _NO_MACAROON and self._no_macaroon:
            return LndRefused(self._no_macaroon)
        if code == _UNKNOWN and text.startswith(_BAD_MACAROON):
            return LndRefused(
                f"LND does not accept the macaroon {printable(str(self.credentials.macaroon_file))}: {printable(text)};"
                " it is another LND's, has expired or was revoked: make one by the line of `oddwire lnd macaroon`"
            )
        if code == _DEADLINE:
            return LndError(code, f"LND has not answered {call.name} in time")
        return LndError(code, printable(text))


_SEND: Final = CALLS["SendCustomMessage"]
_UNARY: Final = tuple(name for name, call in CALLS.items() if not call.stream)


def _result(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that has nothing to wait for, as those of a call that is done."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError(f"{coroutine} waits")


def _read_event(raw: bytes) -> tuple[NodeId, bool]:
    event = PEER_EVENT.decode(raw)
    try:
        return NodeId(event["pub_key"]), event["type"] == "PEER_ONLINE"
    except ValueError as error:
        raise WireError(str(error)) from None
