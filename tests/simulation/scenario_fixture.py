"""The fixture of a scenario: a system with actors, activities, and faults."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.spec import Backoff, Intensity, Restart, Strategy, SupervisorSpec
from callboard.messages.control.views import HostView, QueryHost
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Address, Ref
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.runtime.api.system import System
from callboard.runtime.testing.system import open_system

from . import fixture_actors
from .faults import FAULTS, draw_faults, draw_network_faults, schedule_faults
from .run import Run

__all__ = [
    "BUSY_S",
    "HOSTS",
    "LIMITS",
    "POLL_S",
    "QUIET_S",
    "REST_MAX_S",
    "ScenarioFixture",
    "is_quiet",
    "open_fixture",
    "run_under_faults",
]

HOSTS: Final = 3
LIMITS: Final = Limits(
    link_credit=24,
    link_control_credit=6,
    link_backlog_max=48,
    link_frames_in_flight=2,
    frame_messages_soft=6,
    mailbox_messages=64,
)
"""Small limits, so that every bounded queue is full at times."""
IN_PARTS: Final = 1 / 3
"""The share of runs with large messages."""
BUSY_S: Final = 2.0
"""The time in which faults are injected."""
REST_MAX_S: Final = 60.0
"""The time in which a healed system must come to rest."""
QUIET_S: Final = 0.6
"""The time in which the last acknowledgements and credits arrive."""
POLL_S: Final = 0.5
NESTED: Final = 0.6
"""The share of parents with a parent among their children."""
COMMANDS: Final = 60
"""More than all credit of a link."""
KINDS: Final = tuple(str(kind) for kind in Restart)


class ScenarioFixture:
    """A system with some actors, and the activities of a scenario."""

    def __init__(self, run: Run, system: System | None = None) -> None:
        self.run = run
        self.system = run.simulated.system if system is None else system
        self.draw = run.draw
        self.receivers: list[Ref[Any]] = []
        self.senders: list[Ref[Any]] = []
        self.parents: list[Ref[Any]] = []

    async def start_actors(
        self, *, receivers: int, senders: int, parents: int, agents: int
    ) -> None:
        """Start the actors; an actor whose start fails is missing."""
        spawn = self.system.spawn
        refs: list[Any] = await asyncio.gather(
            *(spawn(fixture_actors.Receiver, host=1 + place % HOSTS) for place in range(receivers)),
            *(
                spawn(fixture_actors.Sender, host=1 + (place + 1) % HOSTS)
                for place in range(senders)
            ),
            *(self.add_parent() for _ in range(parents)),
            *(
                self.system.pool(fixture_actors.SquaringAgent, size=agents)
                for _ in range(bool(agents))
            ),
        )
        self.receivers = list(refs[:receivers])
        self.senders = list(refs[receivers : receivers + senders])
        self.run.permanent.update(str(ref.address) for ref in self.receivers)

    async def add_parent(self) -> None:
        """Start a parent with children of all kinds, and any strategy."""
        draw = self.draw
        nested = 1 if draw() < NESTED else 0
        kinds = tuple(KINDS[int(draw() * len(KINDS))] for _ in range(1 + int(draw() * 3)))
        specs = tuple(self._spec() for _ in range(1 + nested))
        with contextlib.suppress(CallboardError):
            self.parents.append(
                await self.system.spawn(
                    props(fixture_actors.parent_of(specs[0]), kinds, 0.3 * draw(), specs[1:])
                )
            )

    def _spec(self) -> SupervisorSpec:
        draw, strategies = self.draw, tuple(Strategy)
        return SupervisorSpec(
            strategy=strategies[int(draw() * len(strategies))],
            intensity=Intensity(
                restarts=1 + int(draw() * 3), period_s=0.5 if draw() < 0.5 else 1.5
            ),
            backoff=Backoff(max_s=0.2 if draw() < 0.5 else 0.0),
        )

    def some(self, refs: Sequence[Ref[Any]]) -> Ref[Any]:
        """One of them."""
        return refs[int(self.draw() * len(refs))]

    # --- activities -----------------------------------------------------------------------

    async def later(self, seconds: float) -> None:
        """Wait for a random share of a time."""
        await asyncio.sleep(self.draw() * seconds)

    async def burst(self, count: int = 6) -> None:
        """Let a sender send notes."""
        draw = self.draw
        await self.later(BUSY_S)
        to = tuple(dict.fromkeys(self.some(self.receivers) for _ in range(2)))
        request = fixture_actors.Burst(to=to, count=1 + int(draw() * count), waits=draw() < 0.3)
        with contextlib.suppress(CallboardError):
            await self.system.ask(request, self.some(self.senders), timeout_s=4.0)

    async def ask(self) -> None:
        """Ask one receiver, or the pool."""
        draw, log = self.draw, self.run.message_log
        await self.later(BUSY_S)
        timeout_s = 0.05 + 2.0 * draw() ** 2
        chance = draw()
        how = "fail" if chance < 0.1 else ""
        seconds = 3.0 * draw() if chance > 0.85 else 0.0
        record = log.new_ask(timeout_s)
        request = fixture_actors.Echo(number=record.number, how=how, seconds=seconds)
        to = None if draw() < 0.2 else self.some(self.receivers)
        reply = asyncio.ensure_future(self.system.ask(request, to, timeout_s=timeout_s))
        waiting = log.outcome_of(record, reply, lambda answer: answer.number == record.number)
        if draw() < 0.1:
            task = asyncio.ensure_future(waiting)
            await self.later(0.1)
            task.cancel()
            await asyncio.wait((task,))
            return
        await waiting

    async def relay(self) -> None:
        """Let a sender ask a receiver."""
        log = self.run.message_log
        await self.later(BUSY_S)
        timeout_s = 0.2 + 2.0 * self.draw()
        record, onward = log.new_ask(timeout_s), log.new_ask(timeout_s)
        self.run.abandoned.add(onward.number)
        request = fixture_actors.Relay(
            number=record.number, onward=onward.number, to=self.some(self.receivers)
        )
        reply = self.system.ask(request, self.some(self.senders), timeout_s=timeout_s)
        await log.outcome_of(record, reply, lambda answer: answer.number == record.number)

    async def poke(self) -> None:
        """Let a child fail, stop, or be removed."""
        await self.later(BUSY_S)
        if not self.parents:
            return
        draw = self.draw
        chance = draw()
        how = ("stop", "remove", "crash", "fail", "fail", "fail")[int(chance * 6)]
        parent = self.some(self.parents)
        with contextlib.suppress(CallboardError):
            parent.tell(
                fixture_actors.Fail()
                if draw() > 0.9
                else fixture_actors.Poke(place=int(draw() * 8), how=how)
            )

    async def fail(self) -> None:
        """Let a receiver fail; its mailbox waits for the next incarnation."""
        await self.later(BUSY_S)
        with contextlib.suppress(CallboardError):
            self.some(self.receivers).tell(fixture_actors.Fail())

    async def start_and_stop(self) -> None:
        """Start an actor, use it, and stop it."""
        await self.later(BUSY_S)
        with contextlib.suppress(CallboardError):
            ref = await self.system.spawn(fixture_actors.Receiver, name=f"temporary-{self.draw()}")
            await self.later(0.2)
            await self.system.stop(ref)

    async def command(self) -> None:
        """Ask a host's control actor more at once than the reserve of the control plane."""
        await self.later(BUSY_S)
        control = Ref[Any](Address(1 + int(self.draw() * HOSTS), CONTROL_CELL), self.system._host)
        asks = (control.ask(QueryHost(actors_max=1), timeout_s=8.0) for _ in range(COMMANDS))
        for outcome in await asyncio.gather(*asks, return_exceptions=True):
            if not isinstance(outcome, CallboardError | HostView):
                self.run.complain("one_outcome", f"a control actor answers {outcome!r}")

    async def execute(self, tasks: int) -> None:
        """Run a job of `tasks` sub-tasks; it ends with the right result or with an error."""
        await self.later(BUSY_S / 2)
        draw = self.draw

        def decompose(_request: fixture_actors.Square) -> tuple[SubTask, ...]:
            return tuple(
                SubTask(
                    f"t{n}", fixture_actors.Square(number=n), needs=(f"t{n - 7}",) if n >= 7 else ()
                )
                for n in range(tasks)
            )

        taken: list[str] = []

        def collect(sub_task: SubTask, value: Any) -> Any:
            taken.append(sub_task.id)
            return value

        job: Job[Any, Any] = Job(
            name="squares",
            collect=collect,
            decompose=decompose,
            task_retry=RetryPolicy(attempts_max=4, backoff_min_s=0.02, backoff_max_s=0.5),
            task_timeout_s=0.2 + 2.0 * draw(),
            timeout_s=3.0 + 10.0 * draw(),
            threads=frozenset(),
            partial_every=0,
        )
        handle = self.system.submit(job, fixture_actors.Square(number=0))
        if draw() < 0.05:
            await self.later(1.0)
            handle.cancel()
        try:
            result = await handle.result(timeout_s=60.0)
        except CallboardError as error:
            self.run.world.trace.add(error.code)
        else:
            squares = [(each.number, each.square) for each in result]
            if len(squares) != tasks or squares != [(n, n * n) for n in range(tasks)]:
                self.run.complain("execution_is_right", f"the result is {squares}")
        if len(taken) != len(set(taken)):
            self.run.complain("execution_is_right", f"taken in: {sorted(taken)}")


def draw_limits(draw: Callable[[], float]) -> Limits:
    """Small limits; in a third of the runs nearly every message is a large one.

    Each is one part: with smaller ones a run would depend on the lengths of paths and tracebacks,
    so on the machine.
    """
    if draw() < IN_PARTS:
        return dataclasses.replace(LIMITS, inline_bytes_max=12)
    return LIMITS


@contextlib.asynccontextmanager
async def open_fixture(run: Run, *, healthy: bool = False) -> AsyncIterator[ScenarioFixture]:
    """Open a system with running hosts, on a network with faults unless it is `healthy`."""
    faults = None if healthy else draw_network_faults(run.draw)
    async with open_system(
        run.world,
        network_faults=faults,
        environment=run.environment,
        open_journal=run.open_journal,
        on_host=run.add_host,
        hosts=HOSTS,
        standbys=1,
        name="sim",
        heartbeat_s=1.5,
        heartbeats_missed_max=3,
        ask_timeout_s=3.0,
        stop_timeout_s=10.0,
        limits=draw_limits(run.draw),
        host_supervision=SupervisorSpec(
            intensity=Intensity(restarts=30, period_s=30.0), backoff=Backoff(max_s=0.5)
        ),
    ) as simulated:
        run.watch(simulated)
        yield ScenarioFixture(run)


async def run_under_faults(
    fixture: ScenarioFixture,
    *activities: Coroutine[Any, Any, None],
    faults: Sequence[str] = FAULTS,
    count: int = 3,
    is_idle: Callable[[Host], bool] = bool,
) -> None:
    """Run all activities at once under faults, then let the system heal and come to rest.

    It is at rest when no message is on its way between hosts, and each host `is_idle`.
    """
    run = fixture.run
    drawn = draw_faults(
        run.draw, hosts=HOSTS, until_s=BUSY_S, count=int(run.draw() * (count + 1)), kinds=faults
    )
    schedule_faults(run.simulated, drawn)
    tasks = [asyncio.ensure_future(activity) for activity in activities]
    await asyncio.sleep(BUSY_S)
    run.simulated.heal()
    # A seed may draw no activity at all.
    done, late = await asyncio.wait(tasks, timeout=REST_MAX_S) if tasks else ((), ())
    for task in done:
        task.result()
    if late:
        run.complain("it_ends", f"{len(late)} activities do not end: {late}")
    await _rest(fixture, is_idle)
    run.check_end()


async def _rest(fixture: ScenarioFixture, is_idle: Callable[[Host], bool]) -> None:
    """Wait until all hosts are up and work, and no message is on its way, now and some time later.

    A host that has just joined is quiet until it gets its shards, for instance.
    """
    run = fixture.run
    until_s = run.world.now_s + REST_MAX_S
    table = run.simulated.root.table

    def is_at_rest() -> bool:
        return (
            all(slot.is_up for slot in table.slots.values())
            and not any(loop.is_paused for loop in run.world.loops)
            and all(is_quiet(host) and is_idle(host) for host in run.living())
        )

    while run.world.now_s < until_s:
        await asyncio.sleep(POLL_S)
        if is_at_rest():
            await asyncio.sleep(QUIET_S)
            if is_at_rest():
                return


def is_quiet(host: Host) -> bool:
    """Whether no message or ask of a host is on its way."""
    return not host.pending and not any(
        link.core.unacknowledged or link.outbox.waiting for link in host.links.values()
    )
