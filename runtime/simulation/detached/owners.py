"""Drivers that own a journalled execution, each after the other: what is done stays done."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from ...engines.sim import environment_of
from ..durable import ENDED, Book, finish, pursue
from ..lives import open_disk_journal
from ..stage import LOOK_S, REST_MAX_S, Stage
from ..witness import witnesses
from .play import Play
from .system import Driver

__all__ = ["Owners"]

Main = Callable[[Play, Driver], Coroutine[Any, Any, None]]


class Owners:
    """The owners of one execution; the next begins when one has died or was dropped."""

    def __init__(self, play: Play, book: Book) -> None:
        self._play = play
        self._book = book
        self._run: Final = play.run
        play.run.ledger.book = book
        self._driver = self._begin(_own)
        self._next: Final = asyncio.ensure_future(self._go_on())

    def _begin(self, main: Main) -> Driver:
        run, book = self._run, self._book
        name = f"owner-{len(self._play.system.drivers)}"
        environment = dataclasses.replace(
            environment_of(run.world, make_supervisor=witnesses(run)),
            new_id=book.new_id,
            make_pickler=run.environment.make_pickler,
        )
        book.begin_life()
        return self._play.system.begin(
            partial(main, self._play),
            environment,
            lambda settings: open_disk_journal(settings, book.disk, name),
        )

    async def _go_on(self) -> None:
        """Replace an owner that is gone, until the execution has ended."""
        while self._book.status not in ENDED:
            await asyncio.sleep(LOOK_S)
            if self._is_gone():
                self._book.disk.crash()
                self._driver = self._begin(_own)

    def _is_gone(self) -> bool:
        task = self._driver.task
        return self._driver.process.loop.is_dead or (task is not None and task.done())

    async def finish(self) -> None:
        """See the execution to its end, and its book closed."""
        world = self._run.world
        until_s = world.now_s + REST_MAX_S
        while not (self._next.done() and self._is_gone()):
            if world.now_s > until_s:
                self._run.complain("it_ends", f"an execution is {self._book.status!r} still")
                self._run.check_now()
            await asyncio.sleep(LOOK_S)
        self._next.result()
        last = self._begin(_finish)
        while last.task is None or not last.task.done():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(LOOK_S)
        last.task.result()


async def _own(play: Play, driver: Driver) -> None:
    assert play.book is not None
    await pursue(Stage(play.run, driver.system), play.book)


async def _finish(play: Play, driver: Driver) -> None:
    assert play.book is not None
    await finish(Stage(play.run, driver.system), play.book)
