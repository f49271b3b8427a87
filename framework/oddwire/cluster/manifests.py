"""What extensions announce to peers, written to the broker by workers, for gateways."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from oddwire.records import FrozenRecord
from oddwire.schema import schema_of
from oddwire.transports.nats.subjects import manifest_key

if TYPE_CHECKING:
    from oddwire.app.plugins.manager import PluginManager
    from oddwire.transports.nats.bucket import Bucket

__all__ = ["ExtensionManifest", "manifests_of", "read_manifests", "write_manifests"]


class ExtensionManifest(FrozenRecord, kw_only=True):
    """An extension's name and version, the types of its messages, and the feature bits it announces."""

    name: str
    version: str = ""
    types: tuple[int, ...] = ()
    features: tuple[int, ...] = ()

    @property
    def even(self) -> tuple[int, ...]:
        """The even types: a node must know them, or it hangs up on peers that send them."""
        return tuple(number for number in self.types if number % 2 == 0)

    def encode(self) -> bytes:
        """Return it as JSON."""
        values = {"name": self.name, "version": self.version, "types": self.types, "even": self.even}
        return json.dumps({**values, "features": self.features}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> ExtensionManifest:
        """Parse one, which any version may have written. Raises `ValueError`."""
        try:
            values: Any = json.loads(raw)
        except RecursionError as error:
            raise ValueError(str(error)) from None
        if not isinstance(values, dict) or not isinstance(values.get("name"), str):
            raise ValueError("a manifest should be an object with an extension's name")
        version = values.get("version", "")
        return cls(
            name=values["name"],
            version=version if isinstance(version, str) else "",
            types=_numbers(values.get("types", ()), 0xFFFF),
            features=_numbers(values.get("features", ()), 0xFFFF),
        )


def _numbers(values: Any, most: int) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(type(each) is int and 0 <= each <= most for each in values):
        raise ValueError(f"should be a list of numbers up to {most}, not {values!r:.100}")
    return tuple(sorted(values))


def manifests_of(plugins: PluginManager) -> list[ExtensionManifest]:
    """Return the manifests of the extensions, and other plugins, that speak to peers."""
    found = []
    for owner in plugins.contributions:
        messages = {*owner.messages, *(handler.message for handler in owner.handlers)}
        if not messages and owner.feature is None:
            continue
        found.append(
            ExtensionManifest(
                name=owner.name,
                version=owner.versions[-1] if owner.versions else "",
                types=tuple(sorted({schema_of(message).type_id for message in messages})),
                features=() if owner.feature is None else (owner.feature,),
            )
        )
    return found


async def write_manifests(bucket: Bucket, manifests: Iterable[ExtensionManifest]) -> None:
    """Write manifests where they are not as they were. Raises `BrokerFailure`."""
    for manifest in manifests:
        key, content = manifest_key(manifest.name), manifest.encode()
        before = await bucket.get(key)
        if before is None or before.data != content:
            await bucket.put(key, content)


async def read_manifests(bucket: Bucket) -> list[ExtensionManifest]:
    """Return all manifests; those that cannot be read are left out. Raises `BrokerFailure`."""
    found = []
    for _, value in sorted((await bucket.all(manifest_key(""))).items()):
        try:
            found.append(ExtensionManifest.decode(value.data))
        except ValueError:
            continue
    return found
