"""The scenario of approvals: hosts, the store and persons fail while handlers wait for answers.

The store lasts longer than any process. Whatever happens, an answer is final, no person counts
twice, no decision after the deadline counts, a decision that was confirmed is kept, and everybody
who asks the same question gets the same answer.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from callboard.actors.approvals.actor import Approvals
from callboard.actors.approvals.storage import read_approvals
from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.messages.control.approvals import (
    APPROVALS,
    NEXT,
    Approval,
    DecideApproval,
    WithdrawApproval,
)
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.testing.loop import Later

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults

__all__ = ["approvals"]

QUESTIONS: Final = 8
ASKERS: Final = 12
PERSONS: Final = ("ada", "bob", "eve")
DEADLINE_S_MAX: Final = 6.0
WAIT_S: Final = 3.0
FAULTS: Final = ("crash", "crash", "crash", "hang", "slow", "cut")


class Answered(Contract, name="sim.answered"):
    """The state of an approval, and whether it is given."""

    state: str
    is_given: bool


class Question(Request[Answered], name="sim.question"):
    """Ask a person."""

    number: int
    deadline_s: float


class Asker(Actor):
    """Waits for persons."""

    concurrency = ASKERS

    @handler
    async def ask(self, request: Question, ctx: Context) -> Answered:
        """The answer, however long it takes."""
        found = await ctx.approval(
            "Shall it?",
            key=str(request.number),
            deadline_s=request.deadline_s,
            needed=1 + request.number % 2,
            gives_at_deadline=request.number % 3 == 0,
            excludes_asker=request.number % 4 == 0,
            asked_by=PERSONS[0],
        )
        return Answered(state=found.state, is_given=found.is_given)


class ApprovalChecker:
    """The store, and what must hold in it."""

    def __init__(self, run: Run) -> None:
        self.run: Final = run
        self.draw: Final[Callable[[], float]] = run.draw
        self.models: Final = MemoryReadModelStore()
        self.is_unsteady = True
        self.before: dict[str, Approval] = {}
        self.confirmed: Final[set[tuple[str, str, bool]]] = set()
        self.answers: Final[dict[int, set[tuple[str, bool]]]] = {}
        self.asking = ASKERS

    def wall_s(self) -> float:
        """The time of the world."""
        return 1e9 + self.run.world.now_s

    def rows(self) -> dict[str, Approval]:
        """What is stored."""
        return {each.id: each for each in read_approvals(self.models)[1]}

    def committed(self) -> None:
        """Check what a commit has changed."""
        rows, complain = self.rows(), self.run.complain
        for each in rows.values():
            old = self.before.get(each.id)
            if old is not None and old != each:
                kept = each.decisions[: len(old.decisions)]
                is_next = each.state is old.state or each.state in NEXT[old.state]
                if not (old.is_open and is_next and kept == old.decisions):
                    complain("answers_are_final", f"{old} becomes {each}")
            persons = [decision.by for decision in each.decisions if decision.gives]
            if len(persons) != len(set(persons)):
                complain("persons_count_once", f"{each}")
            if any(decision.at >= each.ends_at for decision in each.decisions):
                complain("deadlines_count", f"{each}")
        if self.before.keys() - rows.keys():
            complain("answers_last", f"{self.before.keys() - rows.keys()} are gone")
        self.before = rows

    def check(self) -> None:
        """Check at the end that all have the same answer, and that nothing is lost."""
        rows, complain = self.rows(), self.run.complain
        stored = {(each.state.value, each.is_given) for each in rows.values()}
        for number, answers in self.answers.items():
            if len(answers) != 1 or not answers <= stored:
                complain("answers_last", f"question {number}: {answers}")
        decided = {(each.id, one.by, one.gives) for each in rows.values() for one in each.decisions}
        if not self.confirmed <= decided:
            complain("answers_last", f"confirmed and lost: {self.confirmed - decided}")
        if any(each.is_open for each in rows.values()):
            complain("it_ends", "an approval is open after its deadline")


def checker() -> ApprovalChecker:
    """The checker of the world whose step this is."""
    found = current_message_log().checker
    assert isinstance(found, ApprovalChecker), "the scenario has made one"
    return found


def wall_s() -> float:
    """The time of the world whose step this is."""
    return checker().wall_s()


class UnsteadyStore:
    """The rows as one process sees them: commits take time, fail, and lose their answers."""

    name = "simulated"

    def __init__(self) -> None:
        self._checker = checker()
        self._models = self._checker.models

    def open(self) -> None:
        """See `ReadModelStore`."""

    def position(self, model: str) -> int:
        """See `ReadModelStore`."""
        return self._models.position(model)

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> Any:
        """See `ReadModelStore`; the outcome comes later."""
        seen = self._checker
        if "owner" in changes:
            return self._models.apply(model, before, after, changes)
        chance = seen.draw() if seen.is_unsteady else 1.0
        if chance < 0.05:
            raise StoreUnavailable("the store does not answer.", may_have_run=False)

        def written() -> bool:
            if chance < 0.1:
                raise CommitUnknown("the store ends, and nothing is stored.")
            done = self._models.apply(model, before, after, changes)
            if done:
                seen.committed()
            if chance < 0.2:
                raise CommitUnknown("the answer of the store is lost.")
            return done

        return Later(0.05 * seen.draw(), written)

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ReadModelStore`."""
        return self._models.get_many(model, keys)

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """See `ReadModelStore`."""
        return self._models.items(model, prefix, after=after, limit=limit)

    def promote(self, name: str, model: str) -> None:
        """See `ReadModelStore`."""
        self._models.promote(name, model)

    def meaning(self, name: str) -> str:
        """See `ReadModelStore`."""
        return self._models.meaning(name)

    def drop(self, model: str) -> None:
        """See `ReadModelStore`."""
        self._models.drop(model)

    def close(self) -> None:
        """See `ReadModelStore`."""


async def approvals(run: Run) -> None:
    """Handlers and persons, while hosts and the store fail."""
    async with open_fixture(run) as fixture:
        seen = run.message_log.checker = ApprovalChecker(run)
        await fixture.system.spawn(
            props(Approvals, UnsteadyStore, wall_s),
            name=APPROVALS,
            host=1,
            restart=Restart.PERMANENT,
        )
        askers = [
            await fixture.system.spawn(Asker, host=slot, restart=Restart.PERMANENT)
            for slot in (2, 3)
        ]
        deadlines = [1.0 + (DEADLINE_S_MAX - 1.0) * run.draw() for _ in range(QUESTIONS)]
        await run_under_faults(
            fixture,
            *(_ask(fixture, seen, askers[each % 2], deadlines) for each in range(ASKERS)),
            *(_decide(fixture, seen) for _ in range(2 * ASKERS)),
            _heal(seen),
            faults=FAULTS,
            count=4,
        )
        seen.check()


async def _heal(seen: ApprovalChecker) -> None:
    await asyncio.sleep(BUSY_S)
    seen.is_unsteady = False


async def _ask(
    fixture: ScenarioFixture, seen: ApprovalChecker, asker: Any, deadlines: Sequence[float]
) -> None:
    """One that asks again until it has an answer, as the attempts of a sub-task do."""
    await fixture.later(BUSY_S)
    number = int(fixture.draw() * QUESTIONS)
    request = Question(number=number, deadline_s=deadlines[number])
    while True:
        try:
            answer = await fixture.system.ask(request, asker, timeout_s=WAIT_S)
        except CallboardError as error:
            seen.run.world.trace.add(error.code)
            await asyncio.sleep(0.1)
        else:
            seen.answers.setdefault(number, set()).add((answer.state, answer.is_given))
            return


async def _decide(fixture: ScenarioFixture, seen: ApprovalChecker) -> None:
    """A person decides what the store shows, and says it again when no answer comes."""
    await fixture.later(BUSY_S + 1.0)
    draw, rows = fixture.draw, sorted(seen.rows())
    if not rows:
        return
    approval_id, person = rows[int(draw() * len(rows))], PERSONS[int(draw() * len(PERSONS))]
    gives = draw() < 0.75
    request: Request[Approval] = DecideApproval(id=approval_id, gives=gives, by=person)
    if draw() < 0.1:
        request = WithdrawApproval(id=approval_id, by=person)
    for _ in range(1 + int(3 * draw())):
        try:
            manager = await fixture.system.lookup(APPROVALS)
            await fixture.system.ask(request, manager, timeout_s=1.0)
        except CallboardError as error:
            seen.run.world.trace.add(error.code)
        else:
            if isinstance(request, DecideApproval):
                seen.confirmed.add((approval_id, person, gives))
