import pytest

from oddwire.app.plugins.builtin import Builtins
from oddwire.transports.base import Transport


def test_brings_the_four_codecs() -> None:
    assert sorted(codec.name for codec in Builtins().register_codecs()) == ["bolt", "json", "msgpack", "raw"]


def test_brings_the_five_transports() -> None:
    made = Builtins().register_transports()
    assert set(made) == {"bolt8", "cln", "lnd", "memory", "nats"}
    assert isinstance(made["memory"](), Transport)


@pytest.mark.parametrize("name", ["bolt8", "cln", "lnd", "memory", "nats"])
def test_an_option_that_a_transport_does_not_have_is_answered_by_those_it_has(name: str) -> None:
    with pytest.raises(TypeError, match=r"argument 'nope'.*; it has \w+"):
        Builtins().register_transports()[name](nope=1)
