"""The approvals as an actor: asked, decided, restarted, replaced, and overtaken by a command."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

import callboard as cb
from callboard.actors.approvals.actor import Approvals
from callboard.actors.approvals.core import ApprovalBook
from callboard.actors.approvals.storage import MODEL, read_approvals, write_approvals
from callboard.actors.kernel.props import props
from callboard.jobs import (
    Approval,
    ApprovalState,
    AskApproval,
    DecideApproval,
    QueryApprovals,
    RetryPolicy,
    WithdrawApproval,
    start_approvals,
)
from callboard.messages.control.approvals import ApprovalEnded, ApprovalsPage
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.runtime.stores.sqlite import SqliteReadModelStore

DEADLINE_S: Final = 20.0


class Asked(cb.Contract, name="approvals.test.asked"):
    is_given: bool
    by: tuple[str, ...]


class Pay(cb.Request[Asked], name="approvals.test.pay"):
    euros: int
    key: str = ""


class Payer(cb.Agent):
    """Asks a person first."""

    asks: ClassVar[int] = 0

    @cb.handler
    async def pay(self, request: Pay, ctx: cb.Context) -> Asked:
        Payer.asks += 1
        found = await ctx.approval(
            f"Pay {request.euros} EUR?", details={"euros": request.euros}, key=request.key
        )
        return Asked(is_given=found.is_given, by=tuple(each.by for each in found.decisions))


@pytest_asyncio.fixture
async def system() -> AsyncIterator[cb.System]:
    async with cb.start(engine="inline", hosts=2) as running:
        yield running


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "approvals.db")


def question(approval_id: str = "a", **fields: Any) -> AskApproval:
    return AskApproval(**{"id": approval_id, "subject": "Pay?", "asked_by": "ada", **fields})


async def opened(system: cb.System, count: int = 1) -> tuple[Approval, ...]:
    """The open approvals, once there are so many."""
    ref = await system.lookup("callboard.approvals")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            page = await ref.ask(QueryApprovals(states=(ApprovalState.ASKED,)))
            if len(page.items) >= count:
                return page.items
            await asyncio.sleep(0)


async def test_a_handler_waits_for_a_person(system: cb.System, url: str) -> None:
    ref = await start_approvals(system, store=url)
    payer = await system.spawn(Payer)
    answer = asyncio.ensure_future(payer.ask(Pay(euros=3, key="order 7"), timeout_s=DEADLINE_S))
    (found,) = await opened(system)
    assert (found.subject, found.details) == ("Pay 3 EUR?", {"euros": 3})
    await ref.ask(DecideApproval(id=found.id, gives=True, by="bob", reason="it is due"))
    assert await answer == Asked(is_given=True, by=("bob",))
    again = await payer.ask(Pay(euros=3, key="order 7"), timeout_s=DEADLINE_S)
    assert again == Asked(is_given=True, by=("bob",)), "the same question, the same answer"
    with pytest.raises(UsageError, match="no sub-task"):
        await payer.ask(Pay(euros=3))


async def test_without_approvals_a_question_is_refused(system: cb.System) -> None:
    payer = await system.spawn(Payer)
    with pytest.raises(CallboardError, match="nobody keeps the approvals"):
        await payer.ask(Pay(euros=3, key="k"), timeout_s=DEADLINE_S)


async def test_what_was_asked_and_decided_outlives_the_actor(system: cb.System, url: str) -> None:
    ref = await start_approvals(system, store=url)
    payer = await system.spawn(Payer)
    answer = asyncio.ensure_future(payer.ask(Pay(euros=3, key="k"), timeout_s=DEADLINE_S))
    (found,) = await opened(system)
    await ref.ask(question("b", needed=2))
    await ref.ask(DecideApproval(id="b", gives=True, by="bob"))
    await system.stop(ref)
    answer.cancel()
    ref = await start_approvals(system, store=url)
    assert {each.id for each in await opened(system, 2)} == {found.id, "b"}
    after = await ref.ask(DecideApproval(id="b", gives=True, by="eve"))
    assert (after.state, [each.by for each in after.decisions]) == ("given", ["bob", "eve"])


async def test_a_deadline_ends_it_without_anybody(system: cb.System, url: str) -> None:
    ref = await start_approvals(system, store=url)
    after = await ref.ask(question(deadline_s=0.05, wait_s=2.0), timeout_s=DEADLINE_S)
    assert (after.state, after.is_given) == ("expired", False)
    assert after.ended_at == after.ends_at
    with pytest.raises(ApprovalEnded):
        await ref.ask(DecideApproval(id="a", gives=True, by="bob"))


async def test_a_withdrawal_lets_the_one_who_waits_go_on(system: cb.System, url: str) -> None:
    ref = await start_approvals(system, store=url)
    waiting = asyncio.ensure_future(ref.ask(question(wait_s=2.0), timeout_s=30.0))
    await opened(system)
    await ref.ask(WithdrawApproval(id="a", reason="not needed", by="ada"))
    assert ((await waiting).state, (await waiting).reason) == ("withdrawn", "not needed")


PAYING: Final = cb.Job[Pay, list[Asked]](
    name="paying",
    task_timeout_s=30.0,
    task_retry=RetryPolicy(attempts_max=9, backoff_min_s=0.0, backoff_max_s=0.01),
)


async def ended(ref: Any, approval_id: str) -> Approval:
    """The approval, once it is not open any more."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            page: ApprovalsPage = await ref.ask(QueryApprovals(id=approval_id))
            (found,) = page.items
            if not found.is_open:
                return found
            await asyncio.sleep(0)


async def test_an_execution_that_is_cancelled_withdraws_its_questions(
    system: cb.System, url: str
) -> None:
    ref = await start_approvals(system, store=url)
    await system.pool(Payer, size=4)
    other = system.submit(PAYING, Pay(euros=3), execution_id="pay")
    running = system.submit(PAYING, Pay(euros=4), execution_id="pay/4")
    found = {each.details["euros"]: each for each in await opened(system, 2)}
    assert found[4].step == "pay%2F4/request"
    running.cancel()
    after = await ended(ref, found[4].id)
    assert (after.state, after.ended_by) == ("withdrawn", "pay/4")
    assert after.reason == "execution pay/4 is cancelled"
    (left,) = await opened(system)
    assert left.id == found[3].id, "another execution waits on"
    await ref.ask(DecideApproval(id=left.id, gives=True, by="bob"))
    assert await other.result(DEADLINE_S) == [Asked(is_given=True, by=("bob",))]


async def test_a_retry_asks_on_and_the_failure_of_its_execution_withdraws(
    system: cb.System, url: str
) -> None:
    ref = await start_approvals(system, store=url)
    await system.pool(Payer, size=1)
    Payer.asks = 0
    job = dataclasses.replace(
        PAYING, task_timeout_s=0.1, task_retry=RetryPolicy(attempts_max=3, backoff_min_s=0.0)
    )
    running = system.submit(job, Pay(euros=3), execution_id="tries")
    (found,) = await opened(system)
    with pytest.raises(CallboardError):
        await running.result(DEADLINE_S)
    assert Payer.asks == 3
    after = await ended(ref, found.id)
    assert (after.state, after.reason) == ("withdrawn", "execution tries is failed")


async def test_an_execution_that_waits_for_a_resume_keeps_its_questions(tmp_path: Path) -> None:
    url, journal = str(tmp_path / "approvals.db"), str(tmp_path / "journal.db")
    for number in range(2):
        async with cb.start(engine="inline", hosts=1, journal=journal) as system:
            ref = await start_approvals(system, store=url)
            await system.pool(Payer, size=1)
            if number == 0:
                system.submit(PAYING, Pay(euros=3), execution_id="one")
                await opened(system)
                continue
            resumed = await system.resume(PAYING, "one")
            (found,) = await opened(system)
            await ref.ask(DecideApproval(id=found.id, gives=True, by="bob"))
            assert await resumed.result(DEADLINE_S) == [Asked(is_given=True, by=("bob",))]


async def test_a_decision_in_the_store_is_not_overwritten(system: cb.System, url: str) -> None:
    ref = await start_approvals(system, store=url)
    await ref.ask(question())
    store = SqliteReadModelStore(url)
    store.open()
    position, rows = read_approvals(store)
    changes = ApprovalBook(rows).decide(DecideApproval(id="a", gives=False, by="bob"), 1.0)
    assert write_approvals(store, position, changes)
    store.close()
    with pytest.raises(ApprovalEnded, match="refused by bob"):
        await ref.ask(DecideApproval(id="a", gives=True, by="eve"))


async def test_a_row_that_does_not_decode_stays_and_harms_nothing(
    system: cb.System, url: str
) -> None:
    ref = await start_approvals(system, store=url)
    await ref.ask(question())
    await system.stop(ref)
    store = SqliteReadModelStore(url)
    store.open()
    wrong = [b"", b"\xff", b"[]", b'{"format":9}', b"{}", b'{"format":1}', b"null", b"[" * 50_000]
    rows = {f"approval/{number}": data for number, data in enumerate(wrong)}
    assert store.apply(MODEL, store.position(MODEL), store.position(MODEL) + 1, rows)
    ref = await start_approvals(system, store=url)
    assert [each.id for each in (await ref.ask(QueryApprovals())).items] == ["a"]
    await ref.ask(DecideApproval(id="a", gives=True, by="bob"))
    assert store.get_many(MODEL, list(rows)) == wrong
    store.close()


class Unsteady(SqliteReadModelStore):
    """Fails as the test says, before or after the commit."""

    faults: ClassVar[list[str]] = []

    def apply(self, model: str, before: int, after: int, changes: Any) -> bool:
        fault = Unsteady.faults.pop(0) if "owner" not in changes and Unsteady.faults else ""
        if fault == "away":
            raise StoreUnavailable("the store is away.", may_have_run=False)
        done = super().apply(model, before, after, changes)
        if fault == "unknown":
            raise CommitUnknown("the answer is lost.")
        return done


def unsteady_at(path: str) -> Callable[[], Unsteady]:
    return lambda: Unsteady(path, durability="off")


async def test_a_commit_of_unknown_outcome_counts_once(system: cb.System, url: str) -> None:
    ref = await system.spawn(props(Approvals, unsteady_at(url)), name="callboard.approvals")
    Unsteady.faults = ["unknown"]
    await ref.ask(question(needed=2))
    Unsteady.faults = ["unknown", "away"]
    first = await ref.ask(DecideApproval(id="a", gives=True, by="bob"))
    assert (first.state, len(first.decisions)) == ("asked", 1)
    with pytest.raises(StoreUnavailable):
        await ref.ask(DecideApproval(id="a", gives=True, by="eve"))
    (found,) = (await ref.ask(QueryApprovals())).items
    assert len(found.decisions) == 1, "what is not stored is not known"
    after = await ref.ask(DecideApproval(id="a", gives=True, by="eve"))
    assert after.is_given


async def test_a_store_that_is_away_delays_a_question(system: cb.System, url: str) -> None:
    ref = await system.spawn(props(Approvals, unsteady_at(url)), name="callboard.approvals")
    Unsteady.faults = ["away", "away", "unknown"]
    payer = await system.spawn(Payer)
    answer = asyncio.ensure_future(payer.ask(Pay(euros=3, key="k"), timeout_s=DEADLINE_S))
    (found,) = await opened(system)
    await ref.ask(DecideApproval(id=found.id, gives=False, by="bob"))
    assert not (await answer).is_given
