"""What type checkers accept and reject of messages. A line that both must reject ends in ``# error``; no other may.

Read by test_checkers.py; never run. The marks need no words from the checkers, which change with their versions.
"""
# pyright: strict
# ruff: noqa: B018

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

from oddwire.proto.keys import PrivateKey, PublicKey, ShortChannelId
from oddwire.schema import (
    Message,
    Schema,
    bigsize,
    bool8,
    counted,
    describe,
    field,
    fixed,
    flag,
    from_dict,
    from_strings,
    max_length,
    message,
    point,
    replace,
    rest,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    to_dict,
    tu64,
    u8,
    u16,
    u64,
)


class Side(Enum):
    BUY = 1
    SELL = 2


@subtype
class Order:
    price: u64
    note: str = ""

    def double(self) -> int:
        return 2 * self.price


@subtype
class Node:
    value: u8
    children: tuple["Node", ...] = ()
    following: Annotated["Node | None", flag(u8)] = None


class Shared(Message):
    request_id: u64


@message(0x8C01)
class Request(Shared):
    LIMIT: ClassVar[int] = 7
    asset: str
    side: Side = Side.BUY
    orders: tuple[Order, ...] = ()
    either: Sequence[u8] = ()
    word: Literal["yes", "no"] = "no"
    note: str | None = None
    extra: Any = None
    table: dict[str, u64] = field(default_factory=dict[str, int])


@message(0x8C03, codec="bolt", spec=True, name="Bolt")
class Bolt(Message):
    key: point
    place: short_channel_id
    digest: sha256
    three: Annotated[bytes, fixed(3)]
    many: Annotated[tuple[u16, ...], counted(bigsize)]
    short: Annotated[str, max_length(9)] = ""
    amount: tu64 = field(tlv=1, default=0)
    order: Order | None = field(tlv=3, default=None)
    required: u8 = field(tlv=5)


@message(0x8C05, codec="bolt")
class Open(Message):
    data: Annotated[bytes, rest]
    more: bytes = field(count=..., default=b"")


@message(0x8C0B, codec="bolt")
class Boxes(Message):
    expiry: Annotated[u64 | None, flag(u8)]
    order: Annotated[Order, counted(u16)]
    orders: Annotated[tuple[Order, ...], rest, counted(bigsize)]
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    inner: tuple["Boxes", ...] = ()
    icon: Annotated[bytes | None, flag(bool8)] = None
    is_host: bool8 = False


order = Order(price=3)
node = Node(value=1, children=(Node(value=2),), following=Node(value=3))
boxes = Boxes(expiry=None, order=order, orders=(order,), nodes={"a": node})
request = Request(request_id=1, asset="eur", orders=(order,), either=[1, 2], word="yes", table={"a": 1})
key: PublicKey = PrivateKey(b"\1" * 32).public_key()
bolt = Bolt(key=key, place=ShortChannelId(1, 2, 3), digest=b"", three=b"abc", many=(1,), required=7)

# Fields are read as what they were declared
number: int = request.request_id
text: str = request.asset
side: Side = request.side
first: Order = request.orders[0]
double: int = first.double()
note: str | None = request.note
some: Sequence[int] = request.either
channel: ShortChannelId = bolt.place
amount: int = bolt.amount
maybe: Order | None = bolt.order
schema: Schema = schema_of(Request)
line: str = describe(request, 23)
changed: Request = replace(request, asset="usd")
typed: Request = from_strings(Request, {"asset": "eur"})
again: Bolt = from_dict(Bolt, to_dict(bolt))
limit: int = Request.LIMIT
expiry: int | None = boxes.expiry
behind_its_size: Order = boxes.order
many: tuple[Order, ...] = boxes.orders
icon: bytes | None = boxes.icon
hosts: bool = boxes.is_host
child: Node = boxes.nodes["a"].children[0]
following: Node | None = child.following
inner_boxes: Boxes = boxes.inner[0]
same: bool = request == changed
keys = {request: 1}

# Arguments have names
Request(1, "eur")  # error
Order(3)  # error

# ... which exist
Request(request_id=1, asset="eur", colour="red")  # error
Order(price=3, prize=4)  # error

# ... and are all there, those of the base class too
Request(request_id=1)  # error
Request(asset="eur")  # error
Order()  # error
Open()  # error
Bolt(key=key, place=ShortChannelId(1, 2, 3), digest=b"", three=b"abc", many=(1,))  # error

# Values are of the field's type
Request(request_id="1", asset="eur")  # error
Request(request_id=1, asset=b"eur")  # error
Request(request_id=1, asset="eur", side=1)  # error
Request(request_id=1, asset="eur", orders=[order])  # error
Request(request_id=1, asset="eur", orders=(1,))  # error
Request(request_id=1, asset="eur", word="maybe")  # error
Request(request_id=1, asset=None)  # error
Bolt(key=b"", place=ShortChannelId(1, 2, 3), digest=b"", three=b"abc", many=(1,), required=7)  # error
Order(price=1.5)  # error
Node(value=1, children=[node])  # error
Node(value=1, children=(order,))  # error
Node(value=1, following=order)  # error
Boxes(expiry="soon", order=order, orders=())  # error
Boxes(expiry=None, order=None, orders=())  # error
Boxes(expiry=None, order=order, orders=(), inner=(order,))  # error

# Nothing changes afterwards
request.asset = "usd"  # error
request.request_id = 2  # error
order.price = 4  # error
bolt.amount = 4  # error

# What is read has its type
wrong_text: str = request.request_id  # error
wrong_number: int = request.note  # error
wrong_key: bytes = bolt.key  # error
wrong_expiry: int = boxes.expiry  # error
wrong_following: Node = child.following  # error
request.colour  # error
wrong_message: Bolt = from_strings(Request, {})  # error
wrong_change: Bolt = replace(request, asset="usd")  # error

# Declarations
message("0x8C01")  # error
message(0x8C07, 3)  # error
schema_of(order)  # error
schema_of(Order)  # error
describe(order)  # error


class DefaultOfAWrongType(Message):
    price: u64 = "free"  # error
    count: u64 = field(default="none")  # error
    names: list[str] = field(default_factory=dict[str, str])  # error


message(0x8C09)(Order)  # error
