"""A broker for the tests of this folder."""

from tests.support.broker_fixtures import broker, connection

__all__ = ["broker", "connection"]
