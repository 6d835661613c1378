"""The scenarios: what a system is made to do while its seed breaks things.

Each opens a system, does its work under faults, lets everything heal, waits until it has
come to rest, has the invariants checked, and stops the system.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from . import keys, notices
from .detached.scenario import detached
from .driver_restarts import draw_kill, live
from .durable import Book, durable, finish, new_book, prepare, pursue
from .faults import LINK_FAULTS
from .run import Run, Scenario
from .scenario_fixture import act, open_stage
from .spread import spread

__all__ = ["SCENARIOS"]

Act = Callable[[], Coroutine[Any, Any, None]]
ACTS_SHARE: Final = 0.4
"""How much of all that can be done a seed of `mixed` does."""

KILLED_SHARE: Final = 0.12
"""In how many seeds of `mixed` everything is killed, and a new driver goes on."""


# --- the scenarios --------------------------------------------------------------------------


async def mixed(run: Run) -> None:
    """A little of everything; in a part of the seeds everything is killed in its midst."""
    if run.draw() >= KILLED_SHARE:
        await _mixed(run, None)
        return
    book = new_book(run, 4 + int(run.draw() * 5))
    if not await live(run, book.disk, book, lambda: _mixed(run, book), draw_kill(run.draw)):
        await live(run, book.disk, book, lambda: _mixed(run, book), None)


async def _mixed(run: Run, book: Book | None) -> None:
    async with open_stage(run) as stage:
        if book is not None:
            await prepare(stage, book, is_last=True)
        await stage.cast(receivers=3, senders=2, parents=run.draw() < 0.7, agents=3)
        acts: tuple[Act, ...] = (
            *(stage.burst,) * 3,
            *(stage.ask,) * 7,
            *(stage.poke,) * 4,
            stage.relay,
            stage.relay,
            stage.fail,
            stage.come_and_go,
            partial(stage.execute, 8 + int(run.draw() * 8)),
        )
        # A part of it for each seed: seeds are many, and each is to be quick.
        chosen = [begin() for begin in acts if run.draw() < ACTS_SHARE]
        if book is not None:
            chosen.append(pursue(stage, book))
        await act(stage, *chosen)
        if book is not None:
            await finish(stage, book)


async def links(run: Run) -> None:
    """Many messages over bad links, and hosts that live."""
    async with open_stage(run) as stage:
        await stage.cast(receivers=3, senders=3, parents=0, agents=0)
        await act(
            stage,
            *(stage.burst(20) for _ in range(8)),
            *(stage.ask() for _ in range(8)),
            *(stage.fail() for _ in range(3)),
            faults=LINK_FAULTS,
            count=4,
        )


async def supervision(run: Run) -> None:
    """Children of all kinds that fail, on hosts that live."""
    async with open_stage(run, calm=True) as stage:
        await stage.cast(receivers=0, senders=0, parents=3, agents=0)
        await act(stage, *(stage.poke() for _ in range(30)), faults=("slow", "hang"), count=1)


async def execution(run: Run) -> None:
    """Jobs on a pool whose hosts die."""
    async with open_stage(run) as stage:
        await stage.cast(receivers=0, senders=0, parents=0, agents=6)
        await act(stage, stage.execute(40), stage.execute(20), count=3)


async def failover(run: Run) -> None:
    """Hosts that die in the middle of everything, those that take over too."""
    async with open_stage(run) as stage:
        await stage.cast(receivers=3, senders=2, parents=1, agents=3)
        await act(
            stage,
            *(stage.burst() for _ in range(2)),
            *(stage.ask() for _ in range(8)),
            stage.come_and_go(),
            stage.come_and_go(),
            faults=("crash", "crash", "crash", "failing_start", "hang"),
            count=6,
        )


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "mixed": mixed,
        "links": links,
        "supervision": supervision,
        "execution": execution,
        "failover": failover,
        "watch": notices.watch,
        "keyed": keys.keyed,
        "spread": spread,
        "durable": durable,
        "detached": detached,
    }
)
"""The scenarios by name; the first is the default."""
