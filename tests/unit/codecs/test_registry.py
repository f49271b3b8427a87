"""The registry: who claims what, and what happens to a type nobody claims."""

import importlib.util
import sys
import warnings

import pytest

from oddwire.codecs import Codec, KnownTypeWarning, Plan, Registry
from oddwire.codecs.raw import RawCodec
from oddwire.codecs.registry import builtin_codecs
from oddwire.errors import (
    DecodeError,
    DefinitionError,
    EncodeError,
    MalformedMessage,
    SchemaError,
    Truncated,
    TypeConflict,
    UnknownMessage,
)
from oddwire.schema import Message, declare, message, schema_of, u8


@message(0x8C01)
class Say(Message):
    text: str


@message(0x8C03, codec="bolt")
class Count(Message):
    number: u8


@message(0x8C01)
class Other(Message):
    text: str


@message(37913, codec="json")
class Lsps(Message):
    method: str


@message(37913, codec="json", spec=True)
class Blip50(Message):
    method: str


@pytest.fixture
def registry():
    registry = Registry()
    registry.register(Say, "chat")
    registry.register(Count, "count")
    return registry


def test_messages_there_and_back(registry):
    for sample in (Say(text="hello"), Count(number=3)):
        payload = registry.encode(sample)
        assert registry.decode(payload) == sample
        assert registry.plans[payload[:2]].decode(payload) == sample
    assert registry.encode(Count(number=3)) == b"\x8c\x03\x03"


def test_what_is_there(registry):
    assert registry.type_ids == {0x8C01, 0x8C03}
    assert registry.lookup(0x8C01) is schema_of(Say)
    assert registry.lookup(0x8C05) is None
    assert dict(registry.by_name) == {"chat.Say": schema_of(Say), "count.Count": schema_of(Count)}
    assert set(registry.plans) == {b"\x8c\x01", b"\x8c\x03"}
    assert set(registry.codecs) == {"bolt", "json", "msgpack", "raw"}
    assert registry.owner_of(0x8C01) == f"chat ({__name__}.Say)"
    assert registry.owner_of(1) is None
    for view in (registry.plans, registry.by_name, registry.codecs):
        with pytest.raises(TypeError):
            view["x"] = None


@pytest.mark.parametrize(("payload", "required"), [(b"\x8c\x05", False), (b"\x8c\x06rest", True), (b"\x00\x00", True)])
def test_types_nobody_registered(registry, payload, required):
    with pytest.raises(UnknownMessage) as caught:
        registry.decode(payload)
    assert (caught.value.type_id, caught.value.required) == (int.from_bytes(payload[:2], "big"), required)
    assert ("must not be ignored" in str(caught.value)) is required


@pytest.mark.parametrize("payload", [b"", b"\x8c"])
def test_payloads_without_a_type(registry, payload):
    with pytest.raises(Truncated, match="starts with a type of 2 bytes"):
        registry.decode(payload)


def test_malformed_payloads(registry):
    with pytest.raises(MalformedMessage) as caught:
        registry.decode(b"\x8c\x01\xc0")
    assert isinstance(caught.value, DecodeError)
    assert caught.value.type_id == 0x8C01


def test_messages_nobody_registered(registry):
    for wrong in (Other(text="x"), object(), None):
        with pytest.raises(EncodeError, match="is not registered"):
            registry.encode(wrong)


def test_two_claims_on_one_number(registry):
    with pytest.raises(TypeConflict) as caught:
        registry.register(Other, "talk")
    assert caught.value.type_id == 0x8C01
    assert caught.value.owners == (f"chat ({__name__}.Say)", f"talk ({__name__}.Other)")
    assert all(owner in str(caught.value) for owner in caught.value.owners)
    with pytest.raises(TypeConflict):
        registry.register(Say, "talk")
    assert registry.decode(registry.encode(Say(text="x"))) == Say(text="x")


def test_two_specifications_of_one_number(registry):
    """Nobody can choose another number, so the error does not ask for that."""

    @message(0x8C09, spec=True)
    class One(Message):
        pass

    @message(0x8C09, spec=True)
    class Two(Message):
        pass

    registry.register(One, "chat")
    with pytest.raises(TypeConflict) as caught:
        registry.register(Two, "chat")
    text = str(caught.value)
    assert "claimed by both chat (" in text
    assert "; an application knows one of them: register that alone; oddwire.known.decode reads a payload by" in text


def test_the_same_claim_twice(registry):
    assert registry.register(Say, "chat") is schema_of(Say)


def test_two_messages_of_one_name(registry):
    @message(0x8C07, name="Say")
    class Again(Message):
        pass

    with pytest.raises(SchemaError, match=r"Say is called 'chat.Say' too; say @message\(..., name=...\)"):
        registry.register(Again, "chat")
    assert 0x8C07 not in registry.type_ids
    registry.register(Again, "talk")
    assert registry.by_name["talk.Say"] is schema_of(Again)


def test_numbers_in_use_in_the_wild():
    registry = Registry()
    with pytest.warns(KnownTypeWarning, match=r"lsps \(.*Lsps\): type 37913 is used by LSPS0 \(lsps0_message\)"):
        registry.register(Lsps, "lsps")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Registry().register(Blip50, "lsps")
    assert issubclass(KnownTypeWarning, UserWarning)


def test_numbers_kept_for_nodes():
    class Ping(Message):
        number: u8

    declare(Ping, 18)
    with pytest.raises(SchemaError, match=r"18 \(WIRE_PING\) can never be sent"):
        Registry().register(Ping)


def test_after_freezing(registry):
    registry.freeze()
    registry.freeze()
    with pytest.raises(DefinitionError, match="comes too late"):
        registry.register(Lsps)
    with pytest.raises(DefinitionError, match="comes too late"):
        registry.add_codec(RawCodec())
    assert registry.decode(registry.encode(Say(text="x"))) == Say(text="x")


class Shout(Codec):
    name = "shout"

    def compile(self, schema):
        prefix = schema.type_id.to_bytes(2, "big")
        return Plan(
            lambda message: prefix + message.text.upper().encode(),
            lambda payload: schema.build({"text": payload[2:].decode()}),
        )


def test_a_codec_of_someone_else():
    @message(0x8C07, codec="shout")
    class Loud(Message):
        text: str

    registry = Registry()
    with pytest.raises(SchemaError, match="there is no codec 'shout'; there are bolt, json, msgpack, raw"):
        registry.register(Loud)
    codec = Shout()
    registry.add_codec(codec)
    registry.add_codec(codec)
    registry.register(Loud)
    assert registry.decode(registry.encode(Loud(text="hey"))) == Loud(text="HEY")
    with pytest.raises(DefinitionError, match=r"codec name 'shout' is claimed by both .*Shout and .*Shout"):
        registry.add_codec(Shout())


def test_only_the_codecs_asked_for():
    assert dict(Registry([]).codecs) == {}
    assert [codec.name for codec in builtin_codecs()] == ["bolt", "json", "msgpack", "raw"]
    with pytest.raises(SchemaError, match="there is no codec 'msgpack'"):
        Registry([RawCodec()]).register(Say)


def test_what_is_no_message():
    with pytest.raises(SchemaError, match="is not a message"):
        Registry().register(int)


def test_a_known_type_is_warned_of_where_its_class_is_written(tmp_path):
    path = tmp_path / "author_of_lsps.py"
    path.write_text(
        "from oddwire import Message, message\n\n\n"
        "def make():\n"
        "    @message(37913)\n"
        "    class Lsps(Message):\n"
        "        text: str\n\n"
        "    return Lsps\n"
    )
    spec = importlib.util.spec_from_file_location("author_of_lsps", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["author_of_lsps"] = module
    try:
        spec.loader.exec_module(module)
        with pytest.warns(KnownTypeWarning) as caught:
            Registry().register(module.make(), "lsps")
    finally:
        del sys.modules["author_of_lsps"]
    [warning] = caught
    assert warning.filename == str(path)
    assert "class Lsps" in path.read_text().splitlines()[warning.lineno - 1] or warning.lineno == 5
    made = type(Message)("Nowhere", (Message,), {"__module__": "nowhere", "__qualname__": "Nowhere"})
    with pytest.warns(KnownTypeWarning) as caught:
        Registry().register(message(37913)(made))
    assert caught[0].filename == "<nowhere>"
