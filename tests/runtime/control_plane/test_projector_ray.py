"""A supervised projector whose host is killed with -9: each event is in its model exactly once."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Final

import cloudpickle
import pytest

import callboard
from callboard import Contract, System, start
from callboard.actors.events.projection.actor import QueryProjector
from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.events import ProjectorActor
from callboard.messages.control.placement import Placement
from callboard.messages.core.errors import CallboardError
from callboard.runtime.api.inside import root_of
from callboard.runtime.stores.sqlite import SqliteEventStore, SqliteReadModelStore
from callboard.supervision import Backoff, TreeSpec
from tests.actors.events import accounts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

KILLS: Final = 3
EVENTS: Final = 3_000
LIMITS: Final = ProjectorLimits(page_events=20)


async def killed(system: System, slot: int) -> None:
    process: Any = root_of(system).table.slots[slot].process
    await process.ping()
    os.kill(int(process.pid), signal.SIGKILL)


async def until_at(system: System, ref: Any, position: int) -> None:
    """Wait until it stands there; its host may be dying, and then it is asked again."""
    async with asyncio.timeout(2 * accounts.DEADLINE_S):
        while True:
            try:
                if (await system.ask(QueryProjector(), to=ref)).position >= position:
                    return
            except CallboardError:
                await asyncio.sleep(0.01)


def checked_while_it_goes_on(models: SqliteReadModelStore, events: list[Contract]) -> int:
    """The same as `checked`, though the next incarnation may be at work already."""
    for _ in range(1_000):
        before = models.position("accounts")
        rows = accounts.balances(models, "accounts")
        if models.position("accounts") == before:
            assert rows == accounts.folded(events[:before])
            return before
    raise AssertionError("it never stood still between two looks")


@pytest.mark.soak
async def test_a_projector_whose_host_is_killed_goes_on_where_its_model_stands(
    tmp_path: Path,
) -> None:
    cloudpickle.register_pickle_by_value(accounts)
    path = tmp_path / "bank.db"
    events = accounts.some_events(7, EVENTS)
    models = SqliteReadModelStore(path)
    spec = callboard.events.projector_spec(
        accounts.Accounts,
        log=str(path),
        models=str(path),
        limits=LIMITS,
        backoff=Backoff(max_s=0.1),
        placement=Placement(host=1),
    )
    assert spec.props.actor is ProjectorActor
    async with (
        accounts.open_journal(SqliteEventStore(path)) as journal,
        start(engine="ray", name="projects", hosts=2, journal="off") as system,
    ):
        tree = await system.start_tree(TreeSpec("models", (spec,)))
        models.open()
        stood: list[int] = []
        for number in range(KILLS):
            part = events[number * EVENTS // KILLS : (number + 1) * EVENTS // KILLS]
            appending = asyncio.create_task(accounts.append(journal, part, size=20))
            aim = number * EVENTS // KILLS + 100
            await until_at(system, tree["accounts"], aim)
            await killed(system, 1)
            stood.append(checked_while_it_goes_on(models, events))
            await appending
        await until_at(system, tree["accounts"], EVENTS)
        assert stood == sorted(stood)
        assert any(0 < position < EVENTS for position in stood), "no kill was in the middle"
        assert accounts.checked(models, "accounts", events) == EVENTS
    models.close()
