"""Splitting documents out of a stream, however it was cut."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import RemoteProtocolError
from oddwire.jsonrpc import MAX_DOCUMENT, JsonSplitter, Oversize, encode

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
            data = b"[" * depth + b"]" * depth + b"[1]"
            splitter = JsonSplitter(max_depth=50)
            return [document for at in range(0, len(data), cut) for document in splitter.feed(data[at : at + cut])]

        assert len(feed(50)) == 2
        deep, behind = feed(51)
        assert (type(deep), behind) == (Oversize, [1])
        assert deep.reason == "nested 51 deep, of at most 50"

    @pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":'])
    def test_a_bomb(self, opening: bytes) -> None:
        splitter = JsonSplitter(max_size=10_000)
        for _ in range(1000):
            assert splitter.feed(opening * 1000) == []
            assert len(splitter.rest) <= 10_000, "no more is kept than is allowed"
        assert splitter.oversize.reason == f"so far {len(opening) * 1_000_000} bytes, of at most 10000"
        assert splitter.is_partial

    def test_many_side_by_side_are_not_deep(self) -> None:
        document = [[{}] for _ in range(1000)]
        assert JsonSplitter(max_depth=3).feed(encode(document)) == [document]

    @pytest.mark.parametrize("chunk", [10, 100, 5000])
    def test_size(self, chunk: int) -> None:
        def feed(size: int) -> list[object]:
            data = b'["' + b"x" * (size - 4) + b'"][2]'
            splitter = JsonSplitter(max_size=1000, raise_with=" (ask for more)")
            return [document for at in range(0, len(data), chunk) for document in splitter.feed(data[at : at + chunk])]

        assert len(feed(1000)) == 2
        large, behind = feed(1001)
        assert (type(large), large.size, behind) == (Oversize, 1001, [2])
        assert large.reason == "1001 bytes, of at most 1000 (ask for more)"

    def test_garbage_is_refused_before_its_end(self) -> None:
        splitter = JsonSplitter(max_size=1000)
        splitter.feed(b"garbage")
        with pytest.raises(RemoteProtocolError, match="more than 1000 bytes that are no JSON document"):
            splitter.feed(b"1" * 1000)

    @pytest.mark.parametrize("cut", [1 << 30, 1000, 7, 1])
    @pytest.mark.parametrize(
        ("document", "key"),
        [
            ({"jsonrpc": "2.0", "id": "x#1", "result": [["\\"] * 3000]}, "x#1"),
            ({"jsonrpc": "2.0", "method": "m", "params": {"id": 1, "z": "{" * 9000}, "id": 7}, 7),
            ({"result": {"a": [1] * 3000}, "id": 'a"\\b', "jsonrpc": "2.0"}, 'a"\\b'),
            ({"result": {"id": "not this one", "list": [0] * 6000}}, None),
            ({"id": None, "result": "x" * 6000}, None),
            ({"id": {"a": 1}, "result": ['"id": 5}'] * 1000}, None),
            ({"result": "x" * 6000 + ',"id": 5}'}, None),
            ([{"id": 3}, "x" * 6000], None),
        ],
    )
    def test_the_id_of_what_is_too_large_is_found_where_it_can_be(
        self, document: object, key: object, cut: int
    ) -> None:
        data = json.dumps(document).encode()
        splitter = JsonSplitter(max_size=5000)
        found = [one for at in range(0, len(data), cut) for one in splitter.feed(data[at : at + cut])]
        assert [type(one) for one in found] == [Oversize]
        assert found[0].member("id") == key
        assert found[0].size == len(data)

    def test_its_other_members_are_found_at_its_beginning(self) -> None:
        (large,) = JsonSplitter(max_size=50).feed(encode({"method": "log", "params": {"message": "x" * 100}}))
        assert (large.member("method"), large.member("params"), large.member("id")) == ("log", None, None)

    @given(st.lists(documents, min_size=1, max_size=5), st.integers(2, 60), st.lists(st.integers(1, 40), max_size=20))
    def test_what_is_small_enough_is_taken_whatever_is_between(
        self, written: list[object], most: int, sizes: list[int]
    ) -> None:
        data = b"".join(encode(document) for document in written)
        splitter = JsonSplitter(max_size=most)
        found = []
        for size in [*sizes, len(data)]:
            found += splitter.feed(data[:size])
            data = data[size:]
        large = [len(encode(document)) - 2 > most for document in written]
        assert [type(one) is Oversize for one in found] == large
        assert [one for one in found if type(one) is not Oversize] == [
            document for document, too_large in zip(written, large, strict=True) if not too_large
        ]

    def test_the_environment_says_how_large_documents_may_be(self) -> None:
        def limit(**environment: str) -> str:
            code = "from oddwire.jsonrpc.documents import max_document; print(max_document())"
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
            return done.stdout.strip() or done.stderr.splitlines()[-1]

        assert limit() == str(MAX_DOCUMENT)
        assert limit(ODDWIRE_MAX_DOCUMENT="1000") == "1000"
        for wrong in ("", "0", "-1", "1e9", "64M", "1" * 5000):
            text = limit(ODDWIRE_MAX_DOCUMENT=wrong)
            assert text.endswith(f"ODDWIRE_MAX_DOCUMENT should be a number of bytes, not {wrong!r}")

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
