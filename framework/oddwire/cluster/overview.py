"""What a cluster looks like from its broker: who is there, who has which partition, and what waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oddwire.cluster.lease_values import parsed
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.transports.nats.bucket import Bucket, Value
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import LEASES, META, in_stream, in_subject, node_key, partition_key

__all__ = ["FailOver", "NodeView", "Overview", "PartitionView", "WorkerView", "read_overview"]

_MOST: Final = 1024  # partitions of a node
_LATEST: Final = 1e11  # seconds since 1970: what is later, or no number at all, is no time


class WorkerView(FrozenRecord, kw_only=True):
    """A live worker, as it describes itself; ``partitions`` is how many it has."""

    id: str
    host: str
    pid: int
    state: str
    partitions: int
    failing: int
    versions: Mapping[str, str]


class PartitionView(FrozenRecord, kw_only=True):
    """A partition: its owner, None if nobody has it, the term, since when, and how many stream messages wait."""

    partition: int
    worker: str | None
    term: int
    state: str
    since: float
    waiting: int


class NodeView(FrozenRecord, kw_only=True):
    """A node; ``gateway`` is what its gateway says of itself, None if none is there."""

    node: str
    gateway: Mapping[str, Any] | None
    partitions: tuple[PartitionView, ...]


class FailOver(FrozenRecord, kw_only=True):
    """A partition that was taken after its owner's lease had run out, at ``at``, in seconds since 1970."""

    node: str
    partition: int
    former: str
    worker: str
    at: float


class Overview(FrozenRecord, kw_only=True):
    """A cluster; ``jobs`` are those that run once, by name, with the worker that has them."""

    workers: tuple[WorkerView, ...]
    nodes: tuple[NodeView, ...]
    jobs: Mapping[str, str]
    fail_over: FailOver | None

    @property
    def unowned(self) -> int:
        """How many partitions nobody has."""
        return sum(1 for node in self.nodes for each in node.partitions if each.worker is None)

    def to_values(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            "workers": [_values(each) for each in self.workers],
            "nodes": [{**_values(node), "partitions": [*map(_values, node.partitions)]} for node in self.nodes],
            "jobs": dict(self.jobs),
            "fail_over": None if self.fail_over is None else _values(self.fail_over),
        }


def _values(record: FrozenRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__annotations__}


async def read_overview(connection: BrokerConnection) -> Overview:
    """Read it. Raises `BrokerFailure`, `BrokerRefused` if no gateway has set the broker up."""
    leases = {key: parsed(value.data) for key, value in (await Bucket(connection, LEASES).all()).items()}
    settings = await Bucket(connection, META).all("node.")
    nodes = [await _node(connection, key, value, leases) for key, value in sorted(settings.items())]
    return Overview(
        workers=tuple(_worker(fields) for key, fields in sorted(leases.items()) if key.startswith("worker.")),
        nodes=tuple(node for node in nodes if node is not None),
        jobs={
            key.removeprefix("job."): _text(fields, "worker")
            for key, fields in sorted(leases.items())
            if key.startswith("job.")
        },
        fail_over=_last_fail_over(leases),
    )


async def _node(
    connection: BrokerConnection, key: str, value: Value, leases: Mapping[str, Mapping[str, Any]]
) -> NodeView | None:
    count = parsed(value.data).get("partitions")
    try:
        node = NodeId(key.removeprefix("node."))
    except ValueError:
        return None
    waiting = await _waiting(connection, node)
    partitions = range(min(count, _MOST) if type(count) is int else 0)
    views = [_partition(number, leases.get(partition_key(node, number)), waiting) for number in partitions]
    return NodeView(node=str(node), gateway=leases.get(node_key(node)), partitions=tuple(views))


async def _waiting(connection: BrokerConnection, node: NodeId) -> Mapping[int, int]:
    """Return how many messages of the node's stream are not handled yet, by partition."""
    info = await connection.stream_info(in_stream(node), {"subjects_filter": in_subject(node, "*")})
    subjects = {} if info is None else info["state"].get("subjects") or {}
    counts = {key.rpartition(".")[2]: count for key, count in subjects.items()}
    return {int(number): count for number, count in counts.items() if number.isdecimal()}


def _partition(number: int, fields: Mapping[str, Any] | None, waiting: Mapping[int, int]) -> PartitionView:
    held = fields or {}
    return PartitionView(
        partition=number,
        worker=_text(held, "worker") if held else None,
        term=_number(held, "term"),
        state=_text(held, "state") or ("free" if not held else ""),
        since=_seconds(held, "since"),
        waiting=waiting.get(number, 0),
    )


def _worker(fields: Mapping[str, Any]) -> WorkerView:
    partitions, failing, versions = fields.get("partitions"), fields.get("failing"), fields.get("versions")
    return WorkerView(
        id=_text(fields, "id"),
        host=_text(fields, "host"),
        pid=_number(fields, "pid"),
        state=_text(fields, "state"),
        partitions=len(partitions) if isinstance(partitions, dict) else 0,
        failing=len(failing) if isinstance(failing, list) else 0,
        versions={str(name): str(each) for name, each in versions.items()} if isinstance(versions, dict) else {},
    )


def _last_fail_over(leases: Mapping[str, Mapping[str, Any]]) -> FailOver | None:
    found = []
    for key, fields in leases.items():
        kind, _, place = key.partition(".")
        node, _, number = place.rpartition(".")
        former = fields.get("former")
        if kind == "part" and number.isdecimal() and isinstance(former, dict) and former.get("ran_out"):
            found.append(
                FailOver(
                    node=node,
                    partition=int(number),
                    former=_text(former, "worker"),
                    worker=_text(fields, "worker"),
                    at=_seconds(fields, "since"),
                )
            )
    return max(found, key=lambda each: each.at, default=None)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int else 0


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and abs(value) < _LATEST else 0.0
