"""What is watched, and what a restart keeps."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

import oddwire_extensions.courier
from oddwire.cli.events import Printer
from oddwire.cli.reload import supervise, watched_folders

QUOTE = """
import time
from pathlib import Path
from oddwire import AppContext, Extension
import helper

extension = Extension("quote", version="1.0")

@extension.rpc("quote-price")
async def price(context: AppContext) -> str:
    return helper.PRICE

@extension.rpc("quote-hang")
async def hang(context: AppContext) -> None:
    Path("hangs").touch()
    time.sleep(1000)
"""
RUN = ("run", "./quote.py", "--listen", "127.0.0.1:0", "--json", "--reload")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "quote.py").write_text(QUOTE)
    (tmp_path / "helper.py").write_text('PRICE = "one"\n')
    return tmp_path


async def ask(program: Any, method: str = "quote-price") -> Any:
    await program.type(f"{method}\n")
    return (await program.event("result"))["value"]


def test_of_each_extension_its_folder_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one/a.py", "two/shop/__init__.py", "market/__init__.py", "market/deep/it.py", "alone.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert watched_folders(["one/a.py", "./two/shop/", "one/a.py:second"]) == [tmp_path / "one", tmp_path / "two/shop"]
    assert watched_folders(["market.deep.it:extension", "alone:extension"]) == [tmp_path / "market", tmp_path]
    package = Path(oddwire_extensions.courier.__file__).parents[1]
    assert package in watched_folders(["courier"])
    assert watched_folders(["nothing", "./missing/it.py", "missing:it", "json"]) == []


async def test_a_change_starts_it_anew_with_its_key_and_port(start, files: Path) -> None:
    program = await start(*RUN, stdin=asyncio.subprocess.PIPE)
    uri = (await program.event("listening"))["uri"]
    assert await ask(program) == "one"
    (files / "helper.py").write_text('PRICE = "two"\n')
    (files / "helper.py").write_text('PRICE = "six"\n')
    assert (await program.event("listening"))["uri"] == uri
    assert await ask(program) == "six"
    code, out, err = await program.interrupt(signal.SIGTERM)
    assert code == 0
    assert err.count("helper.py changed: starting anew\n") == 1
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["listening", "result"] * 2


async def test_an_error_is_shown_and_waits_for_the_next_change(start, files: Path, tmp_path: Path) -> None:
    (files / "helper.py").write_text("PRICE = \n")
    program = await start(*RUN, stdin=asyncio.subprocess.PIPE)
    assert "SyntaxError" in (await program.event("error"))["message"]
    (files / "helper.py").write_text('PRICE = "right"\n')
    await program.event("listening")
    assert await ask(program) == "right"
    (files / "helper.py").write_text("PRICE = \n")
    await program.event("error")
    code, _, err = await program.interrupt()
    assert code in (2, 130)  # as it had ended by then, or not
    assert "it ended with exit code 2; waiting for its files to change (Ctrl-C ends)\n" in err


async def test_a_folder_that_is_removed_and_made_again_is_watched_on(start, files: Path) -> None:
    (files / "deep").mkdir()
    for name in ("quote.py", "helper.py"):
        shutil.move(files / name, files / "deep" / name)
    program = await start("run", "./deep/quote.py", *RUN[2:], stdin=asyncio.subprocess.PIPE)
    await program.event("listening")
    shutil.move(files / "deep", files / "aside")
    shutil.copytree(files / "aside", files / "deep")
    await program.event("listening")
    (files / "deep/helper.py").write_text('PRICE = "four"\n')
    await program.event("listening")
    assert await ask(program) == "four"


class Teller(Printer):
    """Does something when it is to print a remark."""

    def __init__(self, done: dict[str, Any]) -> None:
        super().__init__()
        self.done = done

    def remark(self, text: str) -> None:
        for part, action in self.done.items():
            if part in text:
                action()


def test_a_signal_before_there_is_a_process_reaches_it(tmp_path: Path) -> None:
    there = tmp_path / "there.py"
    printer = Teller(
        {
            "exit code 3; waiting": there.touch,
            "starting anew": lambda: os.kill(os.getpid(), signal.SIGTERM),
        }
    )
    command = ["sh", "-c", f"test -e {there} || exit 3; exec sleep 600"]
    assert supervise(command, [tmp_path], [], printer, has_key=True) == 128 + signal.SIGTERM


async def test_one_that_hangs_is_ended_all_the_same(start, files: Path) -> None:
    program = await start(*RUN, stdin=asyncio.subprocess.PIPE)
    await program.event("listening")
    await program.type("quote-hang\n")
    await until((files / "hangs").exists)
    (files / "helper.py").write_text('PRICE = "after"\n')
    await program.event("listening")
    assert await ask(program) == "after"
    assert (await program.interrupt())[0] == 0


async def test_when_the_supervisor_is_killed_the_program_ends(start, oddwire, files: Path) -> None:
    program = await start(*RUN, stdin=asyncio.subprocess.PIPE)
    await program.event("listening")
    program.process.kill()
    code, _, _ = await program.end()  # once the program has closed its stdout, too
    assert code == -signal.SIGKILL
    assert (await oddwire("call", "quote-price"))[0] == 1


async def test_without_watchfiles_it_says_what_to_install(start, files: Path) -> None:
    (files / "watchfiles.py").write_text("raise ImportError")
    code, _, err = await (await start(*RUN)).end()
    assert (code, err) == (2, "oddwire: --reload needs watchfiles: pip install 'oddwire[reload]'\n")


async def test_where_no_change_can_be_seen_it_says_so_and_nobody_waits_for_one(start, files: Path) -> None:
    (files / "watchfiles.py").write_text(
        "class PythonFilter:\n    pass\n\n"
        "async def awatch(*folders, **options):\n    raise OSError('too many watches')\n    yield\n"
    )
    (files / "quote.py").write_text("raise SystemExit(3)\n")
    code, _, err = await (await start(*RUN)).end()
    assert code == 2
    assert "changes of files are not seen any more: too many watches" in err
    assert "waiting" not in err
