"""The names that gateways and workers of all versions have to agree on."""

from __future__ import annotations

from collections import Counter

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.nats import subjects

NODE = NodeId("02" + "11" * 32)


@pytest.mark.parametrize(
    ("peer", "partitions", "partition"),
    [("02" + "11" * 32, 16, 0), ("03" + "22" * 32, 16, 13), ("02" + "11" * 32, 1, 0), ("02" + "11" * 32, 1024, 768)],
)
def test_a_peer_is_in_the_same_partition_for_ever(peer: str, partitions: int, partition: int) -> None:
    assert subjects.partition_of(NodeId(peer), partitions) == partition


def test_partitions_are_about_equal() -> None:
    peers = [NodeId(b"\x02" + number.to_bytes(32, "big")) for number in range(16_000)]
    counts = Counter(subjects.partition_of(peer, 16) for peer in peers)
    assert counts.keys() == set(range(16))
    assert all(850 < count < 1150 for count in counts.values())


def test_names_are_what_permissions_and_other_versions_have() -> None:
    assert [
        subjects.in_stream(NODE),
        subjects.in_subject(NODE, 3),
        subjects.out_subject(NODE),
        subjects.control_subject(NODE),
        subjects.log_stream(NODE),
        subjects.log_subject(NODE, "*"),
        subjects.snapshot_stream(NODE),
        subjects.snapshot_subject(NODE, 3, "*"),
    ] == [
        f"OW_IN_{NODE}",
        f"ow.in.{NODE}.3",
        f"ow.out.{NODE}",
        f"ow.ctl.{NODE}",
        f"OW_LOG_{NODE}",
        f"ow.log.{NODE}.*",
        f"OW_SNAP_{NODE}",
        f"ow.snap.{NODE}.3.*",
    ]
    assert [
        subjects.node_key(NODE),
        subjects.worker_key("w-1"),
        subjects.partition_key(NODE, 3),
        subjects.job_key("quote", "daily"),
        subjects.manifest_key("quote"),
    ] == [f"node.{NODE}", "worker.w-1", f"part.{NODE}.3", "job.quote.daily", "manifest.quote"]
