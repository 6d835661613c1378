"""The scenario of roots whose nodes are cut off and heal: at most one of them may act.

Each root is a process with a clock of its own that claims an epoch and confirms it at the ledger,
as in `runtime/detached/root_authority.py`. A cut node reaches the ledger no more: its calls fail,
or wait until it heals and are carried out then. The cluster takes a cut node for dead after a while
and starts the next root elsewhere, also when the node has healed meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from callboard.messages.core.errors import ClusterError
from callboard.runtime.control_plane.authority import WAIT_S
from callboard.runtime.control_plane.records import CLAIM
from callboard.runtime.detached.root_authority import Claim, RootAuthority, claim_epoch
from callboard.runtime.testing.loop import SimulatedLoop

from .detached.root import SimulatedLedger
from .run import Run

__all__ = ["authority"]

BUSY_S: Final = 90.0
FAULTS_MAX: Final = 8
RATE_SPREAD: Final = 0.07
"""How far the clocks of two roots run apart: the promise is 15 % between them."""
NOTICED_S: Final = 20.0
"""The most time until the cluster takes a cut node for dead."""
START_S: Final = 2.5
NOTICED_SHARE: Final = 0.7
CUT_S: Final = 40.0
PAUSE_S: Final = 12.0
LATE_SHARE: Final = 0.1
LATE_S: Final = 2.5
"""The most time of a late answer of the ledger."""
ACTS_EVERY_S: Final = 0.3
BACK_WITHIN_S: Final = 2.0 * (NOTICED_S + START_S + WAIT_S)


@final
class CutLedger:
    """The ledger as one node reaches it."""

    def __init__(self, run: Run, ledger: SimulatedLedger, node: "Node") -> None:
        self._run = run
        self._ledger = ledger
        self._node = node

    async def _reached(self) -> None:
        draw, node = self._run.draw, self._node
        while node.is_cut:
            if draw() < 0.5:
                await asyncio.sleep(2.0 * draw())
                raise ClusterError("the control store does not answer.", advice="Its node is cut.")
            await asyncio.sleep(5.0 * draw())

    async def add(self, key: str, value: bytes) -> bool:
        """See `RootLedger`; the answer may be lost."""
        await self._reached()
        is_new = await self._ledger.add(key, value)
        await self._reached()
        return is_new

    async def read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See `RootLedger`; the answer may be late."""
        await self._reached()
        found = await self._ledger.read_some(keys)
        if self._run.draw() < LATE_SHARE:
            await asyncio.sleep(LATE_S * self._run.draw())
        await self._reached()
        return found

    async def read(self) -> dict[str, bytes]:
        """See `Ledger`."""
        await self._reached()
        return await self._ledger.read()

    async def write(self, entries: Any) -> None:
        """See `Ledger`."""
        await self._reached()
        await self._ledger.write(entries)


@final
class Node:
    """One incarnation of the root, on a node of its own."""

    def __init__(self, cluster: "Cluster", number: int) -> None:
        draw, world = cluster.run.draw, cluster.run.world
        self.number: Final = number
        self.is_cut = False
        self.acted = 0
        self.authority: RootAuthority | None = None
        self.loop: Final = SimulatedLoop(
            world,
            f"root-{number}",
            rate=1.0 + (2.0 * draw() - 1.0) * RATE_SPREAD,
            offset_s=1_000.0 * draw(),
        )
        self._cluster = cluster
        self._ledger: Final = CutLedger(cluster.run, cluster.ledger, self)
        world.on(self.loop, world.now_s, lambda: self.loop.create_task(self._live()))

    @property
    def acts(self) -> bool:
        """Whether it may act now, by its own clock."""
        return not self.loop.is_dead and self.authority is not None and self.authority.may_act()

    async def _live(self) -> None:
        """Come up as a root does, and act as long as it may."""
        ledger = self._ledger
        claimed = await self._claimed()
        claim: Claim = await claim_epoch(
            ledger, max(claimed, default=0), claimed, str(self.number).encode()
        )
        claimed_s = self.loop.time()
        is_alone = all(self._cluster.has_surely_ended(int(e)) for e in claim.earlier)
        self.authority = RootAuthority(
            ledger, claim, self.loop.time, claimed_s, self._over, is_alone=is_alone
        )
        await self.authority.held()
        await self._forget(claim.epoch, claimed)
        while True:
            await self.authority.held()
            self.acted += 1
            self._cluster.acts(self)
            await asyncio.sleep(ACTS_EVERY_S * self._cluster.run.draw())

    async def _claimed(self) -> list[int]:
        while True:
            try:
                entries = await self._ledger.read()
            except ClusterError:
                continue
            return [int(key.removeprefix(CLAIM)) for key in sorted(entries)]

    async def _forget(self, epoch: int, claimed: Sequence[int]) -> None:
        """Remove older claims, as `Records` does: never without authority."""
        assert self.authority is not None
        while True:
            await self.authority.held()
            try:
                await self._ledger.write({f"{CLAIM}{old}": None for old in claimed if old < epoch})
            except ClusterError:
                continue
            return

    def _over(self, reason: str) -> None:
        self._cluster.note(f"{self.loop.name} ends: {reason}")
        self._cluster.died(self)


@final
class Cluster:
    """Starts a root when it takes the last one for dead."""

    def __init__(self, run: Run) -> None:
        self.run: Final = run
        self.ledger: Final = SimulatedLedger(run.world)
        self.nodes: Final[list[Node]] = []
        self.start()

    def note(self, text: str) -> None:
        """Note an event in the trace."""
        self.run.world.trace.note(self.run.world.now_s, text)

    def start(self) -> None:
        """Start the next root."""
        self.nodes.append(Node(self, len(self.nodes) + 1))
        self.note(f"root-{len(self.nodes)} starts")

    @property
    def newest(self) -> Node:
        """The root that the cluster has started last."""
        return self.nodes[-1]

    def has_surely_ended(self, number: int) -> bool:
        """Whether the process of a root has ended for sure: its node is not cut."""
        node = self.nodes[number - 1]
        return node.loop.is_dead and not node.is_cut

    def died(self, node: Node) -> None:
        """A root's process ends; the cluster starts another one for the newest."""
        if node.loop.is_dead:
            return
        node.loop.die()
        if node is self.newest:
            self._replace(node, START_S * self.run.draw())

    def _replace(self, node: Node, after_s: float) -> None:
        world = self.run.world

        def replace() -> None:
            if node is self.newest:
                self.start()

        world.at(world.now_s + after_s, replace)

    def cut(self) -> None:
        """Cut the node of the newest root off; it heals later, or never."""
        node, draw, world = self.newest, self.run.draw, self.run.world
        if node.is_cut:
            return
        node.is_cut = True
        self.note(f"the node of {node.loop.name} is cut off")
        world.at(world.now_s + CUT_S * draw(), setattr, node, "is_cut", False)
        self._notice(node)

    def _notice(self, node: Node) -> None:
        draw = self.run.draw
        if draw() < NOTICED_SHARE:
            self._replace(node, NOTICED_S * draw() * draw() + START_S * draw())

    def pause(self) -> None:
        """Stop the process of a root for a while; the cluster may take it for dead."""
        node, draw = self.nodes[int(self.run.draw() * len(self.nodes))], self.run.draw
        if not node.loop.is_dead:
            self.note(f"{node.loop.name} is stopped")
            self.run.world.pause(node.loop, PAUSE_S * draw())
            self._notice(node)

    def kill(self) -> None:
        """Kill the newest root."""
        self.note(f"{self.newest.loop.name} is killed")
        self.died(self.newest)

    def acts(self, node: Node) -> None:
        """A root starts, stops or renews something."""
        for other in self.nodes:
            if other is not node and other.acts:
                seen = f"{node.loop.name} acts while {other.loop.name} may act"
                self.run.complain("one_root", seen)

    def check(self) -> None:
        """At most one root may act, after each step."""
        acting = [node.loop.name for node in self.nodes if node.acts]
        if len(acting) > 1:
            self.run.complain("one_root", f"{' and '.join(acting)} may act")


async def authority(run: Run) -> None:
    """Roots that are cut off, heal, stop for a while and die."""
    world, draw = run.world, run.draw
    cluster = Cluster(run)
    after_step = world.after_step
    assert after_step is not None

    def check(loop: SimulatedLoop) -> None:
        cluster.check()
        after_step(loop)

    world.after_step = check
    faults: tuple[Callable[[], None], ...] = (
        cluster.cut, cluster.cut, cluster.kill, cluster.pause, cluster.pause,
    )  # fmt: skip
    for _ in range(1 + int(draw() * FAULTS_MAX)):
        world.at(world.now_s + BUSY_S * draw(), faults[int(draw() * len(faults))])
    await asyncio.sleep(BUSY_S + CUT_S)
    # All nodes have healed: the newest root acts soon, and no older one lives on next to it.
    before = cluster.newest.acted
    await asyncio.sleep(BACK_WITHIN_S)
    if cluster.newest.acted == before:
        run.complain("a_root_comes_back", f"{cluster.newest.loop.name} does not act")
    for node in cluster.nodes[:-1]:
        if not node.loop.is_dead:
            run.complain("replaced_roots_end", f"{node.loop.name} still runs")
    run.check_now()
    for node in cluster.nodes:
        node.loop.die()
