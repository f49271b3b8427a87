#!/usr/bin/env python3
"""A plugin that does, in the middle of a hook, what nodes kill plugins for. Only the standard library is needed.

What it does is the body of a message of type 0x8d09.
"""

import json
import os
import sys

TYPE = 0x8D09


def answer(request: dict, result: dict) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), end="\n\n", flush=True)


for line in sys.stdin:
    if not line.strip():
        continue
    request = json.loads(line)
    match request["method"]:
        case "getmanifest":
            manifest = {"options": [], "rpcmethods": [], "hooks": [{"name": "custommsg"}], "dynamic": True}
            answer(request, {**manifest, "nonnumericids": True})
        case "init":
            answer(request, {})
        case "custommsg":
            payload = bytes.fromhex(request["params"]["payload"])
            if int.from_bytes(payload[:2], "big") != TYPE:
                answer(request, {"result": "continue"})
                continue
            match payload[2:].decode():
                case "exit":
                    sys.exit(7)
                case "close":
                    os.close(1)
                case "garbage":
                    print(json.dumps({"what": "a lovely day"}), end="\n\n", flush=True)
                case "unknown":
                    answer({"id": "cln:nobody#1"}, {"result": "continue"})
                    answer(request, {"result": "continue", "besides": 1})
