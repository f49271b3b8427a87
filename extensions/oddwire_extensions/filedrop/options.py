"""The options, and what their texts mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from oddwire import NodeId
from oddwire.app import Router

__all__ = ["router"]

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) *(?:([KMGT])(i?)B?|B)?", re.IGNORECASE)

router = Router()


def read_size(text: str) -> int:
    """Return the bytes that a text says: ``1000``, ``64KiB``, ``1.5GB``. Raises `ValueError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"should be a number of bytes such as 1000, 64KiB or 1.5GB, not {text!r}")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper()) if unit else 0))


@router.option("filedrop-dir")
def folder(value: Path = Path("filedrop")) -> Path:
    """Save files in this folder, unless another is given when one is accepted; it is made if it is not there."""
    path = value.expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(f"should be a folder, not {str(value)!r}")
    return path


@router.option("filedrop-accept-from")
def accept_from(value: list[str] = []) -> frozenset[NodeId]:  # noqa: B006 - never changed
    """Accept without being asked what this node sends; may be given several times."""
    return frozenset(NodeId(text) for text in value)


@router.option("filedrop-accept-size", dynamic=True)
def accept_size(value: str = "1GiB") -> int:
    """Of those, accept files of up to so many bytes without being asked."""
    return read_size(value)


@router.option("filedrop-quarantine", dynamic=True)
def quarantine(value: str = "16GiB") -> int:
    """Let accepted files that have not arrived have so many bytes, all together."""
    return read_size(value)


@router.option("filedrop-transfers", dynamic=True)
def transfers(value: int = 4) -> int:
    """Fetch so many files at once, and read so many for peers."""
    if not 1 <= value <= 64:
        raise ValueError(f"should be 1 to 64, not {value}")
    return value


@router.option("filedrop-days", dynamic=True)
def days(value: float = 7.0) -> float:
    """Drop an offer, and the part of a file, with which nothing has gone on for so many days."""
    if not 0 < value < 36500:
        raise ValueError(f"should be a number of days, not {value}")
    return value
