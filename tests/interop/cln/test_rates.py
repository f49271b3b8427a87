"""The extension `rates` inside lightningd, which publishes its feerates, and a subscriber on our own node."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.waiting import until_answered

from oddwire import Application
from oddwire.proto import PrivateKey
from oddwire.transports import Bolt8Transport
from oddwire_extensions.rates import extension

pytestmark = [pytest.mark.cln, pytest.mark.interop]

SCRIPT = "#!/usr/bin/env python3\nfrom oddwire_extensions.rates import extension\n\nextension.run()\n"


async def test_its_feerates_reach_a_subscriber(start, tmp_path: Path) -> None:
    plugin = tmp_path / "rates"
    plugin.write_text(SCRIPT)
    plugin.chmod(0o700)
    cln = start.lightningd(plugin, options=["--rates-feerates=1"])
    transport = Bolt8Transport(PrivateKey(b"\x09" * 32), network="regtest")
    async with Application(extension, transport=transport, store=str(tmp_path / "store")) as app:
        await app.connect(cln.uri)

        async def topics() -> object:
            return await app.call("rates-topics", cln.node_id)

        topic = (await until_answered(topics))[0]["topic"]
        assert topic.startswith("feerate/")
        await app.call("rates-subscribe", cln.node_id, topic)

        async def value() -> object:
            [row] = await app.call("rates-latest")
            return row["value"]

        estimates = (await cln.call("feerates", style="perkb"))["perkb"]["estimates"]
        assert await until_answered(value) in {str(one["smoothed_feerate"]) for one in estimates}
        assert [row["topic"] for row in await cln.call("rates-subscribers")] == [topic]
