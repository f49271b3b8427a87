"""Listening sockets, and the queue of callers before a connection is made, served by source address in turn.

asyncio's own server would accept and connect any number of callers in one iteration. Accepting is cheap, and done at
once, so that no honest caller is left in the kernel's queue behind a flood. Making a connection of a socket and the
handshake are costly; for these, callers wait in a queue, in which source addresses take turns. One caller too many
drops the oldest caller of the source that has the most in the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from oddwire.proto.connection import LightningConnection
from oddwire.proto.noise import ACT_SIZES
from oddwire.proto.sharing import LoopShare

__all__ = ["Acceptor", "Lingering", "source_of"]

logger = logging.getLogger("oddwire.proto")

_BACKLOG: Final = 1024
_AT_ONCE: Final = 64  # callers accepted in one event-loop iteration
_ADMITTING: Final = 150e-6  # seconds asyncio takes to make a connection of a socket, in iterations of its own
_CROWD: Final = 8  # waiting callers
_LOOKED_AT: Final = 64  # callers looked at to find one that can be admitted
_LOOK_AGAIN: Final = 0.05  # seconds until the next look when there was none
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_REST: Final = 0.5  # seconds without accepting when no descriptor is left
_LOG_EVERY: Final = 60.0  # seconds between two log lines about that


def source_of(address: Any) -> str:
    """Return the source that a caller's address counts for: an IPv4 address, or the /64 network of an IPv6 one."""
    host = address[0] if isinstance(address, tuple) and address else ""
    if ":" not in host:
        return str(host)
    ip = ipaddress.IPv6Address(host.partition("%")[0])
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False))


def _itself(connection: LightningConnection) -> asyncio.BaseProtocol:
    return connection


class Lingering:
    """Connections that have ended and whose sockets wait for the peer to read our last bytes, up to a limit.

    One more aborts the oldest.
    """

    def __init__(self, most: int, counters: Counter[str] | None = None) -> None:
        self._most = most
        self._counters = counters
        self._held: dict[LightningConnection, None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Any:
        return iter([*self._held])

    def add(self, connection: LightningConnection) -> None:
        """Count a connection that has ended until its socket is gone; do nothing if it is gone already."""
        if not connection.lingers or connection in self._held:
            return
        self._held[connection] = None
        connection.on_gone = self._gone
        while len(self._held) > self._most:
            oldest = next(iter(self._held))
            del self._held[oldest]
            if self._counters is not None:
                self._counters["max_lingering"] += 1
            oldest.abort("too many connections linger")

    def _gone(self, connection: LightningConnection) -> None:
        self._held.pop(connection, None)


class _SourceQueue:
    """Waiting callers, by their source."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[socket.socket, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, source: str, caller: socket.socket, until: float) -> None:
        self._sources.setdefault(source, {})[caller] = until
        self._count += 1

    def next(self) -> tuple[str, socket.socket, float]:
        """Remove the oldest caller of the source whose turn it is; return source, caller, and its deadline."""
        source = next(iter(self._sources))
        callers = self._sources.pop(source)
        caller = next(iter(callers))
        until = callers.pop(caller)
        if callers:
            self._sources[source] = callers  # at the end
        self._count -= 1
        return source, caller, until

    def expire(self, now: float) -> None:
        """Hang up on callers whose deadline has passed."""
        for source, callers in [*self._sources.items()]:
            for caller in [caller for caller, until in callers.items() if until <= now]:
                del callers[caller]
                self._count -= 1
                caller.close()
            if not callers:
                del self._sources[source]

    def drop(self) -> socket.socket:
        """Remove and return the oldest caller of the source that has the most."""
        source = max(self._sources, key=lambda name: len(self._sources[name]))
        callers = self._sources[source]
        caller = next(iter(callers))
        del callers[caller]
        if not callers:
            del self._sources[source]
        self._count -= 1
        return caller


class Acceptor:
    """The sockets that one server listens on. ``make`` returns the connection for a caller from a source, or None.

    ``protocol`` returns what asyncio is to call for a connection: the connection itself, or what carries it.

    A caller waits at most ``patience`` seconds, whether it sends nothing or there is no time for it.

    ``counters`` counts callers dropped because too many waited (``max_waiting``), and how often there was no
    descriptor for one (``descriptors``).
    """

    def __init__(
        self,
        make: Callable[[str], LightningConnection | None],
        share: LoopShare,
        *,
        max_waiting: int,
        patience: float,
        counters: Counter[str],
        protocol: Callable[[LightningConnection], asyncio.BaseProtocol] | None = None,
    ) -> None:
        self._make = make
        self._protocol = protocol or _itself
        self._share = share
        self._max_waiting = max_waiting
        self._patience = patience
        self._counters = counters
        self._loop = share.loop
        self._sockets: list[socket.socket] = []
        self._line = _SourceQueue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._asked: Callable[[], None] | None = None  # set while a later admission is scheduled
        self._waking: asyncio.TimerHandle | None = None
        self._expiring: asyncio.TimerHandle | None = None
        self._logged_at: float | None = None
        self._unlogged = 0

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every socket."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    @property
    def waiting(self) -> int:
        """The number of callers accepted and not admitted yet."""
        return len(self._line)

    async def open(self, host: str | None, port: int) -> None:
        """Listen on ``host`` (None: every interface) and ``port`` (0: any free one). Raises `OSError`."""
        infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(infos):
                try:
                    sock = socket.socket(family, kind, protocol)
                except OSError:
                    if host is None and len(infos) > 1:
                        continue  # this machine does not speak one of the families
                    raise
                self._sockets.append(sock)
                sock.setblocking(False)
                if os.name == "posix":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
            for sock in self._sockets:
                sock.listen(_BACKLOG)
        except BaseException:
            self.close()
            raise
        self._start()

    def close(self) -> None:
        """Stop listening, and hang up on waiting callers. Idempotent."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        else:
            self._stop()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for timer in (self._waking, self._expiring):
            if timer is not None:
                timer.cancel()
        while self._line:
            self._line.next()[1].close()

    async def aclose(self) -> None:
        """`close`, and wait for admissions under way."""
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        self._resting = None
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _stop(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError, ValueError):  # of a socket that was never watched
                self._loop.remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        try:
            self._accept_all(sock)
        finally:
            if self._asked is None:
                self._ask()
            if self._line and self._expiring is None:
                self._expiring = self._loop.call_later(self._patience, self._expire)

    def _accept_all(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                caller, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # the caller has hung up already
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                    return
                logger.debug("cannot accept a connection: %s", error)  # a network error: accept(2) says to try again
                continue
            caller.setblocking(False)
            self._line.add(source_of(address), caller, self._loop.time() + self._patience)
            if len(self._line) > self._max_waiting:
                self._line.drop().close()
                self._counters["max_waiting"] += 1

    def _rest(self, error: OSError) -> None:
        """Stop accepting for a moment: no descriptor is left, and waiting callers would wake the loop again at once."""
        self._stop()
        self._resting = self._loop.call_later(_REST, self._start)
        self._counters["descriptors"] += 1
        now = self._loop.time()
        if self._logged_at is not None and now < self._logged_at + _LOG_EVERY:
            self._unlogged += 1
            return
        more = f"; {self._unlogged} more times since this was last logged" if self._unlogged else ""
        self._logged_at, self._unlogged = now, 0
        logger.warning("no connection can be accepted for now: %s%s", os.strerror(error.errno or 0), more)

    def _expire(self) -> None:
        self._expiring = None
        self._line.expire(self._loop.time())
        if self._line:
            self._expiring = self._loop.call_later(self._patience / 4, self._expire)

    def _ask(self) -> None:
        self._asked = self._waking = None
        if self._line:
            self._asked = self._pump
            self._share.handshakes.do(self._pump)

    def _pump(self) -> None:
        """Admit one caller, and schedule the next one for an event-loop iteration of its own."""
        self._asked = None
        admitted = self._admit()
        if self._line:
            self._asked = self._ask
            self._waking = self._loop.call_later(0.0 if admitted else _LOOK_AGAIN, self._ask)

    def _admit(self) -> bool:
        # With many waiting, callers that have not begun their handshakes are passed over, and those whose first act
        # came before are dropped: either costs them nothing, and would cost us much
        waiting = len(self._line)
        crowded = waiting > _CROWD and (self._share.handshakes.pressed or waiting > self._max_waiting // 4)
        for _ in range(min(len(self._line), _LOOKED_AT)):
            source, caller, until = self._line.next()
            if crowded:
                try:
                    act = caller.recv(ACT_SIZES[1], socket.MSG_PEEK)
                except BlockingIOError:
                    self._line.add(source, caller, until)
                    continue
                except OSError:
                    act = b""
                if not act or self._share.handshakes.is_stale(act):
                    caller.close()
                    self._counters["handshake_share"] += 1
                    continue
            connection = self._make(source)
            if connection is None:
                caller.close()
                return True
            self._share.handshakes.spend(_ADMITTING)
            task = self._loop.create_task(self._connect(connection, caller))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return True
        return False

    async def _connect(self, connection: LightningConnection, caller: socket.socket) -> None:
        try:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: self._protocol(connection), caller)
        except OSError as error:
            caller.close()
            connection.abort(str(error))
