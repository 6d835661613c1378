"""External events: durable before the answer, once by their ids, and rows of a pipeline."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.files import read_pipeline
from callboard.actors.pipelines.running.ends import sink_of, source_of
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import read_table
from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.incoming import ACTS, Act, ReceivedEvent
from callboard.runtime.cli.pipelines import _journal
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from callboard.runtime.web.routes import entry

from .api_world import World, api_world

WAIT_S = 30.0
SENDERS = 8
PIPELINE = """\
name: taken
stages:
  - {name: all, type: filter, configuration: {where: type != ''}}
configuration:
  source: {type: events, journal: %s, channels: [orders]}
  sink: {type: table, key: [id]}
"""


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


def body(event_id: str = "", channel: str = "orders", **more: Any) -> dict[str, Any]:
    return {"channel": channel, "event_type": "made", "event_id": event_id, **more}


async def taken(folder: Path, rows: int) -> list[str]:
    """The ids that a pipeline has in its table, when it has taken so many rows."""
    file = folder / "taken.yaml"
    file.write_text(PIPELINE % (folder / "journal.db"))
    spec = read_pipeline(str(file))
    store = SqliteReadModelStore(str(folder / "taken.db"))
    store.open()
    source = source_of(spec, _journal)
    async with PipelineRunner(build_pipeline(spec), source, sink_of(spec), store) as runner:
        await runner.wait(lambda now: now.account["delivered"] >= rows, WAIT_S)
        assert runner.statistics().account["delivered"] == rows
    found = [row["id"] for _, row in read_table(store, spec.name)]
    store.close()
    return found


async def test_an_event_is_once_in_the_journal_and_in_a_pipeline(
    world: World, tmp_path: Path
) -> None:
    async with world.client() as client, world.client(subject="bob") as other:
        for event_id in ("a", "b", "a"):
            done = await client.post("v1/events", json=body(event_id, payload={"n": 1}))
            assert (done.status_code, done.json()["is_durable"]) == (202, True)
        await client.post("v1/events", json=body(channel="chat"))
        for _ in range(2):
            keyed = await client.post("v1/events", json=body(), headers={"Idempotency-Key": "mine"})
            assert keyed.json()["event_id"] == "mine"
        await other.post("v1/events", json=body("c"))
        page = await client.get("v1/events", params={"kind": ReceivedEvent.contract_name})
    rows = [row["fields"] for row in page.json()["items"]]
    assert [(row["channel"], row["subject"]) for row in rows] == [
        *[("orders", "ada")] * 2,
        ("chat", "ada"),
        ("orders", "ada"),
        ("orders", "bob"),
    ]
    assert await taken(tmp_path, 4) == ["a", "b", "c", "mine"]


async def test_an_event_that_cannot_be_kept_is_refused_before_anybody_gets_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        both = await client.post("v1/events", json=body("a"), headers={"Idempotency-Key": "mine"})
        assert (both.status_code, "Give one" in both.json()["advice"]) == (400, True)
        reserved = await client.post("v1/events", json=body(channel="events"))
        assert reserved.status_code == 403
        monkeypatch.setattr(entry, "TAKEN_AT_ONCE_MAX", 0)
        full = await client.post("v1/events", json=body("a"))
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        monkeypatch.undo()
        executions: Any = world.system._executions
        journal = executions.journal

        def fail(*_given: Any) -> Any:
            raise StoreFailed("the disk is full.", advice="Make room.")

        monkeypatch.setattr(journal, "append", fail)
        failed = await client.post("v1/events", json=body("a"))
        assert (failed.status_code, failed.headers["retry-after"]) == (503, "1")
        # An act that cannot be written down is not done.
        refused = await client.post("v1/tokens", json={"subject": "eve"})
        assert refused.status_code == 503
        assert all(record.subject != "eve" for record in await world.tokens.list_records())
    assert world.published == []


async def started(folder: Path) -> tuple[asyncio.subprocess.Process, httpx.AsyncClient]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runtime.web.routes.event_server", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[4],
        env={**os.environ, "CALLBOARD_HOME": str(folder)},
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        line = json.loads(await process.stdout.readline())
    headers = {"authorization": f"Bearer {line['token']}"}
    return process, httpx.AsyncClient(base_url=line["url"], headers=headers, timeout=WAIT_S)


async def test_kill_9_loses_no_event_that_was_acknowledged_and_repeats_none(
    tmp_path: Path,
) -> None:
    acknowledged: set[str] = set()
    sent: set[str] = set()
    for round_ in range(2):
        process, client = await started(tmp_path)
        enough = asyncio.Event()

        async def send(
            number: int,
            round_: int = round_,
            client: httpx.AsyncClient = client,
            enough: asyncio.Event = enough,
        ) -> None:
            for count in range(1_000):
                event_id = f"{round_}-{number}-{count}"
                sent.add(event_id)
                try:
                    done = await client.post("v1/events", json=body(event_id))
                except httpx.HTTPError:
                    return
                if done.status_code == 202:
                    acknowledged.add(event_id)
                    if len(acknowledged) >= 40 * (round_ + 1):
                        enough.set()

        senders = [asyncio.create_task(send(number)) for number in range(SENDERS)]
        async with asyncio.timeout(WAIT_S):
            await enough.wait()
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*senders)
        await client.aclose()
    process, client = await started(tmp_path)
    for event_id in sorted(sent):  # Those without an answer are sent again, and so are all others.
        assert (await client.post("v1/events", json=body(event_id))).status_code == 202
    process.kill()
    await process.wait()
    await client.aclose()
    assert acknowledged <= sent
    assert await taken(tmp_path, len(sent)) == sorted(sent)


async def test_acts_over_http_are_in_the_journal_with_their_principals(world: World) -> None:
    async with world.client() as client:
        made = (await client.post("v1/tokens", json={"subject": "eve"})).json()
        await client.delete(f"v1/tokens/{made['id']}")
        await client.post("v1/executions/none/cancel")
        await client.post("v1/executions", json={"job": "making", "id": "one"})
        page = await client.get("v1/events", params={"kind": Act.contract_name})
        listed = (await client.get("v1/tokens")).json()["items"]
    rows = [row for row in page.json()["items"] if row["stream"] == ACTS]
    assert [(row["fields"]["act"], row["fields"]["subject"]) for row in rows] == [
        ("token.create", "ada"),
        ("token.revoke", "ada"),
        ("callboard.cancel_execution", "ada"),
        ("callboard.admin.submit", "ada"),
    ]
    assert rows[1]["fields"]["about"] == {"id": made["id"]}
    assert all(row["fields"]["token"] for row in rows)
    (eve,) = [row for row in listed if row["subject"] == "eve"]
    assert eve["revoked_at"]
