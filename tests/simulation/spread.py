"""The scenario of spread trees: placed children on dying hosts.

A tree has its supervisor on one host, children on the others, and a subtree with a child back on
the first host. Whatever dies, each child runs for exactly one proxy. Once the system has healed,
every child answers again.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.actors.trees.extension import Trees
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.remote.proxy import RemoteChildCell
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Backoff, Intensity, Strategy, SupervisorSpec
from callboard.messages.core.errors import CallboardError

from . import fixture_actors
from .run import Run
from .scenario_fixture import BUSY_S, HOSTS, ScenarioFixture, open_fixture, run_under_faults

if TYPE_CHECKING:
    from callboard.actors.trees.remote.holder import RemoteChildHolder

__all__ = ["spread"]

SETTLED_S: Final = 20.0
"""The time in which all children of a healed tree answer again."""
POLL_S: Final = 0.2
FAULTS: Final = ("crash", "crash", "crash", "hang", "slow", "cut", "storm", "failing_start")
PATHS: Final = ("a", "b", "s", "s/c", "s/d", "e")


async def spread(run: Run) -> None:
    """Trees on several hosts; their hosts and children fail."""
    async with open_fixture(run) as fixture:
        tree = await _start(fixture)
        if tree is None:
            return
        await run_under_faults(
            fixture,
            *(_ask(fixture, tree) for _ in range(6)),
            *(_fail(fixture, tree) for _ in range(3)),
            *(_by_hand(fixture, tree) for _ in range(1 + (run.draw() < 0.3))),
            _settle(fixture, tree),
            faults=FAULTS,
            count=4,
        )
        _check(run)
        if run.draw() < 0.5 and _is_written(run, tree):
            await fixture.system.stop(tree)
            await asyncio.sleep(BUSY_S)
            _check_gone(run)


async def _start(fixture: ScenarioFixture) -> TreeRef | None:
    draw = fixture.draw
    home = int(draw() * HOSTS)

    def at(offset: int) -> Placement:
        return Placement(host=1 + (home + offset) % HOSTS)

    def spec() -> SupervisorSpec:
        return SupervisorSpec(
            strategy=tuple(Strategy)[int(draw() * 3)],
            intensity=Intensity(1 if draw() < 0.3 else 1_000, period_s=1.0),
            backoff=Backoff(max_s=0.2 if draw() < 0.5 else 0.0),
        )

    inner = TreeSpec(
        "s",
        (
            ActorSpec("c", fixture_actors.Receiver),
            ActorSpec("d", fixture_actors.Receiver, placement=at(0)),
        ),
        spec(),
        placement=at(2),
    )
    tree = TreeSpec(
        "spread",
        (
            ActorSpec("a", fixture_actors.Receiver),
            ActorSpec("b", fixture_actors.Receiver, placement=at(1)),
            inner,
            ActorSpec("e", fixture_actors.Receiver, placement=at(1)),
        ),
        spec(),
        placement=at(0),
    )
    with contextlib.suppress(CallboardError):
        return await fixture.system.start_tree(tree)
    return None


def _leaf(fixture: ScenarioFixture) -> str:
    leaves = [path for path in PATHS if path != "s"]
    return leaves[int(fixture.draw() * len(leaves))]


async def _ask(fixture: ScenarioFixture, tree: TreeRef) -> None:
    await fixture.later(BUSY_S)
    log, timeout_s = fixture.run.message_log, 0.1 + 2.0 * fixture.draw()
    record = log.new_ask(timeout_s)
    reply = tree[_leaf(fixture)].ask(fixture_actors.Echo(number=record.number), timeout_s=timeout_s)
    await log.outcome_of(record, reply, lambda answer: answer.number == record.number)


async def _fail(fixture: ScenarioFixture, tree: TreeRef) -> None:
    await fixture.later(BUSY_S)
    with contextlib.suppress(CallboardError):
        tree[_leaf(fixture)].tell(fixture_actors.Fail())


async def _by_hand(fixture: ScenarioFixture, tree: TreeRef) -> None:
    """Terminate a child and start it again; a dying host answers with an error."""
    await fixture.later(BUSY_S)
    path = PATHS[int(fixture.draw() * len(PATHS))]
    with contextlib.suppress(CallboardError):
        await tree.terminate_child(path)
    await fixture.later(0.3)
    with contextlib.suppress(CallboardError):
        await tree.restart_child(path)


async def _settle(fixture: ScenarioFixture, tree: TreeRef) -> None:
    """Check that all children answer again; start terminated children by hand."""
    await asyncio.sleep(BUSY_S)
    run = fixture.run
    until_s = run.world.now_s + SETTLED_S
    silent = list(PATHS)
    while silent and run.world.now_s < until_s:
        for path in PATHS:
            with contextlib.suppress(CallboardError):
                await tree.restart_child(path)
        await asyncio.sleep(POLL_S)
        silent = [path for path in PATHS if path != "s" and not await _answers(fixture, tree, path)]
    if silent and _is_written(run, tree):
        run.complain("placed_children_come_back", f"{silent} of the tree do not answer")


async def _answers(fixture: ScenarioFixture, tree: TreeRef, path: str) -> bool:
    log = fixture.run.message_log
    record = log.new_ask(2.0)
    reply = tree[path].ask(fixture_actors.Echo(number=record.number), timeout_s=2.0)
    answer: Any = await log.outcome_of(record, reply, lambda answer: answer.number == record.number)
    return answer is not None


def _is_written(run: Run, tree: TreeRef) -> bool:
    """Whether the tree is still in the records: it has ended if its host could not start it."""
    slot = run.simulated.root.table.slots[tree.address.slot]
    return tree.address.cell in slot.entries


# --- checks ------------------------------------------------------------------------------------


def _check(run: Run) -> None:
    hosts = {host.slot: host for host in run.living()}
    for host in hosts.values():
        for holder in host.extension(Trees).holders.all:
            seen = _wrong(hosts, host, holder)
            if seen is not None:
                run.complain("placed_once", seen)
        for cell in host.cells.values():
            if isinstance(cell, RemoteChildCell) and cell.lifecycle.name == "RUNNING":
                there = hosts[cell.place.slot]
                remote_child = there.cells.get(cell.remote_child)
                if remote_child is None or remote_child.lifecycle.name != "RUNNING":
                    run.complain("placed_once", f"{cell.path} runs here, and not on {there.name}")
    run.check_now()


def _wrong(hosts: dict[int, Host], host: Host, holder: "RemoteChildHolder") -> str | None:
    """A breach at rest: the remote child of a holder runs for no proxy."""
    supervisor, owner = holder.supervisor, holder.owner
    if supervisor is None or supervisor.is_down:
        return None
    home = hosts.get(owner.slot)
    proxy = None if home is None else home.cells.get(owner.cell)
    if home is None or home.epoch != owner.epoch or not isinstance(proxy, RemoteChildCell):
        return f"{supervisor.path} runs on {host.name} for {owner}, which is lost"
    if proxy.turn != owner.turn or proxy.lifecycle.name != "RUNNING":
        state = f"{proxy.lifecycle.name} in {proxy.turn}"
        return f"{supervisor.path} runs for {owner}, its proxy is {state}"
    return None


def _check_gone(run: Run) -> None:
    for host in run.living():
        for holder in host.extension(Trees).holders.all:
            run.complain("placed_once", f"{holder.path} is on {host.name}, its tree has ended")
    run.check_now()
