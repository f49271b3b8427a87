#!/usr/bin/env python3
"""A chain that ends where it begins: regtest's genesis block, in place of bcli and bitcoind.

It is all that lightningd has to know to connect to peers. Only the standard library is needed.
"""

import json
import sys

# Bitcoin's header is 80 bytes; then a count, and the one transaction
GENESIS = (
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61"
    "7fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
    "01"
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468"
    "652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261"
    "696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e0"
    "3909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
GENESIS_HASH = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"

CHAIN = {"chain": "regtest", "headercount": 0, "blockcount": 0, "ibd": False}
FEES = {"feerate_floor": 1000, "feerates": [{"blocks": blocks, "feerate": 1000} for blocks in (2, 6, 12, 100)]}
NO_BLOCK = {"blockhash": None, "block": None}


def block(height: int) -> dict[str, str | None]:
    return {"blockhash": GENESIS_HASH, "block": GENESIS} if height == 0 else NO_BLOCK


METHODS = {
    "getchaininfo": lambda params: CHAIN,
    "getrawblockbyheight": lambda params: block(params["height"]),
    "estimatefees": lambda params: FEES,
    "getutxout": lambda params: {"amount": None, "script": None},
    "sendrawtransaction": lambda params: {"success": False, "errmsg": "there is no chain to send it to"},
    "init": lambda params: {},
}


def serve(methods, options=()):
    """Answer as a plugin with these methods and options until stdin ends."""
    own = [
        {"name": name, "usage": "[...]", "description": "of a chain for tests"} for name in methods if name != "init"
    ]
    manifest = {"options": list(options), "rpcmethods": own, "hooks": [], "subscriptions": [], "dynamic": False}
    methods = {**methods, "getmanifest": lambda params: manifest}
    # lightningd sends one document after the other, an empty line after each, none within
    for line in sys.stdin:
        if line.strip():
            request = json.loads(line)
            answer = methods[request["method"]](request["params"])
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answer}), end="\n\n", flush=True)


if __name__ == "__main__":
    serve(METHODS)
