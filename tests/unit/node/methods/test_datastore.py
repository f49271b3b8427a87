"""``datastore``, ``listdatastore``, ``deldatastore``."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from oddwire.errors import NodeRefused


async def refusal(client, method: str, params: Any) -> tuple[int, str]:
    with pytest.raises(NodeRefused) as caught:
        await client.call(method, params)
    return caught.value.code, str(caught.value)


async def test_modes(client) -> None:
    new = {"key": ["k"], "generation": 0, "hex": "61", "string": "a"}
    assert await client.call("datastore", {"key": "k", "string": "a"}) == new
    assert await refusal(client, "datastore", {"key": "k", "string": "a"}) == (1202, "Key already exists")
    replaced = await client.call("datastore", {"key": "k", "hex": "ff00", "mode": "must-replace", "generation": 0})
    assert replaced == {"key": ["k"], "generation": 1, "hex": "ff00"}
    appended = await client.call("datastore", {"key": ["k"], "hex": "61", "mode": "create-or-append"})
    assert (appended["hex"], appended["generation"]) == ("ff0061", 2)
    again = {"key": "k", "string": "x", "mode": "must-append", "generation": 1}
    assert await refusal(client, "datastore", again) == (1204, "generation is different")
    for mode in ("must-replace", "must-append"):
        missing = {"key": "none", "string": "x", "mode": mode}
        assert await refusal(client, "datastore", missing) == (1203, "Key does not exist")
    assert (await client.call("datastore", {"key": "new", "string": "x", "mode": "create-or-replace"}))[
        "generation"
    ] == 0


async def test_a_key_has_a_value_or_children(client) -> None:
    await client.call("datastore", {"key": ["a", "b", "c"], "string": "x"})
    assert await refusal(client, "datastore", {"key": "a", "string": "x"}) == (1205, "Key has children already")
    assert await refusal(client, "datastore", {"key": ["a", "b"], "string": "x"}) == (1205, "Key has children already")
    below = {"key": ["a", "b", "c", "d"], "string": "x"}
    assert await refusal(client, "datastore", below) == (1206, "Parent key [a,b,c] exists")
    await client.call("datastore", {"key": ["a", "b", "d"], "string": "x"})
    listed = {
        "[]": [{"key": ["a"]}],
        "a": [{"key": ["a", "b"]}],
        "a b": [["a", "b", "c"], ["a", "b", "d"]],
    }
    assert (await client.call("listdatastore"))["datastore"] == listed["[]"]
    assert (await client.call("listdatastore", ["a"]))["datastore"] == listed["a"]
    found = (await client.call("listdatastore", [["a", "b"]]))["datastore"]
    assert [entry["key"] for entry in found] == listed["a b"]
    assert (await client.call("listdatastore", [["a", "x"]]))["datastore"] == []


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"key": "k"}, "Must have either hex or string"),
        ({"key": "k", "hex": "00", "string": "x"}, "Cannot have both hex and string"),
        ({"key": "k", "string": "x", "generation": 1}, "generation only valid with must-replace or must-append"),
        ({"key": [], "string": "x"}, "key: should not be empty: invalid token (see logs for details)"),
        (
            {"key": "k", "string": "x", "mode": "maybe"},
            (
                "mode: should be 'must-create', 'must-replace', 'create-or-replace', 'must-append', or "
                "'create-or-append': invalid token (see logs for details)"
            ),
        ),
        (
            {"key": "k", "string": 5},
            "string: should be a string (without \\u): invalid token (see logs for details)",
        ),
        ({"key": "k", "hex": "0"}, "hex: should be a hex value: invalid token (see logs for details)"),
    ],
)
async def test_what_makes_no_sense(client, params: dict[str, Any], text: str) -> None:
    assert await refusal(client, "datastore", params) == (-32602, text)
    assert (await client.call("listdatastore"))["datastore"] == []


async def test_bytes_that_are_no_string_of_lightningds_are_shown_in_hex_alone(client) -> None:
    for data in ("ff", "7800"):
        shown = await client.call("datastore", {"key": "k", "hex": data, "mode": "create-or-replace"})
        assert (shown["hex"], "string" in shown) == (data, False)


async def test_check_changes_nothing(client) -> None:
    await client.call("check", {"command_to_check": "datastore", "key": "k", "string": "x"})
    assert (await client.call("listdatastore"))["datastore"] == []
    await client.call("datastore", ["k", "x"])
    params = {"command_to_check": "datastore", "key": "k", "string": "x"}
    assert await refusal(client, "check", params) == (1202, "Key already exists")
    await client.call("check", {"command_to_check": "deldatastore", "key": "k"})
    assert len((await client.call("listdatastore"))["datastore"]) == 1


async def test_deleting(client) -> None:
    await client.call("datastore", [["a", "b"], "x"])
    assert await refusal(client, "deldatastore", ["a"]) == (1200, "Key does not exist")
    assert await refusal(client, "deldatastore", [["a", "b"], 1]) == (1201, "generation is different")
    deleted = {"key": ["a", "b"], "generation": 0, "hex": "78", "string": "x"}
    assert await client.call("deldatastore", [["a", "b"], 0]) == deleted
    assert (await client.call("listdatastore"))["datastore"] == []


async def test_calls_wait_in_order_for_a_program_that_has_the_database(client, node) -> None:
    with closing(sqlite3.connect(node.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        calls = [
            {"key": "k", "string": "1"},
            {"key": "k", "string": "2", "mode": "must-append"},
            {"key": "k", "string": "3", "mode": "must-append"},
        ]
        tasks = [asyncio.create_task(client.call("datastore", call)) for call in calls]
        await client.call("getinfo")
        assert not any(task.done() for task in tasks)
        other.execute("ROLLBACK")
    found = await asyncio.gather(*tasks)
    assert [entry["string"] for entry in found] == ["1", "12", "123"]


async def test_a_program_that_keeps_the_database_is_named(client, node) -> None:
    with closing(sqlite3.connect(node.store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, text = await refusal(client, "datastore", {"key": "k", "string": "1"})
    assert code == -1
    assert text.startswith(f"{node.store.path} is locked by ")
