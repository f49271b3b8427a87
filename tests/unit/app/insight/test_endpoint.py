from __future__ import annotations

import logging

import pytest
from tests.support.waiting import until
from tests.unit.insight.test_metrics_server import ask

from oddwire import Application, Extension, ExtensionError
from oddwire.app.insight.endpoint import MetricsEndpoint
from oddwire.errors import TransportError
from oddwire.insight.metrics_server import MetricsServer
from oddwire.transports import MemoryNetwork

ASK = b"GET /metrics HTTP/1.1\r\n\r\n"


def application(endpoint: MetricsEndpoint) -> Application:
    return Application(endpoint, Extension("quiet", version="1"), transport=MemoryNetwork().transport())


async def test_it_serves_while_the_application_runs() -> None:
    endpoint = MetricsEndpoint("127.0.0.1:0")
    async with application(endpoint) as app:
        port = int(endpoint.address.rpartition(":")[2])
        status, _, body = await ask(port, ASK)
        assert status == "HTTP/1.1 200 OK"
        assert b'oddwire_info{kind="run"' in body
        assert app.metrics().since is not None
    with pytest.raises(OSError):
        await ask(port, ASK)


async def test_an_address_that_is_taken_ends_the_start_or_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    other = MetricsServer(lambda _: ("text/plain", b""))
    address = await other.open("127.0.0.1", 0)
    with pytest.raises(TransportError, match="Address already in use"):
        await application(MetricsEndpoint(address)).start()
    endpoint = MetricsEndpoint(address, insist=False, again=0.01)
    with caplog.at_level(logging.INFO):
        async with application(endpoint):
            assert not endpoint.address
            assert "Address already in use; it is tried again" in caplog.text
            await other.aclose()
            await until(lambda: endpoint.address == address)


@pytest.mark.parametrize("address", ["nowhere", "host:port", ""])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ExtensionError, match="the address of metrics"):
        MetricsEndpoint(address)
