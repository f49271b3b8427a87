"""What type checkers accept and reject of middleware, routers and types without a schema.

Read by test_checkers.py; never run.
"""
# pyright: strict

from oddwire import AppContext, Context, Extension, Message, Peer, RpcError, message
from oddwire.app import CallNext, Middleware, Router

extension = Extension("composing", version="1.0", peer_feature=729)
router = Router()
extension.include(router)
extension.include(extension)  # error
extension.include("router")  # error


@message(0x8C02, even="known")
class Known(Message):
    number: int


@message(0x8C04, even="maybe")  # error
class Maybe(Message):
    number: int


class Thing: ...


@extension.middleware
async def passes(context: Context, message: Message, call_next: CallNext) -> Message | None:
    reply = await call_next(message)
    print(reply.number)  # error
    await call_next()  # error
    await call_next(7)  # error
    return reply


@router.middleware
async def answers(context: Context, message: Message, call_next: CallNext, thing: Thing) -> Known | None:
    return Known(number=1)


@extension.middleware
async def with_an_answer_of_its_own(context: Context, message: Message, call_next: CallNext) -> Known | Message | None:
    if isinstance(message, Known):
        return Known(number=2)
    return await call_next(message)


@extension.middleware
async def narrower_than_what_comes(context: Context, message: Message, call_next: CallNext) -> Known | None:
    return await call_next(message)  # error


@extension.middleware  # error
async def of_one_message(context: Context, message: Known, call_next: CallNext) -> Message | None:
    return await call_next(message)


@extension.middleware  # error
async def without_a_next(context: Context, message: Message) -> Message | None: ...


@extension.middleware  # error
def not_async(context: Context, message: Message, call_next: CallNext) -> Message | None: ...


@extension.middleware  # error
async def of_text(context: Context, message: Message, call_next: CallNext) -> str:
    return "text"


Middleware(function=passes)


@router.on(Known, rate=5, burst=20.0)
async def known(context: Context, message: Known) -> None: ...


@router.on(Known, rate="5/s")  # error
async def known_too(context: Context, message: Known) -> None: ...


@router.on_unknown(0x9001, range(0x9003, 0x9007), spec=True)
async def unknown(context: Context, type_id: int, data: bytes, thing: Thing) -> None: ...


@extension.on_unknown("0x9001")  # error
async def unknown_text(context: Context, type_id: int, data: bytes) -> None: ...


@extension.on_unknown(0x9001)  # error
async def unknown_message(context: Context, type_id: int, data: Known) -> None: ...


@router.on_connect
async def connected(context: Context) -> None: ...


@router.rpc("composing-pay")
async def pay(context: AppContext, sats: int) -> int:
    raise RpcError(1, "no", data={"missing": sats})


async def sends(peer: Peer) -> None:
    await peer.send_raw(0x9001, b"data", force=True, spec=True)
    await peer.send_raw(0x9001, "data")  # error
    await peer.send_raw(b"data")  # error
