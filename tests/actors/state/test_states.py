"""The manager: its order, what happens when a part fails, batches, transitions, two nodes."""

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.state.core import PENDING_NOTIFICATIONS_MAX
from callboard.actors.state.states import AgentStateManager
from callboard.messages.core.errors import InvalidMessage, StateConflict, UsageError
from callboard.messages.jobs.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.jobs.updates import StateChanged, TaskDependency
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
    TransitionRefused,
)
from callboard.messages.storage.states import (
    AgentExecutionState,
    AgentStateChanged,
    IntermediateResult,
    StateCodec,
    UnknownState,
)
from callboard.messages.storage.stores import StateRow
from callboard.runtime.stores.choose import state_store

DEADLINE_S: Final = 20.0
TRIGGER: Final = StateTransitionTrigger.DISPATCHED


class Rows:
    """A primary store in a dictionary that fails on request."""

    def __init__(self) -> None:
        self.kept: dict[str, StateRow] = {}
        self.reads: list[list[str]] = []
        self.failures: list[Exception | None] = []
        self.commits_first = False
        self._lock = threading.Lock()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def upsert(self, table: str, rows: Sequence[StateRow]) -> list[bool]:
        with self._lock:
            error = self.failures.pop(0) if self.failures else None
            if error is not None and not self.commits_first:
                raise error
            newer = []
            for row in rows:
                before = self.kept.get(row.id)
                newer.append(before is None or row.version > before.version)
                if newer[-1]:
                    self.kept[row.id] = row
            if error is not None:
                raise error
            return newer

    def find_by_ids(self, table: str, ids: Sequence[str]) -> list[StateRow | None]:
        with self._lock:
            self.reads.append(list(ids))
            return [self.kept.get(name) for name in ids]

    def delete(self, table: str, ids: Sequence[str]) -> None:
        for name in ids:
            self.kept.pop(name, None)


class Values:
    """A cache in a dictionary that fails on request, and notes when it was written."""

    def __init__(self, log: list[str]) -> None:
        self.kept: dict[str, bytes] = {}
        self.ttls: set[float] = set()
        self.error: Exception | None = None
        self.reads: list[list[str]] = []
        self._log = log

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.reads.append(list(keys))
        self._fail()
        return [self.kept.get(key) for key in keys]

    async def set_many(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        self._fail()
        self._log.append("cached")
        self.kept.update(values)
        self.ttls.add(ttl_s)

    async def delete_many(self, keys: Sequence[str]) -> None:
        self._fail()
        for key in keys:
            self.kept.pop(key, None)

    async def close(self) -> None: ...


class Parts:
    """A manager, its store, its cache and its publisher."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.log: list[str] = []
        self.rows = rows or Rows()
        self.values = Values(self.log)
        self.published: list[AgentStateChanged] = []
        self.publish_error: Exception | None = None
        self.manager = AgentStateManager(self.rows, self.values, self.publish)

    async def publish(self, changes: Sequence[AgentStateChanged]) -> None:
        if self.publish_error is not None:
            raise self.publish_error
        self.log.append("published")
        self.published.extend(changes)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.005)


def state(name: str = "e-1", **fields: Any) -> AgentExecutionState:
    return AgentExecutionState(
        execution_id=name,
        agent_id="agent",
        task_id="task",
        start_time=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        **fields,
    )


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_a_state_is_stored_then_cached_then_published(parts: Parts) -> None:
    await parts.manager.open()
    kept = await parts.manager.persist(state())
    assert kept.version == 1
    assert parts.rows.kept["e-1"].version == 1
    assert parts.log == ["cached", "published"]
    assert parts.values.ttls == {3_600.0}
    assert [(change.execution_id, change.version) for change in parts.published] == [("e-1", 1)]
    await parts.manager.close()


class TestFaults:
    """The table in the manager's docstring."""

    async def test_primary_fails(self, parts: Parts) -> None:
        parts.rows.failures = [StoreUnavailable("gone")]
        with pytest.raises(StoreUnavailable):
            await parts.manager.persist(state())
        assert parts.log == []
        assert (await parts.manager.persist(state())).version == 1

    async def test_cache_fails(self, parts: Parts) -> None:
        parts.values.error = OSError("gone")
        await parts.manager.persist(state())
        assert [change.version for change in parts.published] == [1]
        assert parts.manager.statistics().cache_failures == 1
        assert (await parts.manager.synchronise(["e-1"]))[0] is not None

    async def test_publisher_fails(self, parts: Parts) -> None:
        parts.publish_error = OSError("gone")
        await parts.manager.persist(state())
        await parts.manager.persist(state("e-2"))
        assert parts.values.kept.keys() == {"state:e-1", "state:e-2"}
        assert parts.manager.statistics().pending_notifications == 2
        parts.publish_error = None
        await until(
            lambda: not parts.manager.statistics().pending_notifications, "both are published"
        )
        assert [change.execution_id for change in parts.published] == ["e-1", "e-2"]
        assert parts.manager.statistics().publish_failures >= 1
        await parts.manager.close()

    async def test_pending_notifications_of_a_crash_are_published_by_the_next(
        self, parts: Parts
    ) -> None:
        parts.publish_error = OSError("gone")
        await parts.manager.persist(state())
        after = Parts(parts.rows)
        await after.manager.open()
        await until(lambda: len(after.published) == 1, "the change is published")
        assert after.published[0].version == 1
        await after.manager.close()
        last = Parts(parts.rows)
        await last.manager.open()
        assert last.manager.statistics().pending_notifications == 0

    async def test_too_many_pending_notifications_refuse_further_states(self, parts: Parts) -> None:
        parts.manager._pending_notifications.add(
            AgentStateChanged(
                execution_id=f"e-{number}", status=ExecutionStatus.PENDING, timestamp=0.0, version=1
            )
            for number in range(PENDING_NOTIFICATIONS_MAX)
        )
        with pytest.raises(StoreFull):
            await parts.manager.persist(state())

    @pytest.mark.parametrize("commits_first", [False, True])
    async def test_a_commit_in_doubt_is_settled_by_a_second_try(
        self, parts: Parts, commits_first: bool
    ) -> None:
        parts.rows.failures = [CommitUnknown("cut"), None]
        parts.rows.commits_first = commits_first
        assert (await parts.manager.persist(state())).version == 1
        assert [change.version for change in parts.published] == [1]
        assert parts.rows.kept["e-1"].version == 1

    async def test_a_cached_value_that_is_no_state_is_read_from_the_primary(
        self, parts: Parts
    ) -> None:
        kept = await parts.manager.persist(state())
        parts.values.kept["state:e-1"] = b"rubbish"
        assert await parts.manager.synchronise(["e-1"]) == [kept]
        assert parts.manager.statistics().undecodable == 1


@pytest.mark.parametrize("kind", ["sqlite", "memory", "postgres"])
async def test_it_works_on_the_stores_there_are(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = {"sqlite": str(tmp_path / "states.db"), "memory": "memory:"}.get(kind)
    store = state_store(url or request.getfixturevalue("postgres_url"))
    values = Values([])
    manager = AgentStateManager(store, values, Parts().publish)
    await manager.open()
    names = [f"e-{number}" for number in range(300)]
    await asyncio.gather(*(manager.persist(state(name)) for name in names))
    await manager.transition("e-7", ExecutionStatus.RUNNING, TRIGGER)
    values.kept.clear()
    found = await manager.synchronise([*names, "unknown"])
    assert [one and (one.execution_id, one.version) for one in found] == [
        *((name, 2 if name == "e-7" else 1) for name in names),
        None,
    ]
    with pytest.raises(StateConflict):
        await manager.persist(state("e-7", version=0))
    await manager.forget(names)
    assert await manager.synchronise(names[:1]) == [None]
    await manager.close()


async def test_synchronise_asks_the_cache_once_and_the_store_once_for_the_rest(
    parts: Parts,
) -> None:
    names = [f"e-{number}" for number in range(600)]
    await asyncio.gather(*(parts.manager.persist(state(name)) for name in names))
    assert parts.manager.statistics().groups < 20
    for name in names[::3]:
        del parts.values.kept[f"state:{name}"]
    parts.values.reads.clear()
    parts.rows.reads.clear()
    asked = [*reversed(names), "unknown", "e-3", "e-3"]
    found = await parts.manager.synchronise(asked)
    assert [None if one is None else one.execution_id for one in found] == [
        None if name == "unknown" else name for name in asked
    ]
    assert [len(keys) for keys in parts.values.reads] == [601]
    assert [len(ids) for ids in parts.rows.reads] == [201]
    parts.rows.reads.clear()
    again = await parts.manager.synchronise(names)
    assert all(one is not None for one in again)
    assert parts.rows.reads == [], "what was missing has been cached"
    third = await parts.manager.synchronise(names)
    assert all(one is other for one, other in zip(again, third, strict=True))


async def test_a_transition_is_recorded_and_a_forbidden_one_refused(parts: Parts) -> None:
    await parts.manager.persist(state())
    await parts.manager.transition("e-1", ExecutionStatus.RUNNING, TRIGGER, {"by": "me"})
    kept = (await parts.manager.synchronise(["e-1"]))[0]
    assert kept is not None
    assert (kept.status, kept.version) == (ExecutionStatus.RUNNING, 2)
    (change,) = kept.transitions
    assert (change.trigger, change.metadata) == (TRIGGER, {"by": "me"})
    assert abs(change.timestamp - time.time()) < DEADLINE_S
    with pytest.raises(
        TransitionRefused, match=r"running to pending.*cancelled, completed, failed"
    ):
        await parts.manager.transition("e-1", ExecutionStatus.PENDING, TRIGGER)
    with pytest.raises(UnknownState):
        await parts.manager.transition("nobody", ExecutionStatus.RUNNING, TRIGGER)
    with pytest.raises(TransitionRefused, match="its transitions lack"):
        await parts.manager.persist(state("e-9", status="running"))


async def test_two_nodes_change_a_state_at_once_and_no_step_is_lost() -> None:
    one = Parts()
    two = Parts(one.rows)
    names = [f"e-{number}" for number in range(50)]
    for name in names:
        await one.manager.persist(state(name))
    await two.manager.synchronise(names)
    steps = [
        node.manager.transition(name, to, TRIGGER)
        for name in names
        for node, to in ((one, ExecutionStatus.RUNNING), (two, ExecutionStatus.CANCELLED))
    ]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    fresh = Parts(one.rows)
    for number, kept in enumerate(await fresh.manager.synchronise(names)):
        assert kept is not None
        made = [
            one
            for one in outcomes[2 * number : 2 * number + 2]
            if isinstance(one, AgentExecutionState)
        ]
        assert len(kept.transitions) == len(made) == kept.version - 1
        assert kept.status is ExecutionStatus.CANCELLED
    assert all(isinstance(one, AgentExecutionState | TransitionRefused) for one in outcomes)


async def test_who_persists_an_old_state_is_refused(parts: Parts) -> None:
    first = await parts.manager.persist(state())
    await parts.manager.persist(first)
    with pytest.raises(StateConflict):
        await parts.manager.persist(first)
    assert parts.manager.statistics().conflicts == 1


async def test_forgotten_states_are_gone_everywhere(parts: Parts) -> None:
    await parts.manager.persist(state())
    await parts.manager.forget(["e-1"])
    assert await parts.manager.synchronise(["e-1"]) == [None]
    assert parts.values.kept == {}


async def test_reserved_ids_are_refused(parts: Parts) -> None:
    with pytest.raises(UsageError):
        await parts.manager.persist(state(":mine"))


class TestCodec:
    """A stored state decodes to the given one."""

    def test_all_fields_come_back(self) -> None:
        change = StateChanged(
            execution_id="e-1",
            from_status=ExecutionStatus.PENDING,
            to=ExecutionStatus.RUNNING,
            timestamp=1.5,
            trigger=StateTransitionTrigger.SUBMITTED,
            metadata={"a": b"1"},
        )
        full = state(
            status="running",
            context={"when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "part": change},
            intermediate_results=(IntermediateResult(task_id="t", value=[1], timestamp=2.0),),
            dependencies=(TaskDependency(task_id="t", needs=("a",)),),
            transitions=(change,),
            error={"code": "x"},
            version=3,
        )
        # Contracts inside `context` are found among all that are imported.
        assert StateCodec().decode(StateCodec().encode(full, b"w" * 16)) == full

    def test_an_older_version_is_upcast(self) -> None:
        class Newer(AgentExecutionState, name="callboard.agent.execution_state", version=2):
            team: str

        Newer.upcasters = {1: lambda fields: {**fields, "team": "red"}}
        read = StateCodec(Newer).decode(StateCodec().encode(state(version=4), b"w" * 16))
        assert isinstance(read, Newer)
        assert (read.team, read.version, read.execution_id) == ("red", 4, "e-1")
        again = StateCodec(Newer)
        assert again.decode(again.encode(read, b"w" * 16)) == read

    @pytest.mark.parametrize("keep", [0, 20, 36, 60])
    def test_torn_bytes_are_damaged(self, keep: int) -> None:
        with pytest.raises(StoreDamaged):
            StateCodec().decode(StateCodec().encode(state(), b"w" * 16)[:keep])

    def test_another_contract_is_refused(self) -> None:
        class Other(AgentExecutionState, name="somebody.else"):
            more: int = 0

        with pytest.raises(InvalidMessage):
            StateCodec().encode(
                Other(execution_id="e", agent_id="a", task_id="t", start_time=state().start_time),
                b"w" * 16,
            )
