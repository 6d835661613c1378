"""A projector under supervision: restarted after its spec, each event in the model exactly once."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import callboard
from callboard import System, start
from callboard.actors.events.projection.actor import ProjectorView, QueryProjector
from callboard.actors.events.projection.figures import ProjectorLimits
from callboard.actors.events.projection.projection import Rows, projects
from callboard.actors.journal.client import LogClient
from callboard.messages.core.errors import ActorStartFailed, CallboardError, SpecError
from callboard.messages.storage.events import NewEvent
from callboard.runtime.api.inside import processes_of
from callboard.runtime.stores.choose import read_model_store
from callboard.supervision import Backoff, Intensity, SupervisorSpec, TreeSpec

from .accounts import (
    CODEC,
    DEADLINE_S,
    Accounts,
    AccountsInCents,
    Deposited,
    checked,
    some_events,
    until,
)

SMALL = ProjectorLimits(page_events=7)
AGAIN = SupervisorSpec(intensity=Intensity(restarts=50, period_s=60.0), backoff=Backoff(max_s=0.1))


class Barred(Accounts):
    """It cannot fold a deposit of 13 as long as a test says so."""

    is_barred = True

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        if event.amount == 13 and Barred.is_barred:
            raise ValueError("thirteen")
        super().deposited(rows, event)


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=2) as running:
        yield running


@pytest_asyncio.fixture
async def log(system: System, tmp_path: Path) -> AsyncIterator[LogClient]:
    made = await callboard.events.open_log(system, str(tmp_path / "log.db"), name="log", host=2)
    yield made
    await made.close()


async def appended(log: LogClient, events: Any) -> int:
    packed: list[NewEvent] = [CODEC.encode(event) for event in events]
    return (await log.append("accounts", packed)).last


async def stands_at(system: System, ref: Any, position: int) -> ProjectorView:
    """Wait until it has come so far; while it is restarted, it does not answer."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                view: ProjectorView = await system.ask(QueryProjector(), to=ref)
            except CallboardError:
                await asyncio.sleep(0.01)
                continue
            if view.position >= position:
                return view


@pytest.mark.parametrize("follows", ["the actor", "the store"])
async def test_a_projector_in_a_tree_keeps_up_and_goes_on_after_each_restart(
    follows: str, system: System, log: LogClient, tmp_path: Path
) -> None:
    models = str(tmp_path / "models.db")
    spec = callboard.events.projector_spec(
        Accounts,
        log=log if follows == "the actor" else str(tmp_path / "log.db"),
        models=models,
        limits=SMALL,
        backoff=Backoff(max_s=0.01),
    )
    events = some_events(1, 100)
    await appended(log, events)
    tree = await system.start_tree(TreeSpec("read models", (spec,)))
    ref = tree["accounts"]
    await stands_at(system, ref, 100)
    for seed in range(2, 5):
        more = some_events(seed, 50)
        events += more
        await tree.terminate_child("accounts")
        position = await appended(log, more)
        await tree.restart_child("accounts")
        view = await stands_at(system, ref, position)
        assert (view.events, view.overtaken, view.failures) == (50, 0, 0)
    store = read_model_store(models)
    store.open()
    assert checked(store, "accounts", events) == len(events)
    store.close()


async def test_what_stops_it_is_a_failure_that_its_supervisor_deals_with(
    system: System, log: LogClient, tmp_path: Path
) -> None:
    """A restart begins at the event that could not be folded; after a correction, it goes on."""
    models = str(tmp_path / "models.db")
    spec = callboard.events.projector_spec(Barred, log=log, models=models, limits=SMALL)
    Barred.is_barred = True
    events = [Deposited(account="a", amount=amount) for amount in (1, 2, 13, 4)]
    tree = await system.start_tree(TreeSpec("models", (spec,), AGAIN))
    await appended(log, events)
    host = processes_of(system)[0].host
    await until(lambda: host.meters.restarts >= 2, "it is restarted, and fails again")
    store = read_model_store(models)
    store.open()
    assert checked(store, "accounts", events[:2]) == 2
    Barred.is_barred = False
    await stands_at(system, tree["accounts"], 4)
    assert checked(store, "accounts", events) == 4
    store.close()


async def test_one_that_keeps_failing_is_given_up(
    system: System, log: LogClient, tmp_path: Path
) -> None:
    spec = callboard.events.projector_spec(Accounts, log=log, models=str(tmp_path / "models.db"))
    await log.append("accounts", [NewEvent(uuid.uuid4().bytes, "of nobody", b"")])
    few = SupervisorSpec(intensity=Intensity(restarts=2, period_s=60.0))
    tree = TreeSpec("models", (spec,), few, restart=callboard.supervision.Restart.TEMPORARY)
    started = await system.start_tree(tree)
    down = await asyncio.wait_for(system.watch(started["accounts"]), DEADLINE_S)
    assert down.kind.is_abnormal
    host = processes_of(system)[0].host
    await until(lambda: host.meters.ended_actors.deaths >= 3, "the first and two restarts")


async def test_a_model_of_another_version_does_not_start(
    system: System, log: LogClient, tmp_path: Path
) -> None:
    models = str(tmp_path / "models.db")
    first = callboard.events.projector_spec(Accounts, log=log, models=models)
    tree = await system.start_tree(TreeSpec("first", (first,)))
    position = await appended(log, some_events(1, 3))
    await stands_at(system, tree["accounts"], position)
    second = callboard.events.projector_spec(AccountsInCents, log=log, models=models)
    with pytest.raises(ActorStartFailed, match="version"):
        await system.start_tree(TreeSpec("second", (second,)))
    assert processes_of(system)[0].host.name


def test_what_cannot_be_is_refused_where_the_spec_is_made() -> None:
    with pytest.raises(SpecError, match="mysql"):
        callboard.events.projector_spec(Accounts, log="log.db", models="mysql://x/y")
    with pytest.raises(SpecError, match="mysql"):
        callboard.events.projector_spec(Accounts, log="mysql://x/y", models="models.db")
