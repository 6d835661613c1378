"""A channel of a polled state: the snapshot and what follows make the state of now."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.polled import SNAPSHOT_BYTES_MAX, PolledSource, differences
from callboard.actors.streaming.protocol import Subscribe

from .clients import Client, Tokens
from .conftest import MakeHub

KEYS = st.sampled_from(["a", "b", "c", "d"])
STATES = st.dictionaries(KEYS, st.integers(0, 3))
SMALL = HubLimits(queue_bytes_soft=300, held_bytes_max=10_000)


@given(STATES, STATES)
def test_the_differences_lead_from_one_state_to_the_other(
    before: dict[str, int], after: dict[str, int]
) -> None:
    assert model(before, differences(before, after)) == after


def model(state: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**state, **changes}
    return {key: value for key, value in merged.items() if value is not None}


class Changing:
    """A state that a test sets."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.reads = 0

    async def read(self) -> Mapping[str, Any]:
        self.reads += 1
        return self.state


async def joined(hub: Hub) -> tuple[Client, dict[str, Any]]:
    """A client, and the values of its snapshot."""
    client = Client()
    await client.connect(hub)
    reply = await client.do(Subscribe("state"))
    return client, json.loads(reply["data"])["values"]


def added(values: dict[str, Any], client: Client) -> dict[str, Any]:
    """The model of a page: the snapshot, and what came after it."""
    client.read()
    changes = [each["payload"] for each in client.data.get("state", ())]
    return model(values, {each["key"]: each["value"] for each in changes})


@given(st.lists(STATES, min_size=1, max_size=8), st.integers(0, 7))
async def test_a_page_that_comes_at_any_time_has_the_state_of_now(
    states: list[dict[str, int]], comes: int
) -> None:
    """ray-project/ray#62848: nothing is missing, and nothing dead is alive; also when slow."""
    changing = Changing()
    source = PolledSource("state", changing.read)
    hub = Hub(Tokens(), (source,), limits=SMALL)
    feed = hub._feeds[id(source)]
    source._feed = feed
    pages: list[tuple[Client, dict[str, Any]]] = []
    for number, state in enumerate(states):
        changing.state = state
        if number == comes:
            pages.append(await joined(hub))
        await source.poll()
    pages.append(await joined(hub))
    for client, values in pages:
        assert added(values, client) == states[-1]


async def test_nothing_is_asked_for_while_nobody_subscribes(make_hub: MakeHub) -> None:
    changing = Changing()
    source = PolledSource("state", changing.read, every_s=0.0)
    hub = make_hub(source)
    feed = hub._feeds[id(source)]
    assert not feed.is_wanted("state")
    assert changing.reads == 0
    await joined(hub)
    assert feed.is_wanted("state")
    assert changing.reads == 1


async def test_a_snapshot_that_is_too_large_says_so(make_hub: MakeHub) -> None:
    changing = Changing()
    changing.state = {"a": "x" * SNAPSHOT_BYTES_MAX}
    source = PolledSource("state", changing.read)
    client = Client()
    await client.connect(make_hub(source))
    reply = await client.do(Subscribe("state"))
    assert json.loads(reply["data"]) == {"values": {}, "is_cut": True}


@pytest.mark.parametrize(
    "turns", [20, pytest.param(1_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
async def test_a_million_actors_that_came_and_went_leave_the_hub_flat(
    make_hub: MakeHub, turns: int
) -> None:
    """A dashboard that keeps all actors for ever: ray-project/ray#22027."""
    state = Changing()
    source = PolledSource("state", state.read)
    hub = make_hub(source)
    source._feed = hub._feeds[id(source)]
    client, _ = await joined(hub)
    sizes = []
    born = 1_000
    for turn in range(turns):
        state.state = {f"actor/{turn}/{number}": {"state": "running"} for number in range(born)}
        await source.poll()
        client.session.take_now()
        if turn % (turns // 10) == turns // 10 - 1:
            state.state = {}
            await source.poll()
            while client.session.take_now():
                pass
            channel = hub.core.channels["state"]
            figures = hub.core.figures()
            sizes.append((figures["history_bytes"], figures["queue_bytes"]))
            assert len(channel.ring.values) <= hub.core.limits.values_max
            assert source.snapshot("state") == b'{"values":{}}'
    assert max(history for history, _ in sizes) <= hub.core.limits.ring_bytes_max
    assert {queued for _, queued in sizes} == {0}
