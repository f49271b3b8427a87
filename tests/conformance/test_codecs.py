"""The codec kit, run over every codec of ours, with messages that hold every kind of field each can carry."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

from oddwire.codecs import TYPE_ID, WrappedCodec, enveloped
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack.codec import MsgpackCodec
from oddwire.codecs.raw import RawCodec
from oddwire.errors import MalformedMessage
from oddwire.schema import (
    Message,
    as_text,
    bigsize,
    chain_hash,
    counted,
    field,
    fixed,
    max_length,
    message,
    point,
    rest,
    s8,
    s16,
    s32,
    s64,
    sha256,
    short_channel_id,
    signature,
    subtype,
    tu16,
    tu32,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.testing import CodecConformance


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@subtype
class Order:
    price: u64
    text: str


class Numbers(Message):
    a: u8
    b: u16
    c: u32
    d: u64
    e: s8
    f: s16
    g: s32
    h: s64
    i: bigsize


class Names(Message):
    key: point
    digest: sha256
    channel: short_channel_id
    chain: chain_hash
    proof: signature


class Plain(Message):
    whole: int
    flag: bool
    number: float
    text: str
    data: bytes
    short: Annotated[str, max_length(4)]
    side: Side
    level: Level
    word: Literal["yes", "no"]
    maybe: u32 | None = None
    default: u32 | None = 7
    many: tuple[u16, ...] = ()
    some: list[str] = field(default_factory=list)
    either: Sequence[u8] = ()
    orders: tuple[Order, ...] = ()
    table: dict[str, tuple[u8, ...]] = field(default_factory=dict)
    anything: Any = None


@message(0x8C01, codec="msgpack")
class MsgpackNumbers(Numbers): ...


@message(0x8C03, codec="msgpack")
class MsgpackNames(Names): ...


@message(0x8C05, codec="msgpack")
class MsgpackPlain(Plain): ...


@message(0x8C07, codec="json")
class JsonNumbers(Numbers): ...


@message(0x8C09, codec="json")
class JsonNames(Names): ...


@message(0x8C0B, codec="json")
class JsonPlain(Plain): ...


@message(0x8C0D, codec="bolt")
class BoltNumbers(Numbers): ...


@message(0x8C0F, codec="bolt")
class BoltNames(Names): ...


@message(0x8C11, codec="bolt")
class BoltArrays(Message):
    flag: bool
    level: Annotated[Level, u8]
    number: u8
    first: tuple[u16, ...] = field(count="number")
    text: Annotated[str, counted(u8)]
    three: Annotated[bytes, fixed(3)]
    orders: tuple[Order, ...]
    end: Annotated[bytes, rest]


@message(0x8C13, codec="bolt")
class BoltRecords(Message):
    number: u8
    amount: tu64 | None = field(tlv=1, default=None)
    small: tu16 | None = field(tlv=3, default=5)
    text: str | None = field(tlv=5, default=None)
    order: Order | None = field(tlv=7, default=None)
    points: tuple[point, ...] | None = field(tlv=9, default=None)
    size: tu32 | None = field(tlv=11, default=None)


@message(0x8C15, codec="raw")
class Raw(Message):
    data: bytes


class Deflated(WrappedCodec):
    def wrap(self, body: bytes) -> bytes:
        return zlib.compress(body)

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(data, max_size + 1)
        except zlib.error as error:
            raise MalformedMessage(f"is not zlib's: {error}") from None
        if len(body) > max_size or not inflater.eof or inflater.unused_data:
            raise MalformedMessage(f"should be one zlib stream of {max_size} bytes at most")
        return body


HIVE = enveloped("json", magic=b"HIVE", envelope={"type": TYPE_ID, "version": (1, 2), "a-key": "x"}, body="payload")


class Quoted(Plain):
    quoted: Annotated[u64, as_text]
    perhaps: Annotated[s64 | None, as_text] = None
    many_quoted: tuple[Annotated[int, as_text], ...] = ()


@message(0x8C17, codec=HIVE)
class HiveQuoted(Quoted): ...


@message(0x8C19, codec=HIVE)
class HiveNames(Names): ...


MAP = enveloped("msgpack", envelope={"type": TYPE_ID}, body="payload")


@message(0x8C1B, codec=MAP)
class MapQuoted(Quoted): ...


@message(0x8C1D, codec=MAP)
class MapNumbers(Numbers): ...


@message(0x8C1F, codec=Deflated("json"))
class DeflatedQuoted(Quoted): ...


MAGIC = enveloped(Deflated("bolt"), magic=b"\0")


@message(0x8C21, codec=MAGIC)
class MagicNumbers(Numbers): ...


@message(0x8C23, codec=MAGIC)
class MagicNames(Names): ...


class TestMsgpack(CodecConformance):
    codec = MsgpackCodec()
    examples = 15  # `make fuzz` tries more
    messages = (MsgpackNumbers, MsgpackNames, MsgpackPlain)


class TestJson(CodecConformance):
    codec = JsonCodec()
    examples = 15
    messages = (JsonNumbers, JsonNames, JsonPlain)


class TestBolt(CodecConformance):
    codec = BoltCodec()
    examples = 15
    messages = (BoltNumbers, BoltNames, BoltArrays, BoltRecords)


class TestRaw(CodecConformance):
    codec = RawCodec()
    examples = 15
    messages = (Raw,)


class TestJsonInAnEnvelope(CodecConformance):
    codec = HIVE
    examples = 15
    messages = (HiveQuoted, HiveNames)


class TestMsgpackInAnEnvelope(CodecConformance):
    codec = MAP
    examples = 15
    messages = (MapQuoted, MapNumbers)


class TestDeflated(CodecConformance):
    codec = Deflated("json")
    examples = 15
    messages = (DeflatedQuoted,)


class TestDeflatedBehindMagic(CodecConformance):
    codec = MAGIC
    examples = 15
    messages = (MagicNumbers, MagicNames)
