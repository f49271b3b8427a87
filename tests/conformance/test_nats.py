"""The transport kit over a real nats-server: two nodes with gateways, and the owners of their partitions."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.support.broker import Broker
from tests.support.clustered import Clustered

from oddwire.proto.keys import PrivateKey
from oddwire.testing.transport_conformance import TransportConformance
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.transport import Bolt8Transport


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), sync="2m") as running:
        yield running


class TestNats(TransportConformance):
    patience = 8.0
    shows_features = False  # the gateway announces those of the manifests that workers have written

    @pytest.fixture(autouse=True)
    def _use(self, broker: Broker) -> None:
        self.broker = broker.address

    async def make(self) -> tuple[Transport, Transport]:
        left = Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest")
        right = Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest", listen=["127.0.0.1:0"])
        return Clustered(left, self.broker), Clustered(right, self.broker)
