"""What type checkers accept and reject of JSON-RPC between peers, and of codecs that are objects.

Read by test_checkers.py; never run.
"""
# pyright: strict

from typing import Annotated, Any, assert_type

from oddwire import AppContext, Context, Extension, Message, RpcError, as_text, message, subtype, u64
from oddwire.app import Malformed, PeerRpc
from oddwire.codecs import TYPE_ID, WrappedCodec, enveloped
from oddwire.schema import Procedure

extension = Extension("lsps", version="1.0")
rpc = PeerRpc(extension, 37913)
PeerRpc("lsps", 37913)  # error


@subtype
class Order:
    order_id: str
    fee_sat: Annotated[u64, as_text]


class Database: ...


@rpc.method("create")
async def create(context: Context, sat: Annotated[u64, as_text], database: Database, token: str = "") -> Order:
    if sat > 5:
        raise RpcError(100, "too much", {"property": "sat"})
    if sat > 4:
        raise RpcError("too much")  # error
    assert_type(sat, int)
    return Order(order_id=f"{context.peer.node_id}", fee_sat=sat)


@rpc.method("empty", by_position=True)
async def empty(context: Context) -> None: ...


@rpc.notification("paid")
async def paid(context: Context, order_id: str) -> None: ...


@rpc.method("plain")  # error
def plain(context: Context) -> None: ...


@rpc.method("of another context")  # error
async def wrong(context: str) -> None: ...


@rpc.method("any context")
async def any_context(context: AppContext) -> None: ...


@extension.on_connect
async def connected(context: Context) -> None:
    assert_type(await rpc.call(context.peer, "create", result=Order, sat="5"), Order)
    assert_type(await rpc.call(context.peer, "create", {"sat": "5"}, result=int), int)
    assert_type(await rpc.call(context.peer, "create", {"sat": "5"}, timeout=None), Any)
    found: Order = await rpc.call(context.peer, "create", Order(order_id="", fee_sat=5), result=int)  # error
    await rpc.notify(context.peer, "paid", order_id=found.order_id)
    await rpc.call(context, "create")  # error
    await rpc.call(context.peer, 5)  # error
    await rpc.notify(context.peer)  # error


CREATE = Procedure("create", params=Order, result=int)
LIST = Procedure("list", result=tuple[int, ...])
PAID = Procedure("paid", params=Order)
BARE = Procedure("bare")
assert_type(CREATE, Procedure[Order, int])
assert_type(LIST, Procedure[None, tuple[int, ...]])
assert_type(PAID, Procedure[Order, None])
assert_type(BARE, Procedure[None, None])
Procedure("wrong", params="Order")  # error


@rpc.method(CREATE)
async def created(context: Context, order: Order) -> int:
    return order.fee_sat


@rpc.method(CREATE)
async def created_with(context: Context, order: Order, database: Database) -> int:
    return order.fee_sat


@rpc.method(LIST)
async def listed(context: Context, database: Database) -> tuple[int, ...]:
    return (1,)


@rpc.method(CREATE)  # error
async def of_other_parameters(context: Context, order: int) -> int:
    return order


@rpc.method(CREATE)  # error
async def of_another_result(context: Context, order: Order) -> str:
    return order.order_id


@rpc.method(LIST)  # error
async def of_another_list(context: Context) -> tuple[str, ...]:
    return ()


@rpc.notification(PAID)
async def is_paid(context: Context, order: Order) -> None: ...


@rpc.notification(CREATE)  # error
async def answers_notification(context: Context, order: Order) -> int:
    return order.fee_sat


async def of_procedures(context: Context) -> None:
    order = Order(order_id="", fee_sat=5)
    assert_type(await rpc.call(context.peer, CREATE, order), int)
    assert_type(await rpc.call(context.peer, LIST, timeout=5), tuple[int, ...])
    await rpc.notify(context.peer, PAID, order)
    await rpc.notify(context.peer, BARE)
    await rpc.call(context.peer, CREATE, "order")  # error
    await rpc.call(context.peer, CREATE)  # error
    await rpc.notify(context.peer, PAID)  # error
    found: str = await rpc.call(context.peer, CREATE, order)  # error
    print(found)


@message(0x8C01, codec=enveloped("json", magic=b"HIVE", envelope={"type": TYPE_ID, "v": (1, 2)}, body="payload"))
class Hello(Message):
    name: str


@message(0x8C03, codec=5)  # error
class Wrong(Message): ...


enveloped("json", magic="HIVE")  # error


class Deflated(WrappedCodec):
    def wrap(self, body: bytes) -> bytes:
        return body

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        return data[:max_size]


@message(0x8C05, codec=Deflated("msgpack", max_inner=1000))
class Small(Message): ...


@extension.on(Hello)
async def hello(context: Context, message: Hello | Malformed) -> None:
    if isinstance(message, Malformed):
        assert_type(message.payload, bytes)
        assert_type(message.error.offset, int | None)
    else:
        assert_type(message.name, str)


@extension.on(Small)  # error
async def of_malformed_alone(context: Context, message: Malformed) -> None: ...
