"""The channels of the journal: real stores, several hubs, and readers that come back."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from callboard.actors.events.log import FollowedLog
from callboard.actors.events.subscription.reader import Follower, SubscriptionLimits
from callboard.actors.executions.history.events import Kind, pack
from callboard.actors.journal.identity import identity_of
from callboard.actors.journal.journal import Journal
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.messages import StreamEvent
from callboard.actors.streaming.ports import Page
from callboard.actors.streaming.protocol import Position
from callboard.messages.storage.events import NewEvent
from callboard.runtime.channels.journal import EVENTS, EXECUTIONS, JournalSource
from callboard.runtime.stores.choose import event_store
from callboard.runtime.stores.memory import MemoryEventStore
from tests.actors.streaming.clients import Client, Line, Tokens
from tests.runtime.delivery.http_server import until


def new(kind: str = "orders.placed", data: bytes = b"x") -> NewEvent:
    return NewEvent(uuid.uuid4().bytes, kind, data)


def stepped(to: str) -> NewEvent:
    return new(Kind.STEPPED, pack({"from": "RUNNING", "to": to, "at": 1.0, "trigger": "t"}))


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(event_store(str(tmp_path / "j.db")), owner="test")
    await opened.open()
    yield opened
    await opened.close(timeout_s=5.0)


def hub_of(path: Path) -> tuple[Hub, FollowedLog]:
    """A hub that reads the journal's file, as one in another process does."""
    log = FollowedLog(event_store(str(path), reads_only=True), poll_s=0.005)
    hub = Hub(Tokens(), (JournalSource(log),))
    hub.start()
    return hub, log


async def subscribed(client: Client, hub: Hub, *channels: str) -> None:
    """Connect, and subscribe as soon as the journal is open."""
    await client.connect(hub)
    for channel in channels:
        async with asyncio.timeout(20):
            while (await client.subscribe(channel))["reply"] != "Subscribed":  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # Nothing says that the journal is open.


def has(client: Client, count: int) -> bool:
    """Read; whether the client has so many events of the journal."""
    client.read()
    return len(client.got.get(EVENTS, ())) >= count


async def test_a_client_gets_each_event_once_over_hubs_that_come_and_go(
    journal: Journal, tmp_path: Path
) -> None:
    """centrifugal/centrifugo#798: the hub that comes back knows nothing of the one before."""
    channels = (EVENTS, EXECUTIONS, "execution:a", "execution:b")
    client = Client(Offsets())
    client.positions[EVENTS] = Position(0, "")
    await journal.append("orders", [new()])
    count = 1
    for _ in range(4):
        hub, log = hub_of(tmp_path / "j.db")
        await subscribed(client, hub, *channels)
        for number in range(30):
            stream = f"execution/{'ab'[number % 2]}"
            await journal.append(stream, [stepped("X"), new()])
            count += 2

        await until(lambda: has(client, count))  # noqa: B023 - within the loop
        await hub.stop()
        await log.close()
        client.drop()
        await journal.append("orders", [new() for _ in range(400)])
        await journal.append("execution/a", [stepped("Y")])
        count += 401
    hub, log = hub_of(tmp_path / "j.db")
    await subscribed(client, hub, *channels)
    await until(lambda: has(client, count))
    await hub.stop()
    await log.close()
    assert client.got[EVENTS] == list(range(1, count + 1))
    events = await journal.read(0, 10_000)
    for channel, stream in (("execution:a", "execution/a"), ("execution:b", "execution/b")):
        assert client.got[channel] == [each.position for each in events if each.stream == stream]
    kinds = [each.position for each in events if each.kind == Kind.STEPPED]
    assert client.got[EXECUTIONS] == kinds


class Offsets(Line):
    """A codec without payloads: there are thousands."""

    @staticmethod
    def _plain(publication: object) -> dict[str, object]:
        found = Line._plain(publication)  # type: ignore[arg-type]
        return {**found, "data": None}


async def test_an_event_is_published_with_its_fields_and_tags(
    journal: Journal, tmp_path: Path
) -> None:
    hub, log = hub_of(tmp_path / "j.db")
    client = Client()
    await subscribed(client, hub, EVENTS)
    assert client.positions[EVENTS].offset == 0
    await journal.append("execution/a", [stepped("COMPLETED")])
    await until(lambda: has(client, 0) and bool(client.pushes))
    # The journal has only now got its identity: the client goes on from nothing.
    assert (await client.subscribe(EVENTS))["recovered"]
    (event,) = (StreamEvent.model_validate(each) for each in client.data[EVENTS])
    assert event.event_type == Kind.STEPPED
    assert event.source == "execution/a"
    assert event.payload["position"] == 1
    assert event.payload["fields"]["to"] == "COMPLETED"
    assert event.metadata.tags["execution"] == "a"
    assert event.metadata.tags["status"] == "COMPLETED"
    assert client.positions[EVENTS].epoch == await identity_of(journal.read)
    await hub.stop()
    await log.close()


async def test_another_journal_is_no_place_to_resume(journal: Journal, tmp_path: Path) -> None:
    await journal.append("orders", [new() for _ in range(5)])
    hub, log = hub_of(tmp_path / "j.db")
    client = Client()
    client.positions[EVENTS] = Position(3, "another journal")
    await subscribed(client, hub, EVENTS)
    assert client.positions[EVENTS] == Position(5, await identity_of(journal.read))
    assert EVENTS not in client.got
    await hub.stop()
    await log.close()


@pytest.mark.parametrize("tail_events", [0, 7, 10_000])
async def test_pages_of_a_channel_are_those_of_its_events(tail_events: int) -> None:
    """Each page is right, whether it comes from memory or the store."""
    store = MemoryEventStore()
    async with Journal(store, owner="test") as journal:
        for number in range(60):
            stream = ("execution/a", "orders", "execution/b")[number % 3]
            await journal.append(stream, [stepped("X") if number % 2 else new()])
        source = JournalSource(journal)
        assert await identity_of(journal.read) != ""
        follower_limits(source, journal, tail_events)
        for channel in (EVENTS, EXECUTIONS, "execution:a", "execution:none"):
            for after in (0, 1, 7, 31, 58, 59, 60):
                expected = [
                    each.position
                    for each in await journal.read(after, 100)
                    if channel in names_of(each.stream, each.kind)
                ]
                found: list[int] = []
                seen = after
                while seen < 60:
                    page = await source.read(channel, seen, 5)
                    assert page is not None
                    found += [each.offset for each in page.publications]
                    assert page.seen > seen
                    seen = page.seen
                assert found == expected, (channel, after)
        assert await source.read(EVENTS, 61, 5) is None
        assert await source.read(EVENTS, 60, 5) == Page([], 60)


def names_of(stream: str, kind: str) -> tuple[str, ...]:
    own = f"execution:{stream.removeprefix('execution/')}"
    return (EVENTS, EXECUTIONS, own) if kind == Kind.STEPPED else (EVENTS, own)


def follower_limits(source: JournalSource, journal: Journal, tail_events: int) -> None:
    source._follower = Follower(journal, SubscriptionLimits(tail_events=tail_events))


async def test_a_payload_that_is_too_large_is_left_out(journal: Journal, tmp_path: Path) -> None:
    await journal.append("orders", [new()])
    hub, log = hub_of(tmp_path / "j.db")
    client = Client()
    await subscribed(client, hub, EVENTS)
    large = new(Kind.SUBMITTED, pack({"id": "x" * 100_000, "surrogate": "s"}))
    await journal.append("execution/a", [large])
    await until(lambda: has(client, 1))
    (event,) = client.data[EVENTS]
    assert event["payload"]["is_cut"]
    assert event["event_type"] == Kind.SUBMITTED
    assert len(json.dumps(event)) < 2_000
    await hub.stop()
    await log.close()
