#!/usr/bin/env python3
"""A pyln-client plugin with even message types and a feature bit; it turns away the peers it is told to."""

from pyln.client import Plugin

plugin = Plugin(dynamic=False, custom_msgs=[0x8802, 0x8804], init_features=1 << 201, node_features=1 << 201)
plugin.add_option("turn-away", None, "Node ids to disconnect", multi=True)
came = []
asked = []


@plugin.hook("peer_connected")
def peer_connected(peer, plugin, **kwargs):
    asked.append(peer)
    if peer["id"] in (plugin.get_option("turn-away") or []):
        return {"result": "disconnect", "error_message": "not today"}
    return {"result": "continue"}


@plugin.hook("custommsg", before=["greeter.py"])
def custommsg(peer_id, payload, plugin, **kwargs):
    came.append(payload)
    if payload == "8802dead":
        raise ValueError("pyln-client answers continue for me")
    return {"result": "continue"}


@plugin.method("doorkeeper-saw")
def saw(plugin):
    """Tell who and what came."""
    return {"asked": asked, "came": came}


plugin.run()
