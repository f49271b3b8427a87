"""``signmessage`` and ``checkmessage`` against signatures others have made; ``makesecret``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import NodeRefused
from oddwire.node.methods.signing import zbase32_decode, zbase32_encode

# Made with lnd by people who gave them to Core Lightning's tests: text, signature, key
BY_LND = [
    (
        "is this compatible?",
        "rbgfioj114mh48d8egqx8o9qxqw4fmhe8jbeeabdioxnjk8z3t1ma1hu1fiswpakgucwwzwo6ofycffbsqusqdimugbh41n1g698hr9t",
        "02b80cabdf82638aac86948e4c06e82064f547768dcef977677b9ea931ea75bab5",
    ),
    (
        "hi",
        "rnrphcjswusbacjnmmmrynh9pqip7sy5cx695h6mfu64iac6qmcmsd8xnsyczwmpqp9shqkth3h4jmkgyqu5z47jfn1q7gpxtaqpx4xg",
        "02de60d194e1ca5947b59fe8e2efd6aadeabfb67f2e89e13ae1a799c1e08e4a43b",
    ),
    (
        "hi",
        "ry8bbsopmduhxy3dr5d9ekfeabdpimfx95kagdem7914wtca79jwamtbw4rxh69hg7n6x9ty8cqk33knbxaqftgxsfsaeprxkn1k48p3",
        "022b8ece90ee891cbcdac0c1cc6af46b73c47212d8defbce80265ac81a6b794931",
    ),
]


@pytest.mark.parametrize(("text", "zbase", "key"), BY_LND)
async def test_signatures_by_lnd(client, text: str, zbase: str, key: str) -> None:
    good = await client.call("checkmessage", {"message": text, "zbase": zbase, "pubkey": key})
    assert good == {"pubkey": key, "verified": True}
    bad = await client.call("checkmessage", {"message": text + "modified", "zbase": zbase, "pubkey": key})
    assert bad["verified"] is False
    with pytest.raises(NodeRefused, match="pubkey not found in the graph") as caught:
        await client.call("checkmessage", [text, zbase])
    assert (caught.value.code, caught.value.data) == (1301, {"claimed_key": key})


async def test_our_own_and_our_peers(start_node, client_of) -> None:
    one, two, three = [await start_node(name) for name in ("one", "two", "three")]
    rpc, far, stranger = [await client_of(node) for node in (one, two, three)]
    await rpc.call("connect", [two.uris[0]])
    signed = await rpc.call("signmessage", ['wörds\n"quoted"'])
    assert len(bytes.fromhex(signed["signature"])) == 64
    assert signed["recid"] in ("00", "01")
    expected = {"pubkey": one.node_id, "verified": True}
    for client in (rpc, far):
        assert await client.call("checkmessage", ['wörds\n"quoted"', signed["zbase"]]) == expected
    with pytest.raises(NodeRefused, match="pubkey not found"):
        await stranger.call("checkmessage", ['wörds\n"quoted"', signed["zbase"]])


@pytest.mark.parametrize(
    ("zbase", "text"),
    [
        ("l", "zbase is not valid zbase32"),
        ("yy", "zbase is too short"),
        ("y" * 200, "zbase is too long"),
        ("y" * 104, "cannot parse zbase signature"),
    ],
)
async def test_what_is_no_signature(client, zbase: str, text: str) -> None:
    with pytest.raises(NodeRefused, match=text) as caught:
        await client.call("checkmessage", ["x", zbase])
    assert caught.value.code == -32602


async def test_too_much_to_sign(client) -> None:
    await client.call("signmessage", ["x" * 65535])
    with pytest.raises(NodeRefused, match="Message must be < 64k"):
        await client.call("signmessage", ["x" * 65536])


@given(st.binary(max_size=100))
def test_zbase32(data: bytes) -> None:
    assert zbase32_decode(zbase32_encode(data)) == data


def test_zbase32_by_its_own_examples() -> None:
    assert zbase32_encode(bytes.fromhex("f0bfc7")) == "6n9hq"
    assert zbase32_encode(bytes.fromhex("d47a04")) == "4t7ye"


@pytest.mark.parametrize("text", ["y" * 6, "yb", "l", "Y", "9", "yé"])
def test_what_is_no_zbase32(text: str) -> None:
    with pytest.raises(ValueError, match="zbase32"):
        zbase32_decode(text)


async def test_makesecret(client) -> None:
    secret = await client.call("makesecret", {"string": "scb secret"})
    assert secret == await client.call("makesecret", [b"scb secret".hex()])
    assert secret != await client.call("makesecret", {"string": "another"})
    for params, text in (({}, "Must have either"), ({"hex": "00", "string": "x"}, "Cannot have both")):
        with pytest.raises(NodeRefused, match=text):
            await client.call("makesecret", params)
