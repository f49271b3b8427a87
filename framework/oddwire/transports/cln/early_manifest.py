"""The beginning of a plugin's talk with its node: what can be said before there is a loop."""

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
    """Answers ``getmanifest`` where it lies there already; the rest is left to `ClnTransport`, which takes this over.

    A node waits for all its plugins to tell what they are, and to import asyncio takes as long as most of them need for
    that. ``stdin`` and ``stdout`` are descriptors; ``receive`` and ``version`` are as `ClnTransport` says.
    """

    def __init__(self, stdin: int, stdout: int, *, receive: Receive | None = None, version: str | None = None) -> None:
        self.stdin = stdin
        self.writer = Writer(stdout)
        """Of what it was given, the node may not have taken all."""
        self.unread = b""
        """What was read, and not answered."""
        self.version = os.environ.get("LIGHTNINGD_VERSION") if version is None else version
        # Every node has the hook: where nobody has chosen, one that does not say its version is asked for no more
        by_hook = receive == "hook" or not has_custommsg_notification(self.version, receive == "notification")
        self.receive: Receive = "hook" if by_hook else "notification"
        """How messages come: the hook if this lightningd does not know the notification."""
        self.fell_back = by_hook and receive == "notification"

    def log(self, level: Level, text: str) -> None:
        """Put lines into the node's log. They are written with the manifest, or when the transport begins."""
        self.writer.put_log(level, text)

    def tell(self, manifest: Manifest) -> bool:
        """Answer ``getmanifest`` if it is there, whole, before anything else. Does not wait; false if it is not."""
        os.set_blocking(self.stdin, False)
        try:
            self.unread = os.read(self.stdin, _READ)
        except OSError:  # nothing has come so far, or ever will
            return False
        splitter = JsonSplitter()
        splitter.push(self.unread)
        try:
            request: Any = next(splitter, None)
        except RemoteProtocolError:
            return False  # the transport will find the same
        if type(request) is not dict or request.get("method") != "getmanifest" or "id" not in request:
            return False
        self.unread = splitter.rest
        self.writer.put(self.manifest_answer(request, manifest))
        os.set_blocking(self.writer.fd, False)
        self.writer.flush()
        return True

    def manifest_answer(self, request: dict[str, Any], manifest: Manifest) -> bytes:
        """Write the answer to ``getmanifest``."""
        return encode({"jsonrpc": "2.0", "id": request["id"], "result": getmanifest_result(manifest, self.receive)})
