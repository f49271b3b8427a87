from __future__ import annotations

from typing import Any

import pytest
from tests.support.texts import Ask

from oddwire.app import AppContext, Context, Extension, PluginManager, hookimpl
from oddwire.app.dispatch.rpc_calls import BoundMethod
from oddwire.app.plugins.tables import Tables, build_tables, check_support, unregistered
from oddwire.errors import EncodeError, ExtensionError, NotSupported, PeerNotConnected, TypeConflict
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.transports.base import PeerInfo, not_connected

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C03, codec="json")
class Answer(Message):
    text: str


@message(0x8C06)
class Even(Message):
    text: str


@message(0x8C01, name="Other")
class Clash(Message):
    text: str


def built(*plugins: object) -> Tables:
    manager = PluginManager()
    for plugin in plugins:
        manager.register(plugin)
    return build_tables(manager)


@pytest.fixture
def one() -> Extension:
    return Extension("one", version="1.0", feature=513)


@pytest.fixture
def two() -> Extension:
    return Extension("two", version="1.0", feature=515)


def test_an_empty_application_has_an_empty_manifest() -> None:
    tables = built()
    assert tables.manifest.type_ids == tables.manifest.features == frozenset()
    assert [owner.name for owner in tables.owners] == ["oddwire"]
    assert dict(tables.incoming) == dict(tables.outgoing) == {}


def test_makes_the_tables_and_the_manifest(one: Extension, two: Extension) -> None:
    @one.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer: ...

    @one.rpc("one-do")
    async def do(context: AppContext) -> None: ...

    @one.option("one-volume")
    def volume(value: int) -> int:
        return value

    @two.on(Even, concurrent=True)
    async def even(context: Context, request: Even) -> None: ...

    tables = built(one, two)
    assert tables.manifest.type_ids == {0x8C01, 0x8C03, 0x8C06}
    assert tables.manifest.even_ids == {0x8C06}
    assert tables.manifest.features == {513, 515}
    assert tables.manifest.rpc_methods == ()  # the application binds them
    assert tables.registry.by_name.keys() == {"one.Ask", "one.Answer", "two.Even"}
    assert set(tables.incoming) == {b"\x8c\x01", b"\x8c\x03", b"\x8c\x06"}
    route = tables.incoming[b"\x8c\x01"]
    assert (route.handler, tables.owners[route.owner - 1].name, route.concurrent) == (ask, "one", False)
    assert tables.incoming[b"\x8c\x03"].handler is None
    assert tables.incoming[b"\x8c\x06"].concurrent
    for cls, text in ((Ask, "a"), (Answer, "b"), (Even, "c")):
        payload = tables.outgoing[cls].encode(cls(text=text))
        assert tables.incoming[payload[:2]].decode(payload) == cls(text=text)
    assert tables.outgoing[Ask].owners is None
    assert [owner.name for owner in tables.outgoing[Even].owners or ()] == ["two"]
    assert tables.rpc_methods == {
        "one-do": BoundMethod("one", one.register_rpc()[0], (), one.register_rpc()[0].function)
    }
    assert tables.settings["one-volume"].read("11") == 11


def test_the_tables_cannot_be_changed(one: Extension) -> None:
    one.register(Ask)
    tables = built(one)
    with pytest.raises(TypeError):
        tables.incoming[b"\x8c\x07"] = tables.incoming[b"\x8c\x01"]  # type: ignore[index]
    with pytest.raises(TypeError):
        del tables.outgoing[Ask]  # type: ignore[attr-defined]


def test_extensions_may_share_a_message(one: Extension, two: Extension) -> None:
    one.register(Even)

    @two.on(Even)
    async def even(context: Context, request: Even) -> None: ...

    tables = built(one, two)
    assert [owner.name for owner in tables.outgoing[Even].owners or ()] == ["one", "two"]
    assert tables.incoming[b"\x8c\x06"].handler is even


def test_two_claims_on_a_type_name_both(one: Extension, two: Extension) -> None:
    one.register(Ask)
    two.register(Clash)
    with pytest.raises(TypeConflict) as caught:
        built(one, two)
    assert caught.value.type_id == 0x8C01
    assert [owner.partition(" ")[0] for owner in caught.value.owners] == ["one", "two"]
    assert "0x8c01" in str(caught.value)


def test_the_type_of_sessions_is_not_to_be_had(one: Extension) -> None:
    @message(0xC0DD)
    class Frame(Message): ...

    one.register(Frame)
    with pytest.raises(TypeConflict, match=r"type 49373 \(0xc0dd\) is that of sessions; 'one' should choose") as caught:
        built(one)
    assert caught.value.owners == ("oddwire", "one")


def test_two_handlers_of_a_message_name_both(one: Extension, two: Extension) -> None:
    async def first(context: Context, request: Ask) -> None: ...

    async def second(context: Context, request: Ask) -> None: ...

    one.on(Ask)(first)
    two.on(Ask)(second)
    with pytest.raises(ExtensionError) as caught:
        built(one, two)
    place = f"{__name__}.test_two_handlers_of_a_message_name_both.<locals>"
    assert str(caught.value) == (
        f"Ask has two handlers: {place}.first of 'one' and {place}.second of 'two'; it should have one"
    )


def test_one_feature_bit_belongs_to_one_extension(one: Extension) -> None:
    with pytest.raises(ExtensionError, match="feature bit 513 is claimed by 'one' and 'three'"):
        built(one, Extension("three", version="1.0", feature=513))


def test_one_rpc_method_belongs_to_one_extension(one: Extension, two: Extension) -> None:
    async def method(context: Context) -> None: ...

    one.rpc("do")(method)
    two.rpc("do")(method)
    with pytest.raises(ExtensionError, match="RPC method 'do' is claimed by 'one' and 'two'"):
        built(one, two)


def test_one_option_belongs_to_one_extension(one: Extension, two: Extension) -> None:
    def option(value: str) -> str:
        return value

    one.option("volume")(option)
    two.option("volume")(option)
    with pytest.raises(ExtensionError, match="option 'volume' is claimed by 'one' and 'two'"):
        built(one, two)


def test_annotations_of_methods_and_options_are_read_at_load(one: Extension, two: Extension) -> None:
    async def method(context: AppContext, later: Later) -> None: ...  # noqa: F821

    one.rpc("do")(method)
    with pytest.raises(ExtensionError, match=r"RPC method 'do': the annotation 'Later' of 'later' should be known"):
        built(one)

    @two.option("volume")
    def option(value: complex) -> None: ...

    with pytest.raises(ExtensionError, match="option 'volume': complex cannot be read from JSON; it should be str, "):
        built(two)


def test_one_codec_or_transport_belongs_to_one_plugin() -> None:
    from oddwire.codecs.msgpack.codec import MsgpackCodec

    class Codecs:
        @hookimpl
        def register_codecs(self) -> list[Any]:
            return [MsgpackCodec()]

    class Transports:
        @hookimpl
        def register_transports(self) -> dict[str, Any]:
            return {"memory": object}

    with pytest.raises(ExtensionError, match="codec 'msgpack' is claimed by 'oddwire' and 'Codecs'"):
        built(Codecs())
    with pytest.raises(ExtensionError, match="transport 'memory' is claimed by 'oddwire' and 'Transports'"):
        built(Transports())


def test_an_even_reply_needs_a_feature() -> None:
    extension = Extension("three", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Even: ...

    with pytest.raises(ExtensionError) as caught:
        built(extension)
    text = str(caught.value)
    assert "handler of Ask: returns Even of even type 0x8c06" in text
    assert text.endswith("extension 'three' should have a feature bit, or the reply an odd type, or even='known'")


def test_an_unknown_codec_is_told() -> None:
    @message(0x8C09, codec="klingon")
    class Strange(Message): ...

    extension = Extension("three", version="1.0")
    extension.register(Strange)
    with pytest.raises(ExtensionError, match=r"test_tables\..*codec='klingon'\): no codec is called 'klingon'"):
        built(extension)


def test_owners_are_found_by_name(one: Extension) -> None:
    tables = built(one)
    assert tables.owner_of("one").plugin is one
    with pytest.raises(ExtensionError, match="no extension 'two' is loaded; there are: oddwire, one"):
        tables.owner_of("two")


def test_support_is_shown_by_the_features_of_any_owner(one: Extension, two: Extension) -> None:
    one.register(Even)
    two.register(Even)
    owners = built(one, two).outgoing[Even].owners
    assert owners is not None
    even = Even(text="")
    for features in (b"\x02" + bytes(64), b"\x08" + bytes(64), b"\x01" + bytes(64)):
        check_support(even, owners, PeerInfo(node_id=ALICE, features=features), ALICE)
    with pytest.raises(NotSupported, match=r"'one' \(feature bit 513\) or 'two' \(feature bit 515\)"):
        check_support(even, owners, PeerInfo(node_id=ALICE, features=b"\x20" + bytes(64)), ALICE)
    with pytest.raises(PeerNotConnected):
        check_support(even, owners, None, ALICE)


def test_errors_carry_their_facts() -> None:
    assert not_connected(ALICE).node_id == str(ALICE)
    assert isinstance(unregistered(Ask), EncodeError)


@message(0x8C11, replies=(Answer, Even))
class Asking(Message):
    text: str


def test_a_message_brings_the_replies_that_it_declares(one: Extension, two: Extension) -> None:
    one.register(Asking)

    @two.on(Asking)
    async def answer(context: Context, request: Asking) -> Answer | None: ...

    router = built(one, two)
    assert one.messages == (Asking, Answer, Even)
    assert router.manifest.type_ids == {0x8C11, 0x8C03, 0x8C06}
    assert [owner.name for owner in router.claims[Even]] == ["one", "two"]


def test_a_handler_returns_the_replies_that_its_message_declares(one: Extension) -> None:
    @one.on(Asking)
    async def answer(context: Context, request: Asking) -> Answer | Ask: ...

    with pytest.raises(ExtensionError) as caught:
        built(one)
    assert str(caught.value) == (
        f"{__name__}.test_a_handler_returns_the_replies_that_its_message_declares.<locals>.answer, handler of "
        "Asking 0x8c11: should return Answer or Even, as @message(replies=) says, not Ask"
    )
