"""Positions: waits, listeners, and the end of a log that is written elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from callboard.actors.events.log import FollowedLog
from callboard.actors.journal.position import FollowedPosition, Position
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import AskError, CallboardError, DeadlineExceeded, UsageError
from callboard.runtime.stores.memory import MemoryEventStore

WAIT_S = 20.0


async def test_each_wait_ends_when_the_position_has_come_there() -> None:
    position = Position(3)
    assert await position.wait(3, 0.0)
    assert not await position.wait(4, 0.0)
    waits = [asyncio.create_task(position.wait(wanted, WAIT_S)) for wanted in (4, 5, 9)]
    await asyncio.sleep(0)
    position.move(5)
    assert await waits[0]
    assert await waits[1]
    position.wake()
    assert not await waits[2], "who is woken looks where it stands"
    with pytest.raises(DeadlineExceeded, match=r"the model is at position 5 after .* not at 9"):
        await position.wait_for(9, 0.01, "the model")


async def test_a_wait_for_a_position_outlasts_being_woken() -> None:
    position = Position()
    waiting = asyncio.create_task(position.wait_for(1, WAIT_S, "it"))
    for _ in range(3):
        await asyncio.sleep(0)
        position.wake()
    assert not waiting.done()
    position.move(1)
    await waiting


async def test_a_position_that_has_ended_raises_its_error_to_all_waits_for_more() -> None:
    position = Position(2)
    waiting = asyncio.create_task(position.wait(3, None))
    await asyncio.sleep(0)
    position.end(UsageError("closed."))
    for call in (waiting, position.wait(3, WAIT_S), position.wait_for(3, WAIT_S, "it")):
        with pytest.raises(UsageError, match="closed"):
            await call
    await position.wait_for(2, WAIT_S, "it")


async def test_listeners_hear_of_each_move_until_they_end_it() -> None:
    position, heard, ended = Position(), list[int](), list[int]()
    position.on_move(heard.append)
    end = position.on_move(ended.append)
    position.move(1)
    end()
    end()
    position.move(2)
    assert (heard, ended) == ([1, 2], [1])


class RemoteChildSpec:
    """A log that is written elsewhere: gives its heads one by one, or fails."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[int | Exception] = asyncio.Queue()
        self.asked_after: list[int] = []
        self.position = FollowedPosition(
            self.poll, name="it", every_s=0.0, backoff=Backoff(max_s=0.0), transient=AskError
        )

    async def poll(self, after: int) -> int:
        self.asked_after.append(after)
        found = await self.news.get()
        if isinstance(found, Exception):
            raise found
        return found


@pytest_asyncio.fixture
async def elsewhere() -> AsyncIterator[RemoteChildSpec]:
    made = RemoteChildSpec()
    yield made
    async with asyncio.timeout(WAIT_S):
        await made.position.close()


async def heard(position: Position) -> tuple[asyncio.Queue[int], Callable[[], None]]:
    heads: asyncio.Queue[int] = asyncio.Queue()
    return heads, position.on_move(heads.put_nowait)


async def test_it_is_followed_while_anybody_listens(elsewhere: RemoteChildSpec) -> None:
    heads, end = await heard(elsewhere.position)
    others, end_others = await heard(elsewhere.position)
    for found in (3, AskError("away"), 3, 2, 7):
        elsewhere.news.put_nowait(found)
    async with asyncio.timeout(WAIT_S):
        assert [await heads.get(), await heads.get()] == [3, 7], "it never goes back"
    assert elsewhere.position.failures == 1
    end()
    elsewhere.news.put_nowait(8)
    async with asyncio.timeout(WAIT_S):
        assert [await others.get() for _ in range(3)] == [3, 7, 8]
    end_others()
    asked = len(elsewhere.asked_after)
    elsewhere.news.put_nowait(9)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (elsewhere.position.value, len(elsewhere.asked_after)) == (8, asked)
    heads, _ = await heard(elsewhere.position)
    async with asyncio.timeout(WAIT_S):
        assert await heads.get() == 9
    assert elsewhere.asked_after[asked] == 8


async def test_a_lasting_error_ends_the_polls_until_the_next_listener(
    elsewhere: RemoteChildSpec,
) -> None:
    await heard(elsewhere.position)
    elsewhere.news.put_nowait(CallboardError("another contract"))
    elsewhere.news.put_nowait(1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert elsewhere.position.value == 0
    heads, _ = await heard(elsewhere.position)
    async with asyncio.timeout(WAIT_S):
        assert await heads.get() == 1


async def test_a_followed_log_stops_at_once() -> None:
    async with asyncio.timeout(WAIT_S), FollowedLog(MemoryEventStore(), poll_s=3_600.0) as log:
        log.on_commit(lambda _head: None)
        await asyncio.sleep(0)
