"""A log as an actor, used from another host: appends, reads, news, restarts."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from callboard import Context, System, start
from callboard.actors.journal.actor import LogActor
from callboard.actors.journal.client import LogClient
from callboard.actors.kernel.props import props
from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import EventTooLarge, WrongExpectedVersion
from callboard.messages.storage.events import Appended, NewEvent
from callboard.runtime.stores.sqlite import SqliteEventStore

WAIT_S = 30.0


def events(count: int = 1, size: int = 10) -> list[NewEvent]:
    return [NewEvent(uuid.uuid4().bytes, "noted", b"x" * size) for _ in range(count)]


def opens(path: Path) -> Callable[[], SqliteEventStore]:
    return lambda: SqliteEventStore(path, durability="off")


@pytest_asyncio.fixture
async def system() -> AsyncIterator[System]:
    async with start(engine="inline", hosts=2) as running:
        yield running


@pytest_asyncio.fixture
async def client(system: System, tmp_path: Path) -> AsyncIterator[LogClient]:
    ref = await system.spawn(props(LogActor, opens(tmp_path / "log.db")))
    made = LogClient(ref)
    await made.open()
    yield made
    await made.close()


async def appended(client: LogClient, stream: str, some: list[NewEvent]) -> Appended:
    """Append as a caller should: the same events again, as long as they may have been lost."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await client.append(stream, some)
            except CallboardError:
                await asyncio.sleep(0.01)


async def test_what_is_appended_is_read(client: LogClient) -> None:
    sent = events(3)
    assert await client.append("a", sent, 0) == Appended(1, 3, 3)
    assert await client.append("b", events()) == Appended(4, 4, 1)
    assert [event.id for event in await client.read_stream("a")] == [event.id for event in sent]
    assert [event.position for event in await client.read(1, 2)] == [2, 3]
    assert await client.version_of("a") == 3
    assert [e.version for e in await client.read_stream("a", backwards=True, limit=1)] == [3]


async def test_a_refusal_reaches_the_caller_as_what_it_is(client: LogClient) -> None:
    await client.append("a", events())
    with pytest.raises(WrongExpectedVersion):
        await client.append("a", events(), 0)
    with pytest.raises(EventTooLarge):
        await client.append("a", events(size=17 * 2**20))


async def test_a_page_is_bounded_and_read_on(client: LogClient) -> None:
    for _ in range(3):
        await client.append("a", events(2, size=3 * 2**20))
    found: list[int] = []
    async with asyncio.timeout(WAIT_S):
        while page := await client.read(len(found), 100):
            assert len(page) <= 2, "no more than 8 MiB"
            found += [event.position for event in page]
    assert found == list(range(1, 7))


async def test_news_of_commits(client: LogClient) -> None:
    heads: asyncio.Queue[int] = asyncio.Queue()
    end = client.on_commit(heads.put_nowait)
    await client.append("a", events(2))
    async with asyncio.timeout(WAIT_S):
        assert await heads.get() == 2
        await client.append("a", events())
        assert await heads.get() == 3
    end()


async def test_a_writer_that_is_fenced_is_restarted_and_nothing_is_twice(
    client: LogClient, tmp_path: Path
) -> None:
    await client.append("a", events())
    other: Any = opens(tmp_path / "log.db")()
    other.open()
    other.take_over("another")
    some = events()
    outcome = await appended(client, "a", some)
    assert (outcome.first, outcome.last, outcome.version) == (2, 2, 2)
    again = await appended(client, "a", some)
    assert again == Appended(2, 2, 2, is_repeat=True)
    other.close()


class Noting(LogActor):
    """Tells whether it was stopped in order: one that takes too long is killed."""

    made: ClassVar[list["Noting"]] = []

    async def started(self, ctx: Context) -> None:
        await super().started(ctx)
        self.is_closed = False
        Noting.made.append(self)

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        await super().stopping(ctx, reason)
        self.is_closed = True

    async def is_followed(self) -> None:
        """Returns once a client waits for a new head."""
        while not (self._journal and self._journal.position._waits):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.001)


async def test_who_waits_for_news_does_not_keep_it_from_stopping_in_order(
    system: System, tmp_path: Path
) -> None:
    Noting.made.clear()
    client = LogClient(await system.spawn(props(Noting, opens(tmp_path / "log.db"))))
    await client.open()
    client.on_commit(lambda head: None)
    (log,) = Noting.made
    async with asyncio.timeout(WAIT_S):
        await log.is_followed()
        await system.stop(client.ref)
    assert log.is_closed
    await client.close()
