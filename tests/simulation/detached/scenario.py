"""The scenario of detached systems: they survive the deaths of roots and drivers."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.props import props
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spec import Backoff, Intensity, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.api.inside import host_of
from callboard.runtime.hosting.settings import Settings

from .. import fixture_actors
from ..durable import LaborAgent, new_checker
from ..faults import draw_network_faults, schedule_faults
from ..message_log import current_message_log
from ..run import Run
from ..scenario_fixture import (
    BUSY_S,
    HOSTS,
    LIMITS,
    POLL_S,
    QUIET_S,
    REST_MAX_S,
    ScenarioFixture,
    is_quiet,
)
from .faults import draw_detached_faults, inject_detached_fault
from .owners import Owners
from .run_record import RunRecord
from .system import DetachedSystem, Driver

__all__ = ["detached"]

DRIVERS: Final = 2
FAULTS_MAX: Final = 5
ACTIVITY_SHARE: Final = 0.5
LONG_S: Final = 300.0
"""The timeout of asks that end only with their asker."""
FAILING_SHARE: Final = 0.2
"""The share of seeds in which writes to the head of the cluster may fail."""
DURABLE_SHARE: Final = 0.25
"""The share of seeds in which a driver owns a journalled execution."""
EARLY_SHARE: Final = 0.15
"""The share of seeds in which the root dies while the system starts."""
NOTIFIED_WITHIN_S: Final = 3.0
HEARTBEAT_S: Final = 0.6

Activity = Callable[[], Coroutine[Any, Any, None]]


class Tag(Contract, name="sim.tag"):
    """The number of an actor's start."""

    tag: int


class WhichTag(Request[Tag], name="sim.which_tag"):
    """The request for the tag."""


class Tagged(Actor):
    """Started once for each tag."""

    def __init__(self, tag: int) -> None:
        self.tag = tag

    async def started(self, _ctx: Any) -> None:
        """Take a while, so that the root may die meanwhile."""
        await asyncio.sleep(0.1 * current_message_log().random())

    @handler
    async def which(self, _request: WhichTag) -> Tag:
        """Answer with the tag."""
        return Tag(tag=self.tag)


class Wait(Request[Tag], name="sim.wait"):
    """A request that is never answered."""

    number: int


class Waiter(Actor):
    """Lets every request wait; a request ends when its asker is gone."""

    concurrency: ClassVar[int] = 16

    def __init__(self) -> None:
        self.waiting: dict[int, None] = {}

    @handler
    async def wait(self, request: Wait) -> Tag:
        """Wait until it is cancelled."""
        self.waiting[request.number] = None
        try:
            await asyncio.sleep(LONG_S)
        finally:
            del self.waiting[request.number]
        return Tag(tag=0)


async def detached(run: Run) -> None:
    """Drivers that attach to a system whose root, hosts and drivers die."""
    draw, world = run.draw, run.world
    settings = Settings(
        engine="inline",
        hosts=HOSTS,
        standbys=1,
        name="sim",
        heartbeat_s=HEARTBEAT_S,
        heartbeats_missed_max=3,
        ask_timeout_s=3.0,
        stop_timeout_s=10.0,
        limits=LIMITS,
        host_supervision=SupervisorSpec(
            intensity=Intensity(restarts=30, period_s=30.0), backoff=Backoff(max_s=0.5)
        ),
    )
    system = DetachedSystem(
        world, settings, run.environment, run.add_host, draw_network_faults(draw)
    )
    run.watch(system)
    if draw() < EARLY_SHARE:
        world.at(world.now_s + 1.5 * draw(), system.crash, 0)
    await system.start()
    if draw() < FAILING_SHARE:
        system.root_process.ledger.failing = 0.5 * draw()
        world.at(world.now_s + BUSY_S, setattr, system.root_process.ledger, "failing", 0.0)
    run_record = RunRecord(run, system)
    checker = run_record.checker = (
        new_checker(run, 4 + int(draw() * 5)) if draw() < DURABLE_SHARE else None
    )
    await _start_actors(run_record)
    for _ in range(DRIVERS - 1):
        system.begin(partial(_perform, run_record))
    owners = None if checker is None else Owners(run_record, checker)
    faults = draw_detached_faults(
        draw,
        hosts=HOSTS,
        drivers=len(system.drivers),
        until_s=BUSY_S,
        count=int(draw() * (FAULTS_MAX + 1)),
    )
    schedule_faults(system, faults, inject_detached_fault)
    await asyncio.sleep(BUSY_S)
    system.heal()
    await _activities_done(run_record)
    if owners is not None:
        await owners.finish()
    await _rest(run_record)
    run.check_end()
    run_record.check_at_rest()
    run_record.may_leave = draw() < 0.5  # The others are attached when the system goes down.
    await asyncio.sleep(POLL_S)
    run_record.is_going_down = True
    await system.down(settings.stop_timeout_s)
    stopped_s = max(driver.process.loop.paused_until_s for driver in system.drivers) - world.now_s
    await asyncio.sleep(NOTIFIED_WITHIN_S + max(0.0, stopped_s))
    run_record.check_down()


# --- the drivers ------------------------------------------------------------------------------


async def _start_actors(run_record: RunRecord) -> None:
    """Let the first driver start the actors, then perform its activities."""
    run = run_record.run

    async def main(driver: Driver) -> None:
        fixture = ScenarioFixture(run, driver.system)
        await fixture.start_actors(receivers=3, senders=2, parents=0, agents=3)
        waiter = await driver.system.spawn(Waiter, name="waiter", host=1 + int(run.draw() * HOSTS))
        if run_record.checker is not None:
            await driver.system.pool(LaborAgent, size=6)
        run_record.receivers = [ref.address for ref in fixture.receivers]
        run_record.senders = [ref.address for ref in fixture.senders]
        run_record.waiter = waiter.address
        await _perform(run_record, driver)

    driver = run_record.system.begin(main)
    while not run_record.waiter:
        if driver.task is not None and driver.task.done():
            driver.task.result()
        await asyncio.sleep(POLL_S)


async def _perform(run_record: RunRecord, driver: Driver) -> None:
    """Run the activities of a driver until it leaves."""
    draw, bind = run_record.run.draw, host_of(driver.system).ref
    fixture = ScenarioFixture(run_record.run, driver.system)
    fixture.receivers = [bind(address) for address in run_record.receivers]
    fixture.senders = [bind(address) for address in run_record.senders]
    activities: tuple[Activity, ...] = (
        *(partial(_ask, run_record, driver, fixture),) * 6,
        *(partial(_spawn, run_record, driver, fixture),) * 3,
        *(partial(_wait, run_record, driver, fixture),) * 2,
        *(fixture.burst,) * 2,
        fixture.relay,
        fixture.fail,
        fixture.start_and_stop,
        partial(fixture.execute, 6 + int(draw() * 6)),
    )
    tasks = [
        asyncio.ensure_future(activity()) for activity in activities if draw() < ACTIVITY_SHARE
    ]
    if draw() < 0.3:
        tasks.append(asyncio.ensure_future(_subscribe(driver)))
    run_record.at_work[driver.number] = None
    try:
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        run_record.at_work.pop(driver.number)
        stays = draw() < 0.7
        while stays and not (run_record.may_leave and not run_record.is_going_down):  # noqa: ASYNC110 - as above
            await asyncio.sleep(POLL_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(run_record: RunRecord, driver: Driver, fixture: ScenarioFixture) -> None:
    """Ask a receiver; without a fault of its host, the ask does not fail with `host_lost`."""
    draw, log = fixture.draw, run_record.run.message_log
    await fixture.later(BUSY_S)
    timeout_s = 0.05 + 2.0 * draw() ** 2
    record = log.new_ask(timeout_s)
    to = fixture.some(fixture.receivers)
    request = fixture_actors.Echo(
        number=record.number, seconds=3.0 * draw() if draw() > 0.85 else 0.0
    )
    reply = driver.system.ask(request, to, timeout_s=timeout_s)
    await log.outcome_of(record, reply, lambda answer: answer.number == record.number)
    if record.outcome == "host_lost":
        run_record.check_loss(driver, to.address)


async def _spawn(run_record: RunRecord, driver: Driver, fixture: ScenarioFixture) -> None:
    """Start some actors on any host, and sometimes stop them again."""
    draw, system = fixture.draw, driver.system
    await fixture.later(BUSY_S)
    chance = draw()
    tags = [run_record.new_tag() for _ in range(3 if chance < 0.3 else 1)]
    try:
        if len(tags) > 1:
            refs = await system.spawn_many([props(Tagged, tag) for tag in tags])
        elif chance > 0.85:
            isolated = Placement(isolated=Resources(cpus=0.0))
            refs = [await system.spawn(props(Tagged, tags[0]), placement=isolated)]
        else:
            refs = [await system.spawn(props(Tagged, tags[0]), name=f"tagged-{tags[0]}")]
    except CallboardError:
        return
    run_record.known.update(zip(tags, (ref.address for ref in refs), strict=True))
    if draw() < 0.3:
        await fixture.later(0.3)
        ref: Ref[Any] = refs[0]
        run_record.known.pop(tags[0])
        with contextlib.suppress(CallboardError):
            await system.stop(ref)
            run_record.stopped.add(tags[0])


async def _wait(run_record: RunRecord, driver: Driver, fixture: ScenarioFixture) -> None:
    """Send a request without an answer, and give up; the death of a driver ends it too."""
    draw = fixture.draw
    await fixture.later(BUSY_S)
    waiter = host_of(driver.system).ref(run_record.waiter or Address(0, 0))
    request = Wait(number=run_record.new_tag())
    with contextlib.suppress(CallboardError, TimeoutError):
        async with asyncio.timeout(0.1 + 3.0 * draw()):
            await driver.system.ask(request, waiter, timeout_s=LONG_S)


async def _subscribe(driver: Driver) -> None:
    with contextlib.suppress(CallboardError):
        await driver.system.on_dead_letter(_read)


def _read(_letter: Any) -> None:
    """Do nothing with a dead letter."""


# --- the end ----------------------------------------------------------------------------------


async def _activities_done(run_record: RunRecord) -> None:
    """Wait until all living drivers have finished their activities."""
    world = run_record.run.world
    until_s = world.now_s + REST_MAX_S
    while any(
        driver.number in run_record.at_work
        for driver in run_record.system.drivers
        if _works(driver)
    ):
        if world.now_s > until_s:
            run_record.run.complain("it_ends", f"drivers {list(run_record.at_work)} do not end")
            break
        await asyncio.sleep(POLL_S)


def _works(driver: Driver) -> bool:
    return not driver.process.loop.is_dead and driver.system.failure is None


async def _rest(run_record: RunRecord) -> None:
    """Wait until the root and all hosts are up and agree about the drivers."""
    system = run_record.system
    until_s = run_record.run.world.now_s + REST_MAX_S
    while run_record.run.world.now_s < until_s:
        await asyncio.sleep(POLL_S)
        if _is_at_rest(system):
            await asyncio.sleep(QUIET_S)
            if _is_at_rest(system):
                return
    run_record.run.complain("it_ends", "the system does not come to rest")
    run_record.run.check_now()


def _is_at_rest(system: DetachedSystem) -> bool:
    incarnation = system.root_process.incarnation
    if incarnation is None or incarnation.attached_drivers is None:
        return False
    table = system.root.table
    attached = {driver.slot for driver in system.drivers if driver.is_attached}
    return (
        all(slot.is_up for slot in table.slots.values())
        and set(table.attached_drivers) == attached
        and not incarnation.attached_drivers.expected
        and all(map(is_quiet, system.living()))
        and not any(process.loop.is_paused for process in system.cluster.named.values())
    )
