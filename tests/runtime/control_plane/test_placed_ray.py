"""Placed children of trees on real Ray: hosts of the child and of its supervisor are killed."""

import asyncio
import os
import signal
import sys
from typing import Any, Final

import cloudpickle
import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.trees.ref import TreeRef
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ClusterError
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here"), pytest.mark.timeout(120)]
WAIT_S: Final = 30.0
CHILDREN: Final = ("a", "b")
RUNNING: Final = [(name, "running") for name in CHILDREN]


class Here(Contract, name="placed.here"):
    pid: int
    asked: int


class Where(Request[Here], name="placed.where"):
    """Ask for the place of the child."""


class Child(Actor):
    """Counts the requests to one incarnation."""

    def __init__(self) -> None:
        self.asked = 0

    @handler
    async def where(self, _: Where) -> Here:
        self.asked += 1
        return Here(pid=os.getpid(), asked=self.asked)


@pytest.fixture(scope="module", autouse=True)
def travels_by_value() -> None:
    """Pickle these classes by value: the hosts cannot import them."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def tree_with(b: Placement) -> TreeSpec:
    children = (ActorSpec("a", Child), ActorSpec("b", Child, placement=b))
    return TreeSpec("t", children, placement=Placement(host=1))


async def where(tree: TreeRef) -> dict[str, Here]:
    return {name: await tree[name].ask(Where(), timeout_s=WAIT_S) for name in CHILDREN}


async def run_all(tree: TreeRef) -> None:
    """Wait until its supervisor knows that all run: a child may answer just before."""
    async with asyncio.timeout(WAIT_S):
        while [(row.name, row.state) for row in (await tree.children()).children] != RUNNING:
            pass


async def kill(system: System, slot: int, pid: int) -> None:
    """Kill without notice, and wait until the system has seen it."""
    down = system.watch_host(slot)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        await down


async def test_placed_child_outlives_the_host_it_runs_on_and_that_of_its_supervisor() -> None:
    options: dict[str, Any] = {"hosts": 2, "standbys": 2, "journal": "off"}
    async with start(engine="ray", name="placed", **options) as system:
        tree = await system.start_tree(tree_with(Placement(host=2)))
        first = await where(tree)
        assert first["a"].pid != first["b"].pid
        assert (tree["a"].address.slot, tree["b"].address.slot) == (1, 2)

        await kill(system, 2, first["b"].pid)
        second = await where(tree)
        assert second["a"] == Here(pid=first["a"].pid, asked=2), "its sibling was not touched"
        assert second["b"].asked == 1
        assert second["b"].pid not in {first["a"].pid, first["b"].pid}
        await run_all(tree)

        await kill(system, 1, second["a"].pid)
        third = await where(tree)
        assert third["a"].asked == 1
        assert third["a"].pid != second["a"].pid
        assert third["b"] == Here(pid=second["b"].pid, asked=1), "new, on the host that is there"
        await run_all(tree)

        nowhere = Placement(isolated=Resources(gpus=1_000))
        with pytest.raises(ClusterError, match=r"^t\.children\[1\]\.placement: .*1000 GPU") as got:
            await system.start_tree(tree_with(nowhere))
        assert got.value.details["field"] == "t.children[1].placement"
        view = await system.view()
        tops = {host.name: [top.name for top in host.members] for host in view.hosts}
        assert tops == {"driver": [], "host-1": ["t"], "host-2": ["t"]}, "nothing is left of it"
