"""A port in front of a server, at which connections can be cut and frozen: what one sees of a process that is."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Passes bytes between clients and the port ``upstream``. Its own port stays the same when it is opened anew."""

    def __init__(self, socket_path: str | None = None) -> None:
        self.upstream = 0
        self.port = 0
        self.socket_path = socket_path
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        if self.socket_path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self.socket_path)
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """Pass nothing on from now on, as a process does that gets SIGSTOP."""
        self._going.clear()

    def thaw(self) -> None:
        self._going.set()

    async def close(self) -> None:
        """Listen no longer, and reset every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._going.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        back = None
        try:
            await self._going.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._writers.add(back)
            pumps = [asyncio.ensure_future(self._pump(*way)) for way in ((reader, back), (there, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, back):
                if end is not None:
                    end.transport.abort()
                    self._writers.discard(end)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                await self._going.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
