"""LND as it was recorded: its answers by gRPC are, decoded, those by REST; and the scripted LND answers alike."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from tests.support.lnd import Refusal, ScriptedLnd
from tests.support.lnd.macaroons import bake
from tests.support.lnd.sending import send

from oddwire.proto import NodeId
from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.errors import LndError, LndRefused
from oddwire.transports.lnd.macaroon import Macaroon
from oddwire.transports.lnd.messages import CUSTOM_MESSAGE, decode_custom_message

import grpc  # isort: skip
from grpc import aio  # isort: skip

HERE = Path(__file__).parent


def read(name):
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


GRPC, REST, MACAROONS = read("lnd_grpc.jsonl"), read("lnd_rest.jsonl"), read("lnd_macaroons.jsonl")
REFUSALS = read("lnd_refusals.jsonl")
UNARY = [row for row in GRPC if "method" in row]
BY_REST = {row["case"]: row for row in REST}
STREAM = "what came of it at the peer"


def case(row):
    return row["case"]


def call_of(row):
    return CALLS[row["method"].rpartition("/")[2]]


def request_of(row):
    """A row's request, whole again where it was cut."""
    raw = bytes.fromhex(row["request"])
    if "bytes" in row:
        message = {**CUSTOM_MESSAGE.decode(raw[:39]), "data": b"\xab" * row["bytes"]}
        raw = CUSTOM_MESSAGE.encode(message)
        assert raw.startswith(bytes.fromhex(row["request"]))
    return raw


def test_all_cases_are_here():
    assert (len(GRPC), len(REST), len(MACAROONS), len(REFUSALS)) == (34, 39, 7, 5)
    assert {row["version"] for row in (*GRPC, *REST, *MACAROONS, *REFUSALS)} == {"0.21.2-beta"}


# The coders against both transcripts


@pytest.mark.parametrize("row", [row for row in UNARY if row["response"] is not None], ids=case)
def test_an_answer_by_grpc_is_that_by_rest(row):
    decoded = call_of(row).answer.decode(bytes.fromhex(row["response"]))
    assert decoded == json.loads(BY_REST[row["case"]]["response"])
    assert call_of(row).answer.decode(call_of(row).answer.encode(decoded)) == decoded


@pytest.mark.parametrize("row", [row for row in UNARY if row["code"] and row["case"] in BY_REST], ids=case)
def test_an_error_by_grpc_is_that_by_rest(row):
    error = json.loads(BY_REST[row["case"]]["response"])
    assert (row["code"], row["details"]) == (error["code"], error["message"])


@pytest.mark.parametrize("row", [row for row in UNARY if row["case"] != "no such method"], ids=case)
def test_a_request_is_written_as_it_was(row):
    raw = request_of(row)
    request = call_of(row).request.decode(raw)
    assert call_of(row).request.encode(request) == raw
    body = BY_REST.get(row["case"], {}).get("body")
    if body and "bytes" not in row:
        assert json.loads(body).items() <= request.items() or "addr" in request


def test_messages_by_grpc_are_those_by_rest():
    [received] = [row["received"] for row in GRPC if row["case"] == STREAM]
    [lines] = [row["lines"] for row in REST if row["case"] == STREAM]
    whole = [(raw, line) for raw, line in zip(received, lines, strict=True) if not raw.endswith("...")]
    assert len(whole) == 14
    for raw, line in whole:
        message = json.loads(line)["result"]
        assert CUSTOM_MESSAGE.decode(bytes.fromhex(raw)) == message
        peer, payload = decode_custom_message(bytes.fromhex(raw))
        assert (peer, payload[:2]) == (NodeId(bytes.fromhex(raw[4:70])), message["type"].to_bytes(2, "big"))
        assert CUSTOM_MESSAGE.encode({**message, "data": payload[2:]}).hex() == raw


# Macaroons


@pytest.mark.parametrize("row", MACAROONS, ids=case)
def test_a_macaroon_is_read_as_lncli_reads_it(row):
    macaroon = Macaroon.read(bytes.fromhex(row["macaroon"]))
    assert [str(permission) for permission in macaroon.permissions] == row["printed"]["permissions"]
    assert list(macaroon.caveats) == (row["printed"]["caveats"] or [])
    assert macaroon.header == row["macaroon"]


# The scripted LND against the transcript


@contextlib.asynccontextmanager
async def two_nodes(tmp_path):
    """Two doubles with the ids and the address of the recording."""
    connect = next(row for row in UNARY if row["case"] == "connect, another key")
    addr = call_of(connect).request.decode(bytes.fromhex(connect["request"]))["addr"]
    left = json.loads(BY_REST["getinfo"]["response"])["identity_pubkey"]
    right = json.loads(BY_REST["one peer"]["response"])["peers"][0]["pub_key"]
    async with (
        ScriptedLnd(tmp_path / "left", node_id=NodeId(left)) as one,
        ScriptedLnd(tmp_path / "right", node_id=NodeId(right), host=addr["host"]) as other,
    ):
        yield one, other


def facts(row, answer):
    """What of an answer does not depend on the node it was recorded at."""
    decoded = call_of(row).answer.decode(answer)
    for peer in decoded.get("peers", ()):
        peer |= {"bytes_sent": "394", "bytes_recv": "394"}
    for place in (decoded, *decoded.get("peers", ())):
        if "features" in place:
            place["features"] = bool(place["features"])
    if "version" in decoded:
        shown = ("identity_pubkey", "alias", "num_peers", "block_height", "chains", "uris", "features")
        return {name: decoded[name] for name in shown}
    return decoded


async def test_the_double_answers_as_lnd_did(tmp_path):
    async with two_nodes(tmp_path) as (left, right):
        headers = {name: (left.macaroons / f"{name}.macaroon").read_bytes().hex() for name in ("admin", "readonly")}
        headers |= {
            "garbage": "00ff",
            "changed": headers["admin"][:-2] + ("01" if headers["admin"][-2:] == "00" else "00"),
        }
        heard = LndClient(right.credentials())
        await heard.connect()
        messages = heard.custom_messages()
        await heard.call("GetInfo")
        tls = grpc.ssl_channel_credentials(left.tlscert.read_bytes())
        received = []
        async with aio.secure_channel(left.address, tls) as channel:
            for row in UNARY:
                if row["case"] in ("connect, already", "disconnect"):
                    left.join(right)
                elif row["case"] == "disconnect, not connected" and right.node_id in left.peers:
                    left.part(right)
                metadata = () if row["macaroon"] == "none" else (("macaroon", headers[row["macaroon"]]),)
                try:
                    answer = await channel.unary_unary(row["method"])(request_of(row), metadata=metadata)
                except aio.AioRpcError as error:
                    found = (error.code().value[0], error.details(), None)
                else:
                    found = (0, "", facts(row, answer))
                want = None if row["response"] is None else facts(row, bytes.fromhex(row["response"]))
                assert (row["case"], *found) == (row["case"], row["code"], row["details"], want)
                if row["method"].endswith("SendCustomMessage") and not row["code"]:
                    received.append((await anext(messages))[1])
            assert left.node_id not in right.peers  # the last row disconnects them
        await heard.aclose()
        [recorded] = [row["received"] for row in GRPC if row["case"] == STREAM]
        recorded = recorded[: 2 * len(received) : 2]  # each was sent by REST and by gRPC; behind them two by REST alone
        for payload, raw in zip(received, recorded, strict=True):
            message = CUSTOM_MESSAGE.encode(
                {"peer": bytes(left.node_id), "type": int.from_bytes(payload[:2]), "data": payload[2:]}
            ).hex()
            assert message[: len(raw.removesuffix("..."))] == raw.removesuffix("...")


async def test_too_long_a_message_disconnects_the_peer_as_with_lnd(tmp_path):
    async with two_nodes(tmp_path) as (left, right):
        left.join(right)
        client = LndClient(left.credentials())
        await client.connect()
        with pytest.raises(Exception, match="message payload is too large - encoded 65534 bytes"):
            await send(client, right.node_id, 40001, bytes(65534))
        assert not left.peers
        assert not right.peers
        await client.aclose()


@pytest.mark.parametrize("row", [row for row in REFUSALS if "state" in row], ids=case)
async def test_the_double_refuses_in_a_state_as_lnd_did(row, tmp_path):
    async with ScriptedLnd(tmp_path, state=row["state"]) as lnd:
        client = LndClient(lnd.credentials())
        await client.connect()
        with pytest.raises(LndError) as caught:
            await client.call(call_of(row).name)
        assert (caught.value.code, caught.value.text) == (row["code"], row["details"])
        await client.aclose()


@pytest.mark.parametrize("row", [row for row in REFUSALS if "macaroon" in row], ids=case)
async def test_what_lnd_says_of_a_macaroon_refuses_it(row, tmp_path):
    async with ScriptedLnd(tmp_path) as lnd:
        client = LndClient(lnd.credentials())
        await client.connect()
        lnd.script(call_of(row).name, Refusal(row["code"], row["details"]))
        with pytest.raises(LndRefused) as caught:
            await client.call(call_of(row).name)
        assert (
            f"LND does not accept the macaroon {lnd.macaroons}/oddwire.macaroon: {row['details']}"
            in caught.value.reason
        )
        await client.aclose()


def test_the_double_bakes_as_lnd_does():
    row = next(row for row in MACAROONS if row["case"] == "admin")
    printed = {}
    for permission in row["printed"]["permissions"]:
        entity, _, action = permission.partition(":")
        printed.setdefault(entity, []).append(action)
    baked = Macaroon.read(bake(b"key", printed))
    assert [str(permission) for permission in baked.permissions] == row["printed"]["permissions"]
    assert len(bake(b"key", printed)) == len(bytes.fromhex(row["macaroon"]))
