"""oddwire.cli.replay: differences, exit codes, and the test that it writes."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from tests.support.watched_program import ALICE

from oddwire.cli.exit import USAGE

QUOTE = """
from oddwire import Context, Extension, Message, message

extension = Extension("quote", version="1.0")

@extension.option("quote-price")
def price(value: int = 3) -> int:
    return value

@message(0x8DA1, codec="json")
class Ask(Message):
    asset: str

@message(0x8DA3, codec="json")
class Price(Message):
    asset: str
    price: int

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price:
    return Price(asset=ask.asset, price=context.options["quote-price"])
"""


def packed(number, **fields):
    return f"{number:04x}" + json.dumps(fields, separators=(",", ":")).encode().hex()


@pytest.fixture
def folder(tmp_path):
    """A folder with an extension and a recording of it."""
    (tmp_path / "quote.py").write_text(QUOTE)
    lines = [
        {"event": "connected", "time": 1, "peer": ALICE},
        {"event": "received", "time": 2, "peer": ALICE, "type": 0x8DA1, "payload": packed(0x8DA1, asset="eur")},
        {"event": "sent", "time": 2, "peer": ALICE, "type": 0x8DA3, "payload": packed(0x8DA3, asset="eur", price=3)},
    ]
    (tmp_path / "rec.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


async def test_no_difference_a_difference_and_one_that_is_ignored(folder, oddwire):
    file, extension = str(folder / "rec.jsonl"), str(folder / "quote.py")
    code, out, err = await oddwire("replay", file, extension)
    assert (code, out, err) == (0, f"{file}: 1 received again, 1 sent: no difference\n", "")
    code, out, err = await oddwire("replay", file, extension, "--quote-price", "4")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "to 0279be66...1798: line 3: quote.Price: price: 3, now 4",
        f"{file}: 1 received again, 1 sent: 1 difference",
    ]
    options = ("--ignore", "quote.Price.price", "--ignore", "asst", "--json", "--speed", "100")
    code, out, err = await oddwire("replay", file, extension, "--quote-price=4", *options)
    assert (code, err) == (0, "nothing was ignored for 'asst'\n")
    assert json.loads(out)["value"] == {"received": 1, "sent": 1, "differences": []}


async def test_a_test_is_written_that_does_the_same(folder, oddwire):
    file, extension = str(folder / "rec.jsonl"), str(folder / "quote.py")
    written = folder / "tests" / "test_quote.py"
    written.parent.mkdir()
    code, _, err = await oddwire("replay", file, extension, "-o", str(written), "--ignore", "asset")
    assert (code, err) == (0, f"{written} was written; 'pytest {written}' runs it\n")
    assert str(folder) not in written.read_text()  # a checkout may lie elsewhere
    text = written.read_text()
    assert "is sent again to quote. Made by" in text
    assert ("_again() -> None:" in text, "'" in text) == (True, False)  # as mypy --strict and formatters want it
    assert 'ignore=["asset"]' in text
    code, out = await pytest_on(written)
    assert code == 0, out
    code, _, err = await oddwire("replay", file, extension, "-o", str(written))
    assert (code, err) == (USAGE, f"oddwire: {written} is there already; --force replaces it\n")
    code, _, _ = await oddwire("replay", file, extension, "--quote-price=4", "-o", str(written), "--force")
    assert code == 0
    code, out = await pytest_on(written)
    assert code == 1
    assert "line 3: quote.Price: price: 3, now 4" in out


@pytest.mark.parametrize("name", ["été ²", 'a "b" \\', "{x}", "\udcff\n", '\'\'"""\N{SNOWMAN}'])
async def test_a_test_has_files_of_any_name_whatever_the_locale(folder, oddwire, monkeypatch, name):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    (folder / "rec.jsonl").rename(folder / f"{name}.jsonl")
    (folder / "quote.py").rename(folder / f"{name}.py")
    (folder / "tests").mkdir()
    written = folder / "tests" / "test_quote.py"
    code, _, err = await oddwire("replay", f"{name}.jsonl", f"./{name}.py:extension", "-o", str(written))
    assert (code, err) == (0, f"{written} was written; 'pytest {written}' runs it\n")
    monkeypatch.undo()
    code, out = await pytest_on(written)
    assert code == 0, out


async def pytest_on(path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name),
        cwd=path.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_wrong_uses_are_told_of(folder, oddwire):
    file, extension = str(folder / "rec.jsonl"), str(folder / "quote.py")
    for arguments, code, says in (
        (("none.jsonl", extension), USAGE, "none.jsonl: No such file or directory"),
        ((extension, extension), USAGE, "line 2: no JSON: from oddwire import"),
        ((file,), USAGE, "replay FILE needs the names of extensions: 'oddwire replay FILE chat'"),
        ((file, "./none.py"), USAGE, "none.py"),
        ((file, extension, "--speed", "0"), USAGE, "--speed should be a number above 0, not 0"),
        ((file, extension, "--quote-prize", "4"), USAGE, "did you mean --quote-price?"),
        ((str(folder / "sent.jsonl"), extension), 1, "no message was received, so there is nothing to replay"),
    ):
        (folder / "sent.jsonl").write_text((folder / "rec.jsonl").read_text().splitlines()[2])
        found, _, err = await oddwire("replay", *arguments)
        assert (found, says in err) == (code, True), err
