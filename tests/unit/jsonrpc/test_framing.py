"""Splitting documents out of a stream, however it was cut."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import RemoteProtocolError
from oddwire.jsonrpc import JsonSplitter, encode

DOCUMENTS = [
    {"jsonrpc": "2.0", "id": "a#1", "method": "getinfo", "params": {}},
    {"text": 'braces } in ] strings { and "quotes" and \\ and ü and \U0001f600', "list": [[], {}, [1, -2.5e3]]},
    [{"a": 1}],
    {},
    {"\\": "\\\\", '"': '\\"'},
    {"null": None, "true": True, "big": 2**80},
]

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
).filter(lambda value: isinstance(value, (dict, list)))


def split(data: bytes, *sizes: int) -> list[object]:
    splitter = JsonSplitter()
    found: list[object] = []
    for size in sizes:
        found += splitter.feed(data[:size])
        data = data[size:]
    return found + splitter.feed(data)


class TestSplitting:
    @pytest.mark.parametrize("between", ["", " ", "\n\n", "\r\n\t "])
    def test_joined(self, between: str) -> None:
        text = between.join(json.dumps(document, ensure_ascii=False) for document in DOCUMENTS)
        assert split(text.encode()) == DOCUMENTS

    @pytest.mark.parametrize("indent", [None, 3])
    def test_cut_at_every_byte(self, indent: int | None) -> None:
        data = "\n".join(json.dumps(document, indent=indent, ensure_ascii=False) for document in DOCUMENTS).encode()
        for cut in range(len(data) + 1):
            assert split(data, cut) == DOCUMENTS, cut

    def test_byte_by_byte(self) -> None:
        data = b"".join(map(encode, DOCUMENTS))
        assert split(data, *[1] * len(data)) == DOCUMENTS

    @given(st.lists(documents, max_size=5), st.lists(st.integers(1, 40), max_size=20))
    def test_what_encode_writes(self, written: list[object], sizes: list[int]) -> None:
        assert split(b"".join(map(encode, written)), *sizes) == written

    def test_one_at_a_time(self) -> None:
        splitter = JsonSplitter()
        splitter.push(b'{"a":1}{"b":')
        assert next(splitter) == {"a": 1}
        splitter.push(b"2}[3]")
        assert splitter.rest == b'{"b":2}[3]'
        assert list(splitter) == [{"b": 2}, [3]]
        assert splitter.rest == b""

    def test_pushing_before_the_last_was_taken(self) -> None:
        splitter = JsonSplitter()
        for number in range(50):
            splitter.push(encode({"n": number}))
        assert list(splitter) == [{"n": number} for number in range(50)]

    def test_a_document_larger_than_a_chunk(self) -> None:
        document = {"params": ["ab" * 500_000, {"deep": ["\\" * 1000, '"' * 1000]}]}
        data = encode(document) * 2
        assert split(data, *[65536] * (len(data) // 65536)) == [document, document]


class TestGarbage:
    @pytest.mark.parametrize(
        "data",
        [
            b"hello}",
            b'"a string"}',
            b"5 {}",
            b"}",
            b"{]}",
            b'{"a":}',
            b'{"a" 1}',
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":1e400}',
            b"{'a':1}",
            b'{"a":"\x80"}',
            b'{"a":"tab\there"}',
            b"{\x00}",
            b'{"n":' + b"9" * 5000 + b"}",
        ],
    )
    def test_is_refused_for_good(self, data: bytes) -> None:
        splitter = JsonSplitter()
        with pytest.raises(RemoteProtocolError):
            splitter.feed(data)
        with pytest.raises(RemoteProtocolError):
            splitter.feed(b"{}")

    @pytest.mark.parametrize(
        "data", [b"hello\n\n", b"123 456", b'"', b'{"jsonrpc":"2.0","par\n\n', b"[[[", b"\xff\xfe"]
    )
    def test_is_judged_when_a_brace_has_closed(self, data: bytes) -> None:
        assert split(data, *[1] * len(data)) == []

    def test_documents_before_it_are_given_out(self) -> None:
        splitter = JsonSplitter()
        splitter.push(b'{"good":1}{bad}')
        assert next(splitter) == {"good": 1}
        with pytest.raises(RemoteProtocolError):
            next(splitter)

    @given(st.binary(max_size=200))
    def test_bytes_raise_nothing_else(self, data: bytes) -> None:
        with contextlib.suppress(RemoteProtocolError):
            JsonSplitter().feed(data)


class TestLimits:
    @pytest.mark.parametrize("cut", [1 << 30, 1000, 1])
    def test_nesting(self, cut: int) -> None:
        def feed(depth: int) -> list[object]:
            data = b"[" * depth + b"]" * depth
            splitter = JsonSplitter(max_depth=50)
            return [document for at in range(0, len(data), cut) for document in splitter.feed(data[at : at + cut])]

        assert len(feed(50)) == 1
        with pytest.raises(RemoteProtocolError, match="nested deeper than 50"):
            feed(51)

    @pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":'])
    def test_a_bomb(self, opening: bytes) -> None:
        with pytest.raises(RemoteProtocolError, match="nested deeper"):
            JsonSplitter().feed(opening * 1_000_000)

    def test_many_side_by_side_are_not_deep(self) -> None:
        document = [[{}] for _ in range(1000)]
        assert JsonSplitter(max_depth=3).feed(encode(document)) == [document]

    @pytest.mark.parametrize("chunk", [10, 100, 5000])
    def test_size(self, chunk: int) -> None:
        def feed(size: int) -> list[object]:
            data = b'["' + b"x" * (size - 4) + b'"]'
            splitter = JsonSplitter(max_size=1000)
            return [document for at in range(0, size, chunk) for document in splitter.feed(data[at : at + chunk])]

        assert len(feed(1000)) == 1
        with pytest.raises(RemoteProtocolError, match="more than 1000 bytes"):
            feed(1001)

    @pytest.mark.parametrize("start", [b'["', b"garbage", b"[1,"])
    def test_size_is_refused_before_the_end(self, start: bytes) -> None:
        splitter = JsonSplitter(max_size=1000)
        splitter.feed(start)
        with pytest.raises(RemoteProtocolError, match="more than 1000 bytes"):
            splitter.feed(b"1" * 1000)

    @pytest.mark.parametrize("data", [b'{"a"', b"[1,", b'{"a":"\xc3', b"x"])
    def test_knows_whether_more_has_to_come(self, data: bytes) -> None:
        splitter = JsonSplitter()
        assert not splitter.is_partial
        assert splitter.feed(b"{} [1]\n\n") == [{}, [1]]
        assert not splitter.is_partial
        splitter.push(b"{}")
        assert splitter.is_partial
        assert list(splitter) == [{}]
        assert not splitter.is_partial
        assert splitter.feed(b"{}" + data) == [{}]
        assert splitter.is_partial


class TestEncoding:
    def test_compact_and_ended_by_two_newlines(self) -> None:
        assert encode({"a": [1, "ü"]}) == '{"a":[1,"ü"]}\n\n'.encode()

    def test_half_a_surrogate_pair_is_escaped(self) -> None:
        assert encode(["\ud800"]) == b'["\\ud800"]\n\n'

    def test_what_json_cannot_say(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode(float("nan"))
        with pytest.raises(TypeError):
            encode(b"bytes")


class TestShortcut:
    def known(self, text: str, at: int) -> tuple[str, int] | None:
        end = at + len('{"usual":1}')
        return ("usual", end) if text[at:end] == '{"usual":1}' else None

    def test_what_it_gives_is_given_out(self) -> None:
        splitter = JsonSplitter(shortcut=self.known)
        data = b'{"usual":1}{"usual":2}{"usual":1}{"usual":1}\n\n{"usual":1} {"usual":'
        assert splitter.feed(data) == ["usual", {"usual": 2}, "usual", "usual", {"usual": 1}]
        assert splitter.is_partial
        assert splitter.feed(b'1}{"usual":1}') == [{"usual": 1}, "usual"]
        assert not splitter.is_partial

    def test_it_is_not_asked_where_a_document_could_be_too_large(self) -> None:
        splitter = JsonSplitter(shortcut=self.known, max_size=20)
        assert splitter.feed(b'{"usual":1}') == [{"usual": 1}]

    def test_garbage_behind_it(self) -> None:
        splitter = JsonSplitter(shortcut=self.known)
        splitter.push(b'{"usual":1}garbage}{"usual":1}')
        assert next(splitter) == "usual"
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                next(splitter)
