from __future__ import annotations

import pytest
from tests.support.lease_buckets import lease_buckets

from oddwire import Extension, Message, message
from oddwire.app import PluginManager
from oddwire.cluster.manifests import ExtensionManifest, manifests_of, read_manifests, write_manifests
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import META


@message(0x9102)
class Even(Message):
    number: int


@message(0x9103)
class Odd(Message):
    number: int


def test_a_manifest_is_what_an_extension_says_to_peers():
    extension = Extension("quote", version="1.2", feature=515)
    extension.register(Odd)

    @extension.on(Even)
    async def handle(context, message):
        return None

    plugins = PluginManager()
    plugins.add(extension)
    plugins.add(Extension("silent", version="1"))

    [manifest] = manifests_of(plugins)

    assert manifest == ExtensionManifest(name="quote", version="1.2", types=(0x9102, 0x9103), features=(515,))
    assert manifest.even == (0x9102,)
    assert ExtensionManifest.decode(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"name": 3}',
        b'{"name": "x", "types": 3}',
        b'{"name": "x", "types": [65536]}',
        b'{"name": "x", "types": [true]}',
        b'{"name": "x", "features": ["1"]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(raw):
    with pytest.raises(ValueError, match=r"should be|Expecting|recursion"):
        ExtensionManifest.decode(raw)


def test_a_manifest_of_a_later_version_is_read():
    raw = b'{"name": "x", "version": 7, "types": [3, 1], "colour": "red"}'

    assert ExtensionManifest.decode(raw) == ExtensionManifest(name="x", types=(1, 3))


async def test_manifests_are_written_where_they_differ(connection):
    async with lease_buckets(connection):
        bucket = Bucket(connection, META)
        first, second = ExtensionManifest(name="a", types=(1,)), ExtensionManifest(name="b")
        await write_manifests(bucket, [first, second])
        before = await bucket.get("manifest.a")
        await write_manifests(bucket, [first, ExtensionManifest(name="b", version="2")])
        await bucket.put("manifest.c", b"nonsense")

        assert await bucket.get("manifest.a") == before
        assert await read_manifests(bucket) == [first, ExtensionManifest(name="b", version="2")]
