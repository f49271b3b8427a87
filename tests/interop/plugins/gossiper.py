#!/usr/bin/env python3
"""A pyln-client plugin that lives by notifications: it hears of all there are, and tells others of its own topic."""

import sys

from pyln.client import Plugin

plugin = Plugin()
plugin.add_notification_topic("gossip")
heard = []


@plugin.subscribe("*")
def everything(plugin, request, **kwargs):
    kwargs.pop("payload", None)
    heard.append([request.method, kwargs])


@plugin.subscribe("custommsg")
def custommsg(plugin, custommsg, **kwargs):
    heard.append(["custommsg", {"custommsg": custommsg}])


@plugin.subscribe("gossip")
def gossip(plugin, gossip, origin, **kwargs):
    heard.append(["gossip", {"gossip": gossip, "origin": origin}])


@plugin.subscribe("shutdown")
def shutdown(plugin, **kwargs):
    sys.exit()


@plugin.method("gossiper-heard")
def get_heard(plugin):
    """Tell what was heard, once."""
    told = list(heard)
    heard.clear()
    return {"heard": told}


@plugin.method("gossiper-tell")
def tell(plugin, what):
    """Tell everybody who listens to the topic gossip."""
    plugin.notify("gossip", {"what": what})
    plugin.log(f"told of {what}", level="warn")
    return {}


plugin.run()
