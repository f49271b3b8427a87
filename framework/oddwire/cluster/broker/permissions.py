"""What the users of a cluster's programs may do at a nats-server: the subjects they need, and no others. No I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.subjects import LEASES, META

__all__ = ["ROLES", "Permissions", "Role", "permissions_of", "permissions_text"]

Role = Literal["gateway", "worker"]
ROLES: Final[Sequence[Role]] = ("gateway", "worker")
Permissions = dict[str, dict[str, list[str]]]
"""``publish`` and ``subscribe``, each with lists ``allow`` and ``deny``."""

_INBOXES: Final = "_INBOX.>"
_BUCKETS: Final = (f"KV_{LEASES}", f"KV_{META}")


def permissions_of(role: Role, node: NodeId | None = None) -> Permissions:
    """Return the permissions of the user of gateways, or of workers; with ``node`` for that node alone.

    Without one, a stream's name is any: in a subject, NATS has no pattern for a part of a name.
    """
    allow, deny, hear = _gateway(node) if role == "gateway" else _worker(node)
    publish = {"allow": allow} if not deny else {"allow": allow, "deny": deny}
    return {"publish": publish, "subscribe": {"allow": hear}}


def permissions_text(role: Role, node: NodeId | None = None) -> str:
    """Return them as a part of nats-server's configuration, which begins with a line that says what it is."""
    whom = "any node" if node is None else f"node {node}"
    found = permissions_of(role, node)
    lines = [f"# The permissions of {role}s of {whom}, for a user of theirs.", "permissions {"]
    for what, lists in found.items():
        lines.append(f"  {what} {{")
        for name, subjects in lists.items():
            lines += [f"    {name}: [", *(f"      {json.dumps(subject)}" for subject in subjects), "    ]"]
        lines.append("  }")
    if role == "gateway":
        lines.append("  allow_responses: true  # to workers' requests, wherever they want them")
    return "\n".join([*lines, "}"])


def _streams(node: NodeId | None, *kinds: str) -> list[str]:
    return ["*"] if node is None else [f"OW_{kind}_{node}" for kind in kinds]


def _api(operations: Sequence[str], streams: Sequence[str], rest: str = "") -> list[str]:
    return [f"$JS.API.{operation}.{stream}{rest}" for operation in operations for stream in streams]


def _gateway(node: NodeId | None) -> tuple[list[str], list[str], list[str]]:
    own = "*" if node is None else str(node)
    every = _streams(node, "IN", "LOG", "SNAP")
    made = every if node is None else [*every, *_BUCKETS]
    read = every if node is None else [*_streams(node, "LOG"), *_BUCKETS]
    allow = [
        "$JS.API.INFO",
        *_api(("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE"), made),
        *_api(("STREAM.MSG.GET",), read),
        f"$JS.API.DIRECT.GET.KV_{META}",
        f"$KV.{META}.node.{own}",
        f"$KV.{LEASES}.node.{own}",
        f"ow.in.{own}.*",
    ]
    hear = [_INBOXES, f"ow.out.{own}", f"ow.ctl.{own}", f"$KV.{META}.manifest.*"]
    return allow, [], hear


def _worker(node: NodeId | None) -> tuple[list[str], list[str], list[str]]:
    own = "*" if node is None else str(node)
    read = _streams(node, "IN", "LOG", "SNAP")
    stores = _streams(node, "LOG", "SNAP")
    consumed = _streams(node, "IN")
    allow = [
        "$JS.API.INFO",
        *_api(("STREAM.INFO",), read if node is None else [*read, *_BUCKETS]),
        *_api(("STREAM.MSG.GET",), stores if node is None else [*stores, *_BUCKETS]),
        *_api(("DIRECT.GET",), stores if node is None else [*stores, *_BUCKETS]),
        *_api(("STREAM.PURGE",), stores),
        *_api(("CONSUMER.NAMES",), consumed),
        *_api(("CONSUMER.CREATE",), consumed, ".>"),
        *_api(("CONSUMER.INFO", "CONSUMER.DELETE", "CONSUMER.MSG.NEXT"), consumed, ".*"),
        "$JS.ACK.>",
        f"ow.out.{own}",
        f"ow.ctl.{own}",
        f"ow.log.{own}.*",
        f"ow.snap.{own}.*.*",
        f"$KV.{LEASES}.worker.*",
        f"$KV.{LEASES}.part.{own}.*",
        f"$KV.{LEASES}.job.>",
        f"$KV.{META}.manifest.*",
    ]
    # The lists of all streams would let a worker empty the buckets
    deny = _api(("STREAM.PURGE",), _BUCKETS) if node is None else []
    return allow, deny, [_INBOXES, f"$KV.{LEASES}.>"]
