"""The codec kit must find what is wrong: each faulty codec fails the one test that is about its fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings

from oddwire.codecs.base import Codec, Plan
from oddwire.codecs.msgpack.codec import MsgpackCodec
from oddwire.errors import CodecError
from oddwire.schema import Message, Schema, message, replace, u64
from oddwire.testing import CodecConformance


@message(0x8C01)
class Ask(Message):
    number: u64
    text: str


settings.register_profile("quick to fail", phases=[Phase.generate])  # the smallest example is of no interest here

TESTS = [name for name in vars(CodecConformance) if name.startswith("test_")]


class Faulty(Codec):
    """The msgpack codec with something wrong in it."""

    name = "msgpack"

    def __init__(self, spoil: Callable[[Plan], Plan]) -> None:
        self._spoil = spoil

    def compile(self, schema: Schema) -> Plan:
        return self._spoil(MsgpackCodec().compile(schema))


@pytest.fixture(autouse=True)
def quick_to_fail() -> Iterator[None]:
    settings.load_profile("quick to fail")
    yield
    settings.load_profile("default")


def failures(codec: Codec, *tests: str) -> set[str]:
    class Kit(CodecConformance):
        messages = (Ask,)
        examples = 20

    Kit.codec = codec
    failed = set()
    for name in tests:
        try:
            getattr(Kit(), name)()
        except (AssertionError, CodecError, ArithmeticError, RuntimeError, TypeError, ExceptionGroup):
            failed.add(name)
    return failed


def forgets(plan: Plan) -> Plan:
    return Plan(plan.encode, lambda payload: replace(plan.decode(payload), text="forgotten"))


def wrong_type(plan: Plan) -> Plan:
    return Plan(lambda value: b"\x8c\x03" + plan.encode(value)[2:], plan.decode)


def restless(plan: Plan) -> Plan:
    turns = iter(range(1 << 30))

    def encode(value: Any) -> bytes:
        payload = plan.encode(value)
        return payload[:2] + b"\x83\xa5extra" + bytes([next(turns) % 128]) + payload[3:]

    return Plan(encode, plan.decode)


def careless(plan: Plan) -> Plan:
    def decode(payload: bytes) -> Any:
        try:
            return plan.decode(payload)
        except CodecError:
            raise RuntimeError("an error that is not documented") from None

    return Plan(plan.encode, decode)


def lenient(plan: Plan) -> Plan:
    def encode(value: Any) -> bytes:
        return plan.encode(value) if isinstance(value, Ask) else b"\x8c\x01"

    return Plan(encode, plan.decode)


def test_a_good_codec_passes() -> None:
    assert failures(MsgpackCodec(), *TESTS) == set()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (forgets, "test_reads_back_what_it_wrote"),
        (wrong_type, "test_reads_back_what_it_wrote"),
        (restless, "test_writes_one_value_in_one_way"),
        (careless, "test_a_payload_cut_short_is_read_or_refused"),
        (careless, "test_a_payload_with_more_behind_it_is_read_or_refused"),
        (careless, "test_a_payload_with_changed_bytes_is_read_or_refused"),
        (careless, "test_any_bytes_are_read_or_refused"),
        (careless, "test_deep_nesting_and_huge_lengths_are_read_or_refused"),
        (lenient, "test_what_is_no_message_of_the_class_is_not_written"),
    ],
)
def test_a_faulty_codec_fails(spoil: Callable[[Plan], Plan], found: str) -> None:
    assert failures(Faulty(spoil), found) == {found}
