import json

import pytest

pytestmark = pytest.mark.usefixtures("shop")

SHOP = """
import asyncio
from collections.abc import AsyncIterator
from oddwire import AppContext, Context, Extension, Limits, Message, Refuse, message
extension = Extension("shop", version="1.0", limits=Limits(messages_per_second=5))

@message(0x8E71)
class Ask(Message):
    asset: str

@message(0x8E73)
class Price(Message):
    sats: int

@message(0x8E75)
class Watch(Message):
    asset: str

@message(0x8E77)
class Order(Message):
    sats: int

@message(0x8E79)
class Note(Message):
    text: str

@message(0x8E7B)
class Slow(Message): ...

@message(0x8E7D)
class Feed(Message): ...

@extension.option("shop-asset")
def asset(value: str = "none") -> str:
    return value

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price:
    if ask.asset != context.options["shop-asset"]:
        raise Refuse("no such asset", code=1404)
    return Price(sats=len(ask.asset))

@extension.on(Watch)
async def watch(context: Context, watch: Watch) -> AsyncIterator[Price]:
    for sats in range(50):
        yield Price(sats=sats)

@extension.on(Order, reliable=True)
async def order(context: Context, order: Order) -> None:
    await context.store.set("last", order.sats)

@extension.on(Note)
async def note(context: Context, note: Note) -> None:
    if note.text == "bad":
        raise ValueError(note.text)

@extension.on(Feed)
async def feed(context: Context, feed: Feed):
    yield Price(sats=1)

@extension.on(Slow, rate=1)
async def slow(context: Context, slow: Slow) -> None: ...
"""


@pytest.fixture
def shop(tmp_path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)


async def test_messages_and_handlers_are_measured(oddwire, tmp_path) -> None:
    command = ("bench", "./shop.py", "--shop-asset", "eur", "--set", "asset=eur", "--seconds", "0.05", "--bolt8")
    code, out, err = await oddwire(*command, "--flame", "graph.json", "--json")
    assert code == 0, err
    found = json.loads(out)["value"]
    assert {row["message"]: row["bytes"] for row in found["messages"]}["shop.Slow"] == 3
    assert all(row["encode_microseconds"] > 0 < row["decode_microseconds"] for row in found["messages"])
    rows = {row["message"]: row for row in found["handlers"]}
    assert {name: row["sent"] for name, row in rows.items()} == {
        "shop.Ask": "request",
        "shop.Watch": "stream",
        "shop.Order": "reliable",
        "shop.Note": "plain",
    }
    for row in rows.values():
        assert row["per_second"] > 0
        assert row["bolt8"]["per_second"] > 0
        assert set(row["shares"]) == {"codec", "dispatch", "session", "handler"}
        assert min(row["shares"].values()) >= 0
        assert min(row["ratios"].values()) > 0
    assert found["left_out"] == {
        "shop.Slow": "its rate= of 1/s would be measured",
        "shop.Feed": "what its stream yields is not known: annotate what it returns, AsyncIterator[Part] say",
    }
    frames = json.loads((tmp_path / "graph.json").read_text())["shared"]["frames"]
    assert "run_for" in {frame["name"] for frame in frames}
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"graph.json", "shop.py"}


async def test_a_table_is_for_people_and_says_what_was_left_out(oddwire) -> None:
    code, out, err = await oddwire(
        "bench", "shop.py", "--seconds", "0.05", "--skip", "shop.Watch", "--skip", "shop.Order", "--set", "text=bad"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["message", "codec", "bytes"]
    assert len({line.index("msgpack") for line in lines[1:8]}) == 1
    assert len(lines) == 8  # no handler is left
    assert "shop.Ask was not measured: its handler says: no such asset (code 1404)\n" in err
    assert "shop.Note was not measured: its handler fails with these values" in err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["./shop.py", "--set", "sats"], 2, "--set should be FIELD=VALUE or EXT.MESSAGE.FIELD=VALUE, not 'sats'"),
        (["./shop.py", "--flame", "x.svg"], 2, "--flame should end in .json or .html, not '.svg'"),
        (["./shop.py", "--seconds", "inf"], 2, "should be a number of seconds above 0, not inf"),
        (["lsps"], 1, "lsps has no messages to measure; JSON-RPC methods are not measured"),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(oddwire, arguments: list[str], code: int, reason: str) -> None:
    found, out, err = await oddwire("bench", *arguments)
    assert (found, out) == (code, "")
    assert reason in err
