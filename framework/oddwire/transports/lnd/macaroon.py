"""Macaroons: what one permits, without a look at its secret, and how to have LND make one that permits no more. No I/O.

Source: libmacaroons' binary format 2, and the id that bakery v3 puts into it, in which LND keeps the permissions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from oddwire.printable import printable
from oddwire.transports.lnd.calls import CALLS, CONNECTING, NEEDED
from oddwire.transports.lnd.fields import BYTES, STRING, Field, Shape, WireError, read_varint

__all__ = ["Macaroon", "Permission", "bake_line"]

_VERSION: Final = 2
_BAKERY: Final = 3
_LOCATION, _IDENTIFIER, _VERIFICATION, _SIGNATURE = 1, 2, 4, 6
_SIZE: Final = 32  # bytes of a signature
_ID: Final = Shape(
    "macaroon's id",
    Field(1, "nonce", BYTES),
    Field(2, "storage_id", BYTES),
    Field(3, "ops", Shape("op", Field(1, "entity", STRING), Field(2, "actions", STRING, repeated=True)), repeated=True),
)
_CHANGING: Final = frozenset(("generate", "write"))
_POWERS: Final = {
    "address:write": "makes addresses",
    "info:write": "stops LND, changes its configuration",
    "invoices:write": "makes invoices",
    "macaroon:generate": "makes macaroons of any power",
    "macaroon:write": "revokes macaroons",
    "message:write": "signs messages",
    "offchain:write": "pays",
    "onchain:write": "spends on chain, opens and closes channels",
    "peers:write": "connects and disconnects peers",
    "signer:generate": "signs transactions with LND's keys",
}
_MAKE_ONE: Final = "make one by the line that `oddwire lnd macaroon` prints"


class Permission(NamedTuple):
    """One permission of a macaroon: ``offchain:write``, or with the entity ``uri`` a single call's path."""

    entity: str
    action: str

    def __str__(self) -> str:
        return printable(f"{self.entity}:{self.action}")


class _Secret(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "<macaroon>"


class Macaroon:
    """A macaroon as LND writes it to a file. Neither its text nor its attributes reveal it: only `header` does."""

    __slots__ = ("_raw", "caveats", "permissions")

    def __init__(self, raw: bytes, permissions: Iterable[Permission], caveats: Iterable[str] = ()) -> None:
        self._raw = raw
        self.permissions: Final = tuple(permissions)
        """What it permits, in its order."""
        self.caveats: Final = tuple(caveats)
        """What limits it: ``time-before 2027-01-01T00:00:00Z``, ``ipaddr 10.0.0.1``."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Return the macaroon of a file's bytes, which may be hex. Raises `ValueError`, without any of its bytes."""
        raw = _as_bytes(data)
        try:
            sections = _sections(raw)
            name = next((value for kind, value in sections[0] if kind == _IDENTIFIER), b"") if sections else b""
            if name[:1] != bytes([_BAKERY]):
                raise WireError("its id is not of LND's version")
            ops = _ID.decode(name[1:])["ops"]
            caveats = [value for section in sections[1:] for kind, value in section if kind == _IDENTIFIER]
        except WireError as error:
            raise ValueError(f"is no macaroon of LND's: {error}; {_MAKE_ONE}") from None
        return cls(
            raw,
            (Permission(op["entity"], action) for op in ops for action in op["actions"]),
            (printable(caveat.decode(errors="replace")) for caveat in caveats),
        )

    @property
    def header(self) -> str:
        """The secret itself, in hex, as LND takes it in a call's metadata: never to be shown. Its repr hides it."""
        return _Secret(self._raw.hex())

    def permits(self, call: str) -> bool:
        """Return whether it permits one of `CALLS`, as far as its permissions go."""
        wanted = CALLS[call]
        return not wanted.entity or any(
            permission in ((wanted.entity, wanted.action), ("uri", wanted.path)) for permission in self.permissions
        )

    def lacking(self, calls: Iterable[str] = NEEDED) -> list[str]:
        """Return those of the calls that it does not permit."""
        return [call for call in calls if not self.permits(call)]

    def excess(self) -> list[str]:
        """Return what it permits beyond oddwire's calls that changes anything: ``offchain:write (pays)``.

        Reading is left out: LND's readonly macaroon has it all, and can take nothing.
        """
        ours = {CALLS[call].path for call in (*NEEDED, *CONNECTING)}
        found = []
        for permission in self.permissions:
            if permission.entity == "uri":
                if permission.action not in ours:
                    found.append(str(permission))
            elif permission.action in _CHANGING and permission != ("peers", "write"):
                power = _POWERS.get(str(permission))
                found.append(f"{permission} ({power})" if power else str(permission))
        return found

    def __repr__(self) -> str:
        return f"<Macaroon with {len(self.permissions)} permissions>"

    def __reduce__(self) -> str:
        raise TypeError("a macaroon is not pickled")


def bake_line(*, connect: bool = True, save_to: str | None = None, more: Iterable[str] = ()) -> str:
    """Return the lncli command that makes a macaroon for oddwire's calls alone, and for ``more``, of `CALLS`.

    With ``connect`` it may connect and disconnect peers; ``save_to`` is the file that lncli writes, else it prints hex.
    """
    import shlex

    words = ["lncli", "bakemacaroon"]
    if save_to is not None:
        words += ["--save_to", save_to]
    calls = dict.fromkeys((*NEEDED, *(CONNECTING if connect else ()), *more))
    return shlex.join([*words, *(CALLS[call].uri for call in calls)])


def _as_bytes(data: bytes) -> bytes:
    text = data.strip()
    if not text:
        raise ValueError(f"is empty; {_MAKE_ONE}")
    if data[0] == _VERSION:
        return data
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        pass
    if text.startswith((b"AgE", b"AgI")):  # what 02 01 and 02 02 are in base64
        raise ValueError(
            "is in base64; LND's files have it as bytes, and hex will do: base64 -d FILE > oddwire.macaroon"
        )
    if text.startswith(b"-----BEGIN"):
        raise ValueError(f"is a certificate or key; {_MAKE_ONE}")
    raise ValueError(f"is no macaroon of LND's: it should begin with the byte 02; {_MAKE_ONE}")


def _sections(raw: bytes) -> list[list[tuple[int, bytes]]]:
    """Return the fields of the macaroon and of each caveat. Raises `WireError`."""
    if raw[:1] != bytes([_VERSION]):
        raise WireError("it should begin with the byte 02")
    sections: list[list[tuple[int, bytes]]] = [[]]
    at = 1
    while True:
        kind, at = read_varint(raw, at)
        if kind == 0:
            if not sections[-1]:  # an empty section ends the caveats
                break
            sections.append([])
            continue
        size, at = read_varint(raw, at)
        if kind not in (_LOCATION, _IDENTIFIER, _VERIFICATION) or size > len(raw) - at:
            raise WireError("it is damaged")
        sections[-1].append((kind, raw[at : at + size]))
        at += size
    kind, at = read_varint(raw, at)
    size, at = read_varint(raw, at)
    if (kind, size, len(raw) - at) != (_SIGNATURE, _SIZE, _SIZE):
        raise WireError("its signature is damaged")
    return sections[:-1]
