"""What the attacked node runs: ``oddwire run tests/hostile/target.py``. Imported by those who talk to it, too."""

from __future__ import annotations

import asyncio
from typing import Any

from oddwire import Context, Extension, Message, field, message, u64
from oddwire.app import PeerRpc

extension = Extension("target", version="1.0")
rpc = PeerRpc(extension, 0x9133)


@message(0x9121)
class Ask(Message):
    number: u64
    note: str


@message(0x9123)
class Answer(Message):
    number: u64
    note: str


@message(0x9125, codec="bolt")
class Wire(Message):
    number: u64
    note: bytes | None = field(tlv=1, default=None)


@message(0x9127)
class Keep(Message):
    number: u64
    note: str


@message(0x9129, codec="raw")
class Hold(Message):
    data: bytes


@message(0x912B, codec="raw")
class Give(Message):
    data: bytes


@message(0x912D, codec="raw")
class Given(Message):
    data: bytes


@extension.on(Ask)
async def answer(context: Context, ask: Ask) -> Answer:
    return Answer(number=ask.number, note=ask.note)


@extension.on(Wire)
async def wire(context: Context, wire: Wire) -> None:
    pass


@extension.on(Keep, reliable=True)
async def keep(context: Context, keep: Keep) -> None:
    pass


@extension.on(Hold)
async def hold(context: Context, hold: Hold) -> None:
    await asyncio.sleep(600)


@extension.on(Give)
async def give(context: Context, give: Give) -> Given:
    return Given(data=bytes(1 << 20))


@rpc.method("echo")
async def echo(context: Context, what: Any) -> Any:
    return what


if __name__ == "__main__":
    extension.run()
