"""LSPS2's terms, for who makes them, who takes them back, and who pays by them: what they have to be, and promises."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from oddwire import MalformedMessage, NodeId, replace, subtype
from oddwire.known import lsps0, lsps2
from oddwire.schema import Procedure
from oddwire_extensions.lsps.times import read_time

__all__ = ["RAW_BUY", "RAW_INFO", "RawBuy", "is_promised", "read_terms", "surplus", "why_unusable", "with_promise"]

FIELDS: Final = frozenset(lsps2.OpeningFeeParams.__annotations__)
MAX_PROMISE: Final = 512
"""Bytes of a promise in JSON, by bLIP-52."""


@subtype
class RawBuy:
    """`lsps2.Buy` with the parameters as they came: an LSP may know its promise by the very text of a time."""

    opening_fee_params: dict[str, Any]
    payment_size_msat: lsps0.Msat | None = None


RAW_INFO: Final = Procedure(lsps2.GET_INFO.name, params=lsps2.GetInfo, result=dict[str, Any])
RAW_BUY: Final = Procedure(lsps2.BUY.name, params=RawBuy, result=lsps2.Bought)


def surplus(entry: Mapping[str, Any]) -> list[str]:
    """Return the fields that bLIP-52 does not have, by which the fee may be another: "clients MUST fail and abort"."""
    return sorted(entry.keys() - FIELDS)


def read_terms(entry: dict[str, Any]) -> lsps2.OpeningFeeParams:
    """Return the ``opening_fee_params`` that JSON holds. Raises `MalformedMessage` with the path, ``$.promise``."""
    if unknown := surplus(entry):
        text = "is not of LSPS2, so what this costs is not known"
        raise MalformedMessage(text, path=f"$.{unknown[0]:.100}")
    try:
        params = lsps2.BUY.load_params({"opening_fee_params": entry}).opening_fee_params
    except MalformedMessage as error:
        path = error.path.replace("$.params.opening_fee_params", "$", 1)
        raise MalformedMessage(error.args[0], path=path) from None
    size = len(json.dumps(params.promise, ensure_ascii=False).encode()) - 2
    if size > MAX_PROMISE:
        raise MalformedMessage(f"should be {MAX_PROMISE} bytes at most, not {size}", path="$.promise")
    return params


def why_unusable(params: lsps2.OpeningFeeParams, now: float) -> str:
    """Return why nobody can pay by these parameters, the empty text if one can. ``now`` is in seconds since 1970."""
    try:
        ends = read_time(params.valid_until)
    except ValueError as error:
        return f"valid_until {error}"
    if ends.timestamp() <= now:
        then = datetime.fromtimestamp(now, UTC)
        return f"valid_until, {params.valid_until}, is past at {then:%Y-%m-%dT%H:%M:%SZ}"
    least, most = params.min_payment_size_msat, params.max_payment_size_msat
    if least > most:
        return f"min_payment_size_msat, {least}, exceeds max_payment_size_msat, {most}"
    possible = lsps2.payment_sizes(params)
    if possible[0] > possible[1]:
        return f"there is no payment of {least} to {most} msat that exceeds its fee and fits into 64 bits with it"
    return ""


def with_promise(secret: bytes, client: NodeId, params: lsps2.OpeningFeeParams) -> lsps2.OpeningFeeParams:
    """Return the parameters with our promise to this client.

    The promise is of the time that ``valid_until`` means: clients write it in their own way, without ``.000`` say.
    """
    said = [
        str(client),
        read_time(params.valid_until).isoformat(),
        params.min_fee_msat,
        params.proportional,
        params.min_lifetime,
        params.max_client_to_self_delay,
        params.min_payment_size_msat,
        params.max_payment_size_msat,
    ]
    promise = hmac.digest(secret, json.dumps(said).encode(), hashlib.sha256).hex()
    return replace(params, promise=promise)


def is_promised(secret: bytes, client: NodeId, params: lsps2.OpeningFeeParams) -> bool:
    """Return whether we have promised this client these parameters, still valid or not."""
    try:
        right = with_promise(secret, client, params).promise
    except ValueError:  # its time is none
        return False
    return hmac.compare_digest(right.encode(), params.promise.encode())
