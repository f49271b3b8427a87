"""Hello: encoding, decoding, and which versions two hellos have in common (docs/session-protocol.md). No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception's name
from typing import Final, NamedTuple

from oddwire.errors import PayloadTooLarge
from oddwire.proto.primitives import build_tlv_stream, tu_encode
from oddwire.session.constants import MAX_EXTENSIONS, MAX_HELLO, MAX_VERSIONS, is_version
from oddwire.session.wire.fields import malformed, pack, records, truncated, unfit, unpack
from oddwire.session.wire.frame_types import MAX_STORES, FrameType, Hello, HelloFlag, Spoken

__all__ = [
    "MAX_KEPT_VERSIONS",
    "MAX_STRANGE",
    "Agreement",
    "decode_hello",
    "digest",
    "encode_hello",
    "highest_common",
    "negotiate",
    "version_key",
]

MAX_STRANGE: Final = 32
"""Max number of a peer's extensions kept in memory that no extension here has the name of."""
MAX_KEPT_VERSIONS: Final = 16
"""Max number of versions kept in memory per extension of a peer; `negotiate` compares all of them first."""

_HELLO = Struct(">HBQBBBQI")

_NAME = re.compile(r"[\x21-\x7e]{1,255}")

_ASSEMBLES, _REQUESTS, _STORES = 1, 3, 5
_RECORDS: Final[Mapping[int, int]] = {_ASSEMBLES: 8, _REQUESTS: 4}
_VALUES: Final[Mapping[int, bytes | None]] = {_STORES: None}

_BOTH = int(HelloFlag.ANSWER | HelloFlag.LEAVING)
_FROM = 0xFFFFFFFF  # the half of a route that is the sender's instance


def encode_hello(
    route: int,
    flags: int,
    lowest: int,
    highest: int,
    program: int,
    extensions: Iterable[Spoken] = (),
    assembles: int | None = None,
    requests: int | None = None,
    stores: Collection[int] = (),
) -> bytes:
    """Return a hello's payload.

    Raises `ValueOutOfRange`, also for extensions or types that do not ascend, and `PayloadTooLarge` for more than
    `MAX_HELLO` bytes of extensions.
    """
    if not route & _FROM:
        raise unfit("hello should be from an instance, which is never 0")
    if flags & _BOTH == _BOTH:
        raise unfit("hello that wants an answer should not leave")
    if not 1 <= lowest <= highest:
        raise unfit(f"hello speaks versions from 1 on, the lowest first, not {lowest} to {highest}")
    content = bytearray()
    last, count = "", 0
    for count, (name, versions, types) in enumerate(extensions, 1):  # noqa: B007 - counted
        if not _NAME.fullmatch(name):
            raise unfit(f"extension's name should be 1 to 255 printable ASCII characters without space, not {name!r}")
        if name <= last:
            raise unfit(f"extensions should ascend by name: {name!r} follows {last!r}")
        last = name
        if not 1 <= len(versions) <= MAX_VERSIONS:
            raise unfit(f"extension {name!r} should have 1 to {MAX_VERSIONS} versions, not {len(versions)}")
        content += bytes([len(name)]) + name.encode() + bytes([len(versions)])
        for version in versions:
            if not is_version(version):
                raise unfit(f"version of {name!r} should be numbers joined by dots such as '1.0', not {version!r}")
            content += bytes([len(version)]) + version.encode()
        if not _ascend(types):
            raise unfit(f"types of {name!r} should ascend: {types}")
        try:
            content += Struct(f">H{len(types)}H").pack(len(types), *types)
        except StructError:
            raise unfit(f"types of {name!r} should be 0 to 65535, and fewer than 65536: {types}") from None
    if count > MAX_EXTENSIONS:
        raise unfit(f"hello should have at most {MAX_EXTENSIONS} extensions, not {count}")
    if len(content) > MAX_HELLO:
        raise PayloadTooLarge(f"hello's extensions take {len(content)} bytes; {MAX_HELLO} are allowed")
    records = []
    if assembles is not None:
        records.append((_ASSEMBLES, tu_encode(assembles, 8)))
    if requests is not None:
        records.append((_REQUESTS, tu_encode(requests, 4)))
    if stores:
        records.append((_STORES, _encode_stores(stores)))
    head = pack(_HELLO, FrameType.HELLO, route, flags, lowest, highest, program, len(content))
    return head + content + build_tlv_stream(records)


def decode_hello(payload: bytes) -> Hello:
    """Decode a hello's payload. Raises `MalformedMessage`."""
    _, _, _, flags, lowest, highest, program, length = unpack(_HELLO, payload)
    stop = _HELLO.size + length
    values: dict[int, bytes | None] = {**_VALUES}
    found = records(payload, stop, _RECORDS, values)
    if flags & _BOTH == _BOTH:
        raise malformed("hello that wants an answer should not leave", 11)
    if not 1 <= lowest <= highest:
        raise malformed(f"hello's versions should be 1 or more, the lowest first, not {lowest} to {highest}", 12)
    if length > MAX_HELLO:
        raise malformed(f"hello's extensions take {length} bytes; {MAX_HELLO} are allowed", _HELLO.size - 4)
    extensions: list[Spoken] = []
    at, last = _HELLO.size, ""
    while at < stop:
        start = at
        raw, at = _counted(payload, at, stop)
        name = raw.decode("latin-1")
        if not _NAME.fullmatch(name):
            raise malformed("extension's name should be 1 or more printable ASCII characters without space", start)
        if name <= last:
            raise malformed(f"extensions should ascend by name: {name!r} follows {last!r}", start)
        last = name
        versions, at = _decode_versions(payload, at, stop)
        types, at = _decode_types(payload, at, stop)
        extensions.append(Spoken(name, versions, types))
    if len(extensions) > MAX_EXTENSIONS:
        raise malformed(f"hello has {len(extensions)} extensions; {MAX_EXTENSIONS} are allowed", _HELLO.size)
    stores = _decode_stores(values[_STORES], stop)
    return Hello(
        flags, lowest, highest, program, tuple(extensions), found.get(_ASSEMBLES), found.get(_REQUESTS), stores
    )


def _encode_stores(stores: Collection[int]) -> bytes:
    if len(stores) > MAX_STORES:
        raise unfit(f"hello should have at most {MAX_STORES} stores, not {len(stores)}")
    try:
        return Struct(f">{len(stores)}Q").pack(*stores)
    except StructError:
        raise unfit(f"store's number should fit 64 bits: {tuple(stores)}") from None


def _decode_stores(value: bytes | None, offset: int) -> tuple[int, ...]:
    if value is None:
        return ()
    count, rest = divmod(len(value), 8)
    if rest or not 1 <= count <= MAX_STORES:
        raise malformed(
            f"hello's stores should be 1 to {MAX_STORES} numbers of 8 bytes, not {len(value)} bytes", offset
        )
    return Struct(f">{count}Q").unpack(value)


def _decode_versions(payload: bytes, at: int, stop: int) -> tuple[tuple[str, ...], int]:
    if at >= stop:
        raise truncated("extension's number of versions is missing", at)
    count = payload[at]
    if not count:
        raise malformed("extension should have a version", at)
    at += 1
    versions: list[str] = []
    for _ in range(count):
        start = at
        raw, at = _counted(payload, at, stop)
        version = raw.decode("ascii", "replace")
        if not is_version(version):
            raise malformed(f"version should be numbers joined by dots such as '1.0', not {raw!r}", start)
        versions.append(version)
    return tuple(versions), at


def _decode_types(payload: bytes, at: int, stop: int) -> tuple[tuple[int, ...], int]:
    end = at + 2
    if end > stop:
        raise truncated("extension's number of types is missing", at)
    count = int.from_bytes(payload[at:end], "big")
    if end + 2 * count > stop:
        raise truncated(f"extension has {count} types by their number, {stop - end} bytes remain", at)
    types = Struct(f">{count}H").unpack_from(payload, end)
    if not _ascend(types):
        raise malformed("extension's types should ascend", end)
    return types, end + 2 * count


def _counted(payload: bytes, at: int, stop: int) -> tuple[bytes, int]:
    end = at + 1 + payload[at] if at < stop else stop + 1
    if end > stop:
        raise truncated("text goes on after the hello's content", at)
    return payload[at + 1 : end], end


def _ascend(numbers: tuple[int, ...]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


# What is in common ------------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """The versions that two programs use in their session.

    ``version`` is that of the session protocol. ``extensions`` maps the name of each extension that both have in a
    common version to the highest such version.
    """

    version: int
    extensions: Mapping[str, str]


def negotiate(ours: Hello, theirs: Hello) -> Agreement | None:
    """Return the versions to use between two programs; None if they have no version of the session protocol in common.

    The result does not depend on the order of the hellos, so both ends come to the same.
    """
    version = min(ours.highest, theirs.highest)
    if version < max(ours.lowest, theirs.lowest):
        return None
    versions = {spoken.name: spoken.versions for spoken in theirs.extensions}
    common = ((own.name, highest_common(own.versions, versions.get(own.name, ()))) for own in ours.extensions)
    return Agreement(version, {name: found for name, found in common if found is not None})


def digest(ours: Hello, theirs: Hello) -> Mapping[str, Spoken]:
    """Return the part of a peer's extensions, by name, to keep while it is connected: a hello can hold much more.

    These are the extensions that we have, and up to `MAX_STRANGE` others, first those that list one of our types under
    another name. Of each, up to `MAX_KEPT_VERSIONS` versions are kept, and the types that our extensions have as well.
    """
    known = {spoken.name for spoken in ours.extensions}
    common = {number for spoken in ours.extensions for number in spoken.types}
    found = [
        Spoken(name, versions[:MAX_KEPT_VERSIONS], (*(number for number in types if number in common),))
        for name, versions, types in theirs.extensions
    ]
    strange = [spoken for spoken in found if spoken.name not in known]
    strange.sort(key=lambda spoken: not spoken.types)
    kept = known.union(spoken.name for spoken in strange[:MAX_STRANGE])
    return {spoken.name: spoken for spoken in found if spoken.name in kept}


def highest_common(ours: Collection[str], theirs: Collection[str]) -> str | None:
    """Return the highest version in both collections, None if they have none in common."""
    return max(set(ours) & set(theirs), key=version_key, default=None)


def version_key(version: str) -> tuple[int, ...]:
    """Return the sort key of a version: its numbers from the left, so that ``1`` comes before ``1.0``."""
    return tuple(map(int, version.split(".")))
