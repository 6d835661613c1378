"""The root's watch of a driver's process, which cannot be called.

Two sources report the end of the process and nothing else. The kernel reports it at once, on the
same machine. The raylet of the driver's node reports the end of its job to the cluster, within a
heartbeat. For both, a driver that computes or is suspended is alive. A failed connection or call
proves nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import ray
import ray.exceptions

from ...detached.ports import JoinRequest
from ...transport.process_watch import until_ended

__all__ = ["watch_process"]

LOGGER: Final = logging.getLogger("callboard.root")
ANSWER_S: Final = 5.0
"""How long the head of the cluster may take to answer about a job."""


def watch_process(
    join_request: JoinRequest, gone: Callable[[], None], every_s: float
) -> Callable[[], None]:
    """Call `gone` once when the driver's process has ended; returns what ends the watch.

    The job is checked every `every_s` seconds.
    """
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    if join_request.identity is not None:
        tasks.add(loop.create_task(until_ended(join_request.identity)))
    if join_request.job:
        tasks.add(loop.create_task(_job_ended(join_request.job, every_s)))
    if not tasks:
        return _no_watch

    async def watch() -> None:
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        gone()

    watching = loop.create_task(watch())

    def end() -> None:
        watching.cancel()

    return end


def _no_watch() -> None:
    """Nothing to end: only missed heartbeats reveal the end of this driver."""


async def _job_ended(job: str, every_s: float) -> None:
    """Return when the cluster reports that the job's driver is dead."""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await asyncio.to_thread(_is_dead, job):
                return
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            LOGGER.info("the cluster does not answer about job %s: %s", job, error)


def _is_dead(job: str) -> bool:
    worker: Any = ray._private.worker.global_worker  # noqa: SLF001 - Ray has no public way
    found = worker.gcs_client.get_all_job_info(
        job_or_submission_id=job,
        skip_submission_job_info_field=True,
        skip_is_running_tasks_field=True,
        timeout=ANSWER_S,
    )
    return any(info.is_dead for info in found.values())
