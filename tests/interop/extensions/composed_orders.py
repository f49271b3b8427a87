"""The other module of `composed`, which it includes."""

from oddwire import Context, Message, message, u32
from oddwire.app import CallNext, Router

router = Router()


@message(0x8D31, codec="bolt")
class Order(Message):
    number: u32


@message(0x8D33, codec="bolt")
class Ordered(Message):
    number: u32


@message(0x8D36, codec="bolt", even="known")
class Offer(Message):
    number: u32


@message(0x8D35, codec="bolt")
class Ping(Message):
    number: u32


class Journal:
    """What has happened."""

    def __init__(self) -> None:
        self.entries: list[object] = []


@router.provide
def journal() -> Journal:
    return Journal()


@router.on(Order)
async def order(context: Context, request: Order) -> Ordered:
    return Ordered(number=request.number)


@router.on(Ping, rate=20, burst=2)
async def ping(context: Context, message: Ping, journal: Journal) -> Offer:
    """Answer with an even type, which whoever speaks this knows."""
    journal.entries.append(message.number)
    return Offer(number=message.number)


@router.middleware
async def of_router(context: Context, message: Message, call_next: CallNext, journal: Journal) -> Message | None:
    journal.entries.append(f"router: {type(message).__name__}")
    return await call_next(message)
