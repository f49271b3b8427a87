"""The commands of ``oddwire`` in the groups of ``oddwire --help``, with a line each; none is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final, NamedTuple

__all__ = ["GROUPS", "Entry", "commands"]


class Entry(NamedTuple):
    """A command: the module that has it as ``program``, and the first line of its own help."""

    module: str
    summary: str


GROUPS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "Write": {
        "new": Entry("new", "Make a new project: an extension, its tests, its packaging."),
        "describe": Entry("describe", "Show what an extension speaks, as a document or a schema."),
        "lock": Entry("lock", "Write down what an extension speaks, for check to compare."),
        "check": Entry("check", "Tell whether an extension still speaks what it spoke."),
        "bench": Entry("bench", "Measure how many messages an extension handles, and how fast."),
    },
    "Run": {
        "run": Entry("run", "Run extensions on a Lightning node of their own, or beside LND."),
        "plugin": Entry("plugin", "Write a plugin file for lightningd: these extensions in one process."),
        "node": Entry("node", "Run a node for plugins: lightningd's interfaces, without bitcoind."),
        "lnd": Entry("lnd", "Make the macaroon that run needs beside LND, or check one."),
        "call": Entry("call", "Call a method of a running program or node, and print its result."),
        "store": Entry("store", "Show what a store holds, or move it."),
    },
    "Cluster": {
        "broker": Entry("broker", "Run the broker of a cluster, a nats-server."),
        "gateway": Entry("gateway", "Run a node for a cluster's workers, or join LND's to it."),
        "worker": Entry("worker", "Run extensions for the peers of a cluster's nodes."),
        "workers": Entry("workers", "Show which worker of a cluster has which peers."),
        "cluster": Entry("cluster", "Run a whole cluster on this machine: broker, gateway and workers."),
    },
    "Look": {
        "types": Entry("known_types", "Say whose a message type is, and which protocols use it."),
        "decode": Entry("decode", "Show what a payload says, field by field."),
        "encode": Entry("encode", "Show a message as the bytes that are sent."),
        "send": Entry("send", "Send messages to a node, and print what comes back."),
        "shell": Entry("shell", "Talk to nodes from a Python prompt."),
        "monitor": Entry("monitor", "Watch the messages of running programs."),
        "replay": Entry("replay", "Send again what was recorded, and compare what comes back."),
        "demo": Entry("demo", "Watch two processes talk over BOLT 8: echo and chat, in both codecs."),
    },
}
"""The groups in their order. What an entry's module is not there for is no command."""


def commands(groups: Mapping[str, Mapping[str, Entry]] = GROUPS) -> dict[str, Entry]:
    """Return the commands that there are, by name, with the whole names of their modules."""
    found = {}
    for group in groups.values():
        for name, entry in group.items():
            module = f"oddwire.cli.{entry.module}"
            if find_spec(module) is not None:
                found[name] = entry._replace(module=module)
    return found
