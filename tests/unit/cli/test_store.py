from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from oddwire.app.programs.claims import Claim
from oddwire.app.programs.registry import Programs
from oddwire.session.store.database import Database, packed
from oddwire.session.store.move import move

PEER = bytes.fromhex("02" + "aa" * 32)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """One with something of an extension, and a message that waits; and an empty one."""
    one, two = tmp_path / "one", tmp_path / "two"
    for number, path in enumerate((one, two), 1):
        Database(str(path), number=number).close()
    with changing(one) as database:
        database.execute("INSERT INTO oddwire_values VALUES ('shop', x'61', 'apples', 0)")
        database.execute("CREATE TABLE shop_prices (x)")
        database.execute("INSERT INTO shop_prices VALUES (1), (2)")
        database.execute(
            "INSERT INTO oddwire_routes (id, peer, lane, epoch, start, base, next, extension, program, stores, used) "
            "VALUES (1, ?, ?, 1, 0, 1, 2, 'shop', ?, ?, 0)",
            (PEER, packed([5]), packed([7]), packed([8, 9])),
        )
        database.execute("INSERT INTO oddwire_outbox VALUES (1, 1, strftime('%s', 'now') - 300.0, x'8c01')")
        database.execute(
            "INSERT INTO oddwire_again (extension, peer, key, made, on_connect, force, payload) "
            "VALUES ('shop', ?, x'7331', strftime('%s', 'now') - 300.0, 1, 0, x'8e0100')",
            (PEER,),
        )
        database.execute("INSERT INTO oddwire_inbox VALUES (?, ?, 1, 1, 0, 0, 0)", (PEER, packed([6])))
    return one, two


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


async def test_what_is_in_a_store_is_told(start: Any, stores: tuple[Path, Path]) -> None:
    one, _ = stores
    code, out, errors = await (await start("store", "show", one)).end()
    assert (code, errors) == (0, "")
    assert re.sub(r"5\.\d+ minutes", "5 minutes", out).splitlines() == [
        f"{one}: version 4, used by nobody",
        "number 0000000000000001",
        "shop: 1 value (7 bytes), table shop_prices (2 rows), 2 messages waiting (5 bytes)",
        "to 02aaaaaa...aaaa: 1 message of shop, the oldest 5 minutes old, last sent to program 0000000000000007",
        "to 02aaaaaa...aaaa: 1 message of shop sent again, the oldest 5 minutes old",
        "of peers: 1 lane of 1 node, 0 refusals that they may not have received",
    ]


async def test_a_store_in_use_is_told_of_as_well(start: Any, stores: tuple[Path, Path], tmp_path: Path) -> None:
    one, _ = stores
    database = Database(str(one))
    code, out, errors = await (await start("store", "show", one, "--json")).end()
    database.close()
    assert (code, errors) == (0, "")
    event = json.loads(out)
    assert (event["event"], event["method"]) == ("result", "store show")
    found = event["value"]
    [user] = found.pop("used_by")
    assert user.startswith(f"process {os.getpid()}")
    [waiting] = found.pop("waiting")
    assert waiting.pop("seconds") >= 300
    assert waiting == {
        "peer": PEER.hex(),
        "lane": "0000000000000005",
        "extension": "shop",
        "messages": 1,
        "bytes": 2,
        "program": "0000000000000007",
        "stores": ["0000000000000008", "0000000000000009"],
    }
    [again] = found.pop("again")
    assert again.pop("seconds") >= 300
    assert again == {"peer": PEER.hex(), "extension": "shop", "messages": 1, "bytes": 3}
    assert found == {
        "path": str(one),
        "version": 4,
        "clean": False,
        "numbers": ["0000000000000001"],
        "moving_to": [],
        "extensions": {
            "shop": {
                "values": 1,
                "value_bytes": 7,
                "tables": {"shop_prices": 2},
                "messages": 2,
                "message_bytes": 5,
            }
        },
        "tables": [],
        "received": {"lanes": 1, "peers": 1, "refusals": 0},
    }


async def test_an_extension_is_moved(start: Any, stores: tuple[Path, Path]) -> None:
    one, two = stores
    code, out, errors = await (await start("store", "move", one, two, "--extension", "shop")).end()
    assert (code, out) == (0, "")
    counts = "1 value, 1 table, 1 message waiting in 1 lane, 1 message sent again; and 1 record of what was handled"
    assert errors == f"moved shop from {one} to {two}: {counts}\n"
    code, out, errors = await (await start("store", "move", one, two, "--extension", "shop", "--json")).end()
    assert (code, errors) == (0, "")
    value = json.loads(out)["value"]
    assert (value["extensions"], value["finished"]) == (["shop"], True), "it was already"
    code, out, _ = await (await start("store", "show", one)).end()
    assert out.splitlines()[1:] == [
        "number 0000000000000001",
        "of peers: 1 lane of 1 node, 0 refusals that they may not have received",
    ]


async def test_a_new_store_is_said_to_be_made(start: Any, stores: tuple[Path, Path], tmp_path: Path) -> None:
    one, three = stores[0], tmp_path / "three"
    code, _, errors = await (await start("store", "move", one, three)).end()
    assert code == 0
    assert errors.startswith(f"moved shop from {one} to {three}, which was created: 1 value")


async def test_which_plugin_file_uses_a_store_is_told(start: Any, tmp_path: Path) -> None:
    store = tmp_path / "oddwire-market.sqlite3"
    claim = Claim(file="/home/bob/market.py", process=os.getpid(), program=1, store=str(store))
    programs = Programs(tmp_path, claim, patience=1.0)
    await programs.join()
    database = Database(str(store))
    code, _, errors = await (await start("store", "move", store, tmp_path / "two")).end()
    database.close()
    await programs.leave()
    assert code == 1
    assert f"is in use by process {os.getpid()}; stop it" in errors
    assert errors.endswith("; it is the store of plugin file /home/bob/market.py\n")


async def test_mistakes_are_told_apart_from_what_may_pass(
    start: Any, stores: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = stores
    for arguments, told, expected in (
        (("show", tmp_path / "nowhere"), "there is no store at", 2),
        (("show", tmp_path), "there is no store at", 2),
        (("show", __file__), "is no database; choose another file", 2),
        (("move", one, one), "are the same store", 2),
        (("move", one, two, "--extension", "shopp"), "has nothing of 'shopp'; it has something of 'shop'", 2),
        (("move", one, tmp_path / "missing" / "two"), "cannot be opened", 1),
        (("move", one), "Missing argument 'TO'", 2),
    ):
        code, out, errors = await (await start("store", *arguments)).end()
        assert (code, out) == (expected, "")
        assert told in errors
    database = Database(str(two))
    code, out, errors = await (await start("store", "move", one, two, "--json")).end()
    database.close()
    assert code == 1
    assert f"two is in use by process {os.getpid()}; stop it, or choose another file" in json.loads(out)["message"]
    assert errors.startswith("oddwire: ")


async def test_what_was_being_moved_to_a_store_that_is_lost_is_recovered(start: Any, stores: tuple[Path, Path]) -> None:
    class Killed(BaseException): ...

    def kill(step: int) -> None:
        raise Killed

    one, two = stores
    with pytest.raises(Killed):
        move(one, two, step=kill)
    two.unlink()
    code, _, errors = await (await start("store", "move", one, two)).end()
    assert code == 1
    assert f"run: oddwire store recover {one}" in errors
    code, out, _ = await (await start("store", "show", one)).end()
    assert f"a move to {two} was started, and is not finished" in out
    for told in ("it keeps what was being moved\n", "nothing was being moved\n"):
        assert await (await start("store", "recover", one)).end() == (0, "", told)
