from __future__ import annotations

from typing import Any

import pytest

from oddwire.app import Context, Extension
from oddwire.app.declarations.unknown import UnknownHandler
from oddwire.errors import ExtensionError
from oddwire.schema import Message, message


@message(0x8C01)
class Ask(Message): ...


async def take(context: Context, type_id: int, data: bytes) -> None: ...


async def two(context: Context, data: bytes) -> None: ...


def test_numbers_and_ranges_are_added_up() -> None:
    handler = UnknownHandler(types=(0x9003, range(0x9001, 0x9006), 0x9001), function=take)
    assert handler.numbers == (0x9001, 0x9002, 0x9003, 0x9004, 0x9005)
    assert handler.title == "0x9001 to 0x9005"
    assert UnknownHandler(types=(0x9001,), function=take).title == "0x9001"


@pytest.mark.parametrize(("types", "text"), [
    ((Ask,), r"takes numbers; Ask is a message, which has a handler: extension.on\(\)$"),
    ((True,), r"should be given numbers and ranges, 0x9001 or range\(0x9001, 0x9081, 2\), not True$"),
    (("0x9001",), r"should be given numbers and ranges, .*, not '0x9001'$"),
    (([0x9001],), r"should be given numbers and ranges, .*, not \[36865\]$"),
    ((range(5, 5),), r"there is no number in range\(5, 5\)$"),
    ((65536,), r"message type should be 0 to 65535, not 65536$"),
    ((range(65530, 65540),), r"message type should be 0 to 65535, not 65539$"),
    ((range(40000, 10**18),), r"message type should be 0 to 65535, not 999999999999999999$"),
    ((-1,), r"message type should be 0 to 65535, not -1$"),
    ((32767,), r"message type 32767 is kept for the BOLTs; choose one of 32768 to 65535, or say spec=True$"),
])  # fmt: skip
def test_what_is_no_type_of_ours_is_refused(types: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ExtensionError, match=rf"test_unknown.take, on_unknown: .*{text}"):
        Extension("relay", version="1.0").on_unknown(*types)(take)


@pytest.mark.parametrize("given", [(), (take,)])
def test_a_decorator_that_is_told_nothing_is_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(ExtensionError, match=r"@on_unknown needs an argument: @extension.on_unknown\(range\("):
        Extension("relay", version="1.0").on_unknown(*given)


def test_types_of_a_specification_are_only_taken_as_such() -> None:
    assert UnknownHandler(types=(7, 9), function=take, spec=True).numbers == (7, 9)
    with pytest.raises(ExtensionError, match=r"message type 1 \(WIRE_WARNING\) can never be sent"):
        UnknownHandler(types=(1,), function=take, spec=True)


def test_another_function_is_refused() -> None:
    with pytest.raises(ExtensionError, match=r"two, on_unknown: should be 'async def' with \(context, type_id, data\)"):
        Extension("relay", version="1.0").on_unknown(0x9001)(two)  # type: ignore[type-var]
