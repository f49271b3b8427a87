"""The answer to ``getmanifest`` before there is an event loop."""

from __future__ import annotations

import os
from typing import Any, Final

from oddwire.errors import RemoteProtocolError
from oddwire.jsonrpc.documents import JsonSplitter, encode
from oddwire.transports.base import Manifest
from oddwire.transports.cln.manifest import getmanifest_result, has_custommsg_notification
from oddwire.transports.cln.reader import Receive
from oddwire.transports.cln.writer import Level, Writer

__all__ = ["EarlyManifest"]

_READ: Final = 1 << 16


class EarlyManifest:
    """Answers ``getmanifest`` if it has arrived already; `ClnTransport` continues with this object's state.

    A node waits for the manifests of all its plugins, and importing asyncio takes as long as most of them need to send
    it. ``stdin`` and ``stdout`` are descriptors; ``receive`` and ``version`` are those of `ClnTransport`.
    """

    def __init__(self, stdin: int, stdout: int, *, receive: Receive | None = None, version: str | None = None) -> None:
        self.stdin = stdin
        self.writer = Writer(stdout)
        """May hold bytes that the node has not read yet."""
        self.unread = b""
        """Bytes that were read and not handled."""
        self.version = os.environ.get("LIGHTNINGD_VERSION") if version is None else version
        # Every node has the hook: by default, a node of unknown version is asked for no more
        by_hook = receive == "hook" or not has_custommsg_notification(self.version, receive == "notification")
        self.receive: Receive = "hook" if by_hook else "notification"
        """How messages arrive: by the hook if this lightningd does not know the notification."""
        self.fell_back = by_hook and receive == "notification"

    def log(self, level: Level, text: str) -> None:
        """Queue lines for the node's log. They are written with the manifest, or when the transport starts."""
        self.writer.put_log(level, text)

    def answer(self, manifest: Manifest) -> bool:
        """Answer ``getmanifest`` if it has arrived whole, as the first document; return whether. Does not wait."""
        os.set_blocking(self.stdin, False)
        try:
            self.unread = os.read(self.stdin, _READ)
        except OSError:  # nothing has arrived, or ever will
            return False
        splitter = JsonSplitter()
        splitter.push(self.unread)
        try:
            request: Any = next(splitter, None)
        except RemoteProtocolError:
            return False  # the transport will report it
        if type(request) is not dict or request.get("method") != "getmanifest" or "id" not in request:
            return False
        self.unread = splitter.rest
        self.writer.put(self.manifest_answer(request, manifest))
        os.set_blocking(self.writer.fd, False)
        self.writer.flush()
        return True

    def manifest_answer(self, request: dict[str, Any], manifest: Manifest) -> bytes:
        """Return the answer to ``getmanifest``."""
        return encode({"jsonrpc": "2.0", "id": request["id"], "result": getmanifest_result(manifest, self.receive)})
