import io
import json
from typing import Annotated, Any

import pytest

from oddwire import Application, Context, Extension, RpcError, as_text, subtype, u64
from oddwire.app import PeerRpc, PluginManager
from oddwire.cli.events import Printer
from oddwire.cli.exit import CommandFailure
from oddwire.cli.peer_call import PeerCall, method_names, peer_call
from oddwire.cli.vocabulary import Vocabulary
from oddwire.schema import Procedure
from oddwire.transports import MemoryNetwork


@subtype
class NewOrder:
    sats: Annotated[u64, as_text]
    token: str | None = None


@subtype
class Order:
    order_id: str


ORDER = Procedure("shop.order", params=NewOrder, result=Order)


class Shelf:
    """What is provided is no parameter of who calls."""


def shop() -> Extension:
    extension = Extension("shop", version="1.0")
    rpc = PeerRpc(extension, 0x8D81)
    extension.provide(shelf)

    @rpc.method(ORDER)
    async def order(context: Context, order: NewOrder) -> Order:
        if order.token is not None:
            raise RpcError(102, "stale token", {"token": order.token})
        return Order(order_id=str(order.sats))

    @rpc.method("add")
    async def add(context: Context, one: int, other: list[int], shelf: Shelf) -> int:
        return one + sum(other)

    @rpc.notification("bye")
    async def bye(context: Context, reason: str) -> None:
        heard.append(reason)

    return extension


def shelf() -> Shelf:
    return Shelf()


heard: list[str] = []


def vocabulary() -> Vocabulary:
    plugins = PluginManager()
    plugins.register(shop())
    return Vocabulary(plugins.contributions[-1])


async def call(method: str, *params: str) -> tuple[int, str, str]:
    made = peer_call(vocabulary(), method, params)
    assert isinstance(made, PeerCall)
    out, err, network = io.StringIO(), io.StringIO(), MemoryNetwork()
    async with (
        Application(shop(), transport=network.transport()) as server,
        Application(made.extension, transport=network.transport()) as client,
    ):
        code = await made.run(await client.connect(server.uris[0]), Printer(stdout=out, stderr=err))
    return code, out.getvalue(), err.getvalue()


async def test_parameters_are_read_by_their_types() -> None:
    assert await call("shop.order", "sats=0x10") == (0, '{"order_id": "16"}\n', "")
    assert await call("add", "one=1", "other=[2, 3]") == (0, "6\n", "")


async def test_a_peers_error_is_its_code_text_and_data() -> None:
    code, out, err = await call("shop.order", "sats=1", "token=old")
    assert (code, out) == (1, "")
    assert err == "oddwire: shop.shop.order: stale token (code 102, data {'token': 'old'})\n"


async def test_a_method_that_is_not_declared_here_may_be_called_by_a_name_with_a_dot() -> None:
    code, _, err = await call("shop.nosuch", "number=5")
    assert code == 1
    assert "Method not found" in err
    assert peer_call(vocabulary(), "nosuch", []) is None


async def test_a_notification_is_sent() -> None:
    heard.clear()
    assert await call("bye", "reason=7") == (0, "", "")
    assert heard == ["7"]


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("shop.order", ["sat=1"], "there is no parameter 'sat', did you mean sats[?]; its parameters are: sats: "),
        ("shop.order", ["sats=many"], "sats should be .*'many'"),
        ("shop.order", [], "sats should be given"),
        ("shop.order", ["sats"], "'sats' should be name=value"),
        ("add", ["one=1", "one=2"], "parameter 'one' is given twice"),
        ("shop.nosuch", ["x={1"], None),
        ("shop.nosuch", ['x={"a"}'], "x: .* is not JSON"),
    ],
)
def test_a_wrong_parameter_is_named(method: str, params: list[str], reason: str | None) -> None:
    if reason is None:
        assert peer_call(vocabulary(), method, params) is not None  # text, as with `oddwire call`
        return
    with pytest.raises(CommandFailure, match=rf"^shop\.{method}: {reason}"):
        peer_call(vocabulary(), method, params)


def test_the_names_of_methods() -> None:
    assert method_names(vocabulary()) == ["add", "bye", "shop.order"]


async def test_a_result_is_an_event() -> None:
    made: Any = peer_call(vocabulary(), "shop.order", ["sats=3"])
    out, network = io.StringIO(), MemoryNetwork()
    async with (
        Application(shop(), transport=network.transport()) as server,
        Application(made.extension, transport=network.transport()) as client,
    ):
        await made.run(await client.connect(server.uris[0]), Printer(True, stdout=out))
    event = json.loads(out.getvalue())
    assert (event["event"], event["method"], event["value"]) == ("result", "shop.order", {"order_id": "3"})
