"""Trees with placed children, on several hosts of the inline engine."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spec import AutoShutdown, Restart, StopTimeout, Strategy
from callboard.messages.core.errors import ActorStartFailed, ActorStopped, AskError, CallboardError
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

from .fixture_actors import LOG, Child, End, Ping, child, states, supervised

WAIT_S = 10.0
TWO: Any = {"engine": "inline", "hosts": 2, "standbys": 0}
THREE: Any = {"engine": "inline", "hosts": 3, "standbys": 1}
HERE, THERE = Placement(host=1), Placement(host=2)


@pytest.fixture(autouse=True)
async def fresh() -> None:
    LOG.clear()


async def answers(tree: TreeRef, path: str) -> int:
    incarnation: int = (await tree[path].ask(Ping(), timeout_s=WAIT_S)).incarnation
    return incarnation


def tree_of(*children: Any, strategy: Strategy = Strategy.ONE_FOR_ONE, **options: Any) -> TreeSpec:
    return TreeSpec("t", children, supervised(strategy, **options), placement=HERE)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await holds():  # noqa: ASYNC110 - it may be any condition
            await asyncio.sleep(0.01)


async def is_empty(system: System, *slots: int) -> bool:
    hosts = (await system.view()).hosts
    return not any(host.actors for host in hosts if host.slot in slots)


async def is_gone(system: System, slot: int) -> bool:
    return slot not in root_of(system).table.slots


async def is_incarnation(tree: TreeRef, path: str, number: int) -> bool:
    return await answers(tree, path) == number


async def has_state(tree: TreeRef, path: str, state: str | None) -> bool:
    return (await states(tree)).get(path) == state


async def lost(system: System, slot: int) -> None:
    down = system.watch_host(slot)
    await root_of(system).table.slots[slot].process.kill()
    async with asyncio.timeout(WAIT_S):
        await down


# --- start and stop --------------------------------------------------------------------------


async def test_placed_children_run_on_their_hosts_in_the_order_of_the_tree() -> None:
    wanted = tree_of(
        child("a"),
        child("b", placement=THERE),
        TreeSpec("s", (child("c"), child("d", placement=HERE)), supervised(), placement=THERE),
        child("e"),
    )
    async with start(**TWO) as system:
        tree = await system.start_tree(wanted)
        assert [tree[path].address.slot for path in ("a", "b", "s", "s/c", "s/d", "e")] == [
            1, 2, 2, 2, 1, 1,
        ]  # fmt: skip
        assert LOG.taken() == ["start a", "start b", "start c", "start d", "start e"]
        for path in ("a", "b", "s/c", "s/d", "e"):
            assert await answers(tree, path) >= 1
        assert await states(tree) == dict.fromkeys(("a", "b", "s", "e"), "running")
        assert await states(tree, "s") == {"c": "running", "d": "running"}
        await system.stop(tree.ref)
        assert LOG.taken() == ["stop e", "stop d", "stop c", "stop b", "stop a"]
        await until(lambda: is_empty(system, 1, 2))
        with pytest.raises(AskError):
            await tree["b"].ask(Ping(), timeout_s=WAIT_S)


async def test_system_that_stops_keeps_the_order_across_hosts() -> None:
    async with start(**TWO) as system:
        await system.start_tree(tree_of(child("a"), child("b", placement=THERE), child("c")))
        LOG.taken()
    assert LOG.taken() == ["stop c", "stop b", "stop a"]


async def test_start_that_fails_half_way_is_undone_in_reverse() -> None:
    LOG.failing["d"] = 1
    wanted = tree_of(
        child("a"), child("b", placement=THERE), child("c"), child("d", placement=THERE)
    )
    async with start(**TWO) as system:
        with pytest.raises(ActorStartFailed) as failed:
            await system.start_tree(wanted)
        assert failed.value.details["path"] == "/t/d"
        assert LOG.lines[-4:] == ["fail d", "stop c", "stop b", "stop a"]
        await until(lambda: is_empty(system, 1, 2))


# --- restarts ---------------------------------------------------------------------------------


async def test_placed_child_that_fails_restarts_and_its_reference_stays_valid() -> None:
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(child("a"), child("b", placement=THERE)))
        ref, before = tree["b"], await answers(tree, "b")
        ref.tell(End(kind="failed"))
        waiting = ref.ask(Ping(), timeout_s=WAIT_S)
        assert (await waiting).incarnation == before + 1
        rows = (await tree.children()).children
        assert [(row.name, row.kind, row.restarts) for row in rows] == [
            ("a", "worker", 0),
            ("b", "worker", 1),
        ]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
async def test_rest_for_one_counts_placed_children_like_others(failing: str) -> None:
    wanted = tree_of(
        child("a"),
        child("b", placement=THERE),
        child("c"),
        strategy=Strategy.REST_FOR_ONE,
    )
    names = ["a", "b", "c"]
    with_it = names[names.index(failing) + 1 :]
    async with start(**TWO) as system:
        tree = await system.start_tree(wanted)
        LOG.taken()
        tree[failing].tell(End(kind="failed"))
        expected = [f"stop {name}" for name in reversed(with_it)]
        expected += [f"start {name}" for name in (failing, *with_it)]
        await LOG.reach(len(expected))
        assert LOG.taken() == expected
        assert [await answers(tree, name) >= 1 for name in names] == [True] * 3


@pytest.mark.parametrize(
    ("restart", "kind", "state"),
    [
        (Restart.PERMANENT, "normal", "running"),
        (Restart.PERMANENT, "failed", "running"),
        (Restart.TRANSIENT, "normal", "down"),
        (Restart.TRANSIENT, "failed", "running"),
        (Restart.TEMPORARY, "normal", None),
        (Restart.TEMPORARY, "failed", None),
    ],
)
async def test_restart_kind_of_a_placed_child(
    restart: Restart, kind: str, state: str | None
) -> None:
    async with start(**TWO) as system:
        placed = child("b", placement=THERE, restart=restart)
        tree = await system.start_tree(tree_of(child("a"), placed))
        before = await answers(tree, "b")
        tree["b"].tell(End(kind=kind))
        if state == "running":  # An actor that ends by itself may still answer earlier messages.
            await until(lambda: is_incarnation(tree, "b", before + 1))
        await until(lambda: has_state(tree, "b", state))
        if state != "running":
            with pytest.raises(ActorStopped):
                await tree["b"].ask(Ping(), timeout_s=WAIT_S)
            assert await answers(tree, "a") >= 1


async def test_significant_placed_child_ends_its_tree() -> None:
    placed = child("b", placement=THERE, restart=Restart.TRANSIENT, significant=True)
    rules = supervised(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    wanted = TreeSpec("t", (child("a"), placed), rules, Restart.TEMPORARY, placement=HERE)
    async with start(**TWO) as system:
        tree = await system.start_tree(wanted)
        tree["b"].tell(End(kind="normal"))
        await until(lambda: is_empty(system, 1, 2))
        assert LOG.lines[-2:] == ["stop b", "stop a"]


async def test_escalation_restarts_placed_children_with_their_supervisor() -> None:
    inner = TreeSpec("i", (child("a"), child("b", placement=THERE)), supervised(restarts=0))
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(inner, child("c")))
        before = [await answers(tree, path) for path in ("i/a", "i/b", "c")]
        ref = tree["i/b"]
        ref.tell(End(kind="failed"))
        assert (await ref.ask(Ping(), timeout_s=WAIT_S)).incarnation == before[1] + 1
        assert await answers(tree, "i/a") == before[0] + 1
        assert await answers(tree, "c") == before[2]


async def test_failed_start_on_another_host_is_retried() -> None:
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(child("a"), child("b", placement=THERE)))
        before = await answers(tree, "b")
        LOG.failing["b"] = 2
        tree["b"].tell(End(kind="failed"))
        assert await answers(tree, "b") == before + 1
        assert LOG.lines.count("fail b") == 2


# --- by hand ----------------------------------------------------------------------------------


async def test_placed_children_are_terminated_restarted_and_deleted_by_hand() -> None:
    async with start(**TWO) as system:
        inner = TreeSpec("s", (child("c"),), supervised(), placement=THERE)
        tree = await system.start_tree(tree_of(child("b", placement=THERE), inner))
        await tree.terminate_child("b")
        await tree.terminate_child("s/c")
        assert LOG.lines[-2:] == ["stop b", "stop c"]
        assert await states(tree) == {"b": "down", "s": "running"}
        for path in ("b", "s/c"):
            with pytest.raises(ActorStopped):
                await tree[path].ask(Ping(), timeout_s=WAIT_S)
        await tree.restart_child("b")
        await tree.restart_child("s/c")
        assert await answers(tree, "b") >= 2
        assert await answers(tree, "s/c") >= 2
        await tree.terminate_child("b")
        await tree.delete_child("b")
        assert await states(tree) == {"s": "running"}
        added = await tree.add_child(child("d"), "s")
        assert added.address.slot == 2
        assert (await added.ask(Ping())).label == "d"
        with pytest.raises(CallboardError) as refused:
            await tree.add_child(TreeSpec("n", (child("e"), child("f", placement=HERE))))
        assert refused.value.details["field"] == "child.children[1].placement"


@pytest.mark.parametrize("placement", [None, THERE])
async def test_subtree_is_stopped_like_a_child_that_is_terminated(
    placement: Placement | None,
) -> None:
    deep = TreeSpec("n", (child("d"),), supervised())
    inner = TreeSpec("s", (child("c"), deep), supervised(), placement=placement)
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(child("a"), inner))
        assert tree.subtree("") is tree
        LOG.taken()
        await system.stop(tree.subtree("s").subtree("n"))
        assert LOG.taken() == ["stop d"]
        assert await states(tree, "s") == {"c": "running", "n": "down"}
        await system.stop(tree.subtree("s"))
        assert LOG.taken() == ["stop c"]
        assert await states(tree) == {"a": "running", "s": "down"}
        await tree.restart_child("s")
        assert LOG.taken() == ["start c", "start d"]
        await system.stop(tree)
        assert LOG.taken() == ["stop d", "stop c", "stop a"]
        with pytest.raises(AskError):
            await system.stop(tree.subtree("s"))


# --- lost hosts -------------------------------------------------------------------------------


async def test_lost_host_of_a_placed_child_is_one_abnormal_end() -> None:
    wanted = tree_of(child("a"), child("b", placement=THERE), child("c"), restarts=1)
    async with start(**THREE) as system:
        tree = await system.start_tree(wanted)
        ref = tree["b"]
        LOG.taken()
        await lost(system, 2)
        assert (await ref.ask(Ping(), timeout_s=WAIT_S)).label == "b"
        assert LOG.taken() == ["start b"]
        assert tree["b"] == ref
        rows = (await tree.children()).children
        assert [row.restarts for row in rows] == [0, 1, 0]


async def test_lost_host_takes_siblings_along_as_the_strategy_says() -> None:
    wanted = tree_of(
        child("a"), child("b", placement=THERE), child("c"), strategy=Strategy.REST_FOR_ONE
    )
    async with start(**THREE) as system:
        tree = await system.start_tree(wanted)
        LOG.taken()
        await lost(system, 2)
        await LOG.reach(3)
        assert LOG.taken() == ["stop c", "start b", "start c"]
        assert await answers(tree, "b") >= 2


async def test_lost_host_of_the_supervisor_leaves_no_orphan_and_no_double() -> None:
    wanted = tree_of(
        child("a"),
        child("b", placement=THERE),
        TreeSpec("s", (child("c"), child("d", placement=Placement(host=3))), placement=THERE),
    )
    async with start(**THREE) as system:
        tree = await system.start_tree(wanted)
        refs = {path: tree[path] for path in ("a", "b", "s/c", "s/d")}
        LOG.taken()
        await lost(system, 1)
        for path, ref in refs.items():
            assert (await ref.ask(Ping(), timeout_s=WAIT_S)).label == path[-1]
        lines = LOG.taken()
        for name in "bcd":
            assert lines.count(f"stop {name}") == lines.count(f"start {name}") == 1
            assert lines.index(f"stop {name}") < lines.index(f"start {name}")
        assert [line for line in lines if line.startswith("start")] == [
            f"start {name}" for name in "abcd"
        ]


async def test_temporary_tree_that_is_lost_takes_its_placed_children_along() -> None:
    wanted = tree_of(child("a"), child("b", placement=THERE))
    own = Placement(isolated=Resources())
    wanted = TreeSpec("t", wanted.children, restart=Restart.TEMPORARY, placement=own)
    async with start(**THREE) as system:
        tree = await system.start_tree(wanted)
        LOG.taken()
        await lost(system, tree.address.slot)
        await LOG.reach(1)
        assert LOG.taken() == ["stop b"]
        await until(lambda: is_empty(system, 2))
        with pytest.raises(AskError):
            await tree["b"].ask(Ping(), timeout_s=WAIT_S)


# --- isolated hosts ---------------------------------------------------------------------------


async def test_isolated_child_has_its_own_host_as_long_as_its_tree() -> None:
    own = Placement(isolated=Resources(gpus=1))
    wanted = tree_of(child("a"), child("b", placement=own))
    async with start(**THREE) as system:
        tree = await system.start_tree(wanted)
        slot = tree["b"].address.slot
        assert root_of(system).table.slots[slot].is_isolated
        before = await answers(tree, "b")
        tree["b"].tell(End(kind="failed"))
        assert await answers(tree, "b") == before + 1
        await lost(system, slot)
        assert await answers(tree, "b") == before + 2
        assert tree["b"].address.slot == slot
        await system.stop(tree.ref)
        await until(lambda: is_gone(system, slot))
        assert LOG.lines[-2:] == ["stop b", "stop a"]


async def test_names_and_offers_of_placed_children_are_found() -> None:
    placed = TreeSpec("s", (child("c"), child("known", register=True)), placement=THERE)
    pool = ActorSpec("pool", props(Child, "pool"), size=3, offer=True, placement=THERE)
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(child("a"), placed, pool))
        assert await system.lookup("known") == tree["s/known"]
        assert (await system.ask(Ping())).label == "pool"
        await system.stop(tree.ref)
        with pytest.raises(CallboardError):
            await system.lookup("known")


# --- stop timeouts ----------------------------------------------------------------------------


class Slow(Child):
    async def stopping(self, ctx: Any, reason: Any) -> None:
        await asyncio.sleep(WAIT_S)


async def test_placed_child_is_held_to_its_own_stop_timeout() -> None:
    slow = ActorSpec("b", props(Slow, "b"), placement=THERE, stop_timeout=StopTimeout(0.05))
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(child("a"), slow, child("c")))
        async with asyncio.timeout(WAIT_S / 2):
            await tree.terminate_child("b")
            await tree.restart_child("b")
            assert await answers(tree, "b") >= 2
            await system.stop(tree.ref)


async def test_killed_supervisor_kills_its_placed_children() -> None:
    slow = ActorSpec("b", props(Slow, "b"), placement=THERE, stop_timeout=StopTimeout.INFINITY)
    inner = TreeSpec("i", (slow, child("c")), supervised(), stop_timeout=StopTimeout.KILL)
    async with start(**TWO) as system:
        tree = await system.start_tree(tree_of(inner))
        async with asyncio.timeout(WAIT_S / 2):
            await tree.terminate_child("i")
            await tree.restart_child("i")
            assert await answers(tree, "i/b") >= 2
            await tree.terminate_child("i")
            await system.stop(tree.ref)


# --- refusals ---------------------------------------------------------------------------------


async def test_impossible_placement_is_refused_with_its_place() -> None:
    wanted = tree_of(child("a"), TreeSpec("s", (child("b", placement=Placement(host=9)),)))
    async with start(**TWO) as system:
        with pytest.raises(CallboardError, match="no host 9") as refused:
            await system.start_tree(wanted)
        assert refused.value.details["field"] == "t.children[1].children[0].placement"
        assert LOG.lines == []
