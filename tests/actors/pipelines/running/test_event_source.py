"""Events from outside as the rows of a pipeline: each once, in their order, of its channels."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.running.sources import EventSource
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import Append, NewEvent
from callboard.messages.storage.incoming import (
    ReceivedEvent,
    event_of,
    id_of_received,
    received_stream,
)
from callboard.runtime.stores.memory import MemoryEventStore
from tests.thoroughness import examples

CHANNELS = ("orders", "chat", "news")


def sent(channel: str, event_id: str, subject: str = "ada") -> Append:
    event = ReceivedEvent(
        channel=channel, event_id=event_id, event_type="made", at=1.0, subject=subject, way="http"
    )
    return Append(received_stream(channel), (event_of(event, id_of_received(event)),))


def opened() -> MemoryEventStore:
    store = MemoryEventStore()
    store.open()
    store.take_over("test")
    return store


async def rows_of(source: EventSource, page: int) -> list[tuple[str, str, str]]:
    await source.open()
    found: list[tuple[str, str, str]] = []
    after = None
    while await source.behind(after):
        got = await source.read(after, page, 0.0)
        rows = got.batch.rows
        found += [(row["channel"], row["subject"], row["id"]) for row in got.batch.data][:rows]
        assert after is None or got.position > after
        after = got.position
    await source.close()
    return found


@given(
    events=st.lists(
        st.tuples(st.sampled_from(CHANNELS), st.sampled_from("ab"), st.sampled_from("1234")),
        max_size=30,
    ),
    page=st.integers(1, 7),
    wanted=st.sets(st.sampled_from(CHANNELS), min_size=1),
)
@settings(max_examples=examples(200))
def test_a_source_gives_each_event_of_its_channels_once(
    events: list[tuple[str, str, str]], page: int, wanted: set[str]
) -> None:
    store = opened()
    for channel, subject, event_id in events:
        store.commit([sent(channel, event_id, subject)])
    expected = list(dict.fromkeys(event for event in events if event[0] in wanted))
    assert asyncio.run(rows_of(EventSource(store, sorted(wanted)), page)) == expected


async def test_a_damaged_event_is_named_and_no_row() -> None:
    store = opened()
    kind = ReceivedEvent.contract_name
    store.commit([Append("received/orders", (NewEvent(b"0" * 16, kind, b"\xff{"),))])
    source = EventSource(store, ["orders"])
    with pytest.raises(StoreDamaged, match="event 1"):
        await source.read(None, 10, 0.0)
    await source.close()


def test_a_source_without_a_channel_is_refused() -> None:
    with pytest.raises(UsageError, match="no channel"):
        EventSource(opened(), [])
