"""What a node announces for workers, and what is said when that is not enough."""

from __future__ import annotations

from oddwire.cluster.gateway.announced import announcement, changes
from oddwire.cluster.manifests import ExtensionManifest


def test_all_odd_types_are_taken_and_what_extensions_write() -> None:
    found = announcement([ExtensionManifest(name="a", types=(7, 9, 0x8C02, 17), features=(513,))])
    assert {0x8001, 0xFFFF, 7, 9, 0x8C02} <= found.type_ids
    assert not {17, 0x8000, 0x8C04} & found.type_ids  # 17 is the node's own
    assert (found.features, found.even_ids) == ({513}, {0x8C02})


def test_changes_name_the_extension_and_what_to_do() -> None:
    before = announcement([ExtensionManifest(name="a", version="1.0", types=(0x8C02,), features=(513,))])
    assert not list(changes(before, [ExtensionManifest(name="a", version="1.0", types=(0x8C02, 0x8C03, 17))]))
    assert list(
        changes(before, [ExtensionManifest(name="b\n", version="2", types=(0x8C04,), features=(513, 515))])
    ) == ["a worker of b\\n 2 offers feature 515, takes type 0x8c04; restart the gateway to announce it"]
    (line,) = changes(before, [ExtensionManifest(name="c", types=tuple(range(0x9000, 0x9100, 2)))])
    assert line.endswith("takes type 0x900e and 120 more; restart the gateway to announce it")
