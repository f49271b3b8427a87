"""`CodecConformance`: the requirements on every codec, as property tests. Needs hypothesis."""

# ruff: noqa: D102, S101 - these are tests: their names say what they check, with assert

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oddwire.codecs.base import Codec, Plan
from oddwire.errors import DecodeError, EncodeError, PayloadTooLarge
from oddwire.records import replace
from oddwire.schema import Message, schema_of
from oddwire.testing.strategies import messages
from oddwire.transports.base import MAX_PAYLOAD

__all__ = ["CodecConformance"]


class CodecConformance:
    """Subclass it in a test module, as ``class TestMine(CodecConformance)``, and set the codec and messages.

    ``messages`` should together have every kind of field that the codec supports; each is declared with the codec's
    name, ``@message(0x8C01, codec="mine")``. ``examples`` is the number of values with which a property is tested.
    """

    codec: ClassVar[Codec]
    messages: ClassVar[tuple[type[Message], ...]]
    examples: ClassVar[int] = 100

    def values(self, message: type[Message]) -> st.SearchStrategy[Any]:
        """Return a strategy for one of the messages; by default for any value that its schema allows."""
        return messages(message)

    # Tests ------------------------------------------------------------------------------------------

    def test_reads_back_what_it_wrote(self) -> None:
        def check(plan: Plan, message: Message) -> None:
            payload = plan.encode(message)
            assert type(payload) is bytes
            assert payload[:2] == schema_of(message).type_id.to_bytes(2, "big")
            assert len(payload) <= schema_of(message).max_size
            again = plan.decode(payload)
            assert type(again) is type(message)
            assert again == message

        self._for_each(check)

    def test_writes_one_value_in_one_way(self) -> None:
        def check(plan: Plan, message: Message) -> None:
            payload = plan.encode(message)
            assert plan.encode(message) == payload
            assert plan.encode(plan.decode(payload)) == payload

        self._for_each(check)

    def test_no_payload_is_longer_than_its_message_may_be(self) -> None:
        def check(plan: Plan, message: Message) -> None:
            payload, schema = plan.encode(message), schema_of(message)
            tight = self.codec.compile(replace(schema, max_size=len(payload)))
            assert tight.encode(message) == payload
            assert tight.decode(payload) == message
            tighter = self.codec.compile(replace(schema, max_size=len(payload) - 1))
            _raises(PayloadTooLarge, tighter.encode, message)
            _raises(DecodeError, tighter.decode, payload)

        self._for_each(check, self.examples // 5)

    def test_a_payload_cut_short_is_read_or_refused(self) -> None:
        def check(plan: Plan, message: Message) -> None:
            payload = plan.encode(message)
            for size in range(2, len(payload)):
                self._read(plan, payload[:size])

        self._for_each(check, self.examples // 5)

    def test_a_payload_with_more_behind_it_is_read_or_refused(self) -> None:
        self._for_each(lambda plan, message, more: self._read(plan, plan.encode(message) + more), None, st.binary())

    def test_a_payload_with_changed_bytes_is_read_or_refused(self) -> None:
        def check(plan: Plan, message: Message, changes: list[tuple[int, int]]) -> None:
            payload = bytearray(plan.encode(message))
            for place, value in changes:
                if len(payload) > 2:
                    payload[2 + place % (len(payload) - 2)] = value
            self._read(plan, bytes(payload))

        byte = st.integers(0, 255)
        self._for_each(check, None, st.lists(st.tuples(st.integers(0, 65535), byte), min_size=1, max_size=4))

    def test_any_bytes_are_read_or_refused(self) -> None:
        def check(plan: Plan, message: Message, body: bytes) -> None:
            self._read(plan, schema_of(message).type_id.to_bytes(2, "big") + body)

        self._for_each(check, None, st.binary(max_size=200))

    def test_deep_nesting_and_huge_lengths_are_read_or_refused(self) -> None:
        bodies = [
            opening * 60_000 for opening in (b"\x91", b"\x81\xa1a", b"[", b'{"a":', b"\xff", b"\x00", b"\xdd\xff")
        ]
        for message in self.messages:
            schema = schema_of(message)
            plan = self.codec.compile(schema)
            for body in bodies:
                payload = schema.type_id.to_bytes(2, "big") + body
                self._read(plan, payload[:MAX_PAYLOAD])
                self._read(plan, (payload * 10)[: schema.max_size])

    def test_what_is_no_message_of_the_class_is_not_written(self) -> None:
        for message in self.messages:
            plan = self.codec.compile(schema_of(message))
            for wrong in (None, 7, "text", b"bytes", object()):
                _raises(EncodeError, plan.encode, wrong)

    # Shared by the tests ----------------------------------------------------------------------------

    def _for_each(self, check: Callable[..., None], examples: int | None = None, *more: st.SearchStrategy[Any]) -> None:
        """Test a property with values of each message; values too large for a payload are skipped."""
        limits = settings(
            max_examples=examples or self.examples,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        )
        for message in self.messages:
            holds = functools.partial(_holds, check, self.codec.compile(schema_of(message)))
            limits(given(st.tuples(self.values(message), *more))(_takes_one(holds)))()

    @staticmethod
    def _read(plan: Plan, payload: bytes) -> None:
        """Decode a payload. It may only be refused with `DecodeError`, and the result must be a message."""
        try:
            message = plan.decode(payload)
        except DecodeError:
            return
        assert isinstance(message, Message)
        repr(message)


def _raises(error: type[Exception], function: Callable[[Any], object], argument: object) -> None:
    try:
        function(argument)
    except error:
        return
    raise AssertionError(f"{argument!r:.200} was taken; it should raise {error.__name__}")


def _holds(check: Callable[..., None], plan: Plan, drawn: tuple[Any, ...]) -> None:
    with contextlib.suppress(PayloadTooLarge):
        check(plan, *drawn)


def _takes_one(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap a function whose signature hypothesis cannot inspect."""

    def run(drawn: Any) -> None:
        function(drawn)

    return run
