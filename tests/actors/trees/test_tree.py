"""Trees on hosts of the inline engine: references, messages, stops, views, histories."""

import asyncio
import threading
from typing import Any, ClassVar, cast

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.props import props
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Backoff, Intensity, Restart, StopTimeout, Strategy
from callboard.messages.control.spec import SupervisorSpec as Spec
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import ActorNotFound, ActorStartFailed, SpecError
from callboard.runtime.api.inside import host_of, processes_of
from callboard.runtime.api.start import start

from .fixture_actors import LOG, Child, End, Ping, child, states, supervised

ALONE: Any = {"engine": "inline", "hosts": 1, "standbys": 0}
WAIT_S = 10.0


class Hang(Contract, name="trees.hang"):
    """The handler of this message ends only when the test allows it."""


class Hanging(Child):
    """Its handlers ignore their cancellation."""

    let_go: ClassVar[threading.Event]
    may_end: ClassVar[asyncio.Event]

    @handler
    async def hang(self, message: Hang) -> None:
        LOG.write(f"hang {self.label}")
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            finally:
                LOG.write(f"cancelled {self.label}")


class InThread(Hanging):
    @handler
    def hang(self, message: Hang, ctx: Context) -> None:  # type: ignore[override]
        cast("Host", ctx._host).loop.call_soon_threadsafe(LOG.write, f"hang {self.label}")
        ctx.cancelled.wait(WAIT_S)
        self.let_go.wait(WAIT_S)


class SlowStart(Child):
    """Its start hook ends only by cancellation."""

    async def started(self, ctx: Context) -> None:
        LOG.write(f"starting {self.label}")
        try:
            await asyncio.Event().wait()
        finally:
            LOG.write(f"hook of {self.label} ended")


class SlowStop(Child):
    may_stop: ClassVar[asyncio.Event]

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        LOG.write(f"stopping {self.label}")
        await self.may_stop.wait()
        LOG.write(f"stop {self.label}")


@pytest.fixture(autouse=True)
async def fresh() -> None:
    LOG.clear()
    Hanging.may_end, Hanging.let_go = asyncio.Event(), threading.Event()
    SlowStop.may_stop = asyncio.Event()


def spec(actor: type[Actor], label: str, **options: Any) -> ActorSpec:
    return ActorSpec(label, props(actor, label), **options)


async def answers(tree: TreeRef, path: str) -> int:
    incarnation: int = (await tree[path].ask(Ping(), timeout_s=WAIT_S)).incarnation
    return incarnation


# --- references and messages -------------------------------------------------------------------


async def test_messages_for_a_child_survive_the_escalation_of_its_supervisor() -> None:
    inner = TreeSpec("inner", (child("a"), child("b")), supervised(Strategy.ONE_FOR_ALL, 0))
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("outer", (inner, child("c")), supervised()))
        before = [await answers(tree, "inner/a"), await answers(tree, "inner/b")]
        ref = tree["inner/b"]
        tree["inner/a"].tell(End(kind="failed"))
        waiting = [tree[path].ask(Ping(), timeout_s=WAIT_S) for path in ("inner/a", "inner/b")]
        after = [pong.incarnation for pong in await asyncio.gather(*waiting)]
        assert after[0] == before[0] + 1
        assert ref == tree["inner/b"]
        assert await answers(tree, "inner/b") == before[1] + 1
        assert sum((await system.dead_letters()).values()) == 1  # the message that made it fail


async def test_references_stay_valid_when_a_standby_takes_over() -> None:
    tree_spec = TreeSpec("outer", (child("a"), TreeSpec("s", (child("b"),)), child("c")))
    async with start(engine="inline", hosts=1, standbys=1) as system:
        tree = await system.start_tree(tree_spec)
        before = {path: await answers(tree, path) for path in ("a", "s/b", "c")}
        LOG.taken()
        down = system.watch_host(1)
        await answers(tree, "a")
        await processes_of(system)[0].kill()
        await down
        for path, incarnation in before.items():
            assert await answers(tree, path) == incarnation + 1
        assert LOG.taken() == ["start a", "start b", "start c"]
        assert (await states(tree)) == {"a": "running", "s": "running", "c": "running"}


async def test_registered_and_offering_children_are_found() -> None:
    pool = spec(Child, "pool", size=3, offer=True)
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("t", (child("known", register=True), pool)))
        assert await system.lookup("known") == tree["known"]
        assert (await system.ask(Ping())).label == "pool"
        assert LOG.lines == ["start known", *["start pool"] * 3]
        await system.stop(tree.ref)
        with pytest.raises(ActorNotFound):
            await system.lookup("known")


async def test_pool_that_does_not_start_undoes_the_tree() -> None:
    LOG.failing["pool"] = 1
    async with start(**ALONE) as system:
        with pytest.raises(ActorStartFailed):
            await system.start_tree(TreeSpec("t", (child("a"), spec(Child, "pool", size=2))))
        assert LOG.lines[-1] == "stop a"


async def test_unknown_path_is_refused_with_the_known_ones() -> None:
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("t", (child("a"),)))
        with pytest.raises(SpecError, match="'a'"):
            tree["b"]
        with pytest.raises(SpecError, match="worker"):
            tree.subtree("a")


# --- stops -------------------------------------------------------------------------------------


async def test_killed_child_is_not_asked_to_stop() -> None:
    async with start(**ALONE) as system:
        wanted = TreeSpec("t", (child("a"), child("b", stop_timeout=StopTimeout.KILL)))
        tree = await system.start_tree(wanted)
        LOG.taken()
        await system.stop(tree.ref)
        assert LOG.taken() == ["stop a"]


async def test_child_with_infinity_is_waited_for_and_the_supervisor_answers_meanwhile() -> None:
    async with start(**ALONE) as system:
        slow = spec(SlowStop, "slow", stop_timeout=StopTimeout.INFINITY)
        tree = await system.start_tree(TreeSpec("t", (child("a"), slow)))
        LOG.taken()
        stopping = asyncio.ensure_future(tree.terminate_child("slow"))
        await LOG.reach(1)
        view = await tree.children()
        assert [(row.name, row.state) for row in view.children] == [
            ("a", "running"), ("slow", "stopping"),
        ]  # fmt: skip
        assert (view.specs, view.active, view.supervisors, view.workers) == (2, 2, 0, 2)
        assert await answers(tree, "a")
        assert not stopping.done()
        SlowStop.may_stop.set()
        await stopping
        assert LOG.taken() == ["stopping slow", "stop slow"]


async def test_child_that_hangs_leaves_those_before_it_their_own_time() -> None:
    short = StopTimeout(0.1)
    async with start(**ALONE) as system:
        hanging = [spec(Hanging, name, stop_timeout=short) for name in "xyz"]
        tree = await system.start_tree(TreeSpec("t", (child("a", stop_timeout=short), *hanging)))
        for name in "xyz":
            tree[name].tell(Hang())
        await LOG.reach(4 + 3)
        LOG.taken()
        await system.stop(tree.ref)
        stops = [line for line in LOG.taken() if line == "stop a"]
        assert stops == ["stop a"]
        Hanging.may_end.set()


async def test_start_hook_that_runs_when_its_tree_is_stopped_is_cancelled() -> None:
    async with start(**ALONE) as system:
        wanted = TreeSpec("t", (child("a"), spec(SlowStart, "slow")))
        starting = asyncio.ensure_future(system.start_tree(wanted))
        await LOG.reach(2)
        (cell,) = [view.members[0].cell for view in (await system.view()).hosts if view.slot == 1]
        await system.stop(TreeRef(host_of(system), wanted, {"": _address(cell)}))
        assert LOG.lines == ["start a", "starting slow", "hook of slow ended", "stop a"]
        with pytest.raises(Exception, match="stopped before it started"):
            await starting


def _address(cell: int) -> Any:
    from callboard.messages.core.ref import Address

    return Address(1, cell)


async def test_thread_that_cannot_be_killed_does_not_keep_its_successor_from_working() -> None:
    async with start(**ALONE) as system:
        wanted = TreeSpec(
            "t",
            (child("a"), spec(InThread, "thread", stop_timeout=StopTimeout(0.05))),
            supervised(Strategy.ONE_FOR_ALL),
        )
        tree = await system.start_tree(wanted)
        before = await answers(tree, "thread")
        tree["thread"].tell(Hang())
        await LOG.reach(3)
        tree["a"].tell(End(kind="failed"))
        assert await answers(tree, "thread") == before + 1
        Hanging.let_go.set()


async def test_crash_while_a_back_off_runs_leaves_no_zombie_after_a_kill() -> None:
    inner = TreeSpec(
        "inner",
        (child("a"), child("b")),
        Spec(Strategy.ONE_FOR_ONE, Intensity(9, 60.0), Backoff(min_s=0.05, max_s=0.05)),
        stop_timeout=StopTimeout.KILL,
    )
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("outer", (inner, child("c"))))
        down = system.watch(tree["inner/a"])
        await answers(tree, "inner/a")
        tree["inner/a"].tell(End(kind="failed"))
        await down
        await tree.terminate_child("inner")
        LOG.taken()
        # Longer than the back-off, on the loop of the host.
        await asyncio.wait_for(_later(0.15), WAIT_S)
        assert LOG.taken() == []
        await tree.restart_child("inner")
        assert LOG.taken() == ["start a", "start b"]


async def _later(delay_s: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(delay_s, over.set)
    await over.wait()


# --- back-off and history ------------------------------------------------------------------------


async def test_child_has_its_own_back_off() -> None:
    patient = child("patient", backoff=Backoff(min_s=30.0))
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("t", (child("a"), patient), supervised()))
        tree["patient"].tell(End(kind="failed"))
        tree["a"].tell(End(kind="failed"))
        await LOG.reach(3)
        assert LOG.taken()[2:] == ["start a"]
        assert (await states(tree))["patient"] == "waiting"


async def test_messages_for_a_child_that_is_down_are_refused_until_it_is_restarted() -> None:
    async with start(**ALONE) as system:
        tree = await system.start_tree(TreeSpec("t", (child("a", restart=Restart.TRANSIENT),)))
        before = await answers(tree, "a")
        await tree.terminate_child("a")
        with pytest.raises(Exception, match="stopped"):
            await answers(tree, "a")
        await tree.restart_child("a")
        assert await answers(tree, "a") == before + 1
