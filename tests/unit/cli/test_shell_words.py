import os
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.cli.shell_words import as_typed, decoded, next_word, split_words, unquoted


def words(line: str) -> list[str]:
    return [word.text for word in split_words(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        (" \t ", []),
        ("a  b\tc", ["a", "b", "c"]),
        (r"my\ report.pdf", ["my report.pdf"]),
        ("'my report.pdf' \"my report.pdf\"", ["my report.pdf", "my report.pdf"]),
        ("a'b c'\"d e\"f", ["ab cd ef"]),
        ("'' \"\" x", ["", "", "x"]),
        (r'"a \"b\" \\ \n"', [r'a "b" \ \n']),
        (r"'C:\Users\x' C:\\Users", [r"C:\Users\x", r"C:\Users"]),
        ("#1 a#b $HOME `x` * ; & | > (", ["#1", "a#b", "$HOME", "`x`", "*", ";", "&", "|", ">", "("]),
        ("a\xa0b\u3000c\r", ["a\xa0b\u3000c\r"]),
        ("don\\'t", ["don't"]),
        ("--x -5 @y 007 1e3 [1] {}", ["--x", "-5", "@y", "007", "1e3", "[1]", "{}"]),
        ("\udcff 東京", ["\udcff", "東京"]),
    ],
)
def test_words_are_a_shells(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@given(st.lists(st.text(st.characters(exclude_characters="\0\n"))))
def test_what_shlex_quotes_comes_out(given_words: list[str]) -> None:
    assert words(shlex.join(given_words)) == given_words


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a 'my report.pdf", "the quote ' before 'my report.pdf' is not closed; \\' is one that is meant"),
        ('"', "the quote \" before '' is not closed; \\\" is one that is meant"),
        ("don't", "the quote ' before 't' is not closed; \\' is one that is meant"),
        ("a\\", "the backslash at the end escapes nothing; \\\\ is one that is meant"),
    ],
)
def test_half_a_pair_of_quotes_is_named(line: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_words(line)
    assert str(caught.value) == told


def test_home_is_where_a_shell_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann lee")
    root = os.path.expanduser("~root")  # noqa: PTH111 - what the system says
    assert words("~ ~/x ~/'my x' ~root/y") == ["/home/ann lee", "/home/ann lee/x", "/home/ann lee/my x", f"{root}/y"]
    for kept in ("'~/x'", '"~"', "a~", "~'/x'", "~nobody-is-called-so/x"):
        assert words(kept) == shlex.split(kept)
    assert words(r"\~/x") == ["~/x"]


def test_the_next_word_says_where_it_ends() -> None:
    line = "  'a b'  c's x"
    word = next_word(line, 0)
    assert word == ("a b", 2, 7)
    assert line[word.end :] == "  c's x"
    assert next_word("a  ", 1) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"hello  there"', "hello  there"),
        ("'it is \"so\"'  ", 'it is "so"'),
        ('""', ""),
        (r'"say \"x\""', 'say "x"'),
        ('"a" and "b"', '"a" and "b"'),
        ("'a'b'c'", "'a'b'c'"),
        ("don't", "don't"),
        ("'", "'"),
        ("'tis the season", "'tis the season"),
        ('"half', '"half'),
        ("plain  ", "plain  "),
        ("", ""),
    ],
)
def test_quotes_around_all_of_a_text_are_taken_off(text: str, expected: str) -> None:
    assert unquoted(text) == expected


def test_bytes_that_are_typed_are_utf_8_or_kept() -> None:
    assert decoded("señor 東京".encode()) == "señor 東京"
    assert os.fsencode(decoded(b"caf\xe9.txt")) == b"caf\xe9.txt"


def test_arguments_are_utf_8_whatever_the_locale() -> None:
    assert as_typed("señor") == "señor"
    assert as_typed("se\udcc3\udcb1or") == "señor"
    assert as_typed("\udcff") == "\udcff"
    assert as_typed("\ud800") == "\ud800"
