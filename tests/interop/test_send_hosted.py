"""`oddwire send` and `oddwire shell` with an extension that is a plugin: of the embedded node, of Core Lightning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop
KIND = pytest.mark.parametrize("kind", ["node", pytest.param("lightningd", marks=pytest.mark.cln)])
LIMIT = 60  # seconds; reached only by what hangs

SHOP = """
from collections.abc import AsyncIterator
from oddwire import Context, Extension, Message, Refuse, message
extension = Extension("shop", version="1.0")

@message(0x8E91)
class Ask(Message):
    asset: str

@message(0x8E93)
class Price(Message):
    sats: int

@message(0x8E95)
class Watch(Message):
    parts: int

@message(0x8E97)
class Order(Message):
    sats: int

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price:
    if ask.asset == "none":
        raise Refuse("no such asset", code=1404)
    return Price(sats=21)

@extension.on(Watch)
async def watch(context: Context, watch: Watch) -> AsyncIterator[Price]:
    for sats in range(watch.parts):
        yield Price(sats=sats)

@extension.on(Order, reliable=True)
async def order(context: Context, order: Order) -> None:
    await context.store.set("last", order.sats)
"""


def oddwire(folder: Path, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "oddwire.cli.main", *arguments, "--network", "regtest"]
    quiet = os.environ | {"PYTHONASYNCIODEBUG": ""}  # on a busy machine it warns among what is compared here
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=LIMIT, check=False, env=quiet
    )
    return done.returncode, done.stdout, done.stderr


@KIND
def test_what_a_plugin_answers_is_shown(start, kind: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    plugin = tmp_path / "shop-plugin"
    command = [sys.executable, "-m", "oddwire.cli.main", "plugin", "./shop.py", "-o", str(plugin)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    daemon = getattr(start, kind)(plugin)
    extension = ("--extension", "./shop.py")

    code, out, err = oddwire(tmp_path, "send", daemon.uri, "shop.Ask", "asset=eur", "--request", *extension)
    assert (code, err) == (0, "")
    assert re.search(r"^<- \S+  shop\.Price 0x8e93 .* sats=21  \d+\.\d\d ms$", out, re.MULTILINE)
    code, _, err = oddwire(tmp_path, "send", daemon.uri, "shop.Ask", "asset=none", "--request", *extension)
    assert (code, err) == (1, "oddwire: shop.Ask: no such asset (code 1404)\n")
    code, out, err = oddwire(tmp_path, "send", daemon.uri, "shop.Watch", "parts=5", "--stream", *extension)
    assert code == 0
    assert out.count("<- ") == 5
    assert "the stream ended after 5 parts" in err
    mine = ("--data-dir", str(tmp_path / "mine"))
    code, out, _ = oddwire(tmp_path, "send", daemon.uri, "shop.Order", "sats=7", "--reliable", *mine, *extension)
    assert code == 0
    assert "delivered " in out
    script = "(await peer.request(Ask(asset='eur'), Price)).sats * 2"
    code, out, _ = oddwire(tmp_path, "shell", daemon.uri, *extension, stdin=script)
    assert (code, out) == (0, "42\n")


@KIND
def test_a_node_without_the_plugin_is_told_of(start, kind: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    daemon = getattr(start, kind)()
    code, _, err = oddwire(
        tmp_path, "send", daemon.uri, "shop.Watch", "parts=5", "--stream", "--extension", "./shop.py"
    )
    assert code == 1
    assert "has no session: streams need one: the peer should run the extension with oddwire" in err
    code, _, err = oddwire(
        tmp_path, "send", daemon.uri, "shop.Order", "sats=5", "--reliable", "--extension", "./shop.py"
    )
    assert code == 1
    assert "has no session, which reliable messages need: it should run shop with oddwire" in err
