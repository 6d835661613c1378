"""Driver restarts: the seed kills everything at any step, and a new driver begins with the disk.

Each driver is a separate process with a whole system in it. The disk survives it, and so does the
checker, which is outside all processes.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, final

from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.runtime.executions.journals import OpenJournal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.engine import environment_of
from callboard.runtime.testing.loop import SimulatedLoop

from .disk import SimulatedDisk, SimulatedEventStore
from .message_log import MessageLog
from .run import Run
from .supervision_checker import checked_supervisors

__all__ = ["Kill", "draw_kill", "open_disk_journal", "run_driver"]

STEPS_LATE_MAX: Final = 60
KILLED_MAX_S: Final = 2.6


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """The time at which everything dies, after the start of the driver, plus some steps."""

    after_s: float
    steps_late: int


def draw_kill(draw: Callable[[], float]) -> Kill:
    """Draw a moment of a driver's run, possibly right after its start."""
    return Kill(KILLED_MAX_S * draw(), int(draw() * STEPS_LATE_MAX))


async def run_driver(
    run: Run,
    disk: SimulatedDisk,
    checker: Any,
    main: Callable[[], Coroutine[Any, Any, None]],
    kill: Kill | None,
) -> bool:
    """Run `main` in a new driver; True when it ended, False when everything was killed."""
    world, director = run.world, asyncio.get_running_loop()
    first = len(world.loops)
    run.message_log = world.recorder = MessageLog(world, run.complain)
    run.message_log.checker = checker
    checker.driver_started()
    run.permanent.clear()
    run.abandoned.clear()
    run.environment = dataclasses.replace(
        environment_of(world, make_supervisor=checked_supervisors(run)),
        new_id=checker.new_id,
    )
    run.open_journal = partial(open_disk_journal, disk=disk, owner=f"driver-{first}")
    world.driver = SimulatedLoop(world, f"driver-{first}")
    over = director.create_future()
    task = world.driver.create_task(main())

    def end(ended: bool) -> None:
        if not over.done():
            over.set_result(ended)

    def die(steps_late: int) -> None:
        if steps_late:
            world.outside.call_soon(die, steps_late - 1)
        elif not task.done():
            world.trace.note(world.now_s, "everything is killed")
            for loop in world.loops[first:]:
                loop.die()
            disk.crash()
            director.call_soon(end, False)

    task.add_done_callback(lambda _task: director.call_soon(end, True))
    if kill is not None:
        world.at(world.now_s + kill.after_s, die, kill.steps_late)
    if not await over:
        return False
    task.result()
    return True


async def open_disk_journal(
    _settings: Settings, disk: SimulatedDisk, owner: str, *, fence: int = 0
) -> OpenJournal:
    """Open a journal of this process on the disk; it fences the previous writer."""
    limits = JournalLimits(patience_s=0.5 if disk.draw() < 0.5 else 5.0)
    journal = Journal(SimulatedEventStore(disk), owner=owner, fence=fence, limits=limits)
    await journal.open()
    return OpenJournal(journal, None)
