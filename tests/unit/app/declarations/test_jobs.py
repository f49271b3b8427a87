from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension
from oddwire.app.declarations.jobs import Job
from oddwire.durations import seconds_of
from oddwire.errors import ExtensionError
from oddwire.testing import ScriptedTransport


async def work(context: AppContext) -> None: ...


async def for_peers(context: Context) -> None: ...


@pytest.mark.parametrize(
    ("every", "seconds"), [(10, 10.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), ("interval", 7.0)]
)
def test_it_is_told_how_long_from_one_run_to_the_next(every: Any, seconds: float) -> None:
    job = Job(function=work, every=every)
    assert job.is_periodic
    assert job.pause({"interval": 7}) == seconds
    assert job.title == "@every work"


def kind(value: object) -> str:
    return type(value).__name__  # the text of the largest cannot be made


EXTREME = [10**400, -(10**400), 10**5000, 1e-12, 0.0009, timedelta(microseconds=1), timedelta.max, float("-inf")]


@pytest.mark.parametrize(
    "every", [0, -1, float("nan"), float("inf"), 1e12, True, b"10", timedelta(0), timedelta(-1), *EXTREME], ids=kind
)
def test_what_is_no_time_is_refused(every: Any) -> None:
    extension = Extension("test", version="1.0")
    with pytest.raises(
        ExtensionError, match=r"work, @every: every should be seconds, 0.001 to 100000000, or a timedelta, or the"
    ):
        extension.every(every)(work)
    with pytest.raises(ValueError, match=r"should be seconds, 0.001 to 100000000, or a timedelta"):
        seconds_of(every)
    job = Job(function=work, every="interval")
    with pytest.raises(ValueError, match=r"@every work: the value of option 'interval' should be seconds, 0.001"):
        job.pause({"interval": every})


def test_none_is_no_time_and_no_task() -> None:
    with pytest.raises(ExtensionError, match=r"every should be seconds, 0.001 to .*, not None"):
        Extension("test", version="1.0").every(None)(work)  # type: ignore[call-overload]


@pytest.mark.parametrize("jitter", [-1, float("nan"), "1", None, 10**400, 10**5000, timedelta(-1)], ids=kind)
def test_jitter_is_a_time_or_none_at_all(jitter: Any) -> None:
    assert Job(function=work, every=1, jitter=timedelta(seconds=1)).jitter
    with pytest.raises(ExtensionError, match=r"jitter should be seconds, 0 to 100000000, or a timedelta, not"):
        Job(function=work, every=1, jitter=jitter)


@pytest.mark.parametrize("name", ["at_start", "restart", "per_peer"])
def test_switches_are_true_or_false(name: str) -> None:
    with pytest.raises(ExtensionError, match=f"{name} should be True or False, not 1"):
        Job(function=work, **{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["peer", "Cluster", None, 1])
def test_a_job_is_of_the_application_or_of_the_cluster(scope: Any) -> None:
    assert Job(function=work, scope="cluster").scope == "cluster"
    with pytest.raises(ExtensionError, match="@task: scope should be 'app' or 'cluster', not"):
        Job(function=work, scope=scope)


def test_a_job_of_connections_is_not_one_of_the_cluster() -> None:
    async def greet(context: Context) -> None: ...

    with pytest.raises(ExtensionError, match="is either per_peer, one for each connection, or of scope 'cluster'"):
        Job(function=greet, per_peer=True, scope="cluster")


def test_decorators_say_whose_a_job_is() -> None:
    extension = Extension("test", version="1.0")
    extension.every(1, scope="cluster")(work)
    extension.task(scope="cluster")(work)
    extension.task(work)

    assert [job.scope for job in extension.register_jobs()] == ["cluster", "cluster", "app"]


def test_its_function_takes_the_context_it_gets() -> None:
    extension = Extension("test", version="1.0")

    def plain(context: AppContext) -> None: ...

    async def of_two(context: AppContext, more) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(ExtensionError, match=r"plain, called every so often: should be 'async def' .*, not a plain"):
        extension.every(10)(plain)  # type: ignore[type-var]
    with pytest.raises(ExtensionError, match=r"of_two, run as a task: should be 'async def' with \(context\), not"):
        extension.task(of_two)  # type: ignore[call-overload]
    with pytest.raises(ExtensionError, match="should be AppContext, not Context, as there is no peer"):
        extension.task(for_peers)  # type: ignore[call-overload]
    extension.task(per_peer=True)(for_peers)
    extension.every(10, per_peer=True)(for_peers)
    extension.every(10, per_peer=True)(work)  # type: ignore[type-var]
    assert [job.per_peer for job in extension.register_jobs()] == [True, True, True]


@pytest.mark.parametrize("arguments", [(), None])
def test_every_needs_an_argument(arguments: Any) -> None:
    extension = Extension("test", version="1.0")
    with pytest.raises(ExtensionError, match=r"@every needs an argument: @extension.every\(10\)"):
        extension.every(*arguments) if arguments is not None else extension.every(work)  # type: ignore[call-overload]


def test_a_task_is_declared_with_and_without_parentheses() -> None:
    extension = Extension("test", version="1.0")
    assert extension.does_nothing
    assert extension.task(work) is work
    assert extension.task()(work) is work
    assert extension.task(restart=False)(work) is work
    assert [(job.title, job.restart) for job in extension.register_jobs()] == [
        ("@task work", True),
        ("@task work", True),
        ("@task work", False),
    ]
    assert not extension.does_nothing


def test_an_option_that_nobody_has_is_refused_at_load() -> None:
    extension = Extension("test", version="1.0")
    extension.every("test-interval")(work)
    with pytest.raises(ExtensionError, match=r"no loaded extension has an option 'test-interval'; there are: none"):
        Application(extension, transport=ScriptedTransport())
    other = Extension("other", version="1.0")
    other.option("test-interval")(interval)
    Application(extension, other, transport=ScriptedTransport())


def interval(value: float = 10.0) -> float:
    return value


async def test_an_option_whose_value_is_no_time_stops_the_start() -> None:
    extension = Extension("test", version="1.0")
    extension.every("test-interval")(work)
    extension.option("test-interval")(interval)
    app = Application(extension, transport=ScriptedTransport(), options={"test-interval": 0})
    text = "'test': @every work: the value of option 'test-interval' should be seconds, 0.001 to "
    with pytest.raises(ExtensionError, match=text):
        await app.start()


def test_the_shortest_and_the_longest_are_taken() -> None:
    for seconds in (0.001, timedelta(milliseconds=1), 1e8):
        assert Job(function=work, every=seconds, jitter=0).pause() in (0.001, 1e8)


def test_an_error_shows_what_can_be_shown() -> None:
    with pytest.raises(ExtensionError, match=r"not 1000000"):
        Job(function=work, every=10**400)
    with pytest.raises(ExtensionError, match=r"not a number of 16610 bits"):
        Job(function=work, every=10**5000)
