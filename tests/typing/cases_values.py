"""What type checkers accept and reject of scalars, constraints, validators and generic classes.

A line that both must reject ends in ``# error``; no other may.
"""
# pyright: strict

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Generic, NewType, TypeAlias, TypeVar

from oddwire import Message, NodeId, field, fixed, message, scalar, subtype, u8, u16, u32, u64, validates

T = TypeVar("T")

Sat: TypeAlias = Annotated[int, scalar("sat", python=int, size=8)]
SwapId = NewType("SwapId", bytes)
Fixed: TypeAlias = Annotated[SwapId, fixed(32)]


class Ticker:
    def __init__(self, text: str) -> None:
        self.text = text


def load(text: str) -> Ticker:
    return Ticker(text.upper())


def dump(ticker: Ticker) -> str:
    return ticker.text


AnyTicker: TypeAlias = Annotated[Ticker, scalar("ticker", python=Ticker, wire=str, load=load, dump=dump)]


@subtype
class Order:
    price: u16 = 1


@subtype
class Page(Generic[T]):
    number: u32
    items: tuple[T, ...] = field(length=(0, 20))

    @validates
    def check(self) -> None:
        if self.number < len(self.items):
            raise ValueError("should be above")

    def first(self) -> T:
        return self.items[0]


class Listing(Message, Generic[T]):
    page: Page[T]
    more: bool = False


@message(0x8C01)
class Orders(Listing[Order]):
    more: bool = True
    fee: Sat = field(ge=1, le=1000)
    id: Fixed
    ticker: AnyTicker
    at: datetime
    due: Annotated[datetime, u64]
    amount: Decimal = field(ge=Decimal(0), default=Decimal(1))
    node: NodeId
    name: str = field(pattern="[a-z]+", length=(1, 20))
    few: tuple[Annotated[u8, field(gt=0)], ...] = ()

    @validates("fee")
    def check_fee(self, value: int) -> None:
        if value == 7:
            raise ValueError("should not be 7")


now = datetime.now(UTC)
page = Page[Order](number=1, items=(Order(),))
numbers = Page[u32](number=1, items=(1, 2))
orders = Orders(
    page=page,
    fee=1,
    id=SwapId(b""),
    ticker=Ticker("eur"),
    at=now,
    due=now,
    node=NodeId(b""),
    name="x",
    amount=Decimal(1),
)

first: Order = orders.page.first()
price: int = orders.page.items[0].price
number: int = numbers.first()
at: datetime = orders.at
due: datetime = orders.due
amount: Decimal = orders.amount
ticker: Ticker = orders.ticker
fee: int = orders.fee
node: NodeId = orders.node
few: tuple[int, ...] = orders.few

wrong_first: str = orders.page.first()  # error
wrong_number: Order = numbers.first()  # error
wrong_time: int = orders.due  # error
wrong_ticker: str = orders.ticker  # error
wrong_amount: float = orders.amount  # error
Page[Order](number=1, items=(1,))  # error
Page[Order](number=1)  # error
Page[u32](1, ())  # error
field(length="20")  # error
field(pattern=b"x")  # error
field(above=1)  # error
scalar("x", size=8)  # error
validates(3)  # error


class Wrong(Message):
    fee: Sat = "free"  # error
    at: datetime = 5  # error
    low: u8 = field(ge=1, default="one")  # error
