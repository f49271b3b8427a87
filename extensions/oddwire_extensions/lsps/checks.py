"""What a server checks of orders, by bLIP-51, and on-chain addresses, by bLIP-50."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from oddwire import RpcError
from oddwire.known import lsps1

__all__ = ["INVALID_PARAMS", "check_order", "invalid", "is_address"]

INVALID_PARAMS: Final = -32602
NETWORKS: Final = ("bc", "tb", "bcrt")
CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def invalid(name: str, text: str, *, unrecognized: Sequence[str] = ()) -> RpcError:
    """Return the error for a parameter, named with dots where it is in another."""
    data = {"unrecognized": [*unrecognized], "property": name, "message": text}
    return RpcError(INVALID_PARAMS, f"Invalid params: {name} {text}", data)


def check_order(info: lsps1.Info, wish: lsps1.CreateOrder) -> None:
    """Raise `RpcError` for an order that is none, or beyond the options."""
    if wish.lsp_balance_sat < 1:
        raise invalid("lsp_balance_sat", "should be 1 at least")
    if wish.channel_expiry_blocks < 1:
        raise invalid("channel_expiry_blocks", "should be 1 at least")
    if wish.refund_onchain_address is not None and not is_address(wish.refund_onchain_address):
        raise invalid("refund_onchain_address", "should be a SegWit address")
    total = wish.lsp_balance_sat + wish.client_balance_sat
    limits = [
        ("min_required_channel_confirmations", wish.required_channel_confirmations),
        ("min_funding_confirms_within_blocks", wish.funding_confirms_within_blocks),
        ("max_channel_expiry_blocks", wish.channel_expiry_blocks),
        ("min_initial_client_balance_sat", wish.client_balance_sat),
        ("max_initial_client_balance_sat", wish.client_balance_sat),
        ("min_initial_lsp_balance_sat", wish.lsp_balance_sat),
        ("max_initial_lsp_balance_sat", wish.lsp_balance_sat),
        ("min_channel_balance_sat", total),
        ("max_channel_balance_sat", total),
    ]
    for option, value in limits:
        limit, is_least = getattr(info, option), option.startswith("min_")
        if (value < limit) if is_least else (value > limit):
            text = f"{value} is {'less' if is_least else 'more'} than {limit}"
            raise RpcError(lsps1.OPTION_MISMATCH, "Option mismatch", {"property": option, "message": text})


# Addresses, by BIP 173 and BIP 350 --------------------------------------------------------------------


def is_address(text: str) -> bool:
    """Return whether a text is a SegWit address of any version, on any of Bitcoin's networks."""
    if len(text) > 90 or not text.isascii() or text not in (text.lower(), text.upper()):
        return False
    network, one, data = text.lower().rpartition("1")
    if not one or network not in NETWORKS or len(data) < 8 or not set(data) <= set(CHARACTERS):
        return False
    values = [CHARACTERS.index(character) for character in data]
    head = [ord(character) >> 5 for character in network] + [0] + [ord(character) & 31 for character in network]
    version, bits = values[0], 5 * (len(values) - 7)
    if _checksum(head + values) != (0x2BC830A3 if version else 1):
        return False
    rest = 0 if bits % 8 == 0 else values[-7] & (1 << bits % 8) - 1  # padding is less than 5 bits, all zero
    sizes = (20, 32) if version == 0 else range(2, 41)
    return version <= 16 and bits % 8 < 5 and rest == 0 and bits // 8 in sizes


def _checksum(values: Sequence[int]) -> int:
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for index, part in enumerate(GENERATOR):
            found ^= part if top >> index & 1 else 0
    return found
