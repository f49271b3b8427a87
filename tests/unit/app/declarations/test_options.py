from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from oddwire.app import Option, Options
from oddwire.errors import EncodeError, ExtensionError, LocalProtocolError
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from somewhere import Unknown

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


class Asset(StrEnum):
    EUR = "eur"
    USD = "usd"


def text(value: str = "eur"): ...
def optional(value: str | None = None): ...
def bare(value): ...
def required(value: str): ...
def number(value: int = 7): ...
def amount(value: float = 0.5): ...
def decimal(value: Decimal = Decimal("1.50")): ...
def truth(value: bool): ...
def yes(value: bool = True): ...
def flag(value: bool = False): ...
def texts(value: list[str]): ...
def numbers(value: list[int] = [1, 2]): ...  # noqa: B006
def nodes(value: tuple[NodeId, ...] = (NodeId(G),)): ...
def empty(value: list[str] = []): ...  # noqa: B006
def maybe_many(value: list[int] | None = None): ...
def choice(value: Asset = Asset.USD): ...
def literal(value: Literal["eur", "usd"] = "eur"): ...
def node(value: NodeId | None = None): ...
def key(value: bytes = b"\x01\xff"): ...
def path(value: Path = Path("/tmp/x")): ...
def either(value: int | str = 5): ...


@pytest.mark.parametrize(
    ("function", "kind", "multi", "default"),
    [
        (text, "string", False, "eur"),
        (optional, "string", False, None),
        (bare, "string", False, None),
        (required, "string", False, None),
        (number, "int", False, 7),
        (amount, "string", False, "0.5"),
        (decimal, "string", False, "1.50"),
        (truth, "bool", False, None),
        (yes, "bool", False, True),
        (flag, "flag", False, False),
        (texts, "string", True, None),
        (numbers, "int", True, [1, 2]),
        (nodes, "string", True, [G]),
        (empty, "string", True, None),
        (maybe_many, "int", True, None),
        (choice, "string", False, "usd"),
        (literal, "string", False, "eur"),
        (node, "string", False, None),
        (key, "string", False, "01ff"),
        (path, "string", False, "/tmp/x"),
        (either, "string", False, "5"),
    ],
)
def test_the_annotation_says_what_a_node_is_told(
    function: Callable[[Any], Any], kind: str, multi: bool, default: object
) -> None:
    option = Option(name="quote-asset", function=function)
    (told,) = Options({"quote-asset": option.setting("quote")}, {}).for_host()
    assert (told.type, told.multi, told.default) == (kind, multi, default)
    assert told.dynamic is False
    assert told.set is None


def keep(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("annotation", "given", "value"),
    [
        (str, "eur", "eur"),
        (str, 5, "5"),
        (int, 7, 7),
        (int, "7", 7),
        (bool, True, True),
        (bool, "false", False),
        (list[str], ["a", "b"], ["a", "b"]),
        (list[str], "[a]", ["[a]"]),
        (list[int], "7", [7]),
        (tuple[NodeId, ...], [G], (NodeId(G),)),
        (Asset, "usd", Asset.USD),
        (Path, "/tmp/x", Path("/tmp/x")),
        (dict[str, int], '{"a": 1}', {"a": 1}),
    ],
)
def test_values_are_read_by_the_annotation(annotation: Any, given: object, value: object) -> None:
    def function(value: annotation) -> object:
        return [value]

    options = Options({"it": Option(name="it", function=function, scope=locals()).setting("quote")}, {})
    options.read({"it": given})
    assert options["it"] == [value]


def plain_default(value: str = "eur") -> str:
    return value.upper()


def none_default(value: str | None = None) -> str:
    return "none" if value is None else value


def no_default(value: str) -> str:
    raise AssertionError("it is not called without a value")


def settings(*options: Option) -> dict[str, Any]:
    return {option.name: option.setting("quote") for option in options}


def test_what_the_host_gives_goes_before_the_program_and_that_before_the_default() -> None:
    option = Option(name="asset", function=plain_default)
    for given, host, value in [({}, {}, "EUR"), ({"asset": "usd"}, {}, "USD"), ({"asset": "usd"}, {"asset": "x"}, "X")]:
        options = Options(settings(option), given)
        options.read(host)
        assert options["asset"] == value
    assert dict(options) == {"asset": "X"}
    assert repr(options) == "<Options {'asset': 'X'}>"


def test_what_is_not_given_is_the_default_or_none() -> None:
    options = Options(
        settings(Option(name="nothing", function=none_default), Option(name="needed", function=no_default)), {}
    )
    options.read({"another-plugins": 5})
    assert dict(options) == {"nothing": "none", "needed": None}


def test_a_value_of_the_program_is_the_default_the_host_shows() -> None:
    def shown(function: Callable[[Any], Any], given: object) -> tuple[str, object]:
        (told,) = Options(settings(Option(name="it", function=function)), {"it": given}).for_host()
        return told.type, told.default

    assert shown(text, "usd") == ("string", "usd")
    assert shown(nodes, [NodeId(G)]) == ("string", [G])
    assert shown(numbers, 5) == ("int", [5])
    assert shown(choice, Asset.EUR) == ("string", "eur")
    assert shown(path, Path("/y")) == ("string", "/y")
    assert shown(flag, True) == ("bool", True)
    assert shown(flag, False) == ("flag", False)


def test_options_are_there_once_the_application_starts() -> None:
    options = Options(settings(Option(name="asset", function=plain_default)), {})
    assert repr(options) == "<Options asset>"
    for ask in (lambda: options["asset"], lambda: len(options), lambda: list(options), lambda: options.get("asset")):
        with pytest.raises(LocalProtocolError, match="options are read when the application starts"):
            ask()
    options.read({})
    assert len(options) == 1
    assert options.get("other") is None
    with pytest.raises(KeyError, match="no loaded extension has an option 'other'; there are: asset"):
        options["other"]
    with pytest.raises(TypeError):
        options["asset"] = "usd"  # type: ignore[index]


def test_a_value_for_no_option_is_refused() -> None:
    with pytest.raises(ExtensionError, match="no loaded extension has an option 'aset'; there are: asset"):
        Options(settings(Option(name="asset", function=plain_default)), {"aset": "eur"})
    with pytest.raises(ExtensionError, match="there are: none"):
        Options({}, {"aset": "eur"})


def picky(value: str = "btc") -> str:
    if value == "code":
        raise EncodeError("has no code", path="$.asset")
    if value == "bug":
        raise KeyError("bug")
    if value not in ("eur", "usd"):
        raise ValueError("should be eur or usd")
    return value


@pytest.mark.parametrize(
    ("function", "host", "told"),
    [
        (picky, {"it": "gbp"}, "cannot be 'gbp': should be eur or usd"),
        (picky, {"it": ["eur"]}, "cannot be ['eur']: should be a string"),
        (picky, {"it": "code"}, "cannot be 'code': $.asset: has no code"),
        (picky, {"it": "bug"}, "cannot be 'bug': KeyError: 'bug'"),
        (picky, {}, "is not given, and its default will not do: should be eur or usd"),
        (number, {"it": "x"}, "cannot be 'x': should be an integer"),
        (numbers, {"it": [1, "x"]}, "cannot be [1, 'x']: [1]: should be an integer"),
    ],
)
def test_a_value_that_will_not_do_is_told_with_its_owner(
    function: Callable[[Any], Any], host: dict[str, Any], told: str
) -> None:
    options = Options(settings(Option(name="it", function=function)), {})
    with pytest.raises(ExtensionError) as caught:
        options.read(host)
    assert str(caught.value) == f"option 'it' of 'quote' {told}"


def test_a_dynamic_option_may_be_given_anew(caplog: pytest.LogCaptureFixture) -> None:
    options = Options(settings(Option(name="it", function=picky, dynamic=True)), {})
    (told,) = options.for_host()
    assert told.dynamic
    assert told.set is not None
    options.read({"it": "eur"})
    told.set("usd")
    assert options["it"] == "usd"
    for given, text in [("gbp", "should be eur or usd"), ("code", "has no code"), ("bug", "internal error")]:
        with pytest.raises(ValueError, match=text):
            told.set(given)
    assert options["it"] == "usd"
    assert "option 'it' of 'quote' failed" in caplog.text


async def asynchronous(value: str = "eur") -> str: ...


def two(value: str, other: str) -> str: ...


def none() -> str: ...


def keyword(*, value: str) -> str: ...


@pytest.mark.parametrize(
    ("name", "function", "told"),
    [
        ("Quote", text, "the name should be lower-case words joined by '-', 'quote-asset' say"),
        ("quote_asset", text, "the name should be lower-case words joined by '-', 'quote-asset' say"),
        (5, text, "the name should be lower-case words joined by '-', 'quote-asset' say"),
        ("it", asynchronous, "should be a plain 'def', not an async function"),
        ("it", two, "should take one parameter, the value, not (value: 'str', other: 'str')"),
        ("it", none, "should take one parameter, the value, not ()"),
        ("it", keyword, "should take one parameter, the value, not (value: 'str')"),
    ],
)
def test_refuses_other_functions_and_names(name: Any, function: Any, told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Option(name=name, function=function)
    assert str(caught.value) == f"{__name__}.{function.__name__}, option {name!r}: {told}"


def test_refuses_what_is_no_function() -> None:
    with pytest.raises(ExtensionError, match="should be a plain 'def', not 5"):
        Option(name="it", function=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [texts, numbers, maybe_many])
def test_what_takes_several_values_is_not_dynamic(function: Callable[[Any], Any]) -> None:
    option = Option(name="it", function=function, dynamic=True)
    with pytest.raises(ExtensionError, match="option 'it': an option that may be given several times should not be"):
        option.setting("quote")


def wave(value: complex): ...
def unknown(value: Unknown): ...
def truths(value: list[bool]): ...
def wrong_default(value: int = "7"): ...  # type: ignore[assignment]
def wrong_text(value: str = 5): ...  # type: ignore[assignment]
def wrong_object(value: str = object()): ...  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (wave, "complex cannot be read from JSON; it should be str, "),
        (unknown, "the annotation 'Unknown' of 'value' should be known at run time"),
        (truths, "an option that may be given several times should be a list of str or int, not of bool"),
        (wrong_default, "the default '7' should be int, as its annotation says"),
        (wrong_text, "the default 5 should be str, as its annotation says"),
        (wrong_object, "the default <object object at "),
    ],
)
def test_refuses_annotations_and_defaults_that_do_not_fit(function: Any, told: str) -> None:
    option = Option(name="it", function=function)
    with pytest.raises(ExtensionError) as caught:
        option.setting("quote")
    assert str(caught.value).startswith(f"{__name__}.{function.__name__}, option 'it': {told}")


def test_is_described_by_its_docstring() -> None:
    def documented(value: str) -> str:
        """What to
        quote.

        More of it.
        """
        return value

    assert Option(name="it", function=documented).description == "What to quote."
    assert Option(name="it", function=documented, description="Other.").description == "Other."
    assert Option(name="it", function=text).description == ""
