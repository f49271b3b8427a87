from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oddwire.app import AppContext, RpcMethod
from oddwire.app.declarations.cln_names import LIGHTNINGD_METHODS
from oddwire.app.declarations.rpc import WORDS, bind_parameters
from oddwire.errors import ExtensionError, NodeRefused
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from somewhere import Unknown

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


async def ask_price(
    context: Any, node_id: NodeId, asset: str = "eur", *, loud: bool = False, limit: int | None = None
) -> dict[str, int]:
    """Ask a peer
    for its price.

    It may take a while.
    """
    return {}


def test_tells_of_itself() -> None:
    method = RpcMethod(name="ask-price", function=ask_price)
    assert method.usage == "node_id [asset] [loud] [limit]"
    assert method.description == "Ask a peer for its price."
    assert method.names == ("node_id", "asset", "loud", "limit")
    told = RpcMethod(name="ask-price", function=ask_price, usage="peer", description="Ask.")
    assert (told.usage, told.description) == ("peer", "Ask.")


def plain(context: AppContext) -> None: ...


async def takes_any(context: AppContext, *nodes: str) -> None: ...


async def by_place(context: AppContext, node: str, /) -> None: ...


async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "told"),
    [
        ("Ask", ask_price, "the name should be lower-case words joined by '-', 'quote-ask' say"),
        ("ask--price", ask_price, "the name should be lower-case words joined by '-', 'quote-ask' say"),
        ("ask_price", ask_price, "the name should be lower-case words joined by '-', 'quote-ask' say"),
        (7, ask_price, "the name should be lower-case words joined by '-', 'quote-ask' say"),
        ("getinfo", ask_price, "Core Lightning has a method of this name; another would do, 'my-getinfo' say"),
        ("xpay", ask_price, "Core Lightning has a method of this name; another would do, 'my-xpay' say"),
        ("ask", plain, "should be 'async def', not a plain function"),
        ("ask", nothing, "its first parameter should be the context"),
        ("ask", takes_any, "parameter 'nodes' should be one that can be given by name"),
        ("ask", by_place, "parameter 'node' should be one that can be given by name"),
    ],
)
def test_refuses_other_functions_and_names(name: Any, function: Any, told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        RpcMethod(name=name, function=function)
    assert str(caught.value) == f"{__name__}.{function.__name__}, RPC method {name!r}: {told}"


def test_suggests_names_that_would_do() -> None:
    assert all(WORDS.fullmatch(f"my-{name}") for name in LIGHTNINGD_METHODS if WORDS.fullmatch(name))


async def of_a_wrong_kind(context: AppContext, wave: complex) -> None: ...


async def of_no_kind(context: AppContext, wave: Unknown) -> None: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (of_a_wrong_kind, "parameter 'wave': complex cannot be read from JSON; it should be str, int, "),
        (of_no_kind, "the annotation 'Unknown' of 'wave' should be known at run time (name 'Unknown' is not defined)"),
    ],
)
def test_refuses_annotations_it_cannot_read_by(function: Any, told: str) -> None:
    method = RpcMethod(name="ask", function=function)
    with pytest.raises(ExtensionError) as caught:
        method.parameters()
    assert str(caught.value).startswith(f"{__name__}.{function.__name__}, RPC method 'ask': {told}")


def test_names_of_a_surrounding_function_are_found_with_a_scope() -> None:
    class Inner:
        def __init__(self, text: str) -> None:
            self.text = text

    async def ask(context: AppContext, inner: Inner) -> None: ...

    (parameter,) = RpcMethod(name="ask", function=ask, scope=locals()).parameters()
    assert isinstance(parameter.parse("x"), Inner)
    with pytest.raises(ExtensionError, match="'Inner' of 'inner' should be known at run time"):
        RpcMethod(name="ask", function=ask).parameters()


PARAMETERS = RpcMethod(name="ask-price", function=ask_price).parameters()


@pytest.mark.parametrize(
    ("params", "changed"),
    [
        ([G], {}),
        ([G, "usd", "true", "7"], {"asset": "usd", "loud": True, "limit": 7}),
        ([G, None, True], {"loud": True}),
        ({"node_id": G, "limit": 3}, {"limit": 3}),
        ({"node_id": G, "limit": None, "asset": None}, {}),
    ],
)
def test_reads_what_a_caller_sends(params: Any, changed: dict[str, Any]) -> None:
    values = bind_parameters(PARAMETERS, params)
    assert values == {"node_id": NodeId(G), "asset": "eur", "loud": False, "limit": None, **changed}
    assert isinstance(values["node_id"], NodeId)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ([], "missing required parameter: node_id"),
        ({"node_id": None}, "node_id: should be a node id: invalid token 'null'"),
        (["02aa"], "node_id: should be a node id: invalid token '\"02aa\"'"),
        ([G, "eur", 1], "loud: should be 'true' or 'false': invalid token '1'"),
        ({"node_id": G, "limit": {"a": b"x"}}, "limit: should be an integer: invalid token '{\"a\":\"b'x'\"}'"),
        ([G, [1] * 500], f"asset: should be a string: invalid token '[{'1,' * 99}1... (1001 characters)'"),
        ([G, 1, True, 1, 5], "too many parameters: got 5, expected 4"),
    ],
)
def test_refuses_in_lightningds_words(params: Any, told: str) -> None:
    with pytest.raises(NodeRefused) as caught:
        bind_parameters(PARAMETERS, params)
    assert (caught.value.code, str(caught.value)) == (-32602, told)
