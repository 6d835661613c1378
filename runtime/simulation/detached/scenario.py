"""The scenario of detached systems: the root dies alone, drivers die alone, and all goes on."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Final

from callboard.actors.actor import Actor, handler
from callboard.actors.props import props
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError
from callboard.messages.placement import Placement, Resources
from callboard.messages.ref import Address, Ref
from callboard.messages.spec import Backoff, Intensity, SupervisorSpec

from ...inside import host_of
from ...settings import Settings
from .. import cast
from ..durable import LaborAgent, new_book
from ..faults import draw_weather, schedule_faults
from ..ledger import ledger_here
from ..run import Run
from ..stage import BUSY_S, HOSTS, LIMITS, LOOK_S, QUIET_S, REST_MAX_S, Stage, is_quiet
from .faults import draw_detached_faults, happen
from .owners import Owners
from .play import Play
from .system import DetachedSystem, Driver

__all__ = ["detached"]

DRIVERS: Final = 2
FAULTS_MAX: Final = 5
ACTS_SHARE: Final = 0.5
LONG_S: Final = 300.0
"""The timeout of asks that only the end of their asker ends."""
FAILING_SHARE: Final = 0.2
"""In how many seeds the head of the cluster does not always take what is written."""
DURABLE_SHARE: Final = 0.25
"""In how many seeds a driver owns an execution that is journalled."""
EARLY_SHARE: Final = 0.15
"""In how many seeds the root dies while the system starts."""
TOLD_WITHIN_S: Final = 3.0
HEARTBEAT_S: Final = 0.6

Act = Callable[[], Coroutine[Any, Any, None]]


class Tag(Contract, name="sim.tag"):
    """Which start an actor came from."""

    tag: int


class WhichTag(Request[Tag], name="sim.which_tag"):
    """Asked for it."""


class Tagged(Actor):
    """Started once for each tag."""

    def __init__(self, tag: int) -> None:
        self.tag = tag

    async def started(self, _ctx: Any) -> None:
        """Take a while, so that the root may die meanwhile."""
        await asyncio.sleep(0.1 * ledger_here().random())

    @handler
    async def which(self, _request: WhichTag) -> Tag:
        """Tell."""
        return Tag(tag=self.tag)


class Wait(Request[Tag], name="sim.wait"):
    """Answered never."""

    number: int


class Waiter(Actor):
    """Lets all wait who ask it; nobody may wait whose asker is gone."""

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
        understudies=1,
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
    system = DetachedSystem(world, settings, run.environment, run.add_host, draw_weather(draw))
    run.watch(system)
    if draw() < EARLY_SHARE:
        world.at(world.now_s + 1.5 * draw(), system.crash, 0)
    await system.start()
    if draw() < FAILING_SHARE:
        system.lasting.ledger.failing = 0.5 * draw()
        world.at(world.now_s + BUSY_S, setattr, system.lasting.ledger, "failing", 0.0)
    play = Play(run, system)
    book = play.book = new_book(run, 4 + int(draw() * 5)) if draw() < DURABLE_SHARE else None
    await _cast(play)
    for _ in range(DRIVERS - 1):
        system.begin(partial(_perform, play))
    owners = None if book is None else Owners(play, book)
    faults = draw_detached_faults(
        draw,
        hosts=HOSTS,
        drivers=len(system.drivers),
        until_s=BUSY_S,
        count=int(draw() * (FAULTS_MAX + 1)),
    )
    schedule_faults(system, faults, happen)
    await asyncio.sleep(BUSY_S)
    system.heal()
    await _acted(play)
    if owners is not None:
        await owners.finish()
    await _rest(play)
    run.check_end()
    play.check_at_rest()
    play.may_leave = draw() < 0.5  # The others are there when the system is taken down.
    await asyncio.sleep(LOOK_S)
    play.is_going_down = True
    await system.down(settings.stop_timeout_s)
    stopped_s = max(driver.process.loop.paused_until_s for driver in system.drivers) - world.now_s
    await asyncio.sleep(TOLD_WITHIN_S + max(0.0, stopped_s))
    play.check_down()


# --- the drivers ------------------------------------------------------------------------------


async def _cast(play: Play) -> None:
    """The first driver starts the cast, and goes on as the others."""
    run = play.run

    async def main(driver: Driver) -> None:
        stage = Stage(run, driver.system)
        await stage.cast(receivers=3, senders=2, parents=0, agents=3)
        waiter = await driver.system.spawn(Waiter, name="waiter", host=1 + int(run.draw() * HOSTS))
        if play.book is not None:
            await driver.system.pool(LaborAgent, size=6)
        play.receivers = [ref.address for ref in stage.receivers]
        play.senders = [ref.address for ref in stage.senders]
        play.waiter = waiter.address
        await _perform(play, driver)

    driver = play.system.begin(main)
    while not play.waiter:
        if driver.task is not None and driver.task.done():
            driver.task.result()
        await asyncio.sleep(LOOK_S)


async def _perform(play: Play, driver: Driver) -> None:
    """What a driver does until it leaves."""
    draw, bind = play.run.draw, host_of(driver.system).ref
    stage = Stage(play.run, driver.system)
    stage.receivers = [bind(address) for address in play.receivers]
    stage.senders = [bind(address) for address in play.senders]
    acts: tuple[Act, ...] = (
        *(partial(_ask, play, driver, stage),) * 6,
        *(partial(_spawn, play, driver, stage),) * 3,
        *(partial(_wait, play, driver, stage),) * 2,
        *(stage.burst,) * 2,
        stage.relay,
        stage.fail,
        stage.come_and_go,
        partial(stage.execute, 6 + int(draw() * 6)),
    )
    tasks = [asyncio.ensure_future(act()) for act in acts if draw() < ACTS_SHARE]
    if draw() < 0.3:
        tasks.append(asyncio.ensure_future(_subscribe(driver)))
    play.at_work[driver.number] = None
    try:
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            task.result()
        play.at_work.pop(driver.number)
        stays = draw() < 0.7
        while stays and not (play.may_leave and not play.is_going_down):  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(play: Play, driver: Driver, stage: Stage) -> None:
    """An ask to a host that nothing has hit does not fail with that host."""
    draw, ledger = stage.draw, play.run.ledger
    await stage.later(BUSY_S)
    timeout_s = 0.05 + 2.0 * draw() ** 2
    record = ledger.new_ask(timeout_s)
    to = stage.some(stage.receivers)
    request = cast.Echo(number=record.number, seconds=3.0 * draw() if draw() > 0.85 else 0.0)
    reply = driver.system.ask(request, to, timeout_s=timeout_s)
    await ledger.outcome_of(record, reply, lambda answer: answer.number == record.number)
    if record.outcome == "host_lost":
        play.check_loss(driver, to.address)


async def _spawn(play: Play, driver: Driver, stage: Stage) -> None:
    """Start some actors, here or there, and sometimes stop them again."""
    draw, system = stage.draw, driver.system
    await stage.later(BUSY_S)
    chance = draw()
    tags = [play.new_tag() for _ in range(3 if chance < 0.3 else 1)]
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
    play.told.update(zip(tags, (ref.address for ref in refs), strict=True))
    if draw() < 0.3:
        await stage.later(0.3)
        ref: Ref[Any] = refs[0]
        play.told.pop(tags[0])
        with contextlib.suppress(CallboardError):
            await system.stop(ref)
            play.stopped.add(tags[0])


async def _wait(play: Play, driver: Driver, stage: Stage) -> None:
    """Ask what is never answered, and give up; who dies meanwhile gives up too."""
    draw = stage.draw
    await stage.later(BUSY_S)
    waiter = host_of(driver.system).ref(play.waiter or Address(0, 0))
    request = Wait(number=play.new_tag())
    with contextlib.suppress(CallboardError, TimeoutError):
        async with asyncio.timeout(0.1 + 3.0 * draw()):
            await driver.system.ask(request, waiter, timeout_s=LONG_S)


async def _subscribe(driver: Driver) -> None:
    with contextlib.suppress(CallboardError):
        await driver.system.on_dead_letter(_read)


def _read(_letter: Any) -> None:
    """Dead letters are as the seed has them."""


# --- the end ----------------------------------------------------------------------------------


async def _acted(play: Play) -> None:
    """Wait until all drivers that live have done what they had to."""
    world = play.run.world
    until_s = world.now_s + REST_MAX_S
    while any(driver.number in play.at_work for driver in play.system.drivers if _works(driver)):
        if world.now_s > until_s:
            play.run.complain("it_ends", f"drivers {list(play.at_work)} go on")
            break
        await asyncio.sleep(LOOK_S)


def _works(driver: Driver) -> bool:
    return not driver.process.loop.is_dead and driver.system.failure is None


async def _rest(play: Play) -> None:
    """Wait until the root and all hosts are up, and all know of the same drivers."""
    system = play.system
    until_s = play.run.world.now_s + REST_MAX_S
    while play.run.world.now_s < until_s:
        await asyncio.sleep(LOOK_S)
        if _is_at_rest(system):
            await asyncio.sleep(QUIET_S)
            if _is_at_rest(system):
                return
    play.run.complain("it_ends", "the system does not come to rest")
    play.run.check_now()


def _is_at_rest(system: DetachedSystem) -> bool:
    lasting = system.lasting.lasting
    if lasting is None or lasting.guests is None:
        return False
    table = system.root.table
    attached = {driver.slot for driver in system.drivers if driver.is_attached}
    return (
        all(slot.is_up for slot in table.slots.values())
        and set(table.guests) == attached
        and not lasting.guests.expected
        and all(map(is_quiet, system.living()))
        and not any(process.loop.is_paused for process in system.cluster.named.values())
    )
