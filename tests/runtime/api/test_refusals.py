"""What no call takes: a timeout that is none, and something else than a message."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar

import pydantic
import pytest

from callboard.actors.events.commands import Commands
from callboard.actors.events.consumers.consumer import Consumer
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.actors.events.subscription.subscription import Subscription
from callboard.actors.kernel.actor import Agent, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor
from callboard.actors.state.feed import StateFeed
from callboard.messages.control.routing import consistent_hash
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    DeadlineExceeded,
    InvalidMessage,
    MailboxFull,
    PlanError,
    SpecError,
    UsageError,
)
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Address, Ref
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.start import start
from callboard.runtime.api.system import System
from callboard.runtime.hosting.settings import Settings


class Done(Contract, name="tests.refusals.done"):
    pass


class Q(Request[Done], name="tests.refusals.q"):
    key: str = ""


class KeyedQ(Request[Done], name="tests.refusals.keyed_q"):
    key: str = ""


class HashedNote(Contract, name="tests.refusals.hashed_note"):
    key: str = ""


class Note(Contract, name="tests.refusals.note"):
    key: str = ""


class Hang(Request[Done], name="tests.refusals.hang"):
    pass


class Model(pydantic.BaseModel):
    """Pydantic's, but no contract."""


class Server(Agent):
    """It shows the test the context of a handler that hangs."""

    contexts: ClassVar[asyncio.Queue[Context]]

    @handler
    async def answer(self, request: Q) -> Done:
        return Done()

    @handler
    async def note(self, note: Note) -> None:
        """Take it."""

    @handler
    async def hang(self, request: Hang, ctx: Context) -> Done:
        self.contexts.put_nowait(ctx)
        await asyncio.Event().wait()
        return Done()


class Hashed(Agent):
    @handler
    async def note(self, note: HashedNote) -> None:
        """Take it."""


class Keyed(KeyedActor):
    key: ClassVar[str] = "key"

    @handler
    async def answer(self, request: KeyedQ) -> Done:
        return Done()


TIMEOUTS = (0, 0.0, -1.0, math.nan, math.inf, "1", True)
NO_MESSAGES = (None, "text", {"v": 1}, Q, Note, 7, Model(), Model, object)


@asynccontextmanager
async def calls() -> AsyncIterator[tuple[System, dict[str, Callable[..., Any]]]]:
    """A system, and every call of it that takes a message."""
    Server.contexts = asyncio.Queue()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        host = host_of(system)
        cell = await host.spawn(Recipe(Server), None)
        near = host.ref(Address(host.slot, cell.id))
        far: Ref[Any] = await system.spawn(Server)
        pool = await system.pool(Server, size=1, name="pool")
        hashed = await system.pool(Hashed, size=1, routing=consistent_hash("key"))
        keyed = await system.keyed(Keyed)
        hanging = asyncio.ensure_future(far.ask(Hang()))
        ctx = await Server.contexts.get()
        places = {"near": near, "far": far, "pool": pool, "hashed": hashed, "keyed": keyed}
        all_calls: dict[str, Callable[..., Any]] = {
            f"{verb} {name}": getattr(place, verb)
            for name, place in (*places.items(), ("system", system), ("context", ctx))
            for verb in ("ask", "tell", "send")
        }
        for name, api in (("system", system), ("context", ctx)):
            for verb in ("ask", "tell", "send"):
                all_calls[f"{verb} {name} to"] = partial(getattr(api, verb), to=far)
        all_calls["send_after"] = lambda message: ctx.send_after(1.0, message)
        all_calls["send_every"] = lambda message: ctx.send_every(1.0, message)
        yield system, all_calls
        hanging.cancel()


def plan_of(of_sub_task: Any, request: Any) -> Plan:
    return Plan([SubTask("a", of_sub_task)])


def job_with(**options: Any) -> Job[Any, Any]:
    return Job(**{"name": "j", "decompose": lambda request: Plan(), **options})


async def error_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> Exception | None:
    try:
        result = call(*arguments, **options)
        if isinstance(result, Awaitable):
            await result
    except Exception as error:  # noqa: BLE001 - the test judges it
        return error
    return None


async def test_every_call_says_in_words_what_is_no_message() -> None:
    async with calls() as (system, all_calls):
        for name, call in all_calls.items():
            for wrong in NO_MESSAGES:
                if isinstance(wrong, Model) and name in {"tell near", "tell far"}:
                    continue  # The check of the hot path lets other pydantic models pass.
                error = await error_of(call, wrong)
                assert isinstance(error, InvalidMessage), (name, wrong, error)
                assert "stands where a message belongs" in error.message
        job: Any = job_with()
        with pytest.raises(InvalidMessage, match="the class Q stands where"):
            system.submit(job, Q)


@pytest.mark.parametrize("host", [0, 1])
async def test_another_pydantic_model_is_a_dead_letter(host: int) -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        ref: Ref[Any] = await system.spawn(Server)
        if not host:
            own = host_of(system)
            ref = own.ref(Address(own.slot, (await own.spawn(Recipe(Server), None)).id))
        wrong: Any = Model()
        try:
            ref.tell(wrong)
        except InvalidMessage:
            assert host
        else:
            await ref.ask(Q())
            assert host_of(system).dead_letters.counts == {"no_handler": 1}
        await ref.ask(Q())


async def test_a_sub_task_without_a_request_is_a_plan_error() -> None:
    async with start(engine="inline", hosts=1, standbys=0) as system:
        for wrong in NO_MESSAGES:
            job = job_with(decompose=partial(plan_of, wrong))
            with pytest.raises(PlanError, match="no contract as their request: 'a' has a "):
                await system.submit(job, Note()).result(10.0)


# --- timeouts ------------------------------------------------------------------------------------


async def test_every_wait_refuses_a_timeout_that_is_none() -> None:
    async with calls() as (system, all_calls):
        job: Any = job_with()
        waits: dict[str, Callable[..., Any]] = {
            name: partial(call, Q())
            for name, call in all_calls.items()
            if name.partition(" ")[0] in {"ask", "send"}
        }
        waits["result"] = system.submit(job, Note()).result
        for name, wait in waits.items():
            for wrong in TIMEOUTS:
                error = await error_of(wait, timeout_s=wrong)
                assert isinstance(error, UsageError), (name, wrong, error)
                assert "timeout_s is " in error.message


WAITS: dict[str, tuple[type[Any], tuple[Any, ...]]] = {
    "wait_for of a projector": (Projector, (1,)),
    "promote of a projector": (Projector, ()),
    "wait_for of queries": (Queries, (1,)),
    "wait_for of states": (StateFeed, (1,)),
    "execute of commands": (Commands, ("stream", Note())),
    "next of a consumer": (Consumer, ()),
    "next of a subscription": (Subscription, ()),
    "next_page of a subscription": (Subscription, ()),
}


@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize("wrong", TIMEOUTS)
async def test_waits_for_events_refuse_a_timeout_that_is_none(what: str, wrong: Any) -> None:
    cls, arguments = WAITS[what]
    # Without a store: the refusal comes before anything else.
    wait = getattr(object.__new__(cls), what.partition(" ")[0])
    with pytest.raises(UsageError, match="timeout_s is "):
        await wait(*arguments, timeout_s=wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf])
def test_settings_and_jobs_refuse_a_timeout_that_is_none(wrong: float) -> None:
    for setting in ("ask_timeout_s", "start_timeout_s", "stop_timeout_s"):
        with pytest.raises(SpecError, match=setting):
            Settings.from_words([f"{setting}={wrong}"], {})
    for option in ("timeout_s", "task_timeout_s"):
        with pytest.raises(SpecError, match=option):
            job_with(**{option: wrong})
    with pytest.raises(PlanError, match="timeout_s"):
        Plan([SubTask("a", Q(), timeout_s=wrong)])


async def test_a_send_after_the_deadline_of_its_handler_fails_at_once() -> None:
    Server.contexts = asyncio.Queue()
    async with start(engine="inline", hosts=1, standbys=0) as system:
        ref: Ref[Any] = await system.spawn(Server)
        with pytest.raises(DeadlineExceeded, match=r"\$\d+ on host.1"):
            await ref.ask(Hang(), timeout_s=0.02)
        ctx = await Server.contexts.get()
        with pytest.raises(DeadlineExceeded, match="has passed"):
            await ctx.send(Note(), ref)


# --- the bound of open asks ----------------------------------------------------------------------


@pytest.mark.parametrize("offers", [False, True])
async def test_more_open_asks_than_the_limit_are_refused_at_once(offers: bool) -> None:
    Server.contexts = asyncio.Queue()
    limits = Limits(asks_open_max=10)
    async with start(engine="inline", hosts=1, standbys=0, limits=limits) as system:
        ref: Ref[Any] = await system.spawn(Server, offer=True)
        ask = system.ask if offers else ref.ask
        hanging = [asyncio.ensure_future(ask(Hang())) for _ in range(10)]
        for _ in range(3):
            with pytest.raises(MailboxFull, match=r"10 asks of .* wait") as caught:
                await ask(Q())
            assert not caught.value.may_have_run
        host = host_of(system)
        assert host.dead_letters.counts == {"too_many_asks": 3}
        # The control plane is not refused.
        await system.view()
        for each in hanging:
            each.cancel()
        await asyncio.wait(hanging)
        assert host.asks_open == 0
        assert await ask(Q()) == Done()
