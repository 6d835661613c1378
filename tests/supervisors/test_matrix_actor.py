"""The matrix of supervision on real actors: strategy, restart type and exit.

Each cell of the table in `matrix` becomes a test with its own name, so a missing cell is a
missing name.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import TreeSpec
from callboard.messages.control.spec import AutoShutdown, Backoff, Intensity, Restart, Strategy
from callboard.messages.control.spec import SupervisorSpec as Spec
from callboard.messages.core.errors import ActorStartFailed, UsageError
from callboard.runtime.api.start import start

from ..actors.trees.fixture_actors import LOG, End, Ping, child, states, supervised
from .matrix import CELLS, CHILDREN, EXITS, EXTRAS, SUBJECT, Cell, names

Body = Callable[[], Awaitable[None]]
EXTRAS_OF_ACTORS: Final = (
    *EXTRAS,
    "auto_shutdown_any",
    "auto_shutdown_all",
    "dynamic_children_limit",
    "child_by_hand",
)


def tree_of(
    strategy: Strategy,
    restart: Restart = Restart.PERMANENT,
    *,
    supervisor: Spec | None = None,
    kind: Restart = Restart.PERMANENT,
    significant: tuple[str, ...] = (),
) -> TreeSpec:
    """The children of the table under one supervisor, inside a tree."""
    kinds = {SUBJECT: restart, "last": Restart.TEMPORARY}
    children = tuple(
        child(name, restart=kinds.get(name, Restart.PERMANENT), significant=name in significant)
        for name in CHILDREN
    )
    inner = TreeSpec("inner", children, supervisor or supervised(strategy), restart=kind)
    return TreeSpec("outer", (inner,), supervised())


async def end(tree: TreeRef, name: str, kind: str = "failed") -> None:
    tree[f"inner/{name}"].tell(End(kind=kind))


async def all_answer(tree: TreeRef, *labels: str) -> None:
    for label in labels:
        assert (await tree[f"inner/{label}"].ask(Ping(), timeout_s=10.0)).label == label


def cell_test(cell: Cell) -> Body:
    async def body() -> None:
        LOG.clear()
        async with start(engine="inline", hosts=1, standbys=0) as system:
            tree = await system.start_tree(tree_of(cell.strategy, cell.restart))
            assert LOG.taken() == [f"start {name}" for name in CHILDREN]
            down = system.watch(tree[f"inner/{SUBJECT}"])
            await all_answer(tree, SUBJECT)  # By then the watch has begun.
            await end(tree, SUBJECT, EXITS[cell.reason].kind.value)
            assert (await down).kind == EXITS[cell.reason].kind
            wanted = cell.outcome
            by_itself = int(cell.reason != "abnormal")  # Its hook runs when it stops itself.
            await LOG.reach(len(wanted.stops) + len(wanted.starts) + by_itself)
            found = await states(tree, "inner")
            await all_answer(tree, *(name for name, state in found.items() if state == "running"))
            lines = [line for line in LOG.taken() if line != f"stop {SUBJECT}"]
            assert lines == [
                *(f"stop {name}" for name in wanted.stops),
                *(f"start {name}" for name in wanted.starts),
            ]
            found = await states(tree, "inner")
            assert found.pop(SUBJECT, "forgotten") == wanted.subject
            assert found.pop("last", "forgotten") == wanted.last
            assert found == {"first": "running", "next": "running"}

    body.__doc__ = f"From the table: {cell.outcome}."
    return body


async def escalation(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        tree = await system.start_tree(tree_of(strategy, supervisor=supervised(strategy, 0)))
        LOG.taken()
        await end(tree, SUBJECT)
        await LOG.reach(7)
        await all_answer(tree, *CHILDREN)
        assert LOG.taken() == [
            *(f"stop {name}" for name in ("last", "next", "first")),
            *(f"start {name}" for name in CHILDREN),
        ]
        (row,) = (await tree.children()).children
        assert (row.name, row.state, row.restarts) == ("inner", "running", 1)


async def start_fails_half_way(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        LOG.failing["next"] = 1
        with pytest.raises(ActorStartFailed, match="/outer/inner/next") as failed:
            await system.start_tree(tree_of(strategy))
        assert failed.value.details["path"] == "/outer/inner/next"
        assert LOG.taken() == [
            "start first", "start subject", "fail next", "stop subject", "stop first",
        ]  # fmt: skip
        (host,) = [host for host in (await system.view()).hosts if host.slot == 1]
        assert host.members == ()


async def restart_that_fails(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        spec = Spec(strategy, Intensity(100, 60.0), Backoff(min_s=0.01, max_s=0.02))
        tree = await system.start_tree(tree_of(strategy, supervisor=spec))
        LOG.failing[SUBJECT] = 3
        await end(tree, SUBJECT)
        await LOG.reach(len(CHILDREN) + 1)
        assert (await states(tree)) == {"inner": "running"}
        await all_answer(tree, "first", SUBJECT, "next")
        assert LOG.lines.count(f"fail {SUBJECT}") == 3
        rows = {row.name: row for row in (await tree.children("inner")).children}
        assert rows[SUBJECT].restarts == 4


async def ordered_stop(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        tree = await system.start_tree(tree_of(strategy))
        await end(tree, "next")
        await LOG.reach(len(CHILDREN) + 1)
        await all_answer(tree, "first", SUBJECT, "next")
        before = await states(tree, "inner")
        LOG.taken()
        await system.stop(tree.ref)
        assert LOG.taken() == [f"stop {name}" for name in reversed(before)]


async def _shuts_down(strategy: Strategy, when: AutoShutdown, *ending: str) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        spec = supervised(strategy, auto_shutdown=when)
        wanted = tree_of(
            strategy,
            Restart.TRANSIENT,
            supervisor=spec,
            kind=Restart.TRANSIENT,
            significant=(SUBJECT, "last"),
        )
        tree = await system.start_tree(wanted)
        LOG.taken()
        down = system.watch(tree.subtree("inner").ref)
        await all_answer(tree, SUBJECT)
        for name in ending[:-1]:
            await end(tree, name, "normal")
            await LOG.reach(1)
            assert (await states(tree)) == {"inner": "running"}
        await end(tree, ending[-1], "normal")
        assert (await down).kind == "shutdown"
        left = [name for name in reversed(CHILDREN) if name not in ending]
        assert LOG.taken() == [f"stop {name}" for name in (*ending, *left)]
        assert (await states(tree)) == {"inner": "down"}


async def auto_shutdown_any(strategy: Strategy) -> None:
    await _shuts_down(strategy, AutoShutdown.ANY_SIGNIFICANT, SUBJECT)


async def auto_shutdown_all(strategy: Strategy) -> None:
    await _shuts_down(strategy, AutoShutdown.ALL_SIGNIFICANT, "last", SUBJECT)


async def dynamic_children_limit(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        spec = supervised(strategy, children_max=len(CHILDREN) + 1)
        tree = await system.start_tree(tree_of(strategy, supervisor=spec))
        added = await tree.add_child(child("extra"), "inner")
        assert (await added.ask(Ping())).label == "extra"
        with pytest.raises(UsageError, match="children_max"):
            await tree.add_child(child("one more"), "inner")
        assert list(await states(tree, "inner")) == [*CHILDREN, "extra"]


async def child_by_hand(strategy: Strategy) -> None:
    LOG.clear()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        tree = await system.start_tree(tree_of(strategy))
        LOG.taken()
        await tree.terminate_child(f"inner/{SUBJECT}")
        assert LOG.taken() == [f"stop {SUBJECT}"]
        assert (await states(tree, "inner"))[SUBJECT] == "down"
        with pytest.raises(UsageError, match="not down"):
            await tree.delete_child("inner/first")
        LOG.failing[SUBJECT] = 1
        with pytest.raises(ActorStartFailed, match=SUBJECT):
            await tree.restart_child(f"inner/{SUBJECT}")
        assert (await states(tree, "inner"))[SUBJECT] == "down"
        await tree.restart_child(f"inner/{SUBJECT}")
        assert LOG.taken() == [f"fail {SUBJECT}", f"start {SUBJECT}"]
        await all_answer(tree, *CHILDREN)
        await tree.terminate_child(f"inner/{SUBJECT}")
        await tree.delete_child(f"inner/{SUBJECT}")
        assert list(await states(tree, "inner")) == ["first", "next", "last"]


def extra_test(strategy: Strategy, extra: str) -> Body:
    found = globals()[extra]

    async def body() -> None:
        await found(strategy)

    return body


for _cell in CELLS:
    globals()[_cell.name] = cell_test(_cell)
for _strategy in Strategy:
    for _extra in EXTRAS_OF_ACTORS:
        globals()[f"test_{_strategy}_{_extra}"] = extra_test(_strategy, _extra)


def test_matrix_is_complete() -> None:
    wanted = [
        f"test_{strategy}_{restart}_{reason}"
        for strategy in ("one_for_one", "one_for_all", "rest_for_one")
        for restart in ("permanent", "transient", "temporary")
        for reason in ("normal", "shutdown", "abnormal", "killed", "lost")
    ]
    assert [name for name in wanted if name not in globals()] == []
    assert [name for name in names(EXTRAS_OF_ACTORS) if name not in globals()] == []
    assert sorted(cell.name for cell in CELLS) == sorted(wanted)
