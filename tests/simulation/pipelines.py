"""The scenario of pipelines: hosts, stores and sinks fail, stages fail, and a person decides.

The store lasts longer than any process. Each of its commits must have accounts that add up, and
every row must leave its pipeline exactly once.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from callboard.actors.kernel.props import props
from callboard.actors.pipelines.accounts import PipelineAccount
from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.registry import (
    StageEffects,
    StageRegistry,
    StageSettings,
    StageType,
)
from callboard.actors.pipelines.running.actor import PipelineActor
from callboard.actors.pipelines.running.figures import PipelineLimits
from callboard.actors.pipelines.running.ports import Delivery, PipelineSink
from callboard.actors.pipelines.running.sinks import CallSink, TableSink, read_table
from callboard.actors.pipelines.running.sources import MemorySource
from callboard.actors.pipelines.running.stored import PipelineState, PipelineStore
from callboard.actors.pipelines.spec import (
    DataPipeline,
    ErrorHandlingStrategy,
    ErrorPolicy,
    MonitoringConfiguration,
    PipelineStage,
)
from callboard.actors.pipelines.stages.standard import standard_types
from callboard.messages.control.spec import Backoff, Restart
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.testing.loop import Later

from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults

__all__ = [
    "PipelineChecker",
    "decisions",
    "finish_pipelines",
    "pipelines",
    "start_pipelines",
]

ROWS: Final = 80
NAMES: Final = ("inside", "outside")
END_S_MAX: Final = 40.0
POLL_S: Final = 0.2
HANG_S_MAX: Final = 2.0
"""More than the longest hang of a host."""
LIMITS: Final = PipelineLimits(
    batch_rows=7, credit_batches=2, idle_s=0.1, deliver_timeout_s=0.5, pool_timeout_s=1.0
)
SOURCE: Final = tuple({"id": number} for number in range(ROWS))
GOOD: Final = frozenset(number for number in range(ROWS) if number % 9 != 4 and number % 5 != 2)


class PipelineChecker:
    """The store, the sink, and what must hold in them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.draw: Callable[[], float] = run.draw
        self.models = MemoryReadModelStore()
        self.is_unsteady = True
        self.delivered: dict[int, list[int]] = {}

    def committed(self, model: str, changes: Mapping[str, bytes | None]) -> None:
        """Check the account of a commit, also against the stored dead letters."""
        encoded = changes.get("account")
        if encoded is None:
            return
        account = PipelineAccount.decode(encoded)
        for problem in account.problems():
            self.run.complain("accounts_add_up", problem)
        letters = len(self.models.items(model, "letter/"))
        if letters != account.letters_pending:
            seen = f"{letters} dead letters are stored, {account.letters_pending} are counted"
            self.run.complain("accounts_add_up", seen)

    async def deliver(self, delivery: Delivery) -> None:
        """The sink outside: slow, and not sure of its answers."""
        draw = self.draw
        await asyncio.sleep(0.05 * draw() ** 2)
        if self.is_unsteady and draw() < 0.15:
            raise ConnectionError("the sink is away")
        ids = [row["id"] for row in delivery.batch.data]
        before = self.delivered.setdefault(delivery.number, ids)
        if before != ids:
            self.run.complain("rows_leave_once", f"batch {delivery.number}: {before}, then {ids}")
        if self.is_unsteady and draw() < 0.15:
            raise ConnectionError("the answer of the sink is lost")

    def check(self) -> None:
        """Check at the end what has come out."""
        out = sorted(each for ids in self.delivered.values() for each in ids)
        table = sorted(row["id"] for _, row in read_table(self.models, "inside"))
        for name, ids in (("outside", out), ("inside", table)):
            if ids != sorted(GOOD):
                missing, extra = sorted(GOOD - set(ids)), [n for n in ids if ids.count(n) > 1]
                self.run.complain("rows_leave_once", f"{name}: lost {missing}, repeated {extra}")
        for name in NAMES:
            stored = PipelineStore(self.models, name).load()
            account = stored.account
            if stored.status.state is not PipelineState.ENDED or account is None:
                self.run.complain("it_ends", f"{name} is {stored.status}")
            elif account.read != ROWS:
                self.run.complain("rows_leave_once", f"{name} has read {account.read} rows")
        self.run.check_now()


def checker() -> PipelineChecker:
    """The checker of the world whose step this is."""
    found = current_message_log().checker
    assert isinstance(found, PipelineChecker), "the scenario has made one"
    return found


class UnsteadyStore:
    """The models as one process sees them: commits take time, fail, and lose their answers."""

    name = "simulated"

    def __init__(self) -> None:
        self._checker = checker()
        self._models = self._checker.models

    def open(self) -> None:
        """See `ReadModelStore.open`."""

    def position(self, model: str) -> int:
        """See `ReadModelStore.position`."""
        return self._models.position(model)

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> Any:
        """See `ReadModelStore.apply`; the outcome comes later."""
        seen, draw = self._checker, self._checker.draw
        if "account" not in changes:
            return self._models.apply(model, before, after, changes)
        chance = draw() if seen.is_unsteady else 1.0
        if chance < 0.05:
            raise StoreUnavailable("the store does not answer.", may_have_run=False)

        def written() -> bool:
            done = self._models.apply(model, before, after, changes)
            if done:
                seen.committed(model, changes)
            if chance < 0.1:
                raise CommitUnknown("the answer of the store is lost.")
            return done

        return Later(0.01 * draw(), written)

    def get_many(self, model: str, keys: Sequence[str]) -> list[bytes | None]:
        """See `ReadModelStore.get_many`."""
        if self._checker.is_unsteady and self._checker.draw() < 0.03:
            raise StoreUnavailable("the store does not answer.", may_have_run=False)
        return self._models.get_many(model, keys)

    def items(
        self, model: str, prefix: str = "", *, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """See `ReadModelStore.items`."""
        return self._models.items(model, prefix, after=after, limit=limit)

    def promote(self, name: str, model: str) -> None:
        """See `ReadModelStore.promote`."""
        self._models.promote(name, model)

    def meaning(self, name: str) -> str:
        """See `ReadModelStore.meaning`."""
        return self._models.meaning(name)

    def drop(self, model: str) -> None:
        """See `ReadModelStore.drop`."""
        self._models.drop(model)

    def close(self) -> None:
        """See `ReadModelStore.close`."""


class _Flaky:
    """A stage that fails now and then, and on no row in particular."""

    def process(self, batch: DataBatch, _effects: StageEffects) -> DataBatch:
        """Pass the batch on."""
        seen = checker()
        if seen.is_unsteady and seen.draw() < 0.1:
            raise ConnectionError("a service of the stage is away")
        return batch


def _flaky(_stage: PipelineStage, _settings: StageSettings) -> _Flaky:
    return _Flaky()


def _types() -> StageRegistry:
    return StageRegistry((*standard_types(), StageType("flaky", _flaky)))


def _spec(name: str) -> DataPipeline:
    patient = ErrorHandlingStrategy(
        ErrorPolicy.RETRY, attempts_max=1_000, backoff=Backoff(0.01, 0.2)
    )
    return DataPipeline(
        name,
        (
            PipelineStage("some", "filter", configuration={"where": "id % 5 != 2"}),
            PipelineStage("flaky", "flaky", error_handling=patient),
            PipelineStage("check", "validate", configuration={"rules": {"not": "id % 9 != 4"}}),
        ),
        monitoring=MonitoringConfiguration(letters_share_max=1.0),
    )


def _sink(name: str) -> PipelineSink:
    return TableSink() if name == "inside" else CallSink(_deliver)


async def _deliver(delivery: Delivery) -> None:
    await checker().deliver(delivery)


async def pipelines(run: Run) -> None:
    """Pipelines with both kinds of sinks, whose hosts, stores and sinks fail."""
    async with open_fixture(run) as fixture:
        seen = await start_pipelines(fixture)
        # Without messages a host that hangs looks as if it were at rest.
        outlasts = asyncio.sleep(BUSY_S + HANG_S_MAX)
        await run_under_faults(fixture, outlasts, *decisions(fixture, seen))
        await finish_pipelines(run, seen)


async def start_pipelines(fixture: ScenarioFixture) -> PipelineChecker:
    """Start a pipeline with each kind of sink."""
    seen = fixture.run.message_log.checker = PipelineChecker(fixture.run)
    for place, name in enumerate(NAMES):
        await fixture.system.spawn(
            props(
                PipelineActor, _spec(name), lambda: MemorySource(SOURCE),
                functools.partial(_sink, name), UnsteadyStore, make_types=_types, limits=LIMITS,
            ),
            host=1 + place,
            restart=Restart.PERMANENT,
        )  # fmt: skip
    return seen


def decisions(fixture: ScenarioFixture, seen: PipelineChecker) -> list[Coroutine[Any, Any, None]]:
    """What a person does meanwhile."""
    return [_decide(fixture, seen) for _ in range(6)]


async def finish_pipelines(run: Run, seen: PipelineChecker) -> None:
    """Let the pipelines end without faults, and check what has come out."""
    seen.is_unsteady = False
    await _until_ended(run, seen)
    seen.check()


async def _decide(fixture: ScenarioFixture, seen: PipelineChecker) -> None:
    """A person replays or discards some dead letter."""
    await fixture.later(BUSY_S)
    store = PipelineStore(seen.models, NAMES[int(seen.draw() * len(NAMES))])
    letters = store.letters()
    if letters:
        number, _ = letters[int(seen.draw() * len(letters))]
        try:
            (store.replay if seen.draw() < 0.7 else store.discard)([number])
        except CallboardError as error:
            seen.run.world.trace.add(error.code)


async def _until_ended(run: Run, seen: PipelineChecker) -> None:
    until_s = run.world.now_s + END_S_MAX
    while run.world.now_s < until_s:
        loaded = [PipelineStore(seen.models, name).load() for name in NAMES]
        if all(
            each.status.state is PipelineState.ENDED and not each.replays and not each.outgoing
            for each in loaded
        ):
            return
        await asyncio.sleep(POLL_S)
