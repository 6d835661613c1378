"""Losses of nodes: until the loss is noticed, and until all actors of the system answer again.

Each loss has a system of its own, with the default settings of Callboard, and each lost node is a
new one. Nothing here depends on how the loss is noticed: all waits are for states.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable

import ray

from bench.cluster import Node, NodeCluster
from bench.nodes import Tally
from bench.outcome import Params, check_of_each
from callboard import Agent, CallboardError, Contract, Ref, Request, System, handler, start
from callboard.actors.kernel.props import props
from callboard.errors import HostLost
from callboard.runtime.api.composition import detached_systems
from callboard.runtime.control_plane.control import Control

from .standing import wait_until_standing

__all__ = ["measure_losses", "measure_root_losses"]

ANSWERING_TIMEOUT_S = 180.0
RETRY_S = 0.01
POLL_S = 0.01
STOP_S = 20.0
ROOT_TRIES_MAX = 30
"""Ray puts a root on any node; systems are started until one has its root on the right node."""
ROOT_TITLE = "ray::RootActor"


class NumberThere(Contract):
    """The number of an actor, and the node of its process."""

    number: int
    node: str


class ReadNumberThere(Request[NumberThere]):
    """Ask for both."""


class Resident(Agent):
    """Has a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    @handler
    async def number(self, request: ReadNumberThere) -> NumberThere:
        """Give the number, and the node."""
        return NumberThere(number=self._number, node=ray.get_runtime_context().get_node_id())


class Since:
    """The seconds since the loss, by what happened first."""

    def __init__(self) -> None:
        self.began_s = time.perf_counter()
        self.after_s: dict[str, float] = {}

    def note(self, event: str) -> None:
        """It has happened; later times do not count."""
        self.after_s.setdefault(event, time.perf_counter() - self.began_s)


async def _answers(
    residents: list[Ref[Resident]], on_lost: Callable[[], None] = lambda: None
) -> list[NumberThere]:
    """The answer of each actor, in order. An ask that fails with `HostLost` is repeated."""

    async def ask(resident: Ref[Resident]) -> NumberThere:
        while True:
            try:
                return await resident.ask(ReadNumberThere(), timeout_s=ANSWERING_TIMEOUT_S)
            except HostLost:
                on_lost()
                await asyncio.sleep(RETRY_S)

    async with asyncio.timeout(ANSWERING_TIMEOUT_S):
        return await asyncio.gather(*(ask(resident) for resident in residents))


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(ANSWERING_TIMEOUT_S):
        while not is_so():  # noqa: ASYNC110 - there is no event for these states
            await asyncio.sleep(POLL_S)


async def _settle(system: System, actors: int) -> list[Ref[Resident]]:
    """Start the actors over all hosts, and wait until everything is up."""
    residents = await system.spawn_many(props(Resident, number) for number in range(actors))
    await _answers(residents)
    await wait_until_standing(system, standbys=1)
    return residents


async def _until_noticed(system: System, slot: int, since: Since) -> None:
    """Wait until the root, which lives in this process, takes the host for silent or lost."""
    control = system._running()  # noqa: SLF001 - a view asks the host itself, and waits for it
    assert isinstance(control, Control), "the root lives in this process"
    found = control.root.table.slots[slot]
    epoch = found.epoch
    await _until(
        lambda: not found.is_up or found.epoch > epoch or getattr(found, "is_silent", False)
    )
    since.note("noticed")


async def measure_losses(cluster: NodeCluster, params: Params, tally: Tally) -> None:
    """The loss of a node with one of two hosts, while the root lives on the other node."""
    after: list[dict[str, float]] = []
    answered: list[int] = []
    for _ in range(params["losses"]):
        far = await _nodes(cluster, 1)
        async with start(address=cluster.address, hosts=2, journal="off") as system:
            residents = await _settle(system, params["actors"])
            answers = await _answers(residents)
            lost = [a.number for a in answers if a.node == far[0].node_id]
            if not lost:
                raise RuntimeError("no host of the system is on the node that is to be lost.")
            since = Since()
            slot = residents[lost[0]].address.slot
            numbers, _ = await asyncio.gather(
                _lose(far[0], residents, since), _until_noticed(system, slot, since)
            )
            answered += numbers
            after.append(since.after_s)
    tally.add_losses("losses", "node_loss", after, check_of_each(answered))


async def measure_root_losses(cluster: NodeCluster, params: Params, tally: Tally) -> None:
    """The loss of the node of a detached system's root, which has one of three hosts too."""
    after: list[dict[str, float]] = []
    answered: list[int] = []
    for _ in range(params["root_losses"]):
        nodes = await _nodes(cluster, 2)
        for _ in range(ROOT_TRIES_MAX):
            async with _detached(cluster) as system:
                lost = next((node for node in nodes if _has_root(node)), None)
                if lost is None:
                    continue  # The root is on the head, whose loss is that of the cluster.
                residents = await _settle(system, params["actors"])
                since = Since()
                numbers, _ = await asyncio.gather(
                    _lose(lost, residents, since), _until_root_answers(system, lost, since)
                )
                answered += numbers
                after.append(since.after_s)
                break
        else:
            raise RuntimeError(f"{ROOT_TRIES_MAX} roots were all on the head.")
    tally.add_losses("root_losses", "root_loss", after, check_of_each(answered))


async def _lose(node: Node, residents: list[Ref[Resident]], since: Since) -> list[int]:
    """Lose the node. The numbers of the actors that have answered, on other nodes."""
    await asyncio.to_thread(node.lose)
    answers = await _answers(residents, lambda: since.note("asks_failed"))
    since.note("all_answering")
    return [answer.number for answer in answers if answer.node != node.node_id]


async def _nodes(cluster: NodeCluster, count: int) -> list[Node]:
    """So many nodes other than the head, and no other one, not even by Ray's word."""
    while len(cluster.nodes) > count:
        await asyncio.to_thread(cluster.nodes[-1].lose)
    while len(cluster.nodes) < count:
        await asyncio.to_thread(cluster.add)
    await _until(lambda: len(cluster.living()) == count + 1)
    return list(cluster.nodes)


@contextlib.asynccontextmanager
async def _detached(cluster: NodeCluster) -> AsyncIterator[System]:
    """A detached system, which ends with the block."""
    name, detached = f"bench-{secrets.token_hex(4)}", detached_systems()
    try:
        async with start(
            address=cluster.address, name=name, detached=True, hosts=3, journal="off"
        ) as system:
            yield system
    finally:
        async with detached.visit(cluster.address):
            await detached.stop_system(name, STOP_S)


def _has_root(node: Node) -> bool:
    return any(title.startswith(ROOT_TITLE) for title in node.titles())


async def _until_root_answers(system: System, lost: Node, since: Since) -> None:
    await _until(lambda: not lost.is_alive)
    async with asyncio.timeout(ANSWERING_TIMEOUT_S):
        while True:
            with contextlib.suppress(CallboardError):
                await system.view(actors_max=0)
                break
            await asyncio.sleep(POLL_S)
    since.note("root_answers")
