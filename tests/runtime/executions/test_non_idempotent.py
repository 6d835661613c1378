"""Non-idempotent steps and idempotency keys on a whole system, journalled, over several runs."""

import asyncio
import time
from pathlib import Path
from typing import ClassVar

import pytest

import callboard
from callboard import Agent, Context, Contract, Job, Request, SubTask, System, handler
from callboard.messages.core.errors import CallboardError, ExecutionFailed
from callboard.messages.jobs.job import Decision


class Paid(Contract, name="non_idempotent.paid"):
    key: str


class Pay(Request[Paid], name="non_idempotent.pay"):
    amount: int


class Check(Request[Paid], name="non_idempotent.check"):
    """Fails at first; is safe to repeat."""


class Bank(Agent):
    """Pays, and replies with the idempotency key of the request."""

    keys: ClassVar[list[str]] = []
    hangs: ClassVar[bool] = False
    fails: ClassVar[int] = 0
    begun: ClassVar["asyncio.Event | None"] = None

    @handler
    async def pay(self, request: Pay, ctx: Context) -> Paid:
        Bank.keys.append(ctx.idempotency_key)
        if Bank.begun is not None:
            Bank.begun.set()
        if Bank.hangs:
            await asyncio.Event().wait()
        if Bank.fails:
            Bank.fails -= 1
            raise ValueError("the line broke after the order was given")
        return Paid(key=ctx.idempotency_key)

    @handler
    async def check(self, request: Check, ctx: Context) -> Paid:
        Bank.keys.append(ctx.idempotency_key)
        if len(Bank.keys) < 3:
            raise ValueError("try again")
        return Paid(key=ctx.idempotency_key)


@pytest.fixture(autouse=True)
def _bank() -> None:
    Bank.keys, Bank.hangs, Bank.fails, Bank.begun = [], False, 0, asyncio.Event()


def job_of(sub_task: SubTask, **options: object) -> Job[Pay, list[Paid]]:
    return Job(name="paying", decompose=lambda _: (sub_task,), **options)  # type: ignore[arg-type]


NON_IDEMPOTENT = SubTask("pay", Pay(amount=1), non_idempotent=True)


async def test_every_attempt_of_a_step_has_the_same_key() -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        await system.pool(Bank, size=1)
        retry = callboard.jobs.RetryPolicy(backoff_min_s=0.0)
        execution = system.submit(job_of(SubTask("look", Check(), retry=retry)), Pay(amount=1))
        (paid,) = await execution.result(30)
    assert Bank.keys == [paid.key] * 3
    assert paid.key == f"{execution.id}/look"


async def test_no_step_no_key() -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        await system.pool(Bank, size=1)
        assert (await system.ask(Pay(amount=1))).key == ""


async def test_a_policy_decides_at_once() -> None:
    asked: list[str] = []

    def policy(sub_task: SubTask, error: CallboardError) -> Decision:
        asked.append(error.code)
        return Decision.RUN_AGAIN if len(asked) == 1 else Decision.FAIL

    async with callboard.start(engine="inline", hosts=1) as system:
        await system.pool(Bank, size=1)
        Bank.fails = 5
        with pytest.raises(ExecutionFailed):
            await system.submit(job_of(NON_IDEMPOTENT, in_doubt=policy), Pay(amount=1)).result(30)
    assert asked == ["handler_failed", "handler_failed"]
    assert len(Bank.keys) == 2


async def _until_in_doubt(system: System, execution: callboard.ExecutionHandle[list[Paid]]) -> None:
    async with asyncio.timeout(30):
        async for _ in execution.updates():
            figures = execution.statistics().scheduler
            if figures is not None and figures.progress.in_doubt:
                return


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_a_person_decides(tmp_path: Path, store: str) -> None:
    journal = "memory:" if store == "memory" else str(tmp_path / "journal.db")
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        Bank.fails = 1
        execution = system.submit(job_of(NON_IDEMPOTENT), Pay(amount=1))
        await _until_in_doubt(system, execution)
        assert len(Bank.keys) == 1
        assert await execution.decide("pay", Decision.RUN_AGAIN, by="a person")
        assert [paid.key for paid in await execution.result(30)] == [f"{execution.id}/pay"]
    assert Bank.keys == [f"{execution.id}/pay"] * 2


async def test_what_had_begun_is_not_repeated_by_a_resume(tmp_path: Path) -> None:
    journal, job = str(tmp_path / "journal.db"), job_of(NON_IDEMPOTENT)
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        Bank.hangs = True
        system.submit(job, Pay(amount=1), execution_id="one")
        assert Bank.begun is not None
        await asyncio.wait_for(Bank.begun.wait(), 30)
    Bank.hangs = False
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        execution = await system.resume(job, "one")
        await _until_in_doubt(system, execution)
        assert len(Bank.keys) == 1
    # Still in doubt in the next run, until a decision.
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        execution = await system.resume(job, "one")
        await _until_in_doubt(system, execution)
        assert await execution.decide("pay", Decision.RUN_AGAIN)
        assert [paid.key for paid in await execution.result(30)] == ["one/pay"]
    assert Bank.keys == ["one/pay"] * 2


async def test_a_stop_in_order_is_no_failure_of_what_it_interrupts(tmp_path: Path) -> None:
    """The only attempt of the sub-task is under way when the driver leaves."""
    journal, once = str(tmp_path / "j.db"), callboard.jobs.RetryPolicy(attempts_max=1)
    job = job_of(SubTask("pay", Pay(amount=1), retry=once))
    Bank.hangs = True
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        execution = system.submit(job, Pay(amount=1), execution_id="left")
        assert Bank.begun is not None
        await Bank.begun.wait()
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4.0, "nobody waits for a handler that nobody asks any more"
    with pytest.raises(CallboardError):
        await execution.result(1)
    Bank.hangs = False
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Bank, size=1)
        (paid,) = await (await system.resume(job, "left")).result(30)
    assert Bank.keys == [paid.key] * 2
