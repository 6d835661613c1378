"""Server-sent events over a real server, read by a client that others wrote and by hand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from callboard.actors.streaming.protocol import (
    Dropped,
    Position,
    Publication,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from callboard.runtime.web.codecs.sse import ServerSentEvents, end
from tests.runtime.web.edge import (
    EPOCH,
    EVERYTHING,
    GOOD,
    LIMITED,
    RULED,
    SUBSCRIBING,
    MemoryJournal,
    Served,
    serving,
)
from tests.runtime.web.raw import ask

BEARER = {"Authorization": f"Bearer {GOOD}"}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


class Events:
    """The events of one response, as the HTML standard reads them."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.lines = response.aiter_lines()
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        kind, data = "message", None
        async with asyncio.timeout(10):
            async for line in self.lines:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match name:
                    case "id":
                        self.last_id = value
                    case "event":
                        kind = value
                    case "data":
                        data = value
                    case "" if not line and data is not None:
                        return kind, json.loads(data)
        raise EOFError


@contextlib.asynccontextmanager
async def following(
    served: Served, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Events]:
    url = f"{served.url}v1/stream?{query}"
    async with (
        httpx.AsyncClient(headers={**BEARER, **(headers or {})}, trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Events(response)


async def test_events_have_positions_to_resume_from(served: Served) -> None:
    async with following(served) as events:
        served.journal.append("one", type="execution.began")
        kind, first = await events.next()
        assert (kind, first["payload"]) == ("execution.began", "one")
        assert events.last_id == f"{EPOCH}:1"
    served.journal.append("two")
    async with following(served, headers={"Last-Event-ID": events.last_id}) as events:
        assert (await events.next())[1]["payload"] == "two"
    async with following(served, f"after={EPOCH}:0") as events:
        assert [(await events.next())[1]["payload"] for _ in range(2)] == ["one", "two"]


async def test_a_client_that_saw_no_event_has_a_position_too(served: Served) -> None:
    served.journal.append("before")
    async with following(served, f"after={EPOCH}:1") as events:
        await anext(events.lines)
    async with following(served, "channel=executions") as events:
        assert await anext(events.lines) == f"id: {EPOCH}:1"
    assert events.last_id == ""


async def test_a_lost_position_is_said(served: Served) -> None:
    async with following(served, "after=another:5") as events:
        assert (await events.next())[0] == "reset"
        served.journal.append("new")
        assert (await events.next())[1]["payload"] == "new"


async def test_a_filter_and_a_rate_limit_hold(served: Served) -> None:
    condition = json.dumps({"key": "level", "cmp": "eq", "val": "error"})
    async with following(served, f"filter={condition}&channel=room:1") as events:
        served.publish("room:1", {"n": 1}, level="info")
        served.publish("room:1", {"n": 2}, level="error")
        assert (await events.next())[1] == {"n": 2}
    async with following(served, "channel=room:2&per_second=0.1&burst=1") as events:
        for number in range(5):
            served.publish("room:2", {"n": number})
        assert (await events.next())[1] == {"n": 0}
        kind, notice = await events.next()
        assert kind == "dropped"
        assert notice["count"] >= 1


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [
        ("", "", 401),
        ("", "x", 401),
        ("channel=events", LIMITED, 403),
        ("channel=unheard-of:1", LIMITED, 403),
        ("after=nonsense", GOOD, 400),
        (f"after={EPOCH}:{2**64}", GOOD, 400),
        ("filter={", GOOD, 400),
        ('filter={"op":"dance"}', GOOD, 400),
        ("channel=", GOOD, 422),
        (f"channel={'a' * 256}", GOOD, 422),
        ("burst=0", GOOD, 422),
    ],
)
async def test_what_cannot_be_followed_is_a_problem(
    served: Served, query: str, token: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await ask(served.port, f"/v1/stream?{query.replace(chr(34), '%22')}", headers=headers)
    assert answer.problem["status"] == status
    assert (status != 401) or answer.headers["www-authenticate"] == "Bearer"
    assert not served.hub.core.connections


async def test_events_are_not_held_back_by_compression(served: Served) -> None:
    async with following(served, headers={"Accept-Encoding": "gzip, br"}) as events:
        assert "content-encoding" not in events.response.headers
        assert events.response.headers["x-accel-buffering"] == "no"
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        served.journal.append("now")
        assert (await events.next())[1]["payload"] == "now"
        assert loop.time() - begun_s < 2.0


async def test_nothing_stays_of_a_client_that_leaves(served: Served) -> None:
    before = len(asyncio.all_tasks())
    async with following(served):
        assert len(served.hub.core.connections) == 1
    async with asyncio.timeout(5):
        while served.hub.core.connections or len(asyncio.all_tasks()) > before:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_revoked_token_ends_the_stream_within_a_second(served: Served) -> None:
    async with following(served) as events:
        served.tokens.gone.add("t1")
        kind, why = await events.next()
        assert kind == "end"
        assert why["code"] >= 3000
        with pytest.raises(EOFError):
            await events.next()


async def test_a_subscription_that_the_hub_ends_ends_the_stream(served: Served) -> None:
    async with following(served) as events:
        [connection] = served.hub.core.connections.values()
        served.hub.resubscribe(connection, "events")
        served.hub.perform()
        kind, why = await events.next()
        assert (kind, why["code"]) == ("end", 2500)
        with pytest.raises(EOFError):
            await events.next()


async def test_a_restarted_hub_is_resumed() -> None:
    journal = MemoryJournal()
    async with serving(journal=journal) as served, following(served) as events:
        journal.append("before")
        await events.next()
    journal.append("while the hub was away")
    async with (
        serving(journal=journal) as served,
        following(served, f"after={events.last_id}") as events,
    ):
        assert (await events.next())[1]["payload"] == "while the hub was away"


# --- the codec -----------------------------------------------------------------------------------


def test_no_line_break_of_a_value_ends_a_field() -> None:
    codec = ServerSentEvents()
    nasty = "a\nevent: b\r\ndata: c\rid: d\0\n\n"
    publication = Publication("a", b'{\n"x":\r1}', 1, {"type": nasty}, nasty)
    block = codec.push(publication)
    assert block.count(b"\n") == 4
    assert block.endswith(b"\n\n")
    assert b"\r" not in block
    assert b"\0" not in block
    for push in (Dropped("a", 1, nasty), Unsubscribed("a", 1, nasty)):
        assert codec.push(push).count(b"\n") == 3
    assert end(3001, nasty).count(b"\n") == 3


def test_a_resumed_stream_begins_with_its_position_and_its_events() -> None:
    codec = ServerSentEvents()
    missed = Publication("a", b"1", 8, {}, "e")
    at = Position(7, "e")
    reply = Subscribed(position=at, was_recovering=True, recovered=True, publications=(missed,))
    expected = b"id: e:7\nretry: 2000\n\nid: e:8\nevent: message\ndata: 1\n\n"
    assert codec.reply(1, Subscribe("a"), reply) == expected


async def test_a_stream_follows_the_channel_of_its_token(served: Served) -> None:
    one = EVERYTHING.model_copy(update={"subscribes": ("room:7",)})
    served.tokens.known["one"] = one
    async with following(served, headers={"Authorization": "Bearer one"}) as events:
        served.publish("room:7", {"payload": 1})
        served.publish("events", {"payload": 2})
        assert (await events.next())[1] == {"payload": 1}
        [name] = served.hub.clients_of("ada")
        assert not await served.hub.subscribe(name, "room:8")
    several = {"Authorization": f"Bearer {SUBSCRIBING}"}
    async with httpx.AsyncClient(headers=several, trust_env=False) as client:
        answer = await client.get(f"{served.url}v1/stream")
        assert answer.status_code == 400
    async with following(served, "channel=room:1", headers=several) as events:
        served.publish("room:1", {"payload": 3})
        assert (await events.next())[1] == {"payload": 3}


async def test_a_rule_of_the_token_hides_events_and_positions(served: Served) -> None:
    ruled = {"Authorization": f"Bearer {RULED}"}
    async with following(served, headers=ruled) as events:
        served.journal.append("another tenant's", tenant="b")
        served.journal.append("mine", tenant="a")
        assert (await events.next())[1]["payload"] == "mine"
        assert events.last_id == ""
