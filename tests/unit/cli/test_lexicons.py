"""oddwire.cli.lexicons."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.lexicons import find_entry, load_lexicon

REPLYING = """
from oddwire import Context, Extension, Message, message
extension = Extension("asks", version="1.0")
@message(0x8C03)
class Answer(Message):
    text: str
@message(0x8C01, replies=Answer)
class Ask(Message):
    text: str
@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Answer: ...
"""


def test_messages_that_are_handled_and_replies(tmp_path: Path) -> None:
    path = tmp_path / "asks_for_lexicon.py"
    path.write_text(REPLYING)
    lexicon = load_lexicon([str(path), str(path)], pytest.fail)
    assert lexicon.entries(0x8C01)[0].name == "asks.Ask"
    assert lexicon.entries(0x8C03)[0].name == "asks.Answer"


def test_installed_extensions_are_loaded_when_they_may_be_needed() -> None:
    lexicon = load_lexicon([], pytest.fail)
    assert find_entry(lexicon, "courier.Listing" if lexicon.find("courier.Listing") else "chat.Say").owner


def test_an_extension_that_is_not_there() -> None:
    with pytest.raises(CommandFailure) as raised:
        load_lexicon(["nobody-has-this"], pytest.fail)
    assert raised.value.code == 2


def test_an_installed_one_that_does_not_load_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken_for_lexicon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-for-lexicon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[oddwire.extensions]\nbroken = broken_for_lexicon:extension\n")
    (tmp_path / "broken_for_lexicon.py").write_text("raise RuntimeError('it is broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told: list[str] = []
    lexicon = load_lexicon([], told.append)
    assert find_entry(lexicon, "chat.Say").name == "chat.Say"
    assert len(told) == 1
    assert "'broken' is left out" in told[0]
    assert "it is broken" in told[0]
