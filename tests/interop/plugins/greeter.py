#!/usr/bin/env python3
"""A pyln-client plugin with options, methods and a hook: it greets whoever sends it a message of type 0x8801."""

import sys
import time

from pyln.client import Plugin, RpcError, RpcException

TYPE = 0x8801

plugin = Plugin()
plugin.add_option("greeting", "hello", "What to answer")
plugin.add_option("greet-count", 1, "How often to answer", opt_type="int", dynamic=True)
plugin.add_option("greet-loudly", False, "Whether to shout", opt_type="bool")
plugin.add_flag_option("greet-not", "Do not answer at all")
plugin.add_option("greet-also", None, "Say this, too", multi=True)
received = []


@plugin.init()
def init(options, configuration, plugin, **kwargs):
    plugin.log(f"greeting {options['greeting']!r} in {configuration['network']}")
    # The node answers while a plugin's init is under way
    plugin.node_id = plugin.rpc.getinfo()["id"]


@plugin.hook("custommsg", filters=[TYPE])
def greet(peer_id, payload, plugin, **kwargs):
    received.append([peer_id, payload])
    if not plugin.get_option("greet-not"):
        words = [plugin.get_option("greeting")] * int(plugin.get_option("greet-count"))
        text = " ".join([*words, *(plugin.get_option("greet-also") or [])])
        text = text.upper() if plugin.get_option("greet-loudly") else text
        plugin.rpc.sendcustommsg(peer_id, "8803" + text.encode().hex())
    return {"result": "continue"}


@plugin.method("greeter-received")
def get_received(plugin):
    """Tell what came."""
    return {"received": received}


@plugin.method("greeter-add")
def add(plugin, a, b=10):
    """Add two numbers."""
    return {"sum": a + b}


@plugin.method("greeter-fail")
def fail(plugin, how="error"):
    """Fail in one of the ways there are."""
    if how == "rpc":
        raise RpcException("the wrong sort", code=777)
    if how == "exit":
        sys.exit(3)
    raise ValueError("no way")


@plugin.async_method("greeter-later")
def later(request, plugin, seconds=0.01):
    """Answer later, and say something until then."""
    request.notify("half way")
    time.sleep(float(seconds))
    request.set_result({"later": True})


@plugin.method("greeter-nothing")
def nothing(plugin):
    """Return no result, which is a null."""


@plugin.method("greeter-ask")
def ask(plugin, what, params=None):
    """Call a method of the node: what it answers, or its error."""
    try:
        return {"answer": plugin.rpc.call(what, params or {})}
    except RpcError as error:
        return {"error": error.error}


print("printed before run")
plugin.run()
