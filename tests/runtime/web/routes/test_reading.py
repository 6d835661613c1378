"""The routes that read: over a real system and a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from callboard import Actor, Job, SubTask
from callboard.actors.kernel.props import props
from callboard.messages.control.principals import Scope
from callboard.messages.core.errors import HostLost
from callboard.runtime.admin.port import Part
from callboard.runtime.web.routes import shared_views

from .api_world import Made, Make, Ordered, World, api_world


class Idle(Actor):
    """Does nothing."""


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


async def test_the_system_in_one_look(world: World) -> None:
    await world.run("good")
    await world.run("bad", fails=True)
    async with world.client() as client:
        now = (await client.get("v1/system")).json()
        assert now["name"] == "tested"
        assert now["hosts"] == {"up": 2}
        assert now["executions"] == {"completed": 1, "failed": 1}
        assert [row["id"] for row in now["failures"]] == ["bad"]
        assert now["problems"] == []
        hosts = (await client.get("v1/hosts", params={"limit": 1})).json()
        assert [host["slot"] for host in hosts["items"]] == [0]
        rest = (await client.get("v1/hosts", params={"after": hosts["next"]})).json()
        assert [host["slot"] for host in rest["items"]] == [1]
        assert not rest["next"]


async def test_all_clients_share_one_look_at_the_system_for_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_views, "EACH_S", 60.0)  # However slow the machine is.
    asked: list[object] = []
    ask = world.service._parts[Part.QUERIES]
    assert ask is not None

    async def counted(request: Any) -> Any:
        asked.append(request)
        return await ask(request)

    world.service.serve(Part.QUERIES, counted)
    async with world.client() as client, world.client(Scope.SUBMIT, subject="eve") as other:
        answers = await asyncio.gather(*(client.get("v1/system") for _ in range(20)))
        assert len(asked) == 1
        await asyncio.gather(*(client.get(f"v1/{each}") for each in ("hosts", "letters", "hosts")))
        assert len(asked) == 1
        (tag,) = {each.headers["etag"] for each in answers}
        known = await client.get("v1/system", headers={"if-none-match": tag})
        assert (known.status_code, len(asked)) == (304, 1)
        # What is shared is for those who may read.
        assert (await other.get("v1/system")).status_code == 403
        monkeypatch.setattr(shared_views, "EACH_S", 0.0)
        await world.run("one")
        newer = await client.get("v1/system", headers={"if-none-match": tag})
        assert (newer.status_code, newer.json()["executions"]) == (200, {"completed": 1})
        assert newer.headers["etag"] != tag

        async def fail(_request: Any) -> Any:
            raise HostLost("the root is away.")

        world.service.serve(Part.QUERIES, fail)
        lost = await client.get("v1/system")
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        world.service.serve(Part.QUERIES, counted)
        assert (await client.get("v1/system")).status_code == 200


async def test_actors_are_listed_by_pages_each_once(world: World) -> None:
    refs = await world.system.spawn_many(props(Idle) for _ in range(120))
    found: list[dict[str, Any]] = []
    async with world.client() as client:
        after = ""
        while True:
            page = (await client.get("v1/actors", params={"limit": 50, "after": after})).json()
            found += page["items"]
            after = page["next"]
            if not after:
                break
        places = [(row["slot"], row["cell"]) for row in found]
        assert places == sorted(set(places))
        assert {tuple(ref.address) for ref in refs} <= set(places)
        named = (await client.get("v1/actors", params={"path": found[-1]["path"]})).json()
        assert named["items"][-1]["path"] == found[-1]["path"]
        assert (await client.get("v1/actors", params={"failed": True})).json()["items"] == []
        found_history = (await client.get("v1/actors/host-1/story")).json()
        assert found_history["matches"][0]["host"] == "host-1"


async def test_executions_are_filtered_sorted_and_paged(world: World) -> None:
    for number in range(5):
        await world.run(f"run-{number}", fails=number == 3)
    async with world.client() as client:

        async def ids(**parameters: Any) -> list[str]:
            found, after = list[str](), ""
            while True:
                answer = await client.get("v1/executions", params={**parameters, "after": after})
                assert answer.status_code == 200, answer.text
                found += [row["id"] for row in answer.json()["items"]]
                after = answer.json()["next"]
                if not after:
                    return found

        every = [f"run-{number}" for number in range(5)]
        assert await ids() == every[::-1]
        assert await ids(limit=2, order="asc") == every
        assert await ids(failed=True) == ["run-3"]
        assert await ids(status="completed", limit=1) == ["run-4", "run-2", "run-1", "run-0"]
        for sort in ("ended", "duration", "job", "status"):
            assert sorted(await ids(sort=sort, limit=2)) == every
        assert await ids(id="run-2") == ["run-2"]
        assert await ids(job="other") == []


async def test_one_execution_its_events_timeline_and_sub_tasks(world: World) -> None:
    await world.run("bad", steps=3, fails=True)
    async with world.client() as client:
        view = (await client.get("v1/executions/bad")).json()
        assert (view["status"], view["is_over"], view["waits_for"]) == ("failed", True, "")
        assert view["failures"][0]["message"]
        assert view["counts"] == {"done": 2, "failed": 1}
        assert [step["to"] for step in view["transitions"]] == ["running", "failed"]

        events, after = list[dict[str, Any]](), ""
        while True:
            answer = await client.get(
                "v1/executions/bad/events", params={"limit": 2, "after": after}
            )
            page = answer.json()
            events += page["items"]
            after = page["next"]
            if not after:
                break
        assert [event["version"] for event in events] == list(range(1, view["version"] + 1))
        newest = await client.get("v1/executions/bad/events", params={"order": "desc"})
        assert [row["version"] for row in newest.json()["items"]] == [
            event["version"] for event in reversed(events)
        ]

        timeline = (await client.get("v1/executions/bad/timeline")).json()
        (group,) = timeline["groups"]
        assert (group["key"], group["bars_left_off"]) == ("api.make", 0)
        assert [step["id"] for step in timeline["critical_path"]] == ["step-0", "step-1", "step-2"]
        for bar in group["bars"]:
            assert bar["ready_at"] <= bar["began_at"] <= bar["ended_at"]
        folded = await client.get("v1/executions/bad/timeline", params={"bars": 1, "cells": 10})
        assert folded.json()["groups"][0]["bars"] == []
        assert len(folded.json()["groups"][0]["cells"]) == 10

        rows = (await client.get("v1/executions/bad/subtasks", params={"failed": True})).json()
        assert [row["id"] for row in rows["items"]] == ["step-2"]
        assert "<script>" in rows["items"][0]["error"]
        page = (
            await client.get(
                "v1/executions/bad/subtasks", params={"sort": "run", "order": "desc", "limit": 2}
            )
        ).json()
        more = await client.get(
            "v1/executions/bad/subtasks",
            params={"sort": "run", "order": "desc", "limit": 2, "after": page["next"]},
        )
        both = [row["id"] for row in page["items"] + more.json()["items"]]
        assert sorted(both) == ["step-0", "step-1", "step-2"]


async def test_an_answer_that_the_client_has_is_not_sent_again(world: World) -> None:
    await world.run("one")
    async with world.client() as client:
        for path in ("v1/executions/one", "v1/executions", "v1/executions/one/timeline"):
            first = await client.get(path)
            assert first.headers["cache-control"] == "no-store"
            again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


async def test_a_wrong_cursor_is_a_wrong_request(world: World) -> None:
    await world.run("one")
    texts = ("x", "AAAA", "=", "WzIsImV2ZW50cyIsMV0", "WzEsImV2ZW50cyIsTmFOXQ", "Wy", "\u00e9")
    lists = (
        "hosts",
        "actors",
        "executions",
        "executions/one/events",
        "executions/one/subtasks",
        "events",
        "letters",
        "tokens",
    )
    async with world.client() as client:
        for path in lists:
            for text in texts:
                answer = await client.get(f"v1/{path}", params={"after": text})
                assert (answer.status_code, answer.json()["code"]) == (400, "usage"), (path, text)


async def test_no_answer_of_a_list_is_larger_than_a_megabyte(world: World) -> None:
    for number in range(30):
        await world.run(f"{number}-{'x' * 190}", steps=3)
    wide = [SubTask(f"{'y' * 990}{number}", Make()) for number in range(900)]
    job = Job[Ordered, list[Made]](name="wide", decompose=lambda _order: wide)
    await world.system.submit(job, Ordered(), execution_id="wide").result(30)
    async with world.client() as client:
        for path in (
            "v1/executions",
            "v1/executions/wide/subtasks",
            "v1/executions/wide/timeline",
            "v1/executions/wide/events",
            "v1/events",
        ):
            answer = await client.get(path, params={"limit": 500})
            assert answer.status_code == 200, path
            assert 1_000 < len(answer.content) <= 1_000_000, path
        found, after = list[int](), ""
        while True:
            page = await client.get(
                "v1/executions/wide/subtasks", params={"limit": 500, "after": after}
            )
            found += [row["number"] for row in page.json()["items"]]
            after = page.json()["next"]
            if not after:
                break
        assert found == list(range(900))


async def test_metrics_are_asked_for_and_prometheus_reads_them(world: World) -> None:
    world.system.meter.count("sold")
    await world.system.metrics.flush()
    async with world.client() as client:
        listed = (await client.get("v1/metrics")).json()
        assert "sold" in {name for name, _, _ in listed["metrics"]}
        asked = await client.get("v1/metrics/query", params={"expression": "sold", "step_s": 60})
        assert asked.status_code == 200
        wrong = await client.get("v1/metrics/query", params={"expression": "sum("})
        assert wrong.status_code == 400
        answer = await client.get("api/v1/query", params={"query": "1+1"})
        assert answer.json()["data"]["result"][1] == "2"
        posted = await client.post("api/v1/query", data={"query": "1+1"})
        assert posted.json() == answer.json() | {"data": posted.json()["data"]}
        assert (await client.get("api/v1/nothing")).status_code == 400


async def test_parts_that_a_system_lacks_are_named(world: World) -> None:
    async with world.client() as client:
        for path, status in (
            ("v1/pipelines", 404),
            ("v1/alerts", 404),
            ("v1/connections", 404),
            ("v1/executions/none", 404),
            ("v1/executions/none/timeline", 404),
        ):
            answer = await client.get(path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("v1/letters")).json()["items"] == []
