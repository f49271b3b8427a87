"""oddwire.cli.workers."""

from __future__ import annotations

import json

from tests.support.broker import Broker
from typer.testing import CliRunner

from oddwire.cli.workers import lines_of, program
from oddwire.cluster.overview import FailOver, NodeView, Overview, PartitionView, WorkerView

NODE = "02" + "ab" * 32


def view(**values):
    return Overview(**{"workers": (), "nodes": (), "jobs": {}, "fail_over": None, **values})


def test_who_has_what_is_a_table_and_what_nobody_has_is_in_it():
    worker = WorkerView(
        id="w1",
        host="east",
        pid=7,
        state="running",
        partitions=1,
        failing=2,
        versions={"quote": "1.1", "oddwire": "0.1"},
    )
    owned = PartitionView(partition=0, worker="w1", term=17, state="owned", since=1796147436.0, waiting=0)
    free = PartitionView(partition=1, worker=None, term=0, state="free", since=0.0, waiting=12)
    gateway = {"host": "west", "pid": 8, "run": 3, "peers": 5, "refused": {"stale": 2}}
    overview = view(
        workers=(worker,),
        nodes=(NodeView(node=NODE, gateway=gateway, partitions=(owned, free)),),
        jobs={"quote.poll": "w1"},
        fail_over=FailOver(node=NODE, partition=0, former="w2", worker="w1", at=1796147436.0),
    )

    assert [*lines_of(overview)] == [
        "worker  state    host  pid  partitions    versions",
        "w1      running  east  7    1, 2 failing  oddwire 0.1, quote 1.1",
        "",
        f"node {NODE}: gateway west, pid 8, run 3, 5 peers, 2 refused: stale",
        "partition  worker  term  since                    waiting",
        "0          w1      17    2026-12-01 17:50:36 UTC  0",
        "1          nobody  -     -                        12",
        "",
        "job         worker",
        "quote.poll  w1",
        "",
        "last fail-over: 2026-12-01 17:50:36 UTC, partition 0 of 02ababab..., from w2 to w1",
    ]


def test_where_nobody_is_it_says_so():
    assert [*lines_of(view())] == ["no worker is there", "", "no node is there: a gateway makes one known"]
    gone = view(nodes=(NodeView(node=NODE, gateway=None, partitions=()),))
    assert f"node {NODE}: no gateway is there" in [*lines_of(gone)]


def test_without_a_broker_it_is_a_wrong_use():
    done = CliRunner().invoke(program, [])
    assert done.exit_code == 2
    assert "workers needs --broker URL" in done.stderr


def test_a_broker_that_no_gateway_has_set_up_is_a_failure(tmp_path):
    with Broker(tmp_path / "broker") as broker:
        done = CliRunner().invoke(program, ["--broker", broker.url, "--json"])
    assert done.exit_code == 1
    assert "has a gateway ever been started with this broker?" in json.loads(done.stdout)["message"]
