"""oddwire.cli.cluster: all of it as processes, one of which is killed."""

from __future__ import annotations

import json
import os
import signal

import pytest
from tests.support.waiting import until
from typer.testing import CliRunner

from oddwire.cli.cluster import program


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("--data-dir", "d"), "cluster needs the names of extensions"),
        (("echo",), "cluster needs --data-dir DIR"),
        (("echo", "--data-dir", "d", "--workers", "0"), "--workers should be 1 to 64, not 0"),
    ],
)
def test_a_wrong_use_is_told(arguments, wrong):
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 2
    assert wrong in done.stderr


async def test_a_cluster_answers_restarts_what_dies_and_ends_in_order(start, oddwire, tmp_path):
    place = ("--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0")
    cluster = await start("cluster", "echo", "--workers", "2", "--partitions", "4", *place, "--json")
    broker = (await cluster.event("listening", process="broker"))["uri"]
    uri = (await cluster.event("listening", process="gateway"))["uri"]
    owned = set()
    while len(owned) < 4:
        owned.add((await cluster.event("taken"))["partition"])

    code, out, err = await oddwire("send", uri, "echo.Request", "text=hi", "--request", "--json")
    assert (code, err) == (0, "")
    assert [
        event["message"]["text"] for event in map(json.loads, out.splitlines()) if event["event"] == "received"
    ] == ["hi"]

    code, out, _ = await oddwire("workers", "--broker", broker, "--json")
    shown = json.loads(out)["value"]
    pids = {worker["id"]: worker["pid"] for worker in shown["workers"]}
    assert pids.keys() == {"worker-1", "worker-2"}
    assert sorted(each["worker"] for node in shown["nodes"] for each in node["partitions"]) == sorted(
        each["worker"] for each in shown["nodes"][0]["partitions"] if each["worker"] in pids
    )
    victim = max(shown["workers"], key=lambda worker: worker["partitions"])
    left = {
        each["partition"]: each["term"] for each in shown["nodes"][0]["partitions"] if each["worker"] == victim["id"]
    }
    os.kill(victim["pid"], signal.SIGKILL)
    while left:  # what is said of the time before, when the two have divided them, is no answer
        taken = await cluster.event("taken")
        if taken["term"] > left.get(taken["partition"], taken["term"]):
            del left[taken["partition"]]

    code, out, err = await cluster.interrupt()
    assert code == 0
    assert f"{victim['id']} has ended, killed by SIGKILL; it is started again" in err
    await until(lambda: not any(is_there(pid) for pid in pids.values()))
    last = {event["partition"]: event["event"] for event in map(json.loads, out.splitlines()) if "partition" in event}
    assert "given" in last.values(), "in order; one of them may just have been on its way to the other worker"
    assert "taken" not in last.values(), out + err


async def test_what_does_not_start_ends_all(oddwire, tmp_path):
    code, _, err = await oddwire("cluster", "echo", "--data-dir", tmp_path / "d", "--broker-listen", "256.0.0.1:1")
    assert code in (1, 2)
    assert "oddwire: broker: " in err


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
