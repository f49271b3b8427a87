"""A node's calls and streams as a gRPC server's."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import AsyncIterator
from typing import Any

from tests.support.lnd.node import LndNode, Refusal

from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.client import LndClient  # noqa: F401 - it has to be imported before grpc, and keeps it quiet

import grpc  # isort: skip
from grpc import aio  # isort: skip

_codes = {code.value[0]: code for code in grpc.StatusCode}


class LndHandler(grpc.GenericRpcHandler):
    """Decodes requests, encodes answers, and tells errors with their codes."""

    def __init__(self, lnd: LndNode) -> None:
        self._lnd = weakref.ref(lnd)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        lnd = self._lnd()
        _, service, name = details.method.split("/")
        call = CALLS.get(name)
        if lnd is None or call is None or call.path != details.method:

            async def refuse(_: bytes, context: aio.ServicerContext) -> bytes:
                await context.abort(_codes[12], f"unknown method {name} for service {service}")
                return b""

            return grpc.unary_unary_rpc_method_handler(refuse)

        def begin(raw: bytes, context: aio.ServicerContext) -> dict[str, Any]:
            lnd.admit(call, context.invocation_metadata() or ())
            request = call.request.decode(raw)
            lnd.calls.append((call.name, request))
            return request

        def encoded(message: dict[str, Any]) -> bytes:
            given: bytes | None = message.get("raw")
            return call.answer.encode(message) if given is None else given

        async def answer(raw: bytes, context: aio.ServicerContext) -> bytes:
            try:
                return encoded(await lnd.answer(call, begin(raw, context)))
            except Refusal as refusal:
                await context.abort(_codes[refusal.code], refusal.text)
                return b""

        async def stream(raw: bytes, context: aio.ServicerContext) -> AsyncIterator[bytes]:
            try:
                begin(raw, context)
                async with contextlib.aclosing(lnd.stream(call)) as messages:  # type: ignore[type-var]
                    async for message in messages:
                        yield encoded(message)
            except Refusal as refusal:
                await context.abort(_codes[refusal.code], refusal.text)

        return (
            grpc.unary_stream_rpc_method_handler(stream) if call.stream else grpc.unary_unary_rpc_method_handler(answer)
        )
