"""Idempotency keys: one for each step of each execution, and the same one in each release."""

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import callboard
from callboard import Agent, Context, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.history import recorder
from callboard.actors.executions.history.events import Forked, Submitted
from callboard.actors.executions.step_keys import KEY_FORM, step_keys

WAIT_S = 30.0
NAMES = st.text(alphabet="ab/%2F", min_size=1, max_size=6)


class Keyed(Contract, name="step_keys.keyed"):
    key: str


class Tell(Request[Keyed], name="step_keys.tell"):
    """Ask for the key."""


class Teller(Agent):
    """Replies with its idempotency key, or hangs and sets `begun`."""

    begun: ClassVar[asyncio.Event | None] = None

    @handler
    async def tell(self, request: Tell, ctx: Context) -> Keyed:
        del request
        if Teller.begun is not None:
            Teller.begun.set()
            await asyncio.Event().wait()
        return Keyed(key=ctx.idempotency_key)


def job_of(*steps: str) -> Job[Tell, list[Keyed]]:
    return Job(name="telling", decompose=lambda request: [SubTask(step, request) for step in steps])


@given(NAMES, NAMES, NAMES, NAMES)
def test_each_step_of_each_execution_has_its_own_key(
    one: str, step: str, other: str, other_step: str
) -> None:
    is_same = (one, step) == (other, other_step)
    key, other_key = step_keys(one, KEY_FORM)(step), step_keys(other, KEY_FORM)(other_step)
    assert (key == other_key) == is_same


@given(st.text(alphabet="ab-. ü", min_size=1), st.text(alphabet="ab-. ü", min_size=1))
def test_names_without_slashes_have_the_key_of_earlier_releases(id_: str, step: str) -> None:
    assert step_keys(id_, KEY_FORM)(step) == step_keys(id_, 0)(step) == f"{id_}/{step}"


async def test_slashes_in_ids_and_steps_make_no_equal_keys() -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        await system.pool(Teller, size=1)
        one = system.submit(job_of("refund/pay"), Tell(), execution_id="order-17")
        other = system.submit(job_of("pay"), Tell(), execution_id="order-17/refund")
        keys = [(await each.result(WAIT_S))[0].key for each in (one, other)]
    assert keys == ["order-17/refund%2Fpay", "order-17%2Frefund/pay"]


@pytest.mark.parametrize(("form", "key"), [(0, "a/b/x/y"), (KEY_FORM, "a%2Fb/x%2Fy")])
async def test_a_resumed_execution_keeps_the_keys_that_it_began_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: int, key: str
) -> None:
    journal, job = str(tmp_path / "journal.db"), job_of("x/y")
    monkeypatch.setattr(recorder, "KEY_FORM", form)  # As an earlier release wrote it.
    monkeypatch.setattr(Teller, "begun", asyncio.Event())
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Teller, size=1)
        system.submit(job, Tell(), execution_id="a/b")
        await asyncio.wait_for(Teller.begun.wait(), WAIT_S)  # type: ignore[union-attr]
    monkeypatch.undo()
    async with callboard.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Teller, size=1)
        (keyed,) = await (await system.resume(job, "a/b")).result(WAIT_S)
    assert keyed.key == key


def test_an_event_of_an_earlier_release_has_the_first_form() -> None:
    submitted = Submitted(job="j", at=1.0, by="me", keys=KEY_FORM).fields()
    assert Submitted.of(submitted).keys == KEY_FORM
    del submitted["keys"]
    assert Submitted.of(submitted).keys == 0
    forked = Forked("a", 1, "s", 1.0, "me", keys=KEY_FORM).fields()
    assert Forked.of(forked).keys == KEY_FORM
    del forked["keys"]
    assert Forked.of(forked).keys == 0
