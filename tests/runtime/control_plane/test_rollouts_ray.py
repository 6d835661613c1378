"""Hosts that are killed with -9 in the middle of a roll-out: it ends, all new or all old."""

import asyncio
import contextlib
import functools
import os
import signal
from pathlib import Path
from typing import Any, Final

import cloudpickle
import pytest

import callboard as cb
from callboard.actors.configuration.rollout.controller import CONTROLLER, RolloutController
from callboard.actors.configuration.rollout.messages import (
    ProposeRollout,
    QueryRollouts,
    RolloutView,
)
from callboard.actors.configuration.rollout.plan import RolloutPlan
from callboard.actors.configuration.rollout.states import ENDED, RolloutState
from callboard.actors.kernel.props import props
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import CallboardError
from callboard.runtime.api.inside import root_of
from callboard.runtime.stores.choose import event_store
from tests.runtime.control_plane import rollout_targets as targets

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

DEADLINE_S: Final = 60.0
PLAN: Final = RolloutPlan(
    settle_s=0.1, judge_s=1.2, final_bake_s=0.2, offer_s=2.0, unreachable_share_max=1.0
)


async def killed(system: cb.System, slot: int) -> None:
    process: Any = root_of(system).table.slots[slot].process
    await process.ping()
    os.kill(int(process.pid), signal.SIGKILL)


async def start_rollouts(system: cb.System, store: Path) -> Any:
    make_store = functools.partial(event_store, str(store))
    controller: Any = props(RolloutController, make_store)
    return await system.spawn(
        controller, name=CONTROLLER, offer=True, host=1, restart=Restart.PERMANENT
    )


async def all_have(actors: list[Any], wanted: int) -> None:
    """Wait until all actors answer under one version."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(CallboardError):
                pages = {(await each.ask(targets.Read())).pages for each in actors}
                if pages == {wanted}:
                    return
            await asyncio.sleep(0.05)


async def view_once(system: cb.System, rollout: str, ready: Any) -> RolloutView:
    """The roll-out, once it is as wanted; its controller may be dying meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                ref: Any = await system.lookup("callboard.configuration")
                page = await ref.ask(QueryRollouts(rollout=rollout), timeout_s=2.0)
                if ready(page.rollouts[0]):
                    view: RolloutView = page.rollouts[0]
                    return view
            except CallboardError:
                pass
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("victim", [1, 2])
async def test_a_roll_out_survives_the_death_of_a_host(victim: int, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(targets)
    async with cb.start(engine="ray", hosts=2, standbys=1) as system:
        controller: Any = await start_rollouts(system, tmp_path / "r.db")
        actors = [
            await system.spawn(targets.Reader, name=f"t{each}", host=1 + each % 2)
            for each in range(20)
        ]
        request = ProposeRollout(
            rollout="one", package="p", version="1", contents={"reader": b'{"pages": 7}'},
            plan=PLAN, author="ada",
        )  # fmt: skip
        await controller.ask(request)
        await view_once(system, "one", lambda view: view.wave >= 0)
        await killed(system, victim)
        view = await view_once(system, "one", lambda view: view.state in ENDED)
        assert view.state in {RolloutState.SUCCEEDED, RolloutState.ROLLED_BACK}
        wanted = 7 if view.state is RolloutState.SUCCEEDED else 0
        await all_have(actors, wanted)


async def test_no_ask_fails_while_versions_change(tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(targets)
    async with cb.start(engine="ray", hosts=2) as system:
        controller: Any = await start_rollouts(system, tmp_path / "r.db")
        actors = [await system.spawn(targets.Reader, name=f"t{each}") for each in range(20)]
        is_over = asyncio.Event()
        answers: set[int] = set()

        async def ask(number: int) -> int:
            asks = 0
            while not is_over.is_set():
                found = await actors[(number + asks) % len(actors)].ask(targets.Read())
                assert found.pages == found.pages_after
                answers.add(found.pages)
                asks += 1
            return asks

        askers = [asyncio.ensure_future(ask(each)) for each in range(8)]
        plan = PLAN.model_copy(update={"judge_s": 0.8})
        for version in (1, 2):
            request = ProposeRollout(
                rollout=f"r{version}", package="p", version=str(version),
                contents={"reader": b'{"pages": %d}' % version}, plan=plan, author="ada",
            )  # fmt: skip
            await controller.ask(request)
            name = f"r{version}"
            view = await view_once(system, name, lambda view: view.state in ENDED)
            assert view.state is RolloutState.SUCCEEDED, view.reason
        is_over.set()
        asked = sum(await asyncio.gather(*askers))
        assert asked > 100
        assert answers <= {0, 1, 2}
        assert 2 in answers
