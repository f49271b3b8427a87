"""What the attacked node runs: ``oddwire run tests/hostile/target.py``. Imported by those who talk to it, too."""

from __future__ import annotations

from oddwire import Context, Extension, Message, field, message, u64

extension = Extension("target", version="1.0")


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


@extension.on(Ask)
async def answer(context: Context, ask: Ask) -> Answer:
    return Answer(number=ask.number, note=ask.note)


@extension.on(Wire)
async def wire(context: Context, wire: Wire) -> None:
    pass


if __name__ == "__main__":
    extension.run()
