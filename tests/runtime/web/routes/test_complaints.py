"""What users of other dashboards complained about, where the answer is the API's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest_asyncio

import callboard as cb
from callboard.jobs import RetryPolicy

from .api_world import World, api_world

DEADLINE_S: Final = 20.0


class Tried(cb.Contract, name="complaints.tried"):
    """It is done."""


class Try(cb.Request[Tried], name="complaints.try"):
    waits: bool = False


class Unlucky(cb.Agent):
    """Fails each time for another reason, or waits."""

    reasons: ClassVar[list[str]] = []
    go_on: ClassVar[asyncio.Event]

    @cb.handler
    async def attempt(self, request: Try) -> Tried:
        if request.waits:
            await Unlucky.go_on.wait()
        if Unlucky.reasons:
            raise ValueError(Unlucky.reasons.pop(0))
        return Tried()


UNLUCKY: Final = cb.Job[Try, list[Tried]](
    name="unlucky",
    decompose=lambda _: (cb.SubTask("step", Try()),),
    task_retry=RetryPolicy(attempts_max=2, backoff_min_s=0.0, jitter=0.0),
)
LONG: Final = cb.Job[Try, list[Tried]](
    name="long",
    decompose=lambda _: (
        cb.SubTask("first", Try()),
        cb.SubTask("last", Try(waits=True), needs=("first",)),
    ),
)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    Unlucky.reasons, Unlucky.go_on = [], asyncio.Event()
    async with api_world(tmp_path) as world:
        await world.system.pool(Unlucky, size=1)
        yield world


async def test_the_newest_failure_is_shown_first_and_the_older_one_is_kept(world: World) -> None:
    """temporalio/ui#2262: an old reason stayed after a second failure."""
    Unlucky.reasons = ["the first reason", "the second reason"]
    with contextlib.suppress(cb.errors.CallboardError):
        await world.system.submit(UNLUCKY, Try(), execution_id="one").result(DEADLINE_S)
    async with world.client() as client:
        failures = (await client.get("v1/executions/one")).json()["failures"]
        assert "the second reason" in failures[0]["message"]
        text = (await client.get("v1/executions/one/events")).text
        assert "the first reason" in text
        assert "the second reason" in text


async def test_while_an_execution_runs_its_first_sub_task_is_still_found(world: World) -> None:
    """dask/distributed#2977: the stream wiped what was."""
    handle = world.system.submit(LONG, Try(), execution_id="one")
    async with world.client() as client:
        row: dict[str, Any] = {}
        async with asyncio.timeout(DEADLINE_S):
            while row.get("status") != "done":
                rows = (await client.get("v1/executions/one/subtasks")).json().get("items", [])
                row = next((each for each in rows if each["id"] == "first"), {})
        timeline: dict[str, Any] = {}
        async with asyncio.timeout(DEADLINE_S):
            while not timeline.get("running"):
                timeline = (await client.get("v1/executions/one/timeline")).json()
        (group,) = timeline["groups"]
        outcomes = {bar["id"]: bar["outcome"] for bar in group["bars"]}
        assert outcomes == {"first": "done", "last": "running"}
        assert (await client.get("v1/executions/one")).json()["status"] == "running"
        Unlucky.go_on.set()
        await handle.result(DEADLINE_S)
