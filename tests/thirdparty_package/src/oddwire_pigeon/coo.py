"""An extension: answers a coo with a coo."""

from oddwire.app import Context, Extension
from oddwire.schema import Message, message

extension = Extension("coo", version="1.0", feature=1001)


@message(0xC001, codec="rot13")
class Coo(Message):
    text: str


@message(0xC003, codec="rot13")
class CooBack(Message):
    text: str
    by: str


@extension.on(Coo)
async def coo(context: Context, request: Coo) -> CooBack:
    return CooBack(text=request.text.upper(), by=context.extension)
