#!/usr/bin/env python3
"""An extension that does not start: it is wrong in itself, or its option is, or its startup hook raises."""

import os

from oddwire import AppContext, Extension, Message, message

extension = Extension("unwilling", version="1.0")


@message(0x8D11)
class Ask(Message):
    text: str


@message(0x8D11)
class AskAgain(Message):
    text: str


extension.register(Ask)
if os.environ.get("UNWILLING") == "to load":
    extension.register(AskAgain)


@extension.option("unwilling-word")
def word(value: str = "please") -> str:
    """The magic word."""
    if value != "please":
        raise ValueError(f"should be the magic word, not {value!r}")
    return value


@extension.on_startup
async def start(context: AppContext) -> None:
    raise RuntimeError("the shop is shut")


if __name__ == "__main__":
    extension.run()
