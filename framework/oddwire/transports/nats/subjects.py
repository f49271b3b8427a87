"""Names at the broker: streams, subjects, buckets and keys; and the partition of a peer.

A node is named by its id in hex, a partition by its number.
"""

from __future__ import annotations

import hashlib
from typing import Final

from oddwire.proto.keys import NodeId

__all__ = [
    "LEASES",
    "META",
    "PARTITIONS",
    "control_subject",
    "in_stream",
    "in_subject",
    "job_key",
    "log_stream",
    "log_subject",
    "manifest_key",
    "node_key",
    "out_subject",
    "partition_key",
    "partition_of",
    "snapshot_stream",
    "snapshot_subject",
    "worker_key",
]

PARTITIONS: Final = 16
"""The number of partitions of a node, unless its operator chose another one when it was set up."""
LEASES: Final = "OW_LEASE"
"""The bucket of leases, whose keys expire."""
META: Final = "OW_META"
"""The bucket of what lasts: the nodes' settings, and the manifests of extensions."""


def partition_of(peer: NodeId, partitions: int) -> int:
    """Return the partition of a peer: the first four bytes of the SHA-256 of its node id, modulo ``partitions``."""
    return int.from_bytes(hashlib.sha256(peer).digest()[:4], "big") % partitions


def in_stream(node: NodeId) -> str:
    """Return the stream of what a node receives, for the owners of its partitions."""
    return f"OW_IN_{node}"


def in_subject(node: NodeId, partition: int | str) -> str:
    """Return the subject of what a node receives from the peers of a partition; ``*`` is all of them."""
    return f"ow.in.{node}.{partition}"


def out_subject(node: NodeId) -> str:
    """Return the subject of requests to send payloads to peers of a node."""
    return f"ow.out.{node}"


def control_subject(node: NodeId) -> str:
    """Return the subject of all other requests to a node's gateway."""
    return f"ow.ctl.{node}"


def log_stream(node: NodeId) -> str:
    """Return the stream of the logs of a node's partitions."""
    return f"OW_LOG_{node}"


def log_subject(node: NodeId, partition: int | str) -> str:
    """Return the subject of the log of one partition's store; ``*`` is all of them."""
    return f"ow.log.{node}.{partition}"


def snapshot_stream(node: NodeId) -> str:
    """Return the stream of the pieces of snapshots of a node's stores."""
    return f"OW_SNAP_{node}"


def snapshot_subject(node: NodeId, partition: int | str, number: int | str) -> str:
    """Return the subject of the pieces of one snapshot; ``*`` is all partitions, or all snapshots."""
    return f"ow.snap.{node}.{partition}.{number}"


def node_key(node: NodeId) -> str:
    """Return the key of a node: in `LEASES` its gateway's lease, in `META` its settings."""
    return f"node.{node}"


def worker_key(worker: str) -> str:
    """Return the key of a worker's lease."""
    return f"worker.{worker}"


def partition_key(node: NodeId, partition: int) -> str:
    """Return the key of the lease of a partition's owner."""
    return f"part.{node}.{partition}"


def job_key(extension: str, name: str) -> str:
    """Return the key of the lease of what runs once in a cluster."""
    return f"job.{extension}.{name}"


def manifest_key(extension: str) -> str:
    """Return the key of an extension's manifest, in `META`; ``*`` is all of them, and an empty name their prefix."""
    return f"manifest.{extension}"
