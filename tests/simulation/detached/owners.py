"""Drivers that own a journalled execution, one after the other: done sub-tasks stay done."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from callboard.runtime.testing.engine import environment_of

from ..driver_restarts import open_disk_journal
from ..durable import ENDED, ExecutionChecker, finish, run_execution
from ..scenario_fixture import POLL_S, REST_MAX_S, ScenarioFixture
from ..supervision_checker import checked_supervisors
from .run_record import RunRecord
from .system import Driver

__all__ = ["Owners"]

Main = Callable[[RunRecord, Driver], Coroutine[Any, Any, None]]


class Owners:
    """The owners of one execution; the next begins when one has died or was dropped."""

    def __init__(self, run_record: RunRecord, checker: ExecutionChecker) -> None:
        self._run_record = run_record
        self._checker = checker
        self._run: Final = run_record.run
        run_record.run.message_log.checker = checker
        self._driver = self._begin(_own)
        self._next: Final = asyncio.ensure_future(self._go_on())

    def _begin(self, main: Main) -> Driver:
        run, checker = self._run, self._checker
        name = f"owner-{len(self._run_record.system.drivers)}"
        environment = dataclasses.replace(
            environment_of(run.world, make_supervisor=checked_supervisors(run)),
            new_id=checker.new_id,
            make_pickler=run.environment.make_pickler,
        )
        checker.driver_started()
        return self._run_record.system.begin(
            partial(main, self._run_record),
            environment,
            partial(open_disk_journal, disk=checker.disk, owner=name),
        )

    async def _go_on(self) -> None:
        """Replace a dead owner, until the execution has ended."""
        while self._checker.status not in ENDED:
            await asyncio.sleep(POLL_S)
            if self._is_gone():
                self._checker.disk.crash()
                self._driver = self._begin(_own)

    def _is_gone(self) -> bool:
        task = self._driver.task
        return self._driver.process.loop.is_dead or (task is not None and task.done())

    async def finish(self) -> None:
        """Wait for the end of the execution, and check it."""
        world = self._run.world
        until_s = world.now_s + REST_MAX_S
        while not (self._next.done() and self._is_gone()):
            if world.now_s > until_s:
                self._run.complain("it_ends", f"an execution is still {self._checker.status!r}")
                self._run.check_now()
            await asyncio.sleep(POLL_S)
        self._next.result()
        last = self._begin(_finish)
        while last.task is None or not last.task.done():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(POLL_S)
        last.task.result()


async def _own(run_record: RunRecord, driver: Driver) -> None:
    assert run_record.checker is not None
    await run_execution(ScenarioFixture(run_record.run, driver.system), run_record.checker)


async def _finish(run_record: RunRecord, driver: Driver) -> None:
    assert run_record.checker is not None
    await finish(ScenarioFixture(run_record.run, driver.system), run_record.checker)
