"""oddwire.transports.host."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.errors import TransportError
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import Manifest
from oddwire.transports.host import HostTransport, call_host


class Mute(HostTransport, ScriptedTransport):
    """Has a host that can do nothing for us."""


class Answering(Mute):
    async def call(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        return method, params, timeout


async def test_a_host_that_can_do_nothing() -> None:
    mute = Mute()
    assert await mute.configure(Manifest()) == {}
    mute.refuse("why")
    with pytest.raises(TransportError, match="the host node of Mute has no methods: 'getinfo' cannot be called"):
        await call_host(mute, "getinfo")


async def test_a_host_is_called_with_what_was_given() -> None:
    assert await call_host(Answering(), "ping", [1], timeout=2.0) == ("ping", [1], 2.0)
    assert await call_host(Answering(), "getinfo") == ("getinfo", None, None)


async def test_without_a_host_there_is_nobody_to_call() -> None:
    with pytest.raises(TransportError, match="ScriptedTransport has no host node to call 'getinfo' on"):
        await call_host(ScriptedTransport(), "getinfo")
