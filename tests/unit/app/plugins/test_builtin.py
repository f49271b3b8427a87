from oddwire.app.plugins.builtin import Builtins
from oddwire.transports.base import Transport


def test_brings_the_four_codecs() -> None:
    assert sorted(codec.name for codec in Builtins().register_codecs()) == ["bolt", "json", "msgpack", "raw"]


def test_brings_the_four_transports() -> None:
    made = Builtins().register_transports()
    assert set(made) == {"bolt8", "cln", "lnd", "memory"}
    assert isinstance(made["memory"](), Transport)
