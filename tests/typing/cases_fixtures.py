"""What type checkers accept and reject of tests with oddwire's fixtures. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict

from oddwire import Application, Extension, Limits, Message, message
from oddwire.testing import AppPair, RunApp
from oddwire.transports import MemoryNetwork

extension = Extension("welcome", version="1.0")


class Database: ...


@message(0x8C01)
class Hello(Message):
    name: str


async def test_one(run_app: RunApp, memory_network: MemoryNetwork) -> None:
    memory_network.delay = 1.0
    async with run_app(extension, options={"a": 1}, limits=Limits(), provide={Database: 1}, session=False) as app:
        await app.peers[0].send(Hello(name="ann"))
        await app.peers[0].send("ann")  # error
    async with run_app() as nothing:
        wrong: int = nothing  # error
        print(wrong)
    with run_app(extension) as app:  # error
        pass


async def test_two(app_pair: AppPair) -> None:
    async with app_pair(extension) as (server, client):
        first: Application = server
        print(first.peers, client.no_peers)  # error
    async with app_pair([extension, extension], extension, provide={Database: 1}) as pair:
        print(pair[1].node_id, pair[2])  # error
    async with app_pair() as pair:  # error
        pass
