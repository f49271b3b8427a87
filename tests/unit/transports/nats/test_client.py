"""The client of a broker that says no, against a real nats-server."""

from __future__ import annotations

from pathlib import Path

import pytest
from nats.aio.msg import Msg
from tests.support.broker import Broker
from tests.support.broker_users import GuardedBroker
from tests.support.waiting import until

from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerUnavailable


async def test_a_login_that_is_taken_back_and_given_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(tmp_path, settings="authorization { users: [ { user: a, password: b } ] }")
    with broker:
        connection = await BrokerConnection.open(BrokerAddress(url=broker.url.replace("//", "//a:b@")))
        heard: list[bytes] = []

        async def hear(message: Msg) -> None:
            heard.append(message.data)

        await connection.client.subscribe("here", cb=hear)
        settings = broker.config.read_text()
        broker.reload(settings.replace("user: a", "user: other"))
        await until(lambda: "does not let us in any more, tried again until it does: authoriz" in caplog.text.lower())
        with pytest.raises(BrokerUnavailable, match="no connection to the broker"):
            await connection.api("INFO")
        broker.reload(settings)
        await until(lambda: connection.is_connected)
        await connection.publish("here", b"again")
        await until(lambda: heard == [b"again"])
        assert "streams" in await connection.api("INFO")
        await connection.aclose()


async def test_a_file_that_has_no_login_for_a_moment(tmp_path: Path) -> None:
    with GuardedBroker(tmp_path, {}) as broker:
        connection = await BrokerConnection.open(broker.address_of("admin"))
        seed = broker.seeds["admin"].read_bytes()
        broker.seeds["admin"].write_bytes(b"SU")
        said: list[str] = []
        broker.kill()
        await until(lambda: not connection.is_connected)
        broker.start()
        failed = connection.client._error_cb

        async def tell(error: Exception) -> None:
            said.append(str(error))
            await failed(error)

        connection.client._error_cb = tell
        await until(lambda: [text for text in said if "Connect call" not in text])
        broker.seeds["admin"].write_bytes(seed)
        await until(lambda: connection.is_connected)
        await connection.aclose()


async def test_one_that_is_closed_while_a_broker_with_tls_is_away(tmp_path: Path) -> None:
    with GuardedBroker(tmp_path, {}) as broker:
        connection = await BrokerConnection.open(broker.address_of("admin"))
        broker.kill()
        await until(lambda: not connection.is_connected)
        await connection.client.subscribe("later")
        await connection.aclose()
        assert connection.client.is_closed
