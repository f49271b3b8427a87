"""What type checkers accept and reject of an extension's life and its own work. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict

import asyncio
from datetime import timedelta

from oddwire import AppContext, Application, Context, Extension, Message

extension = Extension("life", version="1.0")


@extension.on_ready
async def ready(context: AppContext) -> None:
    number: asyncio.Task[int] = context.spawn(count())
    await number
    text: asyncio.Task[str] = context.spawn(count())  # error
    context.spawn(count)  # error
    context.spawn(count(), name=7)  # error
    await text


async def count() -> int:
    return 1


@extension.on_ready  # error
async def ready_with_a_peer(context: Context) -> None: ...


@extension.on_ready  # error
def not_async(context: AppContext) -> None: ...


@extension.on_stopping
async def stopping(context: AppContext) -> None:
    for peer in context.app.peers:
        print(peer.node_id)


@extension.on_stopping  # error
async def stopping_for_nobody() -> None: ...


@extension.on_error
async def error(context: AppContext, error: BaseException, message: Message | None) -> None:
    if isinstance(context, Context):
        print(context.peer, error, message)


@extension.on_error  # error
async def error_of_messages_alone(context: AppContext, error: BaseException, message: Message) -> None: ...


@extension.on_error  # error
async def error_with_a_peer(context: Context, error: BaseException, message: Message | None) -> None: ...


@extension.every(10)
async def every_ten(context: AppContext) -> None: ...


@extension.every(timedelta(minutes=1), jitter=1.5, at_start=True)
async def every_minute(context: AppContext) -> None: ...


@extension.every("life-interval", per_peer=False)
async def every_so_often(context: AppContext) -> None: ...


@extension.every(30, per_peer=True)
async def beat(context: Context) -> None:
    context.spawn(count())


@extension.every(30, per_peer=True)
async def beat_without_its_peer(context: AppContext) -> None: ...


@extension.every(10)  # error
async def without_a_peer(context: Context) -> None: ...


@extension.every  # error
async def never_told(context: AppContext) -> None: ...


@extension.every(None)  # error
async def never(context: AppContext) -> None: ...


@extension.every(10)  # error
def not_async_either(context: AppContext) -> None: ...


@extension.task
async def watch(context: AppContext) -> None: ...


@extension.task()
async def watch_with_parentheses(context: AppContext) -> None: ...


@extension.task(restart=False)
async def watch_once(context: AppContext) -> None: ...


@extension.task(per_peer=True, restart=False)
async def feed(context: Context) -> None: ...


@extension.task  # error
async def watch_a_peer(context: Context) -> None: ...


@extension.task(per_peer=False)  # error
async def watch_no_peer(context: Context) -> None: ...


async def use(app: Application) -> None:
    context: AppContext = app.context(extension)
    app.context("life").spawn(count())
    app.context(7)  # error
    await every_ten(context)
    await beat(context)  # error
