"""The table of hooks: which exist, which plugins claim them, and the order of calls. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, Protocol

__all__ = ["HOOKS", "Claimant", "HookClaim", "HookTable", "NodeHook", "names_plugin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHook:
    """A hook that plugins may claim. ``filters`` is the type of its filters; None if it has none."""

    filters: type[int] | type[str] | None = None
    called: bool = False
    """False for a hook that needs a chain or channels: it may be claimed, so that plugins load, but is never called."""


# Core Lightning's
HOOKS: Final = {
    "commitment_revocation": NodeHook(),
    "custommsg": NodeHook(filters=int, called=True),
    "db_write": NodeHook(),
    "htlc_accepted": NodeHook(),
    "invoice_payment": NodeHook(),
    "onion_message_recv": NodeHook(),
    "onion_message_recv_secret": NodeHook(),
    "openchannel": NodeHook(),
    "openchannel2": NodeHook(),
    "openchannel2_changed": NodeHook(),
    "openchannel2_sign": NodeHook(),
    "peer_connected": NodeHook(called=True),
    "rbf_channel": NodeHook(),
    "recover": NodeHook(),
    "rpc_command": NodeHook(filters=str),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HookClaim:
    """One entry of a manifest's ``hooks``: ``filters`` None means all calls, an empty set no call."""

    name: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    filters: frozenset[int | str] | None = None


class Claimant(Protocol):
    """A plugin, as the table sees it."""

    @property
    def path(self) -> str:
        """The plugin's resolved path."""
        raise NotImplementedError

    @property
    def index(self) -> int:
        """The plugin's place in load order."""
        raise NotImplementedError


def names_plugin(name: str, path: str) -> bool:
    """Return whether ``name`` names the plugin at ``path``: by its file name, or with a slash by its path."""
    return PurePath(path).name == name if "/" not in name else PurePath(path) == PurePath(name)


class HookTable:
    """The chains of all hooks: the plugins to call, in order. Looking one up takes constant time."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[Any, HookClaim]] = {}
        # By hook: the chain for keys in no filter, and the chains by key for those in some filter
        self._plain: dict[str, tuple[Any, ...]] = {}
        self._filtered: dict[str, dict[int | str, tuple[Any, ...]]] = {}

    def add(self, claimant: Claimant, claims: Iterable[HookClaim]) -> None:
        """Add a plugin's claims; they take effect with the next `reorder`."""
        for claim in claims:
            self._claims.setdefault(claim.name, {})[claimant] = claim

    def remove(self, claimant: Claimant) -> None:
        """Remove a plugin from all chains, with immediate effect; it need not be in one."""
        names = [name for name, claims in self._claims.items() if claims.pop(claimant, None) is not None]
        for name in names:
            self._plain[name] = tuple(c for c in self._plain.get(name, ()) if c is not claimant)
            self._filtered[name] = {
                key: tuple(c for c in chain if c is not claimant) for key, chain in self._filtered.get(name, {}).items()
            }

    def reorder(self) -> list[tuple[Any, str]]:
        """Order all chains by load order, ``before`` and ``after``.

        A hook whose constraints contradict each other keeps its chain. Its plugins that could not be placed are
        returned, each with the hook's name, in load order: remove the new ones among them, and call again.
        """
        stuck: list[tuple[Any, str]] = []
        for name, claims in self._claims.items():
            ordered = _order(claims)
            if len(ordered) < len(claims):
                left = sorted((c for c in claims if c not in ordered), key=lambda c: int(c.index))
                stuck += [(claimant, name) for claimant in left]
                continue
            keys = {key for claim in claims.values() if claim.filters is not None for key in claim.filters}
            self._plain[name] = tuple(c for c in ordered if claims[c].filters is None)
            self._filtered[name] = {
                key: tuple(c for c in ordered if (filters := claims[c].filters) is None or key in filters)
                for key in keys
            }
        return stuck

    def chain(self, name: str, key: int | str | None = None) -> tuple[Any, ...]:
        """Return the plugins to call, in order, for hook ``name`` and the ``key`` that its filters compare."""
        filtered = self._filtered.get(name)
        if filtered and key is not None:
            found = filtered.get(key)
            if found is not None:
                return found
        return self._plain.get(name, ())

    def unknown(self, claimant: Claimant) -> list[tuple[str, str]]:
        """Return a plugin's ``before`` and ``after`` that name no plugin in the chain: pairs of hook and name."""
        return [
            (name, wish)
            for name, claims in self._claims.items()
            if claimant in claims
            for wish in (*claims[claimant].before, *claims[claimant].after)
            if not any(names_plugin(wish, other.path) for other in claims)
        ]


def _order(claims: dict[Any, HookClaim]) -> Sequence[Any]:
    """Sort topologically by ``before`` and ``after``, then by load order. Claimants in a cycle are left out."""
    waits_for: dict[Any, set[Any]] = {claimant: set() for claimant in claims}
    for claimant, claim in claims.items():
        for wish in claim.before:
            if (other := _find(wish, claims)) is not None:
                waits_for[other].add(claimant)
        for wish in claim.after:
            if (other := _find(wish, claims)) is not None:
                waits_for[claimant].add(other)
    ordered: list[Any] = []
    while ready := [claimant for claimant, others in waits_for.items() if not others]:
        first = min(ready, key=lambda claimant: int(claimant.index))
        ordered.append(first)
        del waits_for[first]
        for others in waits_for.values():
            others.discard(first)
    return ordered


def _find(wish: str, claims: dict[Any, HookClaim]) -> Any:
    return next((claimant for claimant in claims if names_plugin(wish, claimant.path)), None)
