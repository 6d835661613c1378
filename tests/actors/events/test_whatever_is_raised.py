"""Whatever a user's code raises: no projector and no group of consumers ends silently."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import callboard
from callboard.actors.events.codec import Event
from callboard.actors.events.consumers.core import ConsumersLimits
from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.errors import ProjectionFailed
from callboard.actors.events.projection.figures import ProjectorLimits, ProjectorState
from callboard.actors.events.projection.projection import Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.messages.control.spec import Backoff, SupervisorSpec
from callboard.messages.core.errors import InternalError
from callboard.messages.storage.events import NewEvent
from callboard.runtime.api.inside import processes_of
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.supervision import TreeSpec

from .accounts import CODEC, DEADLINE_S, Accounts, Deposited, append, open_journal, until
from .ledger import HardLog, codec_of, deposits
from .ledger import until as until_it

SMALL = ProjectorLimits(page_events=7, idle_s=0.05)
ERRORS = [
    SystemExit(2),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(),
    BaseExceptionGroup("both", [SystemExit(2), ValueError()]),
]
ON_THE_LOOP = [
    error for error in ERRORS if not isinstance(error, KeyboardInterrupt | GeneratorExit)
]
"""In the event loop these two are the user's Ctrl-C, and the end of a coroutine."""


class Raising(Accounts):
    """It raises at the accounts of this name."""

    error: ClassVar[BaseException | None] = None

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        if self.error is not None and event.account == "bad":
            raise self.error
        super().deposited(rows, event)


@pytest.fixture
def models() -> Iterator[MemoryReadModelStore]:
    store = MemoryReadModelStore()
    store.open()
    yield store
    store.close()


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def error(request: pytest.FixtureRequest) -> Iterator[BaseException]:
    Raising.error = request.param
    yield request.param
    Raising.error = None


async def test_a_projector_fails_and_everyone_who_waits_learns_why_at_once(
    models: MemoryReadModelStore, error: BaseException
) -> None:
    async with open_journal() as journal, Queries(Raising, models) as queries:
        async with Projector(Raising(), journal, models, queries=[queries]) as projector:
            await append(journal, [Deposited(account=name, amount=1) for name in ("a", "bad", "c")])
            waits = [each.wait_for(3, 10 * DEADLINE_S) for each in (projector, queries)]
            outcomes = await asyncio.wait_for(
                asyncio.gather(*waits, return_exceptions=True), DEADLINE_S
            )
            for outcome in outcomes:
                assert isinstance(outcome, ProjectionFailed)
                assert outcome.details["position"] == 2
                assert outcome.__cause__ is error
            assert projector.statistics().state is ProjectorState.FAILED
            assert models.position("accounts") == 1
        # After the failure too, and until another projector continues.
        with pytest.raises(ProjectionFailed):
            await queries.wait_for(3, 10 * DEADLINE_S)
        await queries.wait_for(1, DEADLINE_S)
        Raising.error = None
        async with Projector(Raising(), journal, models, queries=[queries]):
            await queries.wait_for(3, DEADLINE_S)


class FailingQueries(Queries[int]):
    error: BaseException

    async def applied(self, model: str, position: int, keys: Any) -> None:
        if position:
            raise self.error


@pytest.mark.parametrize("raised", ON_THE_LOOP, ids=lambda error: type(error).__name__)
async def test_a_listener_that_raises_stops_the_projector_with_its_error(
    models: MemoryReadModelStore, raised: BaseException
) -> None:
    async with open_journal() as journal, FailingQueries(Accounts, models) as queries:
        queries.error = raised
        async with Projector(Accounts(), journal, models, queries=[queries]) as projector:
            await append(journal, [Deposited(account="a", amount=1)])
            with pytest.raises((InternalError, RuntimeError)):
                await asyncio.wait_for(projector.wait_for(1, 10 * DEADLINE_S), DEADLINE_S)
            assert projector.statistics().state is ProjectorState.FAILED


async def test_a_projector_that_meets_a_base_exception_is_restarted_by_its_supervisor(
    tmp_path: Path, error: BaseException
) -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        log = await callboard.events.open_log(system, str(tmp_path / "log.db"), name="log")
        spec = callboard.events.projector_spec(
            Raising, log=log, models=str(tmp_path / "models.db"), limits=SMALL
        )
        again = SupervisorSpec(backoff=Backoff(max_s=0.01))
        await system.start_tree(TreeSpec("models", (spec,), again))
        packed: list[NewEvent] = [CODEC.encode(Deposited(account="bad", amount=1))]
        await log.append("accounts", packed)
        host = processes_of(system)[0].host
        await until(lambda: host.meters.restarts >= 2, "it is restarted, and fails again")
        Raising.error = None
        await log.close()


@pytest.mark.parametrize("raised", ON_THE_LOOP, ids=lambda error: type(error).__name__)
async def test_an_event_whose_handling_raises_is_retried_and_parked(
    models: MemoryReadModelStore, raised: BaseException
) -> None:
    codec, log = codec_of(), HardLog(page_max=7)
    limits = ConsumersLimits(attempts_max=2, backoff_s_min=0.002, backoff_s_max=0.01)
    log.add("a", deposits(codec, 2))

    async def handle(event: Event) -> None:
        if event.position == 1:
            raise raised

    async with ConsumerGroup("g", log, codec, models, limits=limits) as group:
        running = asyncio.create_task(group.run(handle))
        await until_it(lambda: group.statistics().checkpoint == 2)
        assert group.statistics().parked == 1
    await running


@pytest.mark.parametrize("raised", ON_THE_LOOP, ids=lambda error: type(error).__name__)
async def test_a_key_function_that_raises_stops_the_group_and_every_consumer_learns_it(
    models: MemoryReadModelStore, raised: BaseException
) -> None:
    codec, log = codec_of(), HardLog(page_max=7)

    def key(event: Event) -> str:
        raise raised

    log.add("a", deposits(codec, 2))
    async with ConsumerGroup("g", log, codec, models, key=key) as group:
        consumer = group.consumer("x")
        with pytest.raises(InternalError, match="consumers 'g' failed"):
            await consumer.next(DEADLINE_S)
