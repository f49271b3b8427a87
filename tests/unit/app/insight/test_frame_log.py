from __future__ import annotations

import logging

import pytest
from tests.support.waiting import until

from oddwire import Application, Extension
from oddwire.transports import MemoryNetwork

FRAMES = "oddwire.session.frames"


async def test_frames_are_logged_both_ways_if_the_level_is_debug(caplog: pytest.LogCaptureFixture) -> None:
    network = MemoryNetwork()
    with caplog.at_level(logging.DEBUG, FRAMES):
        left = Application(Extension("shop", version="1.0"), transport=network.transport())
        async with left:
            right = Application(Extension("shop", version="1.0"), transport=network.transport())
            logging.getLogger(FRAMES).setLevel(logging.INFO)
            async with right:  # which does not log
                logging.getLogger(FRAMES).setLevel(logging.DEBUG)
                peer = await left.connect(right.uris[0])
                assert await peer.wait_for_hello()
                await until(lambda: sum("<-" in line for line in caplog.messages) >= 2)
                await peer.send_raw(0x9001, b"no frame")
    lines = [record for record in caplog.records if record.name == FRAMES]
    assert {record.getMessage()[:2] for record in lines} == {"->", "<-"}
    assert all("hello" in record.getMessage() and "shop 1.0" in record.getMessage() for record in lines)
    assert {record.peer for record in lines} == {str(right.node_id)}  # type: ignore[attr-defined]


async def test_at_any_other_level_nothing_is_in_the_way() -> None:
    network = MemoryNetwork()
    app = Application(Extension("shop", version="1.0"), transport=network.transport())
    async with app:
        assert "send" not in vars(app.transport)
