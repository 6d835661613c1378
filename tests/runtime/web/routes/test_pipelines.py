"""The routes about pipelines and their dead letters, over a store that a pipeline has written."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.files import read_pipeline
from callboard.actors.pipelines.running.ends import sink_of, source_of
from callboard.actors.pipelines.running.figures import RunState
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.messages.core.errors import UsageError
from callboard.runtime.api.system import System
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.choose import event_store
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from .api_world import World, api_world

PIPELINE = """\
name: orders
stages:
  - {name: parse, type: parse}
configuration:
  source: {type: files, pattern: "%s"}
  sink: {type: table, key: [id]}
monitoring: {letters_share_max: 0.9}
"""


@pytest.fixture
async def store(tmp_path: Path) -> str:
    """A store with three dead letters, of which one is large."""
    rows = tmp_path / "in.jsonl"
    rows.write_text("\n".join(['{"id": 1}', "{bad", "{worse", "{" + "x" * 300_000]))
    file = tmp_path / "orders.yaml"
    file.write_text(PIPELINE % rows)
    spec, url = read_pipeline(str(file)), str(tmp_path / "orders.db")
    opened = SqliteReadModelStore(url)
    opened.open()
    runner = PipelineRunner(
        build_pipeline(spec), source_of(spec, event_store), sink_of(spec), opened
    )
    async with runner:
        await runner.wait(lambda now: now.state in {RunState.ENDED, RunState.STOPPED}, 30)
    opened.close()
    return url


@pytest_asyncio.fixture
async def world(tmp_path: Path, store: str) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        await world.system.show_pipelines(store)
        yield world


async def test_pipelines_and_their_letters_are_read_and_replayed(world: World) -> None:
    async with world.client() as client:
        (shown,) = (await client.get("v1/pipelines")).json()["items"]
        assert (shown["name"], shown["state"], shown["problems"]) == ("orders", "ended", [])
        found, after = list[dict[str, Any]](), ""
        while True:
            page = (await client.get("v1/letters", params={"limit": 2, "after": after})).json()
            found += page["items"]
            after = page["next"]
            if not after:
                break
        assert [letter["number"] for letter in found] == [1, 2, 3]
        assert [letter["original"] for letter in found] == ["{bad", "{worse", None]
        assert found[2]["is_cut"]
        one = await client.get("v1/letters", params={"pipeline": "orders", "stage": "none"})
        assert one.json()["items"] == []
        assert (await client.get("v1/letters", params={"pipeline": "x"})).status_code == 400
        replay = await client.post("v1/pipelines/orders/replay", json={"numbers": [1]})
        assert replay.status_code == 204
        unknown = await client.post("v1/pipelines/orders/replay", json={"numbers": [99]})
        assert unknown.status_code == 400
        assert (await client.post("v1/pipelines/orders/resume")).status_code == 204
        assert len(json.dumps(found)) < 10_000


async def test_a_driver_that_does_not_answer_shows_none() -> None:
    with pytest.raises(UsageError):
        await System(Settings(engine="inline")).show_pipelines("x.db")
