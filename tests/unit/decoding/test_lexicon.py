"""oddwire.decoding.lexicon."""

from __future__ import annotations

import pytest

from oddwire import Message, message
from oddwire.codecs import Registry
from oddwire.decoding import Lexicon, explain
from oddwire.errors import SchemaError
from oddwire.known import peerswap


@message(0x8C01)
class Say(Message):
    text: str


@message(0xA455, spec=True)
class Mine(Message):
    text: str


@message(0x8C03, codec="unheard-of")
class Unheard(Message):
    pass


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("peerswap.Cancel", "peerswap.Cancel"),
        ("peerswap.swap_in_request", "peerswap.SwapInRequest"),
        ("PeerSwap.SWAPINREQUEST", "peerswap.SwapInRequest"),
        ("bolt1.ping", "bolt1.ping"),
        ("bolts.Ping", "bolt1.ping"),
        ("bolt2.OpenChannel2", "bolt2.open_channel2"),
        ("bolt4.incorrect_or_unknown_payment_details", "bolt4.incorrect_or_unknown_payment_details"),
        ("hosted_channels.InvokeHostedChannel", "hosted_channels.InvokeHostedChannel"),
        ("chat.say", "chat.Say"),
    ],
)
def test_messages_by_name(name: str, found: str) -> None:
    lexicon = Lexicon()
    lexicon.add("chat", [Say])
    entry = lexicon.find(name)
    assert entry is not None
    assert entry.name == found


@pytest.mark.parametrize("name", ["bolt1.open_channel", "peerswap.Say", "chat", "nobody.Say", ""])
def test_there_is_no_message_of_another_name(name: str) -> None:
    assert Lexicon().find(name) is None


def test_every_name_that_is_shown_is_found() -> None:
    lexicon = Lexicon()
    entries = [*lexicon.all_entries()]
    assert len(entries) > 100
    for entry in entries:
        found = lexicon.find(entry.name)
        assert found is not None
        assert found.schema is entry.schema
        assert found.claim == entry.claim


def test_what_was_added_comes_first() -> None:
    lexicon = Lexicon()
    lexicon.add("mine", [Mine])
    lexicon.add("mine", [Mine])
    assert [entry.name for entry in lexicon.entries(0xA455)] == [
        "mine.Mine",
        "peerswap.SwapInRequest",
        "lightningos.BalancedOpen",
    ]


def test_a_known_class_that_an_extension_has_is_the_extension_s() -> None:
    lexicon = Lexicon()
    lexicon.add("swaps", [peerswap.Cancel])
    assert [entry.name for entry in lexicon.entries(0xA45F)] == ["swaps.Cancel"]


def test_messages_of_a_registry() -> None:
    registry = Registry()
    registry.register(Say, "chat")
    lexicon = Lexicon(known=False)
    lexicon.add_registry(registry)
    assert explain(registry.encode(Say(text="hi")), lexicon).name == "chat.Say"
    assert lexicon.claims(18) == ()
    assert lexicon.find("bolt1.ping") is None


def test_a_codec_that_there_is_not_is_refused() -> None:
    with pytest.raises(SchemaError, match="there is no codec 'unheard-of'"):
        Lexicon().add("x", [Unheard])


def test_what_takes_long_is_added_when_it_may_be_needed() -> None:
    asked: list[str] = []

    def add(lexicon: Lexicon) -> None:
        asked.append("now")
        lexicon.add("chat", [Say])

    lexicon = Lexicon()
    lexicon.add_later(add)
    assert [entry.name for entry in lexicon.entries(18)] == ["bolt1.ping"]
    assert lexicon.find("peerswap.Cancel") is not None
    assert asked == []
    assert lexicon.find("chat.Say") is not None
    assert lexicon.entries(0x8C01)
    assert asked == ["now"]
