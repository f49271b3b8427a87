"""What waits for one partition: order, sizes, what may be withdrawn."""

from __future__ import annotations

from oddwire.cluster.gateway.partition_queue import OVERHEAD, PartitionQueue
from oddwire.proto.keys import NodeId

PEER = NodeId("02" + "11" * 32)


class Released(list[tuple[NodeId, int]]):
    def __call__(self, peer: NodeId, size: int) -> None:
        self.append((peer, size))


def test_entries_are_taken_in_order_up_to_a_limit_and_count_until_they_are_stored() -> None:
    released = Released()
    queue = PartitionQueue(released)
    for number in range(5):
        queue.add([1, 7, number, b"x"], 7, PEER, 1000 - OVERHEAD)
    taken = queue.take(2500)
    assert [entry[2] for entry in taken.entries] == [0, 1]
    assert taken.table == {7: PEER}
    assert (len(queue), queue.size, released) == (3, 5000, [])
    queue.settle(taken, 4)
    assert (queue.size, released) == (3000, [(PEER, 1000)] * 2)
    assert len(queue.take(10_000).entries) == 3
    assert not queue.take(10_000).entries


def test_one_entry_is_taken_however_large_it_is() -> None:
    queue = PartitionQueue(Released())
    queue.add([0], 1, PEER, 70_000)
    assert len(queue.take(10).entries) == 1


def test_what_nobody_was_told_is_withdrawn() -> None:
    released, found = Released(), list[int]()
    queue = PartitionQueue(released)
    first = queue.add([0, 1], 1, PEER)
    assert queue.withdraw(first)
    assert not queue.withdraw(first)
    assert (queue.size, released) == (0, [(PEER, OVERHEAD)])
    second = queue.add([0, 2], 2, PEER)
    queue.add_marker([3, 9], found.append)
    assert not queue.withdraw(second)  # the owner knows of it
    third = queue.add([0, 3], 3, PEER)
    assert queue.withdraw(third)
    taken = queue.take(10_000)
    assert (taken.entries, taken.table) == ([[0, 2], [3, 9]], {2: PEER})
    assert not queue.withdraw(second)
    queue.settle(taken, 11)
    assert (found, queue.size) == ([11], 0)


def test_a_queue_that_is_cleared_keeps_no_place() -> None:
    queue = PartitionQueue(Released())
    place = queue.add([0, 1], 1, PEER)
    queue.clear()
    assert (queue.size, len(queue), queue.withdraw(place)) == (0, 0, False)
