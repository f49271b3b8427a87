from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from oddwire.insight.exposition import Exposition

STATS: dict[str, Any] = {
    "program": "talk",
    "kind": "run",
    "oddwire": "0.1.0",
    "node_id": None,
    "uptime": 12.5,
    "messages": [
        {"extension": "chat", "type": 35857, "message": "chat.Say", "direction": "received", "outcome": "ok"}
        | {"count": 10, "bytes": 220},
        {"extension": "chat", "type": 35857, "message": "chat.Say", "direction": "received", "outcome": "pending"}
        | {"count": 2, "bytes": 44},
        {"extension": "", "type": None, "message": None, "direction": "received", "outcome": "unknown"}
        | {"count": 7, "bytes": 14},
    ],
    "handlers": [
        {"extension": "chat", "type": 35857, "message": "chat.Say", "outcome": "ok", "count": 10, "seconds": 0.12}
        | {"buckets": {"0.001": 8, "+Inf": 10}}
    ],
    "errors": [{"extension": "chat", "where": 'handler of "Say"\n', "count": 1}],
    "peers_total": 3,
    "queues": {"messages": 4, "bytes": 99, "tasks": 1},
    "outbox": [{"extension": "chat", "waiting": 5, "bytes": 100}],
    "limits": {"requests": {"refused": 6}},
}


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_number_is_there_with_its_labels() -> None:
    content_type, body = Exposition(lambda: STATS).answer("")
    assert content_type.startswith("text/plain")
    found = samples(body.decode())
    say = {"extension": "chat", "type": "35857", "message": "chat.Say", "direction": "received"}
    others = {"extension": "", "type": "", "message": "", "direction": "received", "outcome": "unknown"}
    assert found["oddwire_messages_total"] == [({**say, "outcome": "ok"}, 10), (others, 7)]
    assert found["oddwire_message_bytes_total"][0] == ({**say, "outcome": "ok"}, 220)
    assert found["oddwire_messages_pending"] == [(say, 2)]
    handler = {"extension": "chat", "type": "35857", "message": "chat.Say", "outcome": "ok"}
    assert found["oddwire_handler_seconds_bucket"] == [({**handler, "le": "0.001"}, 8), ({**handler, "le": "+Inf"}, 10)]
    assert found["oddwire_handler_seconds_sum"] == [(handler, 0.12)]
    assert found["oddwire_handler_seconds_count"] == [(handler, 10)]
    assert found["oddwire_errors_total"] == [({"extension": "chat", "where": 'handler of "Say"\n'}, 1)]
    assert found["oddwire_outbox_messages"] == [({"extension": "chat"}, 5)]
    assert found["oddwire_limits_total"] == [({"limit": "requests", "what": "refused"}, 6)]
    info = {"version": "0.1.0", "program": "talk", "kind": "run", "node_id": ""}
    assert found["oddwire_info"] == [(info, 1)]
    plain = {name: found[f"oddwire_{name}"][0][1] for name in ("peers", "queue_messages", "queue_bytes", "tasks")}
    assert plain == {"peers": 3, "queue_messages": 4, "queue_bytes": 99, "tasks": 1}


def test_openmetrics_is_answered_to_who_takes_it() -> None:
    content_type, body = Exposition(lambda: STATS).answer("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_a_version_that_is_none_is_answered_in_the_usual_format(kind: str) -> None:
    assert Exposition(lambda: STATS).answer(f"{kind};version=x.y") == Exposition(lambda: STATS).answer("")


def test_names_that_are_no_unicode_do_not_end_it() -> None:
    _, body = Exposition(lambda: {**STATS, "program": "talk\udcff"}).answer("")
    assert samples(body.decode())["oddwire_info"][0][0]["program"] == "talk\\udcff"
