"""Snapshots of histories: an execution resumes at the same state with and without one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.history.events import (
    GrownWriter,
    Kind,
    Packed,
    pack,
    read,
    stream_of,
    unpack,
)
from callboard.actors.executions.history.fold import ExecutionHistory, fold
from callboard.actors.executions.history.reading import read_history
from callboard.actors.executions.history.snapshot import SCHEMA, pack_history, unpack_history
from callboard.actors.executions.history.snapshots import HistorySnapshots
from callboard.actors.journal.snapshots import CHECKSUM_BYTES
from callboard.messages.core.contract import ContractKey
from callboard.messages.core.errors import StoreFailed
from callboard.messages.jobs.execution import TaskStatus
from callboard.messages.jobs.plan import SubTask
from callboard.messages.storage.blobs import BlobRef
from callboard.messages.storage.errors import StoreFull, StoreUnavailable, UnknownEvent
from callboard.messages.storage.events import Append, NewEvent, RecordedEvent, Snapshot
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.executions.driver_restarts import (
    ID,
    WAIT_S,
    events_of,
    opened,
    random_job,
    resume,
    submit,
    undisturbed,
)
from tests.actors.executions.execution_fixture import World, turns

KEY = ContractKey("test.square", 1, 7)
STREAM = stream_of(ID)


def seen(history: ExecutionHistory) -> tuple[Any, ...]:
    """Everything that a history tells, with the attempts that are made when one looks."""
    attempts = list(history.attempts)
    return attempts, pack_history(history)


def grown(parent: int | None, *ids: str, non_idempotent: bool = False) -> dict[str, Any]:
    writer = GrownWriter()
    for id_ in ids:
        packed = Packed(KEY, id_.encode(), (b"buffer",) if id_ == "b" else ())
        writer.add(SubTask(id_, None, non_idempotent=non_idempotent), packed, {})
    return dict(writer.event(parent).fields())


def moved(**fields: Any) -> dict[str, Any]:
    lists = ("done", "troubled", "failed", "cancelled", "skipped", "doubtful")
    base: dict[str, Any] = {"at": 5.0, "lanes": ["one", "two"], "contracts": [list(KEY)]}
    return base | {name: [] for name in lists} | fields


def every_kind() -> list[tuple[Kind, dict[str, Any]]]:
    """A history in which each kind of event, and each part of a turn, comes."""
    return [
        (Kind.SUBMITTED, {"id": ID, "job": "j", "by": "me/1", "at": 1.0, "request": [*KEY, b"", []],
                          "attributes": [b"", []], "driver": {"pid": 4}}),
        (Kind.STEPPED, {"from": "pending", "to": "running", "at": 2.0, "trigger": "submitted",
                        "metadata": {"k": 1}}),
        (Kind.ENTERED, {"phases": [["validating", 1.5], ["running", 2.5]]}),
        (Kind.PLANNED, {"agents": {"test.square": "pool"}, "plan_maker": "p", "sub_tasks": 6}),
        (Kind.GROWN, grown(None, "a", "b", "c", "d")),
        (Kind.GROWN, grown(None, "u", "v", non_idempotent=True)),
        (Kind.BEGAN, {"at": 3.0, "rows": [[4, 1], [5, 1]]}),
        (Kind.MOVED, moved(
            done=[[0, 1, 0, 20, 10, 0, b"A"], [1, 1, 1, 9, 8, 0, b"B", [b"x", b"y"]],
                  [2, 1, 1, 9, 8, 0, b"", [], list(BlobRef.of((b"C",)))], [4, 1, 0, 1, 1, 0, b"U"]],
            troubled=[[3, 1, 0, 7, 6, "handler_failed", "no", False]])),
        (Kind.GROWN, grown(1, "e", "f", "g")),
        (Kind.MOVED, moved(done=[[6, 1, 0, 2, 1, 0, b"E"]], skipped=[8], cancelled=[7],
                           failed=[[3, {"code": "ask", "message": "m"}]],
                           doubtful=[[5, 1, "host_lost", "gone"]])),
        (Kind.STREAMED, {"at": 5.5, "contracts": [list(KEY), ["other", 1, 2]], "rows": [
            [0, 1, 1, 0, b"P"], [3, 1, 1, 1, b"Q", [b"x"]], [0, 1, 2, 0, b"R"]]}),
        (Kind.RESUMED, {"by": "me/2", "at": 6.0}),
        (Kind.LOST, {"rows": [[2, 1, "it is gone"], [4, 1, "too"]], "by": "me/2", "at": 6.0}),
        (
            Kind.DECIDED,
            {"index": 5, "decision": "run_again", "by": "x", "at": 6.5, "reason": "checked"},
        ),
        (Kind.MOVED, moved(done=[[2, 2, 1, 3, 2, 0, b"again"]])),
        (Kind.STEPPED, {"from": "running", "to": "failed", "at": 9.0, "trigger": "attempt_failed",
                        "metadata": {"error": {"code": "ask", "message": "m"}}}),
    ]  # fmt: skip


def store_of(events: list[tuple[Kind, dict[str, Any]]]) -> MemoryEventStore:
    store = MemoryEventStore()
    store.take_over("test")
    new = tuple(NewEvent(uuid.uuid4().bytes, kind, pack(fields)) for kind, fields in events)
    store.commit([Append(STREAM, new)])
    return store


def check_every_cut(events: list[RecordedEvent]) -> None:
    whole = seen(fold(ID, events))
    for cut in range(1, len(events) + 1):
        before = fold(ID, events[:cut])
        if cut % 2:
            _ = before.attempts
        history = unpack_history(pack_history(before))
        assert seen(history) == seen(before)
        for event in events[cut:]:
            history.apply(event)
        assert seen(history) == whole


def test_every_event_is_written_as_it_was_read() -> None:
    for kind, fields in every_kind():
        data = pack(fields)
        again = read(kind, data).write()
        assert unpack(kind, again) == unpack(kind, data)
        assert len(again) == len(data)


def test_an_event_of_a_later_release_is_refused() -> None:
    with pytest.raises(UnknownEvent, match=r"callboard\.execution\.danced"):
        read("callboard.execution.danced", b"\x80")


def test_from_any_cut_the_rest_leads_to_the_same_history() -> None:
    kinds = every_kind()
    assert {kind for kind, _ in kinds} == set(Kind) - {Kind.FORKED}
    check_every_cut(events_of(store_of(kinds)))
    history = fold(ID, events_of(store_of(kinds)))
    assert history.statuses[2] is TaskStatus.DONE
    assert history.lost.keys() == {4}
    assert history.began == {4: 1}


@given(plan=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=10))
@settings(max_examples=15)
def test_so_it_does_for_what_executions_write(plan: list[tuple[bool, bool]]) -> None:
    async def run() -> None:
        store, world = MemoryEventStore(), World()
        await world.add_pool(1, 4)
        journal = await opened(store)
        await submit(world, journal, random_job(plan)).result(WAIT_S)
        check_every_cut(events_of(store))
        await world.close()
        await journal.close()

    asyncio.run(run())


def test_a_fork_s_history_is_kept_with_what_it_shares() -> None:
    store = store_of(every_kind()[:8])
    fields = {"of": ID, "version": 8, "from": "c", "at": 9.0, "by": "me"}
    fork = Append(stream_of("fork"), (NewEvent(bytes(16), Kind.FORKED, pack(fields)),))
    store.commit([fork])

    async def read(stream: str, *, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
        return store.read_stream(stream, after=after, limit=limit)

    async def both() -> tuple[ExecutionHistory | None, ExecutionHistory | None]:
        whole = await read_history(read, "fork")
        assert whole is not None
        return whole, await read_history(read, "fork", base=unpack_history(pack_history(whole)))

    whole, again = asyncio.run(both())
    assert whole is not None
    assert again is not None
    assert whole.fork is not None
    assert whole.fork.of_id == ID
    assert seen(again) == seen(whole)


# --- as they are written and read ------------------------------------------------------------


class Store(MemoryEventStore):
    """Its snapshots fail as a test says."""

    fails: StoreFailed | None = None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        if self.fails is not None:
            raise self.fails
        super().save_snapshot(snapshot)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        if self.fails is not None:
            raise self.fails
        return super().load_snapshot(stream)


@pytest.fixture
def store() -> Store:
    made = Store()
    made.take_over("test")
    kinds = every_kind()
    new = tuple(NewEvent(uuid.uuid4().bytes, kind, pack(fields)) for kind, fields in kinds)
    made.commit([Append(STREAM, new)])
    return made


@pytest_asyncio.fixture
async def snapshots(store: Store) -> AsyncIterator[HistorySnapshots]:
    made = HistorySnapshots(store, every=5)
    yield made
    await made.close()


async def written(snapshots: HistorySnapshots, version: int) -> None:
    snapshots.committed(ID, version)
    async with asyncio.timeout(WAIT_S):
        while snapshots._writing:  # noqa: ASYNC110 - a thread is waited for
            await asyncio.sleep(0)


async def test_one_is_written_when_it_is_due_and_not_before(
    store: Store, snapshots: HistorySnapshots
) -> None:
    whole = seen(fold(ID, events_of(store)))
    await written(snapshots, 4)
    assert snapshots.statistics.saved == 0
    await written(snapshots, 5)
    assert snapshots.statistics.saved == 1
    found = store.load_snapshot(STREAM)
    assert found is not None
    assert (found.version, found.schema) == (16, SCHEMA), "all that is in the log by then"
    await written(snapshots, 23)
    assert snapshots.statistics.saved == 1, "not again before it has grown by half"
    loaded = await snapshots.load(ID)
    assert loaded is not None
    assert seen(loaded) == whole
    await written(snapshots, 24)
    assert snapshots.statistics.saved == 2


@pytest.mark.parametrize("damage", ["bits", "shorter", "layout", "whose", "schema", "deleted"])
async def test_one_that_cannot_be_used_is_left_aside(
    damage: str, store: Store, snapshots: HistorySnapshots
) -> None:
    await written(snapshots, 5)
    found = store.load_snapshot(STREAM)
    assert found is not None
    match damage:
        case "bits":
            middle = CHECKSUM_BYTES + len(found.data) // 2
            data = bytearray(found.data)
            data[middle] ^= 1
            store.save_snapshot(found._replace(data=bytes(data)))
        case "shorter":
            store.save_snapshot(found._replace(data=found.data[:-1]))
        case "layout":
            await snapshots._snapshots.save(STREAM, 15, _mark(), b"\x81\xa1x\x01")
        case "whose":
            history = fold("another", events_of(store))
            await snapshots._snapshots.save(STREAM, 15, _mark(), pack_history(history))
        case "schema":
            store.save_snapshot(found._replace(schema=SCHEMA + 1))
        case _:
            store.drop_snapshots(STREAM)
    assert await snapshots.load(ID) is None
    statistics = snapshots.statistics
    missing = 1 + (damage == "deleted")
    assert statistics.missing == missing, "one was missing before the first was written"
    assert statistics.other_schema == (damage == "schema")
    assert statistics.damaged == (damage not in ("schema", "deleted"))


def _mark() -> Any:
    from callboard.actors.executions.history.snapshots import HistoryMark

    return HistoryMark(execution_id=ID)


@pytest.mark.parametrize("ends", ["shorter", "otherwise"])
async def test_one_of_a_stream_that_ends_otherwise_is_left_aside(
    ends: str, snapshots: HistorySnapshots
) -> None:
    """As after a loss of power with less than full durability."""
    await written(snapshots, 5)
    base = await snapshots.load(ID)
    assert base is not None
    other = store_of(every_kind()[: 10 if ends == "shorter" else None])

    async def read(stream: str, *, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
        return other.read_stream(stream, after=after, limit=limit)

    found = await read_history(read, ID, base=base)
    assert found is not None
    assert seen(found) == seen(fold(ID, events_of(other)))


@pytest.mark.parametrize("error", [StoreFull("full"), StoreUnavailable("away")])
async def test_a_store_that_fails_costs_time_later_and_nothing_else(
    error: StoreFailed, store: Store, snapshots: HistorySnapshots
) -> None:
    store.fails = error
    await written(snapshots, 5)
    assert snapshots.statistics.saved == 0
    assert snapshots.statistics.failures >= 1
    assert await snapshots.load(ID) is None
    store.fails = None
    await written(snapshots, 30)
    assert snapshots.statistics.saved == 1


@given(
    plan=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    steps=st.lists(st.integers(0, 60), max_size=3),
    loses=st.booleans(),
)
@settings(max_examples=25)
def test_an_execution_goes_on_from_its_snapshots_to_the_same_result(
    plan: list[tuple[bool, bool]], steps: list[int], *, loses: bool
) -> None:
    asyncio.run(_abandon_and_resume(plan, steps, loses=loses))


async def _abandon_and_resume(
    plan: list[tuple[bool, bool]], steps: list[int], *, loses: bool
) -> None:
    job, store = random_job(plan), MemoryEventStore()
    for limit in (*steps, None):
        world = World()
        await world.add_pool(1, 4)
        journal = await opened(store.second_handle())  # type: ignore[arg-type] # of the same class
        snapshots = HistorySnapshots(journal.store, every=2)
        if loses:
            store.drop_snapshots(STREAM)
        handle = await resume(world, journal, job, snapshots=snapshots)
        if limit is not None:
            await turns(limit)
            store.take_over("the next driver")
        else:
            result = await asyncio.wait_for(handle.result(), WAIT_S)
            found = [
                -1 if right == -1 and value.number == 2 else value.number
                for value, right in zip(result, undisturbed(plan), strict=True)
            ]
            assert found == undisturbed(plan)
        await snapshots.close()
        assert snapshots.statistics.damaged == snapshots.statistics.failures == 0
        await world.close()
        await journal.close()
    whole = fold(ID, events_of(store))
    assert set(whole.statuses) == {TaskStatus.DONE}
