"""Roll-outs on a running system: targets that take, refuse, start late and restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

import callboard as cb
from callboard.actors.configuration.rollout.controller import CONTROLLER, RolloutController
from callboard.actors.configuration.rollout.messages import (
    ChangeRollout,
    ProposeRollout,
    QueryRollouts,
    RolloutView,
)
from callboard.actors.configuration.rollout.plan import RolloutPlan
from callboard.actors.configuration.rollout.states import ENDED, RolloutState
from callboard.actors.configuration.rollout.target import Configured
from callboard.actors.kernel.props import props
from callboard.actors.kernel.snapshot import Snapshot
from callboard.messages.core.errors import CallboardError
from callboard.runtime.stores.memory import MemoryEventStore

DEADLINE_S: Final = 20.0
QUICK: Final = RolloutPlan(settle_s=0.0, judge_s=0.8, final_bake_s=0.0, pause_s=2.0)


class Limits(cb.Contract, name="configuration.test.limits"):
    findings_max: int


class Seen(cb.Contract, name="configuration.test.seen"):
    before: str
    after: str
    findings_max: int = 0


class Review(cb.Request[Seen], name="configuration.test.review"):
    waits: bool = False


class Reviewer(Configured):
    component = "reviewer"
    settings = Limits
    gate: ClassVar[asyncio.Event]

    @cb.handler
    async def review(self, request: Review, ctx: cb.Context) -> Seen:
        before = ctx.config
        if request.waits:
            await self.gate.wait()
        assert ctx.config is before
        version = "" if before is None else before.version
        limit = 0 if before is None else before.settings.findings_max
        return Seen(before=version, after=version, findings_max=limit)


class Picky(Configured):
    component = "picky"

    def __init__(self) -> None:
        self.looked: list[str] = []

    async def on_config(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and snapshot.settings["colour"] == "red":
            raise ValueError("red is not for me")

    @cb.handler
    async def review(self, request: Review, ctx: cb.Context) -> Seen:
        colour = "" if ctx.config is None else ctx.config.settings["colour"]
        return Seen(before=colour, after=colour)


STORES: Final[dict[str, MemoryEventStore]] = {}


def make_store() -> MemoryEventStore:
    return STORES.setdefault("one", MemoryEventStore())


@pytest_asyncio.fixture
async def system() -> AsyncIterator[cb.System]:
    STORES.clear()
    async with cb.start(engine="inline", hosts=2) as running:
        await running.spawn(props(RolloutController, make_store), name=CONTROLLER, offer=True)
        yield running


async def controller(system: cb.System) -> Any:
    return await system.lookup(CONTROLLER)


async def propose(
    system: cb.System, rollout: str, contents: dict[str, bytes], **fields: Any
) -> RolloutView:
    request = ProposeRollout(
        rollout=rollout,
        package="review",
        version=rollout,
        contents=contents,
        author="ada",
        **{"plan": QUICK, **fields},
    )
    view: RolloutView = await (await controller(system)).ask(request)
    return view


async def ended(system: cb.System, rollout: str) -> RolloutView:
    """The roll-out, once it has ended."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(CallboardError):
                page = await (await controller(system)).ask(QueryRollouts(rollout=rollout))
                if page.rollouts[0].state in ENDED:
                    view: RolloutView = page.rollouts[0]
                    return view
            await asyncio.sleep(0)


async def test_each_target_has_the_new_version_after_a_roll_out(system: cb.System) -> None:
    actors = [await system.spawn(Reviewer, name=f"r{number}") for number in range(10)]
    await propose(system, "one", {"reviewer": b'{"findings_max": 3}'})
    view = await ended(system, "one")
    assert (view.state, view.reason) == (RolloutState.SUCCEEDED, "")
    assert (view.active, view.targets, view.waves) == (10, 10, 3)
    seen = [await each.ask(Review()) for each in actors]
    assert {each.findings_max for each in seen} == {3}


async def test_a_handler_keeps_the_snapshot_that_it_began_with(system: cb.System) -> None:
    Reviewer.gate = asyncio.Event()
    actor = await system.spawn(Reviewer, name="r")
    await propose(system, "one", {"reviewer": b'{"findings_max": 1}'})
    await ended(system, "one")
    slow = asyncio.ensure_future(actor.ask(Review(waits=True)))
    await propose(system, "two", {"reviewer": b'{"findings_max": 2}'})
    assert (await ended(system, "two")).state is RolloutState.SUCCEEDED
    Reviewer.gate.set()
    assert (await slow).findings_max == 1
    assert (await actor.ask(Review())).findings_max == 2


async def test_settings_that_do_not_fit_are_refused_with_the_field(system: cb.System) -> None:
    actor = await system.spawn(Reviewer, name="r")
    await propose(system, "one", {"reviewer": b'{"findings_max": 1}'})
    await ended(system, "one")
    await propose(system, "two", {"reviewer": b'{"findings_max": "many"}'})
    view = await ended(system, "two")
    assert view.state is RolloutState.ROLLED_BACK
    assert "findings_max" in view.reason
    assert (await actor.ask(Review())).findings_max == 1


async def test_a_hook_refuses_and_its_actor_goes_on_as_before(system: cb.System) -> None:
    actor = await system.spawn(Picky, name="p")
    await propose(system, "one", {"picky": b'{"colour": "blue"}'})
    assert (await ended(system, "one")).state is RolloutState.SUCCEEDED
    await propose(system, "two", {"picky": b'{"colour": "red"}'})
    view = await ended(system, "two")
    assert view.state is RolloutState.ROLLED_BACK
    assert "red is not for me" in view.reason
    assert (await actor.ask(Review())).before == "blue"


async def test_an_actor_that_starts_late_has_the_version_before_its_first_message(
    system: cb.System,
) -> None:
    await system.spawn(Picky, name="p")
    await propose(system, "one", {"picky": b'{"colour": "blue"}'})
    await ended(system, "one")
    late = await system.spawn(Picky, name="late")
    assert (await late.ask(Review())).before == "blue"


async def test_a_stored_version_comes_back_at_once(system: cb.System) -> None:
    actor = await system.spawn(Reviewer, name="r")
    for number in (1, 2):
        await propose(system, f"v{number}", {"reviewer": b'{"findings_max": %d}' % number})
        await ended(system, f"v{number}")
    request = ProposeRollout(
        rollout="back", package="review", version="v1", author="bob", at_once=True, plan=QUICK
    )
    await (await controller(system)).ask(request)
    assert (await ended(system, "back")).state is RolloutState.SUCCEEDED
    assert (await actor.ask(Review())).findings_max == 1


async def test_a_package_that_touches_permissions_waits_for_a_second_principal(
    system: cb.System,
) -> None:
    await system.spawn(Reviewer, name="r")
    contents = {"reviewer": b'{"findings_max": 1}'}
    await propose(system, "one", contents, touches=("permissions",))
    ref = await controller(system)
    with pytest.raises(CallboardError, match="author"):
        await ref.ask(ChangeRollout(rollout="one", change="approve", by="ada"))
    async with asyncio.timeout(DEADLINE_S):
        view = await ref.ask(ChangeRollout(rollout="one", change="approve", by="bob"))
        while view.state is RolloutState.DRAFT:
            view = await ref.ask(ChangeRollout(rollout="one", change="approve", by="bob"))
    view = await ended(system, "one")
    assert (view.state, view.approved_by) == (RolloutState.SUCCEEDED, ("bob",))


async def test_a_controller_that_is_made_again_goes_on(system: cb.System) -> None:
    actor = await system.spawn(Reviewer, name="r")
    plan = QUICK.model_copy(update={"judge_s": 1.5})
    await propose(system, "one", {"reviewer": b'{"findings_max": 7}'}, plan=plan)
    await system.stop(await controller(system))
    await system.spawn(props(RolloutController, make_store), name=CONTROLLER, offer=True)
    view = await ended(system, "one")
    assert (view.state, view.reason) == (RolloutState.SUCCEEDED, "")
    assert (await actor.ask(Review())).findings_max == 7
