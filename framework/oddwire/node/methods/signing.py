"""``signmessage``, ``checkmessage`` and ``makesecret``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import coincurve

from oddwire.errors import NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS, Parameter, a_hex, a_pubkey, a_string
from oddwire.node.commands import Command, RpcRequest
from oddwire.proto.keys import NodeId, PublicKey

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands", "zbase32_decode", "zbase32_encode"]

_ALPHABET: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)}
_PUBKEY_NOT_FOUND: Final = 1301  # lightningd's code
_FIRST_BYTE: Final = 31  # a signature's first byte is this plus its recovery id, as in lnd
_LONGEST: Final = 65535


def zbase32_encode(data: bytes) -> str:
    """Encode bytes with five bits per character, the last one padded with zero bits."""
    bits = len(data) * 8
    count = (bits + 4) // 5
    number = int.from_bytes(data, "big") << (count * 5 - bits)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))


def zbase32_decode(text: str) -> bytes:
    """Decode a text of `zbase32_encode`. Raises `ValueError`."""
    number = 0
    for char in text:
        if char not in _VALUES:
            raise ValueError(f"{char!r} is not a zbase32 character")
        number = number << 5 | _VALUES[char]
    count, spare = divmod(len(text) * 5, 8)
    if spare >= 5 or number & ((1 << spare) - 1):
        raise ValueError("zbase32 ends in bits that belong to no byte")
    return (number >> spare).to_bytes(count, "big")


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""

    def signmessage(request: RpcRequest, message: str) -> Any:
        if len(message.encode()) > _LONGEST:
            raise NodeRefused("Message must be < 64k", code=INVALID_PARAMS)
        if request.checking:
            return None
        signature = node.secret.node_key.key.sign_recoverable(_digest(message), hasher=None)
        compact, recovery = signature[:64], signature[64]
        return {
            "signature": compact.hex(),
            "recid": f"{recovery:02x}",
            "zbase": zbase32_encode(bytes([_FIRST_BYTE + recovery]) + compact),
        }

    def checkmessage(request: RpcRequest, message: str, zbase: str, pubkey: PublicKey | None) -> Any:
        try:
            signature = zbase32_decode(zbase)
        except ValueError:
            raise NodeRefused("zbase is not valid zbase32", code=INVALID_PARAMS) from None
        if len(signature) != 65:
            size = "short" if len(signature) < 65 else "long"
            raise NodeRefused(f"zbase is too {size}", code=INVALID_PARAMS)
        recovery = signature[0] - _FIRST_BYTE
        if not 0 <= recovery <= 3:
            raise NodeRefused("cannot parse zbase signature", code=INVALID_PARAMS)
        if request.checking:
            return None
        try:
            found = coincurve.PublicKey.from_signature_and_message(
                signature[1:] + bytes([recovery]), _digest(message), hasher=None
            )
        except ValueError:
            return {"verified": False}
        key = PublicKey(found)
        if pubkey is None and not _is_known(node, NodeId(key)):
            text = "pubkey not found in the graph"
            raise NodeRefused(text, code=_PUBKEY_NOT_FOUND, data={"claimed_key": key.hex()})
        return {"pubkey": key.hex(), "verified": pubkey is None or pubkey == key}

    def makesecret(request: RpcRequest, data: bytes | None, string: str | None) -> Any:
        if string is not None:
            if data is not None:
                raise NodeRefused("Cannot have both hex and string", code=INVALID_PARAMS)
            data = string.encode()
        elif data is None:
            raise NodeRefused("Must have either hex or string", code=INVALID_PARAMS)
        return None if request.checking else {"secret": node.secret.derive(data).to_bytes().hex()}

    return [
        Command(
            name="signmessage",
            handler=signmessage,
            parameters=(Parameter("message", a_string),),
            description="Sign a text with the node's key",
            checks=True,
        ),
        Command(
            name="checkmessage",
            handler=checkmessage,
            parameters=(
                Parameter("message", a_string),
                Parameter("zbase", a_string),
                Parameter("pubkey", a_pubkey, required=False),
            ),
            description="Check whether a text was signed by pubkey, or by a known node",
            checks=True,
        ),
        Command(
            name="makesecret",
            handler=makesecret,
            parameters=(Parameter("hex", a_hex, required=False), Parameter("string", a_string, required=False)),
            description="Derive a secret by name from the node's own",
            checks=True,
        ),
    ]


def _digest(message: str) -> bytes:
    # As lnd does: the double SHA-256 of this prefix and the text
    return hashlib.sha256(hashlib.sha256(b"Lightning Signed Message:" + message.encode()).digest()).digest()


def _is_known(node: Node, node_id: NodeId) -> bool:
    # Without gossip, the known nodes are this one, its peers, and those with a stored address
    return str(node_id) == node.node_id or node.peers.is_known(node_id) or node.store.address(node_id) is not None
