"""The streams and buckets of a node's cluster: made when it is first set up, and compared when they are there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from oddwire import clocks
from oddwire.cluster.lease_times import TIMES
from oddwire.errors import DefinitionError
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused, StreamFull, UnexpectedSequence
from oddwire.transports.nats.subjects import (
    LEASES,
    META,
    in_stream,
    in_subject,
    log_stream,
    log_subject,
    node_key,
    snapshot_stream,
    snapshot_subject,
)

__all__ = ["DEFAULT_BYTES", "Setup", "set_up", "stream_settings"]

DEFAULT_BYTES: Final = 1 << 30
"""How much waits for workers at most, in the broker, unless the operator says more or less."""

_DUPLICATES: Final = 120.0  # seconds in which the broker knows a message again
_FIXED: Final = (
    "subjects",
    "retention",
    "discard",
    "max_msgs_per_subject",
    "max_age",
    "allow_rollup_hdrs",
    "no_ack",
)
"""Settings that the protocol relies on; all else is the operator's to change."""
_UNLIMITED: Final = {"max_age": (0,), "max_msgs_per_subject": (-1, 0)}


class Setup:
    """How a node's cluster is set up. What is None is as it was, or at first as by default."""

    def __init__(self, *, partitions: int, chosen: bool, replicas: int | None, max_waiting: int | None) -> None:
        self.partitions = partitions
        self.chosen = chosen
        """Whether anybody asked for this number of partitions."""
        self.replicas = replicas
        self.max_waiting = max_waiting


def stream_settings(node: NodeId, replicas: int, max_bytes: int) -> list[dict[str, Any]]:
    """Return the settings of a node's streams, as JetStream's API has them."""
    common = {
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "no_ack": False,
        "allow_rollup_hdrs": False,
        "duplicate_window": round(_DUPLICATES * 1e9),
    }
    return [
        {
            **common,
            "name": in_stream(node),
            "subjects": [in_subject(node, "*")],
            "retention": "workqueue",
            "max_bytes": max_bytes,
        },
        {
            **common,
            "name": log_stream(node),
            "subjects": [log_subject(node, "*")],
            "retention": "limits",
            "deny_delete": True,
            "allow_direct": True,
        },
        {
            **common,
            "name": snapshot_stream(node),
            "subjects": [snapshot_subject(node, "*", "*")],
            "retention": "limits",
            "deny_delete": True,
            "allow_direct": True,
        },
    ]


async def set_up(connection: BrokerConnection, node: NodeId, setup: Setup) -> int:
    """Make the streams and buckets that are not there, compare the others; return the number of partitions.

    Raises `DefinitionError` for settings that are not what they should be, and for another number of partitions than
    the node was set up with; else as `BrokerConnection` does.
    """
    try:
        replicas = setup.replicas or 1
        streams = stream_settings(node, replicas, setup.max_waiting or DEFAULT_BYTES)
        there = {each["name"]: await connection.stream_info(each["name"]) for each in streams}
        first = _first(node, there)
        for name, age in ((META, 0.0), (LEASES, TIMES.ttl)):
            await Bucket(connection, name, max_age=age).create_bucket(replicas=replicas, first=first)
        partitions = await _agree(connection, node, setup, there)
        for settings in streams:
            await _make(connection, settings, setup, there[settings["name"]], first)
    except BrokerRefused as error:
        raise DefinitionError(f"the broker does not set up the cluster: {error.reason}") from error
    except StreamFull as error:
        size = setup.max_waiting or DEFAULT_BYTES
        raise DefinitionError(
            f"the broker has no room for the {size} bytes that are reserved for what waits for workers "
            f"({error.reason}): give it more disk, or say less with --max-waiting BYTES"
        ) from error
    return partitions


_There = Mapping[str, Mapping[str, Any] | None]
"""What the broker says of each of a node's streams; None of one that is not there."""


def _first(node: NodeId, there: _There) -> int:
    """Return the first sequence of what is made anew beside what was left; 0 is the broker's own, for a new node.

    Runs are sequences of the bucket of leases, and terms those of the log. Were they counted from 1 again, what is in
    the other streams would be of later gateways and owners, and stay there for ever, or be taken for this one's.
    """
    if all(there[name] is None for name in (in_stream(node), log_stream(node))):
        return 0
    return round(clocks.wall() * 1e6)  # as many as nobody has written: a sequence each microsecond


async def _agree(connection: BrokerConnection, node: NodeId, setup: Setup, there: _There) -> int:
    """Return the number of partitions that the node has, set now if it has none."""
    meta, key = Bucket(connection, META), node_key(node)
    wanted = json.dumps({"node": str(node), "partitions": setup.partitions}).encode()
    found = await meta.get(key)
    if found is not None and setup.chosen and not any(there.values()):  # the first start got no further than this
        with contextlib.suppress(UnexpectedSequence):
            await meta.update(key, wanted, found.revision)
        found = await meta.get(key)
    if found is None:
        log = there[log_stream(node)]
        if log is not None and log["state"]["messages"] and not setup.chosen:
            raise DefinitionError(
                f"the broker has stores of node {node}, and {META} does not say any more in how many partitions they "
                "are: say the number that the node was set up with, --partitions N"
            )
        try:
            await meta.create(key, wanted)
        except UnexpectedSequence:  # by another gateway, just now
            found = await meta.get(key)
        if found is None:
            return setup.partitions
    try:
        number = json.loads(found.data)["partitions"]
        if type(number) is not int or number < 1:
            raise ValueError(number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        text = f"{key} of {META} at the broker says no number of partitions: {printable(repr(found.data)[:100])}"
        raise DefinitionError(text) from error
    if setup.chosen and number != setup.partitions:
        raise DefinitionError(
            f"node {node} was set up with {number} partitions, which cannot be changed, as each has a store; leave out "
            f"--partitions {setup.partitions}, or say --partitions {number}"
        )
    return number


async def _make(
    connection: BrokerConnection,
    settings: Mapping[str, Any],
    setup: Setup,
    there: Mapping[str, Any] | None,
    first: int,
) -> None:
    name = settings["name"]
    if there is None:
        await connection.api(f"STREAM.CREATE.{name}", {**settings, "first_seq": first})
        return
    found = there["config"]
    for key in _FIXED:
        has, wanted = found.get(key), settings[key]
        same = _UNLIMITED.get(key, (wanted, False, None) if wanted is False else (wanted,))
        if has not in same and has is not None:
            raise DefinitionError(
                f"stream {name} at the broker has {key} {_spelled(has)}, and should have {_spelled(wanted)}: "
                "somebody else made or changed it"
            )
    changed = dict(found)
    if setup.replicas is not None:
        changed["num_replicas"] = setup.replicas
    if setup.max_waiting is not None and "max_bytes" in settings:
        changed["max_bytes"] = setup.max_waiting
    if changed != found:
        await connection.api(f"STREAM.UPDATE.{name}", changed)


def _spelled(value: Any) -> str:
    return printable(json.dumps(value)[:200])
