"""Lives of a driver: everything is killed at any step, and a new driver begins with the disk.

A life is a process of its own for the driver, with a whole system in it. What survives a life
is what stands on the disk, and the book of those who look on.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any, Final, final

from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal

from ..engines.sim import environment_of
from ..journals import OpenJournal
from ..settings import Settings
from .disk import SimulatedDisk, SimulatedEventStore
from .ledger import Ledger
from .loop import SimulatedLoop
from .run import Run
from .witness import witnesses

__all__ = ["Kill", "draw_kill", "live", "open_disk_journal"]

STEPS_LATE_MAX: Final = 60
KILLED_MAX_S: Final = 2.6


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """When everything dies: so long after its life began, and so many steps later."""

    after_s: float
    steps_late: int


def draw_kill(draw: Callable[[], float]) -> Kill:
    """Some moment of a life, also one in which it has hardly begun."""
    return Kill(KILLED_MAX_S * draw(), int(draw() * STEPS_LATE_MAX))


async def live(
    run: Run,
    disk: SimulatedDisk,
    book: Any,
    main: Callable[[], Coroutine[Any, Any, None]],
    kill: Kill | None,
) -> bool:
    """Run `main` in a new driver until it ends or everything is killed; whether it ended."""
    world, director = run.world, asyncio.get_running_loop()
    first = len(world.loops)
    run.ledger = world.ledger = Ledger(world, run.complain)
    run.ledger.book = book
    book.begin_life()
    run.permanent.clear()
    run.abandoned.clear()
    run.environment = dataclasses.replace(
        environment_of(world, make_supervisor=witnesses(run)),
        new_id=book.new_id,
    )
    run.open_journal = lambda settings: open_disk_journal(settings, disk, f"driver-{first}")
    world.driver = SimulatedLoop(world, f"driver-{first}")
    over = director.create_future()
    task = world.driver.create_task(main())

    def end(ended: bool) -> None:  # noqa: FBT001 - a mark
        if not over.done():
            over.set_result(ended)

    def die(steps_late: int) -> None:
        if steps_late:
            world.outside.call_soon(die, steps_late - 1)
        elif not task.done():
            world.trace.tell(world.now_s, "everything is killed")
            for loop in world.loops[first:]:
                loop.die()
            disk.crash()
            director.call_soon(end, False)  # noqa: FBT003 - a mark

    task.add_done_callback(lambda _task: director.call_soon(end, True))  # noqa: FBT003 - a mark
    if kill is not None:
        world.at(world.now_s + kill.after_s, die, kill.steps_late)
    if not await over:
        return False
    task.result()
    return True


async def open_disk_journal(_settings: Settings, disk: SimulatedDisk, owner: str) -> OpenJournal:
    """A journal of this process on the disk; it fences who had the log before."""
    limits = JournalLimits(patience_s=0.5 if disk.draw() < 0.5 else 5.0)
    journal = Journal(SimulatedEventStore(disk), owner=owner, limits=limits)
    await journal.open()
    return OpenJournal(journal, None)
