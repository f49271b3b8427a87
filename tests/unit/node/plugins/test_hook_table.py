from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.node.plugins.hook_table import HOOKS, HookClaim, HookTable, names_plugin


@dataclass(frozen=True)
class Claimant:
    path: str
    index: int


def table(*claims: tuple[str, HookClaim]) -> HookTable:
    hooks = HookTable()
    for index, (path, claim) in enumerate(claims):
        hooks.add(Claimant(path, index), [claim])
    return hooks


def custommsg(**fields: object) -> HookClaim:
    return HookClaim(name="custommsg", **fields)


def paths(hooks: HookTable, key: int | None = None) -> list[str]:
    return [claimant.path for claimant in hooks.chain("custommsg", key)]


def test_the_hooks_that_are_called() -> None:
    assert {name for name, hook in HOOKS.items() if hook.called} == {"custommsg", "peer_connected"}


@pytest.mark.parametrize(
    ("name", "path", "same"),
    [
        ("x.py", "/p/x.py", True),
        ("x", "/p/x.py", False),
        ("/p/x.py", "/p/x.py", True),
        ("/q/x.py", "/p/x.py", False),
        ("p/x.py", "/p/x.py", False),
    ],
)
def test_a_plugin_is_named_by_file_or_path(name: str, path: str, same: bool) -> None:
    assert names_plugin(name, path) is same


def test_load_order_unless_bent() -> None:
    hooks = table(
        ("/a", custommsg()), ("/b", custommsg(before=("a",))), ("/c", custommsg()), ("/d", custommsg(before=("/b",)))
    )
    assert hooks.reorder() == []
    assert paths(hooks) == ["/c", "/d", "/b", "/a"]


def test_a_chain_that_lightningd_ordered() -> None:
    hooks = table(
        ("/pa", custommsg()),
        ("/pb", custommsg(before=("pa",))),
        ("/pc", custommsg(after=("pb",), filters=frozenset({0x8801}))),
        ("/pd", custommsg(before=("pa",), after=("pc",))),
        ("/pe", custommsg(before=("ghost",))),
        ("/pf", custommsg(filters=frozenset())),
        ("/pg", custommsg(before=("pb",), filters=frozenset({0x8801, 0x8803}))),
    )
    assert hooks.reorder() == []
    assert paths(hooks, 0x8801) == ["/pe", "/pg", "/pb", "/pc", "/pd", "/pa"]
    assert paths(hooks, 0x8803) == ["/pe", "/pg", "/pb", "/pd", "/pa"]
    assert paths(hooks, 0x8805) == ["/pe", "/pb", "/pd", "/pa"]


def test_after() -> None:
    hooks = table(("/a", custommsg(after=("c", "b"))), ("/b", custommsg()), ("/c", custommsg()))
    assert hooks.reorder() == []
    assert paths(hooks) == ["/b", "/c", "/a"]


def test_claims_count_once_ordered() -> None:
    hooks = table(("/a", custommsg()))
    assert paths(hooks) == []
    hooks.reorder()
    assert paths(hooks) == ["/a"]
    assert hooks.chain("peer_connected") == ()


def test_filters() -> None:
    hooks = table(
        ("/all", custommsg()),
        ("/seven", custommsg(filters=frozenset({7}))),
        ("/both", custommsg(filters=frozenset({7, 9}), before=("all",))),
        ("/never", custommsg(filters=frozenset())),
    )
    hooks.reorder()
    assert paths(hooks) == ["/all"]
    assert paths(hooks, 8) == ["/all"]
    assert paths(hooks, 7) == ["/seven", "/both", "/all"]
    assert paths(hooks, 9) == ["/both", "/all"]


def test_a_chain_is_the_same_object_until_something_changes() -> None:
    hooks = table(("/all", custommsg()), ("/seven", custommsg(filters=frozenset({7}))))
    hooks.reorder()
    assert hooks.chain("custommsg", 1) is hooks.chain("custommsg", 2)
    assert hooks.chain("custommsg", 7) is hooks.chain("custommsg", 7)


def test_contradicting_wishes_keep_the_old_chain() -> None:
    hooks = table(("/a", custommsg()))
    hooks.reorder()
    one, two = Claimant("/one", 1), Claimant("/two", 2)
    hooks.add(two, [custommsg(before=("one",))])
    hooks.add(one, [custommsg(before=("two",)), HookClaim(name="peer_connected")])
    assert hooks.reorder() == [(one, "custommsg"), (two, "custommsg")]
    assert paths(hooks) == ["/a"]
    assert hooks.chain("peer_connected") == (one,)
    hooks.remove(one)
    assert hooks.reorder() == []
    assert paths(hooks) == ["/a", "/two"]
    assert hooks.chain("peer_connected") == ()


def test_before_itself_is_a_contradiction() -> None:
    hooks = table(("/a", custommsg(before=("a",))))
    assert [path for (claimant, _) in hooks.reorder() for path in [claimant.path]] == ["/a"]


def test_removal_counts_at_once() -> None:
    hooks = table(("/a", custommsg()), ("/b", custommsg(filters=frozenset({7}))))
    hooks.reorder()
    (a,) = hooks.chain("custommsg")
    hooks.remove(a)
    assert paths(hooks) == []
    assert paths(hooks, 7) == ["/b"]
    hooks.remove(a)


def test_wishes_about_unknown_plugins_have_no_effect() -> None:
    hooks = table(("/a", custommsg(before=("ghost",), after=("b",))), ("/b", custommsg()))
    assert hooks.reorder() == []
    b, a = hooks.chain("custommsg")
    assert hooks.unknown(a) == [("custommsg", "ghost")]
    assert hooks.unknown(b) == []


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=10), st.data())
def test_an_order_fits_every_wish_or_names_a_contradiction(wishes: list[list[int]], data: st.DataObject) -> None:
    wishes = [[wish for wish in some if wish < len(wishes)] for some in wishes]
    kinds = [data.draw(st.sampled_from(["before", "after"])) for _ in wishes]
    hooks = table(
        *(
            (f"/{index}", custommsg(**{kind: tuple(str(wish) for wish in some)}))
            for index, (kind, some) in enumerate(zip(kinds, wishes, strict=True))
        )
    )
    stuck = hooks.reorder()
    place = {path: index for index, path in enumerate(paths(hooks))}
    if stuck:
        assert not place
        return
    assert len(place) == len(wishes)
    for index, (kind, some) in enumerate(zip(kinds, wishes, strict=True)):
        for wish in some:
            mine, other = place[f"/{index}"], place[f"/{wish}"]
            assert mine < other if kind == "before" else mine > other
