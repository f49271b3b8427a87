"""What type checkers accept and reject of unions in messages. A line that both must reject ends in ``# error``.

Read by test_checkers.py; never run.
"""
# pyright: strict
# ruff: noqa: B018

from typing import Annotated, Any, TypeAlias, assert_never

from oddwire import Message, UnknownVariant, bigsize, message, subtype, tagged, u8, u64


@subtype(tag=0)
class Single:
    total: u64
    note: str = ""


@subtype(tag="disjoint")
class Disjoint:
    totals: tuple[u64, ...]

    def sum(self) -> int:
        return sum(self.totals)


@subtype
class Bare:
    number: u8


Contract: TypeAlias = Annotated[
    Single | Disjoint | UnknownVariant, tagged(bigsize, length=bigsize, key="kind", tags={Disjoint: 1, Single: 0})
]


@message(0x8C01, codec="bolt")
class Offer(Message):
    contract: Contract
    more: tuple[Contract, ...] = ()
    maybe: Annotated[Bare, tagged("type")] | None = None


@message(0x8C03, codec="json")
class Call(Message):
    id: str | int | None
    number: int | float = 0
    offer: Offer


offer = Offer(contract=Single(total=5))
unknown = UnknownVariant(tag=7, body=b"")
again = UnknownVariant("x", {"a": [1, None]})
both = Offer(contract=unknown, more=(Disjoint(totals=(1,)), Single(total=1, note="x")), maybe=Bare(number=1))
call = Call(id="a", offer=offer)
Call(id=None, number=1.5, offer=offer)
tag: int | str = unknown.tag
body: bytes | dict[str, Any] = unknown.body


def total(offer: Offer) -> int:
    match offer.contract:
        case Single(total=total):
            return total
        case Disjoint():
            return offer.contract.sum()
        case UnknownVariant(tag=int(tag)):
            return tag
        case UnknownVariant():
            return 0
        case _:
            assert_never(offer.contract)


def text(call: Call) -> str:
    return call.id if isinstance(call.id, str) else str(call.id)


# A member's fields are its own, and have names
Single(5)  # error
Single(total="5")  # error
Single()  # error
Disjoint(totals=[1])  # error

# A value is one of the members
Offer(contract=Bare(number=1))  # error
Offer(contract=5)  # error
Offer(contract=None)  # error
Offer(contract=offer)  # error
Offer(contract=unknown, more=(Bare(number=1),))  # error
Call(id=1.5, offer=offer)  # error
Call(id=1, number="1", offer=offer)  # error
Call(id=1, offer=Single(total=1))  # error
UnknownVariant(tag=1.5, body=b"")  # error
UnknownVariant(tag=1)  # error

# ... and which one it is has to be found out
offer.contract.total  # error
number: int = call.id  # error
data: bytes = unknown.body  # error

# Nothing changes
offer.contract = Single(total=1)  # error
unknown.tag = 8  # error

# Tags are integers or texts
subtype(tag=1.5)  # error
subtype(tag=None)  # error
subtype(tags=0)  # error
tagged(bigsize, tags={Single: None})  # error
tagged(bigsize, key=5)  # error
