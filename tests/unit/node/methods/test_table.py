"""Every method is there, described, and takes part in ``help`` and ``check``."""

from __future__ import annotations

METHODS = [
    "check",
    "checkmessage",
    "connect",
    "datastore",
    "deldatastore",
    "disconnect",
    "getinfo",
    "getlog",
    "help",
    "listconfigs",
    "listdatastore",
    "listpeers",
    "makesecret",
    "node-stats",
    "node-watch",
    "notifications",
    "ping",
    "plugin",
    "sendcustommsg",
    "setconfig",
    "signmessage",
    "stop",
]


async def test_all_are_installed(node, client) -> None:
    assert [command.name for command in node.commands] == METHODS
    assert all(command.description for command in node.commands)
    listed = (await client.call("help"))["help"]
    assert [entry["command"].split()[0] for entry in listed] == METHODS
