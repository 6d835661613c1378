"""The scenario of tiers: rows move between a hot store and an object store while hosts die.

A host's death does not end the actor of the tiers. Each step of a move takes virtual time, so
that a host dies between any two, and a host that is cut off works on next to its successor.
Whatever happens, each row is read once, and at the end each file is listed, and each listed file
exists.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from callboard.actors.kernel.props import props
from callboard.actors.metrics.tiers.tiers import TierRound
from callboard.actors.metrics.tiers.worker import RunTiers, TierActor, TierTimes
from callboard.actors.storage.core import MoveLimits, Step
from callboard.actors.storage.mover import Mover
from callboard.actors.storage.moves import Move, MoveKind
from callboard.actors.storage.scrubber import Scrubbed, scrub
from callboard.actors.storage.segments import Block
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref
from callboard.runtime.stores.memory_catalogue import MemoryCatalogue
from callboard.runtime.testing.loop import Later

from .message_log import current_message_log
from .plain_rows import (
    DATASET,
    DictionaryStore,
    PlainContent,
    PlainHot,
    Rows,
    read_all,
)
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["PlainTiers", "begin_moves", "tiers"]

LIMITS: Final = MoveLimits(lease_s=0.5, orphan_s=1.0)
TIMES: Final = TierTimes(round_s=0.1, scrub_s=0.4)
FAULTS: Final = ("crash", "crash", "crash", "hang", "slow", "cut", "storm", "failing_start")
STEP_MAX_S: Final = 0.05
ROWS: Final = 40
SPAN: Final = 10
SETTLED_S: Final = 30.0
THERE: Final = "there"


class Disk:
    """What outlives all hosts."""

    def __init__(self, run: Run) -> None:
        self.now: Callable[[], float] = lambda: run.world.now_s
        self.draw = run.draw
        self.hot: Final = PlainHot()
        self.catalogue: Final = MemoryCatalogue(owner="plain", hot=self.hot)
        self.store: Final = DictionaryStore()
        self.expected: Final[Rows] = {}

    def write(self) -> None:
        """Add rows, and correct some."""
        for _ in range(1 + int(self.draw() * 6)):
            key = int(self.draw() * ROWS)
            revision = self.expected.get(key, 0) + 1
            self.hot.rows[key] = self.expected[key] = revision

    def problem(self) -> str:
        """What a reader finds wrong; empty for nothing."""
        try:
            found = read_all(self.hot, self.catalogue, self.store)
        except (AssertionError, CallboardError) as error:
            return str(error)
        return "" if found == self.expected else f"{found} instead of {self.expected}"


class PlainTiers:
    """The tiers of plain rows, as `TierActor` uses them."""

    def __init__(self, disk: Disk, fence: int) -> None:
        self._disk = disk
        self._fence = fence
        self.refusals: Final[dict[int, str]] = {}
        self.mover: Final = Mover(
            disk.catalogue,
            {THERE: disk.store},
            PlainContent(disk.hot),
            fence=fence,
            limits=LIMITS,
            wall_time=disk.now,
        )

    def open(self) -> None:
        """Take the moves over."""
        self._disk.catalogue.claim(self._fence)

    def close(self) -> None:
        """The disk stays."""

    def plan(self) -> list[Move]:
        """Some moves of what is there."""
        draw, catalogue = self._disk.draw, self._disk.catalogue
        begin = int(draw() * ROWS / SPAN) * SPAN
        moves = [Move(MoveKind.STORE, Block(DATASET, 0, begin, begin + SPAN), location=THERE)]
        live = catalogue.segments(DATASET)
        if len(live) > 1:
            chosen = live[: 2 + int(draw() * 3)]
            block = Block(
                DATASET,
                0,
                min(each.block.from_ns for each in chosen),
                max(each.block.to_ns for each in chosen),
            )
            names = tuple(each.name for each in chosen)
            moves.append(Move(MoveKind.MERGE, block, names, location=THERE))
        return moves

    def round(self) -> Any:
        """Plan, and then do one step after another."""
        planned = self._disk.catalogue.plan(self._fence, self.plan())
        return self._go_on(list(self._disk.catalogue.open_moves()), len(planned))

    def _go_on(self, moves: list[Move], planned: int) -> Any:
        while moves and self.mover.next_step(moves[0]) in (Step.WAIT, Step.NONE):
            moves.pop(0)
        if not moves:
            under_way = len(self._disk.catalogue.open_moves())
            return TierRound(planned, 0, 0, 0, (), under_way)

        def step() -> Any:
            moves[0] = self.mover.step(moves[0])
            return self._go_on(moves, planned)

        return Later(STEP_MAX_S * self._disk.draw(), step)

    def scrub(self) -> dict[str, Scrubbed]:
        """Scrub the one location."""
        disk = self._disk
        return {
            THERE: scrub(
                disk.catalogue,
                THERE,
                disk.store,
                fence=self._fence,
                limits=LIMITS,
                wall_time=disk.now,
            )
        }


def make_tiers(fence: int) -> Any:
    """The tiers of the world whose step this is."""
    return PlainTiers(current_message_log().checker, fence)


async def tiers(run: Run) -> None:
    """Rows that move while hosts die."""
    async with open_fixture(run) as fixture:
        moves = await begin_moves(fixture, 20)
        await run_under_faults(fixture, *moves, faults=FAULTS, count=5)
        _complain(run, run.message_log.checker)


async def begin_moves(fixture: ScenarioFixture, writes: int) -> list[Coroutine[Any, Any, None]]:
    """Start the tiers; gives the activities that write so many times, and then check them.

    The run must have no other checker.
    """
    disk = fixture.run.message_log.checker = Disk(fixture.run)
    ref = await fixture.system.spawn(
        props(TierActor, make_tiers, TIMES), name="tiers", restart=Restart.TRANSIENT
    )
    return [
        *(_write(fixture, disk) for _ in range(writes)),
        *(_ask(fixture, ref) for _ in range(5)),
        _settle(fixture, disk, ref),
    ]


async def _write(fixture: ScenarioFixture, disk: Disk) -> None:
    await fixture.later(BUSY_S)
    disk.write()
    _complain(fixture.run, disk)


async def _ask(fixture: ScenarioFixture, ref: Ref[Any]) -> None:
    await fixture.later(BUSY_S)
    with contextlib.suppress(CallboardError):
        await fixture.system.ask(RunTiers(scrub=fixture.draw() < 0.5), ref)
    _complain(fixture.run, fixture.run.message_log.checker)


async def _settle(fixture: ScenarioFixture, disk: Disk, ref: Ref[Any]) -> None:
    """After the faults, the tiers go on, and nothing is left over."""
    await asyncio.sleep(BUSY_S + 0.5)
    until_s = fixture.run.world.now_s + SETTLED_S
    problem = "the tiers did not answer"
    while fixture.run.world.now_s < until_s:
        with contextlib.suppress(CallboardError):
            await fixture.system.ask(RunTiers(scrub=True), ref)
            listed = {each.name for each in disk.catalogue.all_segments()}
            if listed == disk.store.files.keys() and not disk.hot.rows:
                return
            problem = f"listed are {sorted(listed)}, there are {sorted(disk.store.files)}"
        await asyncio.sleep(0.3)
    fixture.run.complain("nothing_left_over", problem)


def _complain(run: Run, disk: Disk) -> None:
    problem = disk.problem()
    if problem:
        run.complain("each_row_once", problem)
