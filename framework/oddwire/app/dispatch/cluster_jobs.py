"""Jobs of scope ``"cluster"``: each runs in one application of all that a cluster's workers run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from oddwire.errors import ExtensionError

if TYPE_CHECKING:
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.dispatch.background import OwnTasks
    from oddwire.app.plugins.manager import Contribution

__all__ = ["ClusterJobs", "check_names", "run_alone"]


class ClusterJobs(Protocol):
    """Who sees to it that a job runs once in a cluster; set by a worker, see `Application.cluster_jobs`."""

    def alone(self, extension: str, name: str) -> AbstractAsyncContextManager[asyncio.Future[str]]:
        """Wait until the job is this application's to run, and give it to others at the end of the context.

        The future is done, with the reason, once it is not this application's any more.
        """
        raise NotImplementedError


def check_names(owners: Sequence[Contribution]) -> None:
    """Raise `ExtensionError` for two jobs of scope ``"cluster"`` of one name: by it they are known in the cluster."""
    for owner in owners:
        seen: dict[str, Job] = {}
        for job in owner.jobs:
            if job.scope == "cluster" and seen.setdefault(job.name, job) is not job:
                text = "is known in the cluster by its name, and another one of that scope is called so; rename one"
                raise ExtensionError(f"{owner.name!r}: {job.title}, of scope 'cluster', {text}")


async def run_alone(
    jobs: ClusterJobs,
    extension: str,
    name: str,
    begin: Callable[[], tuple[OwnTasks, asyncio.Task[None]]],
    end: Callable[[OwnTasks], Coroutine[Any, Any, None]],
) -> None:
    """Run a job whenever it is this application's, until cancelled. ``begin`` starts its task, ``end`` waits for that.

    One that has ended stays so: the job is kept, so that no other application does it again.
    """
    while True:
        async with jobs.alone(extension, name) as lost:
            own, task = begin()
            try:
                futures: list[asyncio.Future[Any]] = [task, lost]
                await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
                if not lost.done():
                    await asyncio.wait([lost])
            finally:
                own.end_jobs()
                await end(own)
