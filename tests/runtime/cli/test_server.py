"""Commands over `--url`: the same answers from another machine, with a token."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from click.testing import CliRunner, Result

from callboard.messages.control.principals import ALL_SCOPES, Scope
from callboard.messages.core.errors import CallboardError, ClusterUnreachable
from callboard.messages.jobs.updates import SubTaskPartial
from callboard.runtime.admin.errors import AccessDenied
from callboard.runtime.cli.commands.group import group
from tests.runtime.web.routes.api_world import (
    JOB,
    POEMS,
    Maker,
    Ordered,
    Poem,
    Poet,
    World,
    Write,
    api_world,
)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


class Command:
    """Runs commands with a token of some scopes."""

    def __init__(self, url: str, token: str, folder: Path) -> None:
        self._file = folder / "token"
        self._file.write_text(token + "\n")
        self._url = url
        self._token = token

    async def __call__(self, *arguments: str) -> Result:
        options = ["--url", self._url, "--token-file", str(self._file)]
        done = await asyncio.to_thread(CliRunner().invoke, group, [*arguments, *options])
        assert self._token not in f"{done.output} {done.exception!r}"
        return done

    async def error(self, *arguments: str) -> CallboardError:
        """The error that the command ends with."""
        done = await self(*arguments)
        assert isinstance(done.exception, CallboardError), done.output
        return done.exception

    async def data(self, *arguments: str) -> Any:
        done = await self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


async def test_commands_read_a_system_behind_a_server(world: World, tmp_path: Path) -> None:
    await world.run("one")
    await world.run("bad", fails=True)
    command = Command(world.url, await world.token(Scope.READ), tmp_path)
    tree = await command.data("tree")
    assert tree["systems"][0]["name"] == "tested", tree
    listed = await command.data("ls")
    assert [(row["id"], row["status"]) for row in listed["executions"]] == [
        ("bad", "failed"),
        ("one", "completed"),
    ]
    shown = await command.data("show", "bad")
    assert (shown["status"], len(shown["sub_tasks"])) == ("failed", 2)
    assert "×" in (await command("show", "bad", "--timeline")).output
    tailed = await command("tail", "one")
    assert "completed" in tailed.output
    events = await command("events", "one")
    assert "submitted" in events.output
    assert (await command("events", "--all", "--limit", "1000")).exit_code == 0
    assert "host-1" in (await command("why", "host-1")).output
    world.system.meter.count("sold")
    await world.system.metrics.flush()
    assert "sold" in (await command("metrics", "query")).output
    assert "has ended" in str(await command.error("cancel", "one"))
    assert isinstance(await command.error("fork", "one", "--from", "step-1"), AccessDenied)


async def test_tail_shows_live_partial_results_of_a_system_behind_a_server(
    world: World, tmp_path: Path
) -> None:
    Poet.held = asyncio.Event()
    await world.system.pool(Poet, size=1)
    command = Command(world.url, await world.token(Scope.READ), tmp_path)
    running = world.system.submit(POEMS, Write(lines=3), execution_id="poem")
    seen = 0
    async for update in running.updates():
        seen += isinstance(update, SubTaskPartial)
        if seen == 3:
            break
    rows = await command("tail", "poem", "--for", "1", "--json")
    events = [json.loads(row) for row in rows.output.splitlines()]
    live = [one for one in events if one["kind"] == "callboard.execution.sub_task_partial"]
    assert [one["value"] for one in live] == [{"number": number} for number in range(3)]
    tailing = asyncio.ensure_future(command("tail", "poem"))
    Poet.held.set()
    assert await running.result() == [Poem(lines=3)]
    words = (await tailing).output
    assert words.count("partial ") == 3
    assert 'partial 2 of request, attempt 1: {"number": 1}' in words
    assert words.index("partial 3") < words.index("completed")


async def test_commands_steer_a_system_behind_a_server(world: World, tmp_path: Path) -> None:
    await world.run("one")
    command = Command(world.url, await world.token(*ALL_SCOPES), tmp_path)
    forked = await command.data("fork", "one", "--from", "step-1")
    assert forked["shared"] == 1
    Maker.hangs = True
    running = world.system.submit(JOB, Ordered(), execution_id="hangs")
    async for _ in running.updates():
        if running.state().status == "running":
            break
    done = await command.data("cancel", "hangs")
    assert done["status"] == "cancelled"
    async with world.client() as client:
        view = (await client.get("v1/executions/hangs")).json()
    assert view["transitions"][-1]["by"] == "ada"


PIPELINE = """\
name: orders
stages: [{name: parse, type: parse}]
configuration:
  source: {type: files, pattern: "%s"}
  sink: {type: table, key: [id]}
monitoring: {letters_share_max: 0.9}
"""


async def test_pipelines_and_letters_behind_a_server(world: World, tmp_path: Path) -> None:
    file, store, rows = (tmp_path / name for name in ("p.yaml", "p.db", "in.jsonl"))
    file.write_text(PIPELINE % rows)
    rows.write_text("\n".join(['{"id": 1}', "{bad", "{worse", "{" + "x" * 300_000]))
    run = ["pipelines", "run", str(file), "--store", str(store)]
    assert (await asyncio.to_thread(CliRunner().invoke, group, run)).exit_code == 0
    command = Command(world.url, await world.token(*ALL_SCOPES), tmp_path)
    assert "does not know the stores" in str(await command.error("pipelines", "show"))
    await world.system.show_pipelines(str(store))
    (shown,) = (await command.data("pipelines", "show", "orders"))["pipelines"]
    assert (shown["state"], shown["account"]["letters_pending"]) == ("ended", 3)
    assert "3 dead letters wait" in (await command("pipelines", "show", "--rate", "0.01")).output
    listed = (await command.data("letters", "list", "--stage", "parse"))["letters"]
    assert [(each["number"], each["is_cut"]) for each in listed] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    whole = await command.data("letters", "show", "orders", "3")
    assert len(whole["original"]) == 300_001
    assert (await command.data("letters", "replay", "orders", "1"))["replayed"] == [1]
    assert (await command.data("letters", "discard", "orders", "--all"))["discarded"] == [1, 2, 3]
    assert "was not stopped" in (await command("pipelines", "resume", "orders")).output
    assert "There are: orders" in str(await command.error("pipelines", "show", str(store)))
    assert "more words" in str(await command.error("pipelines", "show", str(store), "orders"))
    assert "no number" in str(await command.error("letters", "show", "orders", "x"))
    assert "needs a pipeline" in str(await command.error("letters", "list", "--after", "1"))
    reads = Command(world.url, await world.token(Scope.READ), tmp_path)
    assert isinstance(await reads.error("letters", "discard", "orders", "1"), AccessDenied)


async def test_without_a_token_or_a_server_a_command_says_so(world: World, tmp_path: Path) -> None:
    none = await asyncio.to_thread(CliRunner().invoke, group, ["ls", "--url", world.url])
    assert "no token" in str(none.exception)
    wrong = Command(world.url, "wrong", tmp_path)
    assert "not valid" in str(await wrong.error("ls"))
    away = Command("http://127.0.0.1:1/", "wrong", tmp_path)
    assert isinstance(await away.error("ls"), ClusterUnreachable)
    plain = Command("http://192.0.2.1/", "wrong", tmp_path)
    assert "TLS" in str(await plain.error("ls"))
