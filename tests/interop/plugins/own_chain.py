#!/usr/bin/env python3
"""A chain that nodes share and that confirms at once whatever they send, in place of bcli and bitcoind.

It begins as no_chain does. The blocks after that are in the file that the option own-chain names, one a line, in
hexadecimal digits. Nodes believe their bitcoind: that money was there before it is spent is not checked, so
own-chain-pay (address, satoshi) makes some. Only the standard library is needed.
"""

import fcntl
import hashlib
import os
import sys
from pathlib import Path

from no_chain import CHAIN, GENESIS, METHODS, block, serve

CONFIRMATIONS = 6
TEN_MINUTES = 600
TARGET = 0x7FFFFF << 232  # regtest's: every second hash is good enough
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
NOTHING = "00" * 32

path = Path()


def double_hash(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def block_hash(block):
    return double_hash(bytes.fromhex(block[:160]))


def little(number, size=4):
    return number.to_bytes(size, "little").hex()


def sized(data):
    """Digits after the number of their bytes, which is less than 253."""
    return little(len(data) // 2, 1) + data


def transaction(source, script, satoshi, to):
    """One input, which has no witness, and one output."""
    return f"02000000 01 {source} {sized(script)} ffffffff 01 {little(satoshi, 8)} {sized(to)} 00000000".replace(
        " ", ""
    )


def mine(blocks, transactions):
    """Put a block with transactions, and without any more, behind the others."""
    height = len(blocks) + 1
    before = blocks[-1] if blocks else GENESIS
    coinbase = transaction(NOTHING + "ffffffff", sized(little(height)), 5_000_000_000, "51")
    transactions = [coinbase, *transactions]
    # Nobody looks at the root: it is that of the transactions with their witnesses
    hashes = [double_hash(bytes.fromhex(one)) for one in transactions]
    while len(hashes) > 1:
        hashes += hashes[-1:] * (len(hashes) % 2)
        hashes = [double_hash(left + right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    time = int.from_bytes(bytes.fromhex(before[136:144]), "little") + TEN_MINUTES
    head = f"00000020{block_hash(before).hex()}{hashes[0].hex()}{little(time)}ffff7f20"
    nonce = 0
    while int.from_bytes(block_hash(head + little(nonce)), "little") > TARGET:
        nonce += 1
    blocks.append(head + little(nonce) + little(len(transactions), 1) + "".join(transactions))


def confirm(*sent):
    """Confirm transactions, unless they are confirmed."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        blocks = file.read().split()
        old = len(blocks)
        if not any(all(one in block for one in sent) for block in blocks):
            mine(blocks, sent)
            for _ in range(CONFIRMATIONS - 1):
                mine(blocks, [])
            file.write("".join(f"{block}\n" for block in blocks[old:]))


def mined():
    return path.read_text().split() if path.exists() else []


def chain(params):
    count = len(mined())
    return CHAIN | {"headercount": count, "blockcount": count}


def raw_block(params):
    height, blocks = params["height"], mined()
    if not 1 <= height <= len(blocks):
        return block(height)
    return {"blockhash": block_hash(blocks[height - 1])[::-1].hex(), "block": blocks[height - 1]}


def send(params):
    confirm(params["tx"])
    return {"success": True, "errmsg": ""}


def pay(params):
    address, satoshi = params
    digits = [BECH32.index(char) for char in address.rpartition("1")[2][1:-6]]  # without version and checksum
    number = sum(digit << 5 * place for place, digit in enumerate(reversed(digits)))
    program = (number >> 5 * len(digits) % 8).to_bytes(5 * len(digits) // 8, "big")
    confirm(transaction(os.urandom(36).hex(), "", satoshi, "00" + sized(program.hex())))
    return {}


def init(params):
    global path
    path = Path(params["options"]["own-chain"])
    confirm()  # some blocks to begin with: a lightningd that thinks that it is at height 0 cannot open a channel
    return {}


if __name__ == "__main__":
    own = {"getchaininfo": chain, "getrawblockbyheight": raw_block, "sendrawtransaction": send, "init": init}
    option = {"name": "own-chain", "type": "string", "default": "", "description": "the file with the blocks"}
    sys.exit(serve({**METHODS, **own, "own-chain-pay": pay}, [option]))
