from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.texts import Answer, Ask

from oddwire.app import AppContext, Application, Context, Extension, Handler, PeerRpc, Router
from oddwire.errors import ExtensionError, SchemaError
from oddwire.known import peerswap
from oddwire.schema import Message, message
from oddwire.transports.memory import MemoryNetwork


@message(0x8C05)
class Note(Message):
    text: str


@message(0x8C07)
class Gossip(Message):
    text: str


@pytest.fixture
def extension() -> Extension:
    return Extension("quote", version="1.0", feature=513)


def test_knows_who_it_is(extension: Extension) -> None:
    assert (extension.name, extension.version, extension.feature) == ("quote", "1.0", 513)
    assert extension.module == __name__
    assert repr(extension) == f"<Extension 'quote' of {__name__}>"


@pytest.mark.parametrize("name", ["Quote", "", "two words", "a.b", "-a", "a-", 7, None, 256 * "a"])
def test_refuses_other_names(name: Any) -> None:
    with pytest.raises(ExtensionError, match="name should be lower-case words joined by"):
        Extension(name, version="1.0")


@pytest.mark.parametrize("name", ["quote", "quote-2", "my_quote", "a"])
def test_takes_names(name: str) -> None:
    assert Extension(name, version="1.0").name == name


def test_refuses_more_versions_than_peers_can_be_told_of() -> None:
    with pytest.raises(ExtensionError, match="versions should be 255 at most, not 256"):
        Extension("quote", version="1.0", versions=["1.0"] * 256)


@pytest.mark.parametrize("version", ["", None, 1.0])
def test_refuses_other_versions(version: Any) -> None:
    with pytest.raises(ExtensionError, match=r"version should be a text such as '1\.0'"):
        Extension("quote", version=version)


@pytest.mark.parametrize("feature", [512, 0, -1, 32769, "513", True, 1.0])
def test_refuses_features_that_are_no_odd_bit(feature: Any) -> None:
    with pytest.raises(ExtensionError, match="feature should be an odd bit from 1 to 32767, not"):
        Extension("quote", version="1.0", feature=feature)


def test_collects_handlers_in_order_and_gives_the_function_back(extension: Extension) -> None:
    async def ask(context: Context, request: Ask) -> Answer: ...

    assert extension.on(Ask)(ask) is ask

    @extension.on(Note, concurrent=True)
    async def note(context: Context, request: Note) -> None: ...

    assert extension.register_handlers() == (
        Handler(message=Ask, function=ask),
        Handler(message=Note, function=note, concurrent=True),
    )


def test_one_function_may_handle_several_messages(extension: Extension) -> None:
    @extension.on(Ask)
    @extension.on(Note)
    async def both(context: Context, request: Ask | Note) -> None: ...

    assert {handler.message for handler in extension.register_handlers()} == {Ask, Note}


def test_knows_all_its_messages_once(extension: Extension) -> None:
    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer: ...

    @extension.on(Note)
    async def note(context: Context, request: Note) -> Answer | Note: ...

    assert extension.register(Gossip) is Gossip
    extension.register(Ask)
    assert extension.messages == (Ask, Note, Answer, Gossip)
    assert extension.register_messages() == extension.messages


def test_register_decorates(extension: Extension) -> None:
    @extension.register
    @message(0x8C09)
    class Extra(Message): ...

    assert extension.messages == (Extra,)


def test_register_takes_messages_alone(extension: Extension) -> None:
    with pytest.raises(ExtensionError, match="register should be given a message class, not 7"):
        extension.register(7)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="is not a message"):
        extension.register(Message)
    for several in (peerswap, peerswap.PROTOCOL, peerswap.PROTOCOL.messages):
        with pytest.raises(ExtensionError, match=r"; of several, each: for message in PROTOCOL\.messages: ext"):
            extension.register(several)  # type: ignore[arg-type]
    for known in peerswap.PROTOCOL.messages:
        extension.register(known)
    assert {*extension.messages} == {*peerswap.PROTOCOL.messages}


def test_refuses_two_handlers_of_one_message(extension: Extension) -> None:
    @extension.on(Ask)
    async def first(context: Context, request: Ask) -> None: ...

    with pytest.raises(ExtensionError) as caught:

        @extension.on(Ask)
        async def second(context: Context, request: Ask) -> None: ...

    place = f"{__name__}.test_refuses_two_handlers_of_one_message.<locals>"
    assert str(caught.value) == (
        f"{extension!r}: Ask has two handlers, {place}.first and {place}.second; it should have one"
    )


def test_refuses_a_wrong_handler_where_it_stands(extension: Extension) -> None:
    with pytest.raises(ExtensionError, match="handler of Ask 0x8c01: should be 'async def'"):

        @extension.on(Ask)  # type: ignore[arg-type]
        def ask(context: Context, request: Ask) -> None: ...


def test_collects_rpc_methods(extension: Extension) -> None:
    @extension.rpc("quote-ask", description="Ask for a quote.")
    async def ask(context: AppContext, node_id: str) -> dict[str, str]: ...

    (method,) = extension.register_rpc()
    assert (method.name, method.function, method.description) == ("quote-ask", ask, "Ask for a quote.")
    with pytest.raises(ExtensionError, match=r"RPC method 'quote-ask' is both .*\.ask and .*\.again"):

        @extension.rpc("quote-ask")
        async def again(context: AppContext) -> None: ...


def test_collects_options(extension: Extension) -> None:
    class Asset(str): ...

    @extension.option("quote-asset", dynamic=True, description="What to quote.")
    def asset(value: Asset) -> Asset:
        return value

    (option,) = extension.register_options()
    assert (option.name, option.function, option.dynamic) == ("quote-asset", asset, True)
    assert option.description == "What to quote."
    assert type(option.setting("quote").read("eur")) is Asset
    with pytest.raises(ExtensionError, match=r"option 'quote-asset' is both .*\.asset and .*\.again"):

        @extension.option("quote-asset")
        def again(value: str) -> None: ...


def test_methods_find_the_names_around_them(extension: Extension) -> None:
    class Asset(str): ...

    @extension.rpc("quote-ask")
    async def ask(context: AppContext, asset: Asset) -> None: ...

    ((parameter,),) = (method.parameters() for method in extension.register_rpc())
    assert type(parameter.parse("eur")) is Asset


async def test_callbacks_run_in_order_and_shutdown_backwards(extension: Extension) -> None:
    calls: list[str] = []

    @extension.on_startup
    async def first(context: AppContext) -> None:
        calls.append("startup 1")

    @extension.on_startup
    async def second(context: AppContext) -> None:
        calls.append("startup 2")

    @extension.on_connect
    async def greet(context: Context) -> None:
        calls.append(f"connect {context.peer.connected} {context.extension}")

    @extension.on_disconnect
    async def bye(context: Context, reason: str) -> None:
        calls.append(f"disconnect {context.peer.connected} {reason}")

    @extension.on_shutdown
    async def undo_first(context: AppContext) -> None:
        calls.append("shutdown 1")

    @extension.on_shutdown
    async def undo_second(context: AppContext) -> None:
        calls.append("shutdown 2")

    network = MemoryNetwork()
    async with Application(extension, transport=network.transport()) as left:
        async with Application(transport=network.transport()) as right:
            await right.connect(left.uris[0])
            while len(calls) < 3:
                await right.connect(left.uris[0])  # gives the loop a turn
        while len(calls) < 4:
            await left.transport.disconnect(left.peers[0].node_id) if left.peers else await _turn()
    assert calls == [
        "startup 1",
        "startup 2",
        "connect True quote",
        "disconnect False closed by the peer",
        "shutdown 2",
        "shutdown 1",
    ]


async def test_every_shutdown_callback_runs_and_the_first_error_is_raised(extension: Extension) -> None:
    calls: list[int] = []

    @extension.on_shutdown
    async def last(context: AppContext) -> None:
        calls.append(1)

    @extension.on_shutdown
    async def middle(context: AppContext) -> None:
        raise RuntimeError("middle")

    @extension.on_shutdown
    async def first(context: AppContext) -> None:
        raise RuntimeError("first")

    app = Application(extension, transport="memory")
    await app.start()
    with pytest.raises(RuntimeError, match="first"):
        await app.aclose()
    assert calls == [1]


@pytest.mark.parametrize(
    ("decorator", "parameters"),
    [
        ("on_startup", "context"),
        ("on_shutdown", "context"),
        ("on_connect", "context"),
        ("on_disconnect", "context, reason"),
    ],
)
def test_refuses_callbacks_of_another_shape(extension: Extension, decorator: str, parameters: str) -> None:
    async def none() -> None: ...

    def plain(*arguments: object) -> None: ...

    for wrong in (none, plain):
        with pytest.raises(ExtensionError, match=rf"should be 'async def' with \({parameters}\), not"):
            getattr(extension, decorator)(wrong)


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0)


def test_refuses_decorators_without_parentheses(extension: Extension) -> None:
    async def ask(context: Context) -> None: ...

    for decorator, example in ((extension.on, "on(Ask)"), (extension.rpc, "rpc("), (extension.option, "option(")):
        with pytest.raises(ExtensionError) as caught:
            decorator(ask)  # type: ignore[operator]
        assert f"ask: @{decorator.__name__} needs an argument: @extension.{example}" in str(caught.value)


MARKET = "from oddwire import Extension\nextension = Extension('market', version='1.0')\nimport handlers\n"
HANDLERS = """
from {market} import extension
from oddwire import AppContext, Context
@extension.rpc("market-ask")
async def ask(context: AppContext): ...
"""
SHOW = "if __name__ == '__main__':\n    print(extension is handlers.extension, len(extension.register_rpc()))\n"


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize("how", ["script", "path", "link", "module", "package"])
def test_a_program_in_two_files_has_one_extension(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "market" if how == "package" else tmp_path
    folder.mkdir(exist_ok=True)
    package = "market." if how == "package" else ""
    market = MARKET.replace("import handlers", "from market import handlers") if package else MARKET
    (folder / "market.py").write_text(market + SHOW)
    (folder / "handlers.py").write_text(HANDLERS.format(market=f"{package}market"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked").symlink_to(folder / "market.py")
    arguments = {
        "script": ["market.py"],
        "path": [str(folder / "market.py")],
        "link": ["elsewhere/linked"],
        "module": ["-m", "market"],
        "package": ["-m", "market.market"],
    }[how]
    assert run(tmp_path, *arguments) == (0, "True 1\n", "")


def test_a_program_that_is_imported_before_it_has_its_extension_says_so(tmp_path: Path) -> None:
    (tmp_path / "market.py").write_text("import handlers\n" + MARKET + SHOW)
    (tmp_path / "handlers.py").write_text(HANDLERS.format(market="market"))
    code, out, err = run(tmp_path, "market.py")
    assert (code, out) == (1, "")
    assert "market.py runs twice, as the program and as module 'market', so it makes two extensions" in err
    assert "what imports 'market' should be imported below the line that makes the extension" in err


def test_a_program_may_name_itself_as_an_extension(tmp_path: Path) -> None:
    (tmp_path / "market.py").write_text(
        "from oddwire import Application, Extension\n"
        "from oddwire.transports import MemoryTransport\n"
        "extension = Extension('market', version='1.0')\n"
        "for place in ('./market.py', 'market:extension', './handlers.py'):\n"
        "    app = Application(place, transport=MemoryTransport())\n"
        "    assert app.plugins.contributions[1].plugin is extension, place\n"
        "    print(len(extension.register_rpc()))\n"
    )
    (tmp_path / "handlers.py").write_text(HANDLERS.format(market="market"))
    assert run(tmp_path, "market.py") == (0, "0\n0\n1\n", "")


def test_a_program_takes_nobodys_name(tmp_path: Path) -> None:
    (tmp_path / "market").mkdir()
    (tmp_path / "market" / "__init__.py").write_text("NAME = 'the package'\n")
    (tmp_path / "market.py").write_text(
        "from oddwire import Extension\nextension = Extension('market', version='1.0')\n"
        "from market import NAME\nprint(NAME)\n"
    )
    assert run(tmp_path, "market.py") == (0, "the package\n", "")
    code, _, err = run(tmp_path, "-P", "market.py")  # Python is told not to look beside the program
    assert (code, err.splitlines()[-1]) == (1, "ModuleNotFoundError: No module named 'market'")


def test_one_that_does_nothing_knows() -> None:
    extension = Extension("idle", version="1.0")
    assert extension.does_nothing
    extension.register(Memo)
    assert extension.does_nothing  # who only declares messages does nothing by itself
    for declare in (
        lambda extension: extension.on(Memo)(note),
        lambda extension: extension.rpc("a-b")(rpc),
        lambda extension: extension.on_startup(without_a_peer),
        lambda extension: extension.on_shutdown(without_a_peer),
        lambda extension: extension.on_connect(with_context),
        lambda extension: extension.on_disconnect(with_reason),
        lambda extension: extension.on_ready(without_a_peer),
        lambda extension: extension.on_stopping(without_a_peer),
        lambda extension: extension.on_undelivered(undelivered),
        lambda extension: extension.on_error(failed),
        lambda extension: extension.every(10)(without_a_peer),
        lambda extension: extension.task(without_a_peer),
    ):
        extension = Extension("busy", version="1.0")
        declare(extension)
        assert not extension.does_nothing

    class Hooked(Extension):
        pass

    assert not Hooked("hooked", version="1.0").does_nothing


@message(0x8CF5)
class Memo(Message):
    text: str = ""


async def note(context: Context, message: Memo) -> None: ...
async def rpc(context: AppContext) -> None: ...
async def without_a_peer(context: AppContext) -> None: ...
async def with_context(context: Context) -> None: ...
async def with_reason(context: Context, reason: str) -> None: ...
async def undelivered(context: Context, message: Message | None, error: Exception) -> None: ...
async def failed(context: AppContext, error: BaseException, message: Message | None) -> None: ...


def test_empty_parentheses_make_no_difference_where_nothing_is_to_be_told() -> None:
    extension = Extension("bare", version="1.0")

    async def hook(*given: object) -> None: ...

    for decorator in (
        extension.on_startup,
        extension.on_shutdown,
        extension.on_connect,
        extension.on_disconnect,
        extension.on_undelivered,
    ):
        assert decorator()(hook) is hook  # type: ignore[type-var]
    for name in ("on_startup", "on_shutdown", "on_connect", "on_disconnect", "on_undelivered"):
        assert extension.hook_functions(name) == [hook]
    assert extension.register()(Ask) is Ask


@pytest.mark.parametrize("decorator", ["on", "rpc", "option"])
def test_empty_parentheses_are_refused_where_something_is(decorator: str) -> None:
    extension = Extension("bare", version="1.0")
    with pytest.raises(ExtensionError, match=rf"^@{decorator} needs an argument: @extension.{decorator}\(.+\), not "):
        getattr(extension, decorator)()


def _number(value: int = 1) -> int:
    return value


async def _ask(context: AppContext) -> dict[str, str]:
    return {}


async def _tick(context: AppContext) -> None: ...


async def _note(context: Context, message: Note) -> None: ...


async def _around(context: Context, message: Message, call_next: Any) -> Message | None:
    return await call_next(context, message)  # type: ignore[no-any-return]


def _router() -> Router:
    router = Router()
    router.register(Gossip)
    return router


LATER: dict[str, Callable[[Extension | Router], object]] = {
    "on": lambda declared: declared.on(Note)(_note),
    "register": lambda declared: declared.register(Gossip),
    "every": lambda declared: declared.every(60)(_tick),
    "rpc": lambda declared: declared.rpc("late")(_ask),
    "option": lambda declared: declared.option("quote-late")(_number),
    "include": lambda declared: declared.include(_router()),
    "middleware": lambda declared: declared.middleware(_around),
}


@pytest.mark.parametrize("inner", [False, True], ids=["extension", "router"])
@pytest.mark.parametrize("what", LATER)
async def test_refuses_what_is_declared_after_its_application(extension: Extension, what: str, inner: bool) -> None:
    router = Router()
    extension.include(router)
    declared = router if inner else extension
    app = Application(extension, transport=MemoryNetwork().transport())
    LATER[what](declared)
    with pytest.raises(ExtensionError, match="is declared after its application was made, and would not be part of it"):
        await app.start()
    async with Application(extension, transport=MemoryNetwork().transport()):  # one that is made of all of it
        for more in LATER.keys() - {what}:
            with pytest.raises(ExtensionError, match="is declared after its application was started"):
                LATER[more](declared)
    LATER[next(iter(LATER.keys() - {what}))](declared)  # for the next application


async def test_hooks_are_looked_up_when_they_are_called(extension: Extension) -> None:
    called: list[str] = []
    app = Application(extension, transport=MemoryNetwork().transport())

    @extension.on_startup
    async def started(context: AppContext) -> None:
        called.append("startup")

    async with app:

        @extension.on_stopping
        async def stopping(context: AppContext) -> None:
            called.append("stopping")

    assert called == ["startup", "stopping"]


async def test_refuses_peer_methods_that_are_declared_after_their_application(extension: Extension) -> None:
    rpc = PeerRpc(extension, 0x9001)
    app = Application(extension, transport=MemoryNetwork().transport())
    rpc.method("late")(_ask)
    with pytest.raises(ExtensionError, match=r"_ask is declared after its application was made"):
        await app.start()
    async with Application(extension, transport=MemoryNetwork().transport()):
        with pytest.raises(ExtensionError, match=r"_ask is declared after its application was started"):
            rpc.method("later")(_ask)
    assert [*rpc.methods] == ["late"]
