#!/usr/bin/env python3
"""A pyln-client plugin that keeps what every peer sends, in order, until somebody takes it; greetings it does not."""

from pyln.client import Plugin

EVEN = 40000
GREETING = "c0dd"  # the type with which applications of oddwire begin

plugin = Plugin(custom_msgs=[EVEN])
plugin.add_option("collector-greeting", "", "The message, in hex, to send to each peer as soon as it is connected")
came = {}
asked = []


@plugin.hook("custommsg")
def custommsg(peer_id, payload, plugin, **kwargs):
    if not payload.startswith(GREETING):
        came.setdefault(peer_id, []).append(payload)
        answer_asked()
    return {"result": "continue"}


@plugin.subscribe("connect")
def connect(connect, plugin, **kwargs):
    greeting = plugin.get_option("collector-greeting")
    if greeting:
        plugin.rpc.sendcustommsg(connect["id"], greeting)


@plugin.async_method("collector-take")
def take(plugin, request, peer_id, count):
    """Wait until a peer has sent so many messages, and give those."""
    asked.append((request, peer_id, int(count)))
    answer_asked()


def answer_asked():
    for entry in list(asked):
        request, peer_id, count = entry
        payloads = came.get(peer_id, [])
        if len(payloads) >= count:
            asked.remove(entry)
            came[peer_id] = payloads[count:]
            request.set_result({"payloads": payloads[:count]})


plugin.run()
