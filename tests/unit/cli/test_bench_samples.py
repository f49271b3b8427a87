from enum import Enum

import pytest

from oddwire import Context, Extension, Message, message, u32
from oddwire.app import PluginManager
from oddwire.app.plugins.manager import Contribution
from oddwire.cli.bench_samples import samples_of
from oddwire.cli.exit import CommandFailure


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


@message(0x8E81)
class Ask(Message):
    asset: str
    side: Side = Side.BUY


@message(0x8E83, codec="bolt")
class Price(Message):
    sats: u32


@pytest.fixture
def shop() -> list[Contribution]:
    extension = Extension("shop", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, ask: Ask) -> Price: ...

    plugins = PluginManager()
    plugins.register(extension)
    return [plugins.contributions[-1]]


def test_each_message_has_an_example_that_is_the_same_each_time(shop: list[Contribution]) -> None:
    first, second = samples_of(shop, [], []), samples_of(shop, [], [])
    assert [sample.name for sample in first] == ["shop.Ask", "shop.Price"]
    assert [sample.message for sample in first] == [sample.message for sample in second]
    assert (first[0].replies, first[1].handler) == ((Price,), None)


def test_values_are_set_by_field_or_for_one_message(shop: list[Contribution]) -> None:
    ask, price = samples_of(shop, [], ["asset=a=b", "side=SELL", "shop.Price.sats=0x10"])
    assert ask.message == Ask(asset="a=b", side=Side.SELL)
    assert price.message == Price(sats=16)


def test_some_may_be_chosen_and_handlers_left_out(shop: list[Contribution]) -> None:
    assert [sample.name for sample in samples_of(shop, ["shop.Price"], [])] == ["shop.Price"]
    assert samples_of(shop, [], [], skip=["shop.Ask"])[0].handler is None


@pytest.mark.parametrize(
    ("names", "settings", "skip", "reason"),
    [
        (["shop.Asl"], [], [], "--message: there is no 'shop.Asl'; did you mean shop.Ask?"),
        ([], [], ["x"], "--skip: there is no 'x'; there are: shop.Ask, shop.Price"),
        ([], ["sats"], [], "--set should be FIELD=VALUE or EXT.MESSAGE.FIELD=VALUE, not 'sats'"),
        ([], ["sats=many"], [], "--set: shop.Price: sats: "),
        ([], ["nosuch=1"], [], "--set: no message has a field 'nosuch'"),
        ([], ["shop.Akk.asset=1"], [], "--set: there is no message 'shop.Akk'; did you mean shop.Ask?"),
        ([], ["shop.Ask.sats=1"], [], "--set: shop.Ask: sats: Ask has no field 'sats'"),
    ],
)
def test_what_is_not_there_is_named(
    shop: list[Contribution], names: list[str], settings: list[str], skip: list[str], reason: str
) -> None:
    with pytest.raises(CommandFailure) as failure:
        samples_of(shop, names, settings, skip=skip)
    assert str(failure.value).startswith(reason)
