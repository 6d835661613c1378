"""The scenarios: the activities of a system while its seed injects faults.

Each opens a system, performs its activities under faults, ends the faults, waits until the system
is at rest, checks the invariants, and stops the system.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from . import keys, notices
from .aggregators import WindowChecker, aggregators, windows_stand
from .approvals import approvals
from .authority import authority
from .detached.scenario import detached
from .driver_restarts import draw_kill, run_driver
from .durable import ExecutionChecker, durable, finish, new_checker, prepare, run_execution
from .faults import LINK_FAULTS
from .leases import leases
from .partials import partials
from .pipelines import decisions, finish_pipelines, pipelines, start_pipelines
from .rollouts import rollouts
from .run import Run, Scenario
from .scenario_fixture import open_fixture, run_under_faults
from .spread import spread
from .streams import streams
from .tiers import begin_moves, tiers

__all__ = ["SCENARIOS"]

Activity = Callable[[], Coroutine[Any, Any, None]]
ACTIVITY_SHARE: Final = 0.4
"""The share of all activities that a seed of `mixed` performs."""

PIPELINES_SHARE: Final = 0.05
"""The share of seeds of `mixed` with pipelines."""
KILLED_SHARE: Final = 0.12
"""The share of seeds of `mixed` that kill everything and continue with a new driver."""

WINDOWS_EVERY: Final = 40
WINDOWS_FIRST: Final = 5
"""One of so many seeds of `mixed` has aggregators, too."""
MOVES_FIRST: Final = 6
"""As many have moves between tiers."""


# --- the scenarios --------------------------------------------------------------------------


async def mixed(run: Run) -> None:
    """Some of all activities; a share of the seeds kills everything meanwhile."""
    if run.draw() >= KILLED_SHARE:
        await _mixed(run, None)
        return
    checker = new_checker(run, 4 + int(run.draw() * 5))
    if not await run_driver(
        run, checker.disk, checker, lambda: _mixed(run, checker), draw_kill(run.draw)
    ):
        await run_driver(run, checker.disk, checker, lambda: _mixed(run, checker), None)


async def _mixed(run: Run, checker: ExecutionChecker | None) -> None:
    async with open_fixture(run) as fixture:
        if checker is not None:
            await prepare(fixture, checker, is_last=True)
        await fixture.start_actors(receivers=3, senders=2, parents=run.draw() < 0.7, agents=3)
        activities: tuple[Activity, ...] = (
            *(fixture.burst,) * 3,
            *(fixture.ask,) * 7,
            *(fixture.poke,) * 4,
            fixture.relay,
            fixture.relay,
            fixture.fail,
            fixture.start_and_stop,
            partial(fixture.execute, 8 + int(run.draw() * 8)),
        )
        # Only a share of them: there are many seeds, and each must be quick.
        chosen = [begin() for begin in activities if run.draw() < ACTIVITY_SHARE]
        if checker is not None:
            chosen.append(run_execution(fixture, checker))
        windows = seen = None
        if checker is None and run.world.seed % WINDOWS_EVERY == WINDOWS_FIRST:
            windows = await WindowChecker.start(fixture)
            chosen += windows.activities(2)
        if checker is None and run.world.seed % WINDOWS_EVERY == MOVES_FIRST:
            chosen += await begin_moves(fixture, 10)
        elif checker is None and run.draw() < PIPELINES_SHARE:
            seen = await start_pipelines(fixture)
            chosen += decisions(fixture, seen)
        await run_under_faults(fixture, *chosen, is_idle=bool if windows is None else windows_stand)
        if windows is not None:
            await windows.check()
        if checker is not None:
            await finish(fixture, checker)
        if seen is not None:
            await finish_pipelines(run, seen)


async def links(run: Run) -> None:
    """Many messages over bad links between healthy hosts."""
    async with open_fixture(run) as fixture:
        await fixture.start_actors(receivers=3, senders=3, parents=0, agents=0)
        await run_under_faults(
            fixture,
            *(fixture.burst(20) for _ in range(8)),
            *(fixture.ask() for _ in range(8)),
            *(fixture.fail() for _ in range(3)),
            fixture.command(),
            faults=LINK_FAULTS,
            count=4,
        )


async def supervision(run: Run) -> None:
    """Failing children of all kinds on healthy hosts."""
    async with open_fixture(run, healthy=True) as fixture:
        await fixture.start_actors(receivers=0, senders=0, parents=3, agents=0)
        await run_under_faults(
            fixture, *(fixture.poke() for _ in range(30)), faults=("slow", "hang"), count=1
        )


async def execution(run: Run) -> None:
    """Jobs on a pool with dying hosts."""
    async with open_fixture(run) as fixture:
        await fixture.start_actors(receivers=0, senders=0, parents=0, agents=6)
        await run_under_faults(fixture, fixture.execute(40), fixture.execute(20), count=3)


async def failover(run: Run) -> None:
    """Hosts and standbys that die while all kinds of activities run."""
    async with open_fixture(run) as fixture:
        await fixture.start_actors(receivers=3, senders=2, parents=1, agents=3)
        await run_under_faults(
            fixture,
            *(fixture.burst() for _ in range(2)),
            *(fixture.ask() for _ in range(8)),
            fixture.start_and_stop(),
            fixture.start_and_stop(),
            faults=("crash", "crash", "crash", "failing_start", "hang"),
            count=6,
        )


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "mixed": mixed,
        "links": links,
        "supervision": supervision,
        "execution": execution,
        "partials": partials,
        "failover": failover,
        "watch": notices.watch,
        "keyed": keys.keyed,
        "spread": spread,
        "durable": durable,
        "detached": detached,
        "authority": authority,
        "leases": leases,
        "streams": streams,
        "approvals": approvals,
        "tiers": tiers,
        "aggregators": aggregators,
        "pipelines": pipelines,
        "configuration": rollouts,
    }
)
"""The scenarios by name; the first is the default."""
