"""The kill harness itself, for a moment; and that the extension it uses does the same without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.soak.cluster.checks import all_faults, repeat_faults
from tests.soak.cluster.clusters import Alone, Cluster
from tests.soak.cluster.day import Day, Event, judged_day


@pytest.mark.interop
async def test_the_extension_file_passes_the_same_checks_under_oddwire_run(tmp_path: Path) -> None:
    alone = Alone(tmp_path)
    day = Day(alone, 200, peers=2, plain=1, say=print)
    run = await day.run([Event(0.5, 0, "kill"), Event(0.5, 0, "restart")])
    assert [*alone.surprises, *all_faults(run)] == []
    assert len(run.lives) >= 2
    assert run.handlings
    assert all(peer.counter == 100 for peer in run.reliable.values())


@pytest.mark.interop
async def test_a_cluster_survives_a_few_kills(tmp_path: Path) -> None:
    """One of each: a worker is killed, another one frozen, the broker is killed, and the gateway."""
    cluster = Cluster(tmp_path, 2)
    broker, gateway, *workers = range(4)
    events = [
        Event(0.3, workers[0], "kill"),
        Event(0.3, workers[1], "freeze", 11.0),
        Event(0.5, broker, "kill"),
        Event(0.5, gateway, "kill"),
    ]
    counts = await judged_day(cluster, 200, events, print, peers=2)
    assert counts["ended after that"] == counts["frozen past its lease"] == 1
    assert counts["commits refused"]
    assert counts["sends refused: stale"]
    assert counts["owners"] > 16


@pytest.mark.interop
@pytest.mark.long
async def test_a_rolling_deploy_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """Plain messages too: each is handled once, and answered once."""
    cluster = Cluster(tmp_path, 2)
    workers = (2, 3)
    events = [Event(1.0, worker, "restart") for worker in workers]
    counts = await judged_day(cluster, 200, events, print, peers=2, more=repeat_faults)
    assert counts["ended unfinished"] == 0
    assert counts["owners"] > 16


@pytest.mark.interop
@pytest.mark.long
async def test_three_brokers_survive_the_kill_of_their_leader(tmp_path: Path) -> None:
    """Nothing is lost or out of order, and no worker notices more than a pause."""
    cluster = Cluster(tmp_path, 2, brokers=3)
    counts = await judged_day(cluster, 600, [Event(1.0, 0, "kill"), Event(10.0, 0, "kill")], print, peers=3)
    assert counts["leader kill"] == 2


@pytest.mark.interop
@pytest.mark.long
async def test_most_brokers_may_be_gone_for_longer_than_a_lease(tmp_path: Path) -> None:
    """All waits, workers let go of what they have, and nothing is lost or wrong when the brokers are back."""
    cluster = Cluster(tmp_path, 2, brokers=3)
    counts = await judged_day(cluster, 600, [Event(1.0, 0, "freeze", 14.0)], print, peers=3)
    assert counts["owners"] > 16


@pytest.mark.interop
@pytest.mark.long
async def test_a_gateway_may_be_cut_off_for_longer_than_its_lease(tmp_path: Path) -> None:
    """Its connections end, a new run begins, and nothing reliable is lost."""
    cluster = Cluster(tmp_path, 2, door=True)
    counts = await judged_day(cluster, 600, [Event(1.0, 0, "freeze", 14.0)], print, peers=3)
    assert counts["owners"] > 16
