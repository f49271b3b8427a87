"""A plugin that takes all that peers bring about, and says how much of it: run by ``oddwire node``, without oddwire."""

import json
import os
import sys

SEEN = {"pid": os.getpid(), "seen": 0}
MANIFEST = {
    "options": [],
    "rpcmethods": [{"name": "seen", "usage": "", "description": ""}],
    "dynamic": True,
    "hooks": [{"name": "custommsg"}, {"name": "peer_connected"}],
    "subscriptions": ["custommsg", "warning", "connect", "disconnect"],
}
for line in sys.stdin:
    if line == "\n":
        continue
    request = json.loads(line)
    method = request["method"]
    SEEN["seen"] += 1
    if "id" in request:
        result = {"getmanifest": MANIFEST, "init": {}, "seen": SEEN}.get(method, {"result": "continue"})
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n\n")
        sys.stdout.flush()
