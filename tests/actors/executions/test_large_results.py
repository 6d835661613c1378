"""Results as blobs, over several resumes, with blobs that are lost or damaged in between."""

import asyncio
import dataclasses
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.executions.handle import execution_of
from callboard.actors.executions.history.blobs import Blobs
from callboard.actors.executions.history.fold import fold
from callboard.messages.core.errors import StoreFailed
from callboard.messages.jobs.execution import TaskStatus
from callboard.messages.storage.blobs import BlobRef
from callboard.runtime.stores.blobs import MemoryBlobStore
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.executions.driver_restarts import (
    ID,
    WAIT_S,
    events_of,
    opened,
    random_job,
    resume,
)
from tests.actors.executions.driver_restarts import undisturbed as right_of
from tests.actors.executions.execution_fixture import World, turns
from tests.thoroughness import examples


class Perishable(MemoryBlobStore):
    """A store in which a blob may be deleted or damaged between two lives."""

    def perish(self, chance: random.Random) -> None:
        for digest in [digest for digest in sorted(self._blobs) if chance.random() < 0.3]:
            data, at = self._blobs.pop(digest)
            if chance.random() < 0.5:
                self._blobs[digest] = (data[:-1] + bytes([data[-1] ^ 1]), at)

    def has(self, ref: BlobRef | None) -> bool:
        assert ref is not None
        try:
            return bool(self.get(ref))
        except StoreFailed:
            return False


@given(
    plan=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    steps=st.lists(st.integers(0, 120), max_size=3),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=examples(60))
def test_it_goes_on_to_the_same_result_whichever_blobs_are_lost(
    plan: list[tuple[bool, bool]], steps: list[int], seed: int
) -> None:
    asyncio.run(_abandon_lose_and_resume(plan, steps, random.Random(seed)))


async def _abandon_lose_and_resume(
    plan: list[tuple[bool, bool]], steps: list[int], chance: random.Random
) -> None:
    job = dataclasses.replace(random_job(plan), result_bytes_max=0)
    store, kept = MemoryEventStore(), Perishable()
    for limit in (*steps, None):
        world = World()
        await world.add_pool(1, 4)
        journal, blobs = await opened(store.second_handle()), Blobs(kept)  # type: ignore[arg-type] # of the same class
        before = fold(ID, events_of(store))
        # Of an execution that has ended nothing runs again: that is another test.
        if not before.is_over:
            kept.perish(chance)
        whole = {
            before.ids[index]
            for index, (_, packed) in before.results.items()
            if kept.has(packed.blob)
        }
        handle = await resume(world, journal, job, blobs)
        if limit is not None:
            await turns(limit)
            store.take_over("the next driver")
        else:
            result = await asyncio.wait_for(handle.result(), WAIT_S)
            found = [
                -1 if right == -1 and value.number == 2 else value.number
                for value, right in zip(result, right_of(plan), strict=True)
            ]
            assert found == right_of(plan)
            history = fold(ID, events_of(store))
            assert set(history.statuses) == {TaskStatus.DONE}
            assert not history.lost
            assert all(isinstance(packed.blob, BlobRef) for _, packed in history.results.values())
            core = execution_of(handle).record.run.core  # type: ignore[attr-defined] # the core's own view
            assert [core.status_of(id_) for id_ in history.ids] == history.statuses
            core.validate_state()
        ran = {f"t{n}" if n < 100 else f"g{n - 100}" for n in world.ticks.handled}
        assert not (ran | set(world.ticks.begun)) & whole
        await world.close()
        await blobs.close()
        await journal.close()
