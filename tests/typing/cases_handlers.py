"""What type checkers accept and reject of handlers. A line that both must reject ends in ``# error``; no other may.

Read by test_checkers.py; never run.
"""
# pyright: strict

from collections.abc import AsyncIterator

from oddwire import AppContext, Application, Context, Extension, Message, OddwireError, message, u64

extension = Extension("quote", version="1.0", feature=513)


@message(0x8C01)
class Request(Message):
    asset: str
    nonce: u64


@message(0x8C03, codec="bolt")
class Quote(Message):
    nonce: u64
    millisats: u64


@message(0x8C05)
class Say(Message):
    text: str


@extension.on(Request)
async def answers(context: Context, request: Request) -> Quote:
    return Quote(nonce=request.nonce, millisats=7)


@extension.on(Say, concurrent=True)
async def answers_nothing(context: Context, say: Say) -> None:
    await context.peer.send(Say(text=say.text))


@extension.on(Quote)
async def answers_perhaps(context: Context, quote: Quote) -> Say | None:
    return None if quote.nonce else Say(text="zero")


@extension.on(Quote)
async def takes_any_message(context: Context, quote: Message) -> None:
    return None


@extension.on(Request)
async def yields(context: Context, request: Request) -> AsyncIterator[Quote]:
    yield Quote(nonce=request.nonce, millisats=7)


@extension.on(Request, reliable=True)
async def keeps(context: Context, request: Request) -> None:
    await context.store.set("asset", request.asset)
    await context.store.set("asset", request)


@extension.on(Request)  # error
async def yields_no_message(context: Context, request: Request) -> AsyncIterator[int]:
    yield 7


@extension.on(Request)  # error
async def of_another_message(context: Context, request: Quote) -> None:
    return None


@extension.on(Request)  # error
async def without_a_context(request: Request) -> None:
    return None


class Database: ...


@extension.provide
async def database(context: AppContext) -> AsyncIterator[Database]:
    yield Database()


@extension.provide(scope="peer")
def counted(context: Context, database: Database) -> dict[str, int]:
    return {}


@extension.provide(scope="session")  # error
def of_no_scope(context: Context) -> dict[str, str]:
    return {}


@extension.on(Request)
async def with_more(context: Context, request: Request, database: Database, *, counted: dict[str, int]) -> Quote:
    return Quote(nonce=request.nonce, millisats=len(counted))


@extension.on(Request)
async def yields_with_more(context: Context, request: Request, database: Database) -> AsyncIterator[Quote]:
    yield Quote(nonce=request.nonce, millisats=7)


@extension.on(Request)  # error
async def with_more_before(context: Context, database: Database, request: Request) -> None:
    return None


@extension.on_startup
async def begins_with_more(context: AppContext, database: Database) -> None:
    return None


@extension.on_startup  # error
async def begins_with_more_before(database: Database, context: AppContext) -> None:
    return None


@extension.on_connect
async def greets_with_more(context: Context, database: Database, counted: dict[str, int]) -> None:
    return None


@extension.on_disconnect
async def leaves_with_more(context: Context, reason: str, database: Database) -> None:
    return None


@extension.on_disconnect  # error
async def leaves_without_a_reason(context: Context, database: Database) -> None:
    return None


@extension.on_undelivered
async def hears_with_more(context: Context, message: Message | None, error: OddwireError, database: Database) -> None:
    return None


@extension.on_ready
async def ready_with_more(context: AppContext, database: Database) -> None:
    return None


@extension.every(10, per_peer=True)
async def beats_with_more(context: Context, counted: dict[str, int]) -> None:
    return None


@extension.task
async def watches_with_more(context: AppContext, database: Database) -> None:
    return None


@extension.every(10)  # error
async def beats_without_a_context(database: Database) -> None:
    return None


@extension.rpc("quote-count")
async def counts(context: AppContext, database: Database, asset: str = "eur") -> int:
    return 7


async def calls() -> None:
    application = Application(extension, transport="memory", provide={Database: Database(), int: 7})
    print(application)
    Application(extension, transport="memory", provide=Database())  # error


@extension.on(Request)  # error
async def in_another_order(request: Request, context: Context) -> None:
    return None


@extension.on(Request)  # error
def not_async(context: Context, request: Request) -> None:
    return None


@extension.on(Request)  # error
async def answering_no_message(context: Context, request: Request) -> int:
    return 7


@extension.on(int)  # error
async def of_no_message(context: Context, request: int) -> None:
    return None


async def sends(context: Context) -> None:
    await context.peer.send(Say(text="x"))
    await context.peer.send("x")  # error
    await context.peer.send(Say)  # error


async def asks(context: Context) -> None:
    quote = await context.peer.request(Request(asset="eur", nonce=1), Quote)
    print(quote.millisats)
    print(quote.asset)  # error
    either = await context.peer.request(Request(asset="eur", nonce=1), Quote | Say)
    print(either.millisats)  # error
    print(either.text if isinstance(either, Say) else either.millisats)
    print(either.asset if isinstance(either, Say) else either.millisats)  # error
    async for one in context.peer.stream(Request(asset="eur", nonce=1), Quote | Say):
        print(one.text if isinstance(one, Say) else one.millisats)
        print(one.millisats)  # error
    async for part in context.peer.stream(Request(asset="eur", nonce=1), Quote):
        print(part.millisats)
        print(part.asset)  # error
    await context.peer.request(Request(asset="eur", nonce=1), int)  # error
    await context.peer.request(Request(asset="eur", nonce=1), Quote | int)  # error


@message(0x8C0F, replies=(Quote, Say), match="nonce")
class Declared(Message):
    nonce: u64


@message(0x8C11, replies=Quote | Say)
class DeclaredUnion(Message):
    nonce: u64


@message(0x8C13, replies="Quote")  # error
class DeclaredByName(Message):
    nonce: u64


@message(0x8C15, replies=(Quote, int))  # error
class DeclaredWrongly(Message):
    nonce: u64


async def asks_plainly(context: Context) -> None:
    peer = context.peer
    quote = await peer.request(Request(asset="eur", nonce=1), Quote, match="nonce", plain=True)
    print(quote.millisats)
    quote = await peer.request(Request(asset="eur", nonce=1), Quote, match=lambda found: found.millisats > 5)
    await peer.request(Request(asset="eur", nonce=1), Quote, match=lambda found: found.asset)  # error
    await peer.request(Request(asset="eur", nonce=1), Quote, match=7)  # error
    either = await peer.request(Declared(nonce=1))
    print(either.millisats)  # error
    print(either.millisats if isinstance(either, Quote) else either)
    await peer.request(Declared(nonce=1), match=lambda found: True)


async def waits(context: Context) -> None:
    peer = context.peer
    quote = await peer.wait_for(Quote, timeout=None)
    print(quote.millisats)
    print(quote.asset)  # error
    either = await peer.wait_for(Quote | Say, lambda found: isinstance(found, Say))
    print(either.text)  # error
    print(either.text if isinstance(either, Say) else either.millisats)
    await peer.wait_for(Quote, match=lambda found: found.asset)  # error
    await peer.wait_for(Quote, match="nonce")  # error
    await peer.wait_for(int)  # error
    async with peer.messages(Quote | Say) as stream:
        async for found in stream:
            print(found.text if isinstance(found, Say) else found.millisats)
            print(found.text)  # error
    async with peer.messages(Quote, match=lambda found: found.millisats > 5) as quotes:
        print((await anext(quotes)).millisats)
        print((await anext(quotes)).asset)  # error
    peer.messages(int)  # error


async def delivers(context: Context) -> None:
    receipt = await context.peer.deliver(Say(text="x"))
    await receipt.delivered()
    await context.peer.send(Say(text="x"), progress=lambda sent, total: print(sent + total))
    await context.peer.deliver(Say(text="x"), force=True)  # error
    await context.peer.deliver("x")  # error
    await context.peer.send(Say(text="x"), reliable=True)  # error
    nothing: int = await context.peer.send(Say(text="x"))  # error
    print(nothing)


@extension.on_startup
async def begins(context: AppContext) -> None:
    await context.app.peer("02" + "11" * 32).deliver(Say(text="x"))
    await context.store.set("asset", context.options["quote-asset"])
    context.logger.info("%s begins", context.extension)
    context.peer.send(Say(text="x"))  # error


@extension.on_shutdown
async def ends(context: AppContext) -> None:
    print(context.peers)  # error


@extension.on_startup  # error
async def begins_with_the_application(app: Application) -> None:
    return None


@extension.on_startup  # error
async def begins_with_a_peer(context: Context) -> None:
    return None


@extension.on_shutdown  # error
async def ends_with_a_peer(context: Context) -> None:
    return None


@extension.on_connect
async def greets(context: Context) -> None:
    await context.peer.send(Say(text="x"))


@extension.on_connect
async def needs_no_peer(context: AppContext) -> None:
    context.logger.info("one more")


@extension.on_connect  # error
async def greets_with_the_application(app: Application) -> None:
    return None


@extension.on(Say)
async def answers_without_a_peer(context: AppContext, say: Say) -> None:
    return None


def takes_an_app_context(context: AppContext) -> None:
    takes_a_context(context)  # error


def takes_a_context(context: Context) -> None:
    takes_an_app_context(context)
