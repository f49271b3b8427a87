from pathlib import Path

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.vocabulary import find_message, load_vocabularies, split_name


def test_messages_are_known_and_what_answers_them() -> None:
    (courier,) = load_vocabularies(["courier"], "courier.Fetch")
    fetch, contents = courier.schemas["Fetch"].cls, courier.schemas["Contents"].cls
    assert [reply.__name__ for reply in courier.replies_to(fetch)] == ["Chunk"]  # its handler yields them
    assert [reply.__name__ for reply in courier.replies_to(contents)] == ["Listing"]  # its class says so
    assert courier.replies_to(courier.schemas["Listing"].cls) == ()
    assert find_message([courier], "courier.Fetch").cls is fetch


def test_without_a_message_only_what_is_named_is_loaded() -> None:
    assert [one.name for one in load_vocabularies(["chat", "chat", "echo"])] == ["chat", "echo"]


def test_what_a_file_has_is_not_looked_for_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from oddwire import Extension\n\nextension = Extension('unheard-of', version='1.0')\n")
    (mine,) = load_vocabularies([str(file)], "unheard-of.Ask", "unheard-of.Answer")
    assert mine.name == "unheard-of"


def test_what_else_would_be_right_is_listed() -> None:
    with pytest.raises(
        CommandFailure, match=r"did you mean chat.hello[?]; there are: chat.Heard, chat.Say, chat.hello"
    ):
        find_message(load_vocabularies(["chat"]), "chat.helo", others=["hello"])


def test_a_name_has_a_dot() -> None:
    assert split_name("lsps.lsps1.get_info") == ("lsps", "lsps1.get_info")
    with pytest.raises(CommandFailure, match="message should be extension, dot, message"):
        split_name("chat")
