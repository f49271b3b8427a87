from __future__ import annotations

import json

import pytest

from oddwire.cluster.lease_values import LeaseLost, parsed, remove, renew, revision_of
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection

OURS = json.dumps({"token": "ours", "worker": "a"}).encode()
THEIRS = json.dumps({"token": "theirs", "worker": "b"}).encode()


@pytest.fixture
async def bucket(connection: BrokerConnection) -> Bucket:
    made = Bucket(connection, "VALUES")
    await made.create_bucket()
    return made


async def test_a_lease_is_its_tokens_whatever_its_revision(bucket: Bucket) -> None:
    revision = await bucket.put("mine", OURS)
    assert await revision_of(bucket, "mine", "ours") == revision
    for value, found in ((None, None), (THEIRS, parsed(THEIRS)), (b"no lease", {})):
        key = f"other.{value is None}"
        if value is not None:
            await bucket.put(key, value)
        with pytest.raises(LeaseLost) as caught:
            await revision_of(bucket, key, "ours")
        assert caught.value.found == found


async def test_a_renewal_goes_on_from_one_that_had_no_answer(bucket: Bucket) -> None:
    first = await bucket.put("again", OURS)
    second = await renew(bucket, "again", OURS, first, "ours")
    assert second > first
    assert await renew(bucket, "again", OURS, first, "ours") > second


async def test_what_is_anothers_is_neither_renewed_nor_removed(bucket: Bucket) -> None:
    before = await bucket.put("taken", OURS)
    await bucket.put("taken", THEIRS)
    with pytest.raises(LeaseLost):
        await renew(bucket, "taken", OURS, before, "ours")
    await remove(bucket, "taken", before, "ours")
    found = await bucket.get("taken")
    assert found is not None
    assert found.data == THEIRS


async def test_what_is_removed_is_gone_though_a_renewal_had_no_answer(bucket: Bucket) -> None:
    before = await bucket.put("ended", OURS)
    await bucket.put("ended", OURS)
    await remove(bucket, "ended", before, "ours")
    assert await bucket.get("ended") is None
    await remove(bucket, "ended", before, "ours")
    with pytest.raises(LeaseLost):
        await renew(bucket, "ended", OURS, before, "ours")


@pytest.mark.parametrize("value", [b"", b"[]", b"\xff", b"3", b'{"a":' * 100_000])
def test_what_is_no_lease_says_nothing(value: bytes) -> None:
    assert parsed(value) == {}
