#!/usr/bin/env python3
"""A plugin without any library, whose method ``large`` answers with so many bytes: of ``listchannels``' kind."""

import json
import sys


def say(**document):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **document}) + "\n\n")
    sys.stdout.flush()


buffered = ""
for line in sys.stdin:
    if line != "\n":
        buffered += line
        continue
    request, buffered = json.loads(buffered), ""
    if request["method"] == "getmanifest":
        methods = [{"name": "large", "usage": "size", "description": "Answer with so many bytes"}]
        say(id=request["id"], result={"options": [], "rpcmethods": methods, "dynamic": True})
    elif request["method"] == "init":
        say(id=request["id"], result={})
    else:
        params = request["params"]
        size = int(params[0] if isinstance(params, list) else params["size"])
        say(id=request["id"], result={"channels": [{"short_channel_id": "700000x1234x1" * 7}] * (size // 114)})
