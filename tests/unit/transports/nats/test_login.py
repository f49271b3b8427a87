"""Files to log in by, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.broker_users import GuardedBroker

from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused
from oddwire.transports.nats.login import check_login

CREDENTIALS = """-----BEGIN NATS USER JWT-----
eyJ0.eyJq.sig
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


@pytest.fixture
def seed(tmp_path: Path) -> str:
    return GuardedBroker(tmp_path / "broker", {}).seeds["admin"].read_text().strip()


def address(folder: Path, what: str, text: str) -> BrokerAddress:
    file = folder / "login"
    file.write_text(text)
    return BrokerAddress(url="nats://127.0.0.1:1", **{what: str(file)})  # type: ignore[arg-type]


def test_a_seed_and_credentials_are_taken(tmp_path: Path, seed: str) -> None:
    check_login(address(tmp_path, "nkey", f"{seed}\n"))
    check_login(address(tmp_path, "credentials", CREDENTIALS.format(seed=seed)))
    check_login(address(tmp_path, "credentials", CREDENTIALS.format(seed=seed).replace("\n", "\r\n")))


@pytest.mark.parametrize("bad", ["", "-----BEGIN CERTIFICATE-----", "SUabc", "\x00\xff"])
async def test_what_is_none_is_refused_before_anything_is_sent(tmp_path: Path, seed: str, bad: str) -> None:
    with pytest.raises(BrokerRefused, match=r"NKEY file .* has no seed"):
        await BrokerConnection.open(address(tmp_path, "nkey", bad), patience=None)
    for text in (bad, CREDENTIALS.format(seed=bad), f"-----BEGIN NATS USER JWT-----\n{seed}\n"):
        with pytest.raises(BrokerRefused, match=r"credentials file .* has no JWT and seed"):
            await BrokerConnection.open(address(tmp_path, "credentials", text), patience=None)
