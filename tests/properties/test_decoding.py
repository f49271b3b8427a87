"""Explanations of any bytes: each byte is in one span, values and errors are those of decoding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.__main__ import mutate
from tests.fuzz.targets_codecs import SAMPLES
from tests.support.explaining import check_error, check_explanation, check_message

from oddwire.decoding import Lexicon, explain, explain_as
from oddwire.decoding.lexicon import Entry
from oddwire.errors import DecodeError
from oddwire.known.listing import modules
from oddwire.schema import Message, schema_of
from oddwire.testing.strategies import messages

VECTORS = Path(__file__).parents[1] / "vectors"
LEXICON = Lexicon()
ENTRIES = [*LEXICON.all_entries()]
OWN = Lexicon(known=False)
OWN.add("samples", [type(samples[0]) for samples in SAMPLES.values()])
FRAMES = [bytes.fromhex(frame["bytes"]) for frame in json.loads((VECTORS / "session.json").read_text())["frames"]]


def check(entry: Entry, payload: bytes) -> None:
    told = explain_as(payload, entry)
    try:
        message = entry.plan.decode(payload)
    except DecodeError as error:
        check_error(told, error)
    else:
        check_message(told, message)


@settings(max_examples=4)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
@given(data=st.data())
def test_messages_of_known_protocols(entry: Entry, data: st.DataObject) -> None:
    payload = entry.plan.encode(data.draw(messages(entry.schema.cls, max_size=3)))
    check(entry, payload)
    dice = data.draw(st.randoms(use_true_random=False))
    check(entry, payload[:2] + mutate(dice, [payload[2:]]))


@settings(max_examples=10)
@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_messages_with_all_kinds_of_fields(name: str, data: st.DataObject) -> None:
    samples: list[Message] = SAMPLES[name]
    [entry] = OWN.entries(schema_of(samples[0]).type_id)
    dice = data.draw(st.randoms(use_true_random=False))
    made = data.draw(messages(type(samples[0]), max_size=4) | st.sampled_from(samples))
    payload = entry.plan.encode(made)
    check(entry, payload)
    for _ in range(3):
        check(entry, payload[:2] + mutate(dice, [payload[2:]]))


@settings(max_examples=40)
@given(data=st.data())
def test_any_bytes(data: st.DataObject) -> None:
    dice = data.draw(st.randoms(use_true_random=False))
    seeds = [data.draw(st.sampled_from(FRAMES)), data.draw(st.binary(max_size=40))]
    check_explanation(explain(mutate(dice, seeds), LEXICON))


def test_every_known_module_is_here() -> None:
    named = {entry.owner.rstrip("0123456789") for entry in ENTRIES}
    with_messages = {name for name, protocol in modules().items() if protocol.messages}
    assert with_messages <= named | {"bolts", "lsps0", "lsps1"}
