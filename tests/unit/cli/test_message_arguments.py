import json
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire import (
    Message,
    PrivateKey,
    field,
    message,
    point,
    scalar,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    u16,
    u64,
)
from oddwire.app.declarations.jsonable import to_plain
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.message_arguments import from_assignments, spell_fields
from oddwire.testing import messages


class Side(IntEnum):
    BUY = 1
    SELL = 2


class Unit(Enum):
    SATS = "sat"
    MSATS = "msat"


@subtype
class Order:
    price: u64
    tags: tuple[str, ...] = ()


@message(0x9001)
class Everything(Message):
    asset: str
    nonce: u64 = 0
    small: u16 = 7
    fee: float = 0.5
    urgent: bool = False
    data: bytes = b""
    hash: sha256 = bytes(32)
    node: point | None = None
    channel: short_channel_id | None = None
    side: Side = Side.BUY
    unit: Unit = Unit.SATS
    order: Order | None = None
    orders: tuple[Order, ...] = ()
    extra: dict[str, int] = field(default_factory=dict)
    anything: Any = None


SCHEMA = schema_of(Everything)
NODE = PrivateKey(bytes(31) + b"\1").public_key()


def make(*assignments: str) -> Everything:
    made = from_assignments(SCHEMA, "all.Everything", assignments)
    assert isinstance(made, Everything)
    return made


def test_reads_values_as_their_fields_want_them() -> None:
    made = make("asset=a b=c", "nonce=0xff", "urgent=true", "data=c0ffee", "side=SELL", 'orders=[{"price": 3}]')
    orders = (Order(price=3),)
    assert made == Everything(
        asset="a b=c", nonce=255, urgent=True, data=b"\xc0\xff\xee", side=Side.SELL, orders=orders
    )


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        ([], "asset should be given"),
        (["asset"], "'asset' should be field=value"),
        (["asset=eur", "colour=red"], "there is no field 'colour'"),
        (["asset=eur", "asset=usd"], "'asset' is given twice"),
        (["asset=eur", "nonce=one"], "nonce should be .*'one'"),
        (["asset=eur", "small=65536"], "small .*0 to 65535, not 65536"),
        (["asset=eur", "data=xyz"], "data .*hex digits"),
        (["asset=eur", 'orders=[{"price": "x"}]'], r"orders\[0\]\.price .*u64"),
    ],
)
def test_names_what_is_wrong_and_lists_the_fields(assignments: list[str], reason: str) -> None:
    fields = "its fields are: asset: str, nonce: u64 = 0"
    with pytest.raises(CommandFailure, match=rf"^all\.Everything: .*{reason}.*{fields}") as e:
        make(*assignments)
    assert e.value.code == USAGE


def test_lists_fields_with_types_and_defaults() -> None:
    spelled = spell_fields(SCHEMA)
    assert spelled.startswith("asset: str, nonce: u64 = 0, small: u16 = 7, fee: float = 0.5")
    order = "Order(price: u64, tags: list of str)"
    assert f", order: {order} or None = None, orders: list of {order} = []" in spelled


def test_lists_values_within_limits() -> None:
    shown = scalar("uuid", python=UUID, wire=str, parse=UUID, show=lambda uuid: f"<{uuid.int}>")

    @message(0x8D01)
    class Valued(Message):
        at: datetime = datetime(2024, 1, 31, tzinfo=UTC)
        due: Annotated[datetime, u64] | None = None
        fee: Annotated[int, scalar("sat", python=int, size=8)] = field(ge=1, lt=9, default=1)
        name: str = field(length=(1, 9), default="x")
        id: Annotated[UUID, shown] = UUID(int=5)

    assert spell_fields(schema_of(Valued)) == (
        "at: datetime as str = 2024-01-31T00:00:00Z, due: datetime as u64 or None = None, "
        "fee: sat at least 1, below 9 = 1, name: str 1 to 9 characters = 'x', id: uuid = <5>"
    )


@given(messages(Everything, anything=st.none() | st.integers(0, 9) | st.lists(st.booleans())))
def test_what_is_shown_as_json_reads_back(value: Everything) -> None:
    plain = json.loads(json.dumps(to_plain(value)))
    assert list(plain) == [field.name for field in SCHEMA.fields]
    shown = {name: inner for name, inner in plain.items() if inner is not None}
    assert make(*(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in shown.items())) == value


def test_bytes_where_json_has_none_are_shown_all_the_same() -> None:
    shown = to_plain(Everything(asset="eur", anything={"a": [b"\xff", 1, None]}, node=NODE))
    assert json.loads(json.dumps(shown))["anything"] == {"a": [{"bytes": "ff"}, 1, None]}
    assert shown["node"] == NODE.hex()
    assert shown["asset"] == "eur"
