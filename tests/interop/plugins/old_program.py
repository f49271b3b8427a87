#!/usr/bin/env python3
"""A pyln-client plugin that speaks a draft of the session protocol whose frames named no program: kinds 1 to 8.

It greets each peer, answers a greeting, and refuses all that it is asked or sent; what it does not know it ignores.
"""

import struct

from pyln.client import Plugin

plugin = Plugin()
HELLO, FRAGMENT, REQUEST, REPLY, FAILURE, CANCEL, DATA, ACK = range(1, 9)
came = []


def frame(kind, header, content=b""):
    return b"\xc0\xdd" + bytes([kind]) + header + struct.pack(">I", len(content)) + content


def hello(flags):
    spoken = b"\x02s0\x01\x031.0" + struct.pack(">H", 0)
    return frame(HELLO, struct.pack(">BBBQ", flags, 1, 1, 7), spoken) + b"\x01\x03\x10\x00\x00\x03\x01\x10"


def answer(kind, payload):
    if kind == HELLO and payload[3] & 1:
        return hello(0)
    if kind == REQUEST:
        return frame(FAILURE, struct.pack(">B8sH", 1, payload[3:11], 2), b"not handled here")
    if kind == FRAGMENT:
        return frame(FAILURE, struct.pack(">B8sH", 2, payload[3:11], 2), b"not handled here")
    if kind == DATA:
        lane, epoch, _, sequence = struct.unpack(">QQQQ", payload[3:35])
        refused = struct.pack(">QHH", sequence, 2, 0)
        return frame(ACK, struct.pack(">BBQQQ", 3, 0, lane, epoch, sequence), refused)
    return None


@plugin.hook("custommsg")
def custommsg(peer_id, payload, plugin, **kwargs):
    payload = bytes.fromhex(payload)
    if payload.startswith(b"\xc0\xdd"):
        came.append(payload[2])
        reply = answer(payload[2], payload)
        if reply is not None:
            plugin.rpc.sendcustommsg(peer_id, reply.hex())
    return {"result": "continue"}


@plugin.subscribe("connect")
def connect(connect, plugin, **kwargs):
    plugin.rpc.sendcustommsg(connect["id"], hello(1).hex())


@plugin.method("old-program-came")
def tell(plugin):
    """Tell the kinds of the frames that have come."""
    return {"kinds": came}


plugin.run()
