from __future__ import annotations

from typing import Any

from oddwire.session.reliable.without_store import WithoutStore
from oddwire.session.wire.frame_types import Ack, Code, Data, Refusal, Scope


async def test_a_reliable_message_is_refused_with_all_before_it(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    without = WithoutStore(stage.host)
    stage.session.shared.delivery = without
    stage.say(Data(lane=5, epoch=3, base=8, sequence=10, content=b"\x8c\x01order"))
    await stage.idle()
    [ack] = stage.sent()
    text = "no reliable messages are accepted here"
    refusals = tuple(Refusal(number, Code.UNSUPPORTED, text if number == 10 else "") for number in (8, 9, 10))
    assert ack == Ack(Scope.LANE, 0, 5, 3, 10, refusals)
    assert ("refused", link.node_id, b"\x8c\x01order") in stage.host.told
    assert stage.session.shared.counters.declined == {"unsupported": 1}


async def test_nothing_was_sent_so_nothing_can_be_acknowledged(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    stage.session.shared.delivery = without = WithoutStore(stage.host)
    assert not without.is_waiting(link)
    stage.say(Ack(Scope.LANE, 0, 5, 1, 1))
    assert stage.session.shared.counters.dropped == {"frames": 1}
