"""Partial results of a detached system, for commands, over `--url`, and for a client outside."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from callboard import Contract
from callboard.remote import connect

from .cluster import Cluster

pytest.importorskip("fastapi")
pytest.importorskip("jwt")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

COMMAND: Final = "from callboard.runtime.cli.main import main; main()"
RUNS: Final = """
import pathlib
from collections.abc import AsyncIterator

from callboard import Agent, Job, UiSettings
from callboard.runtime.api.tokens import open_tokens

class Line(Contract):
    number: int

class Poem(Contract):
    lines: int

class Write(Request[Poem]):
    lines: int

class Poet(Agent):
    @handler
    async def write(self, request: Write) -> AsyncIterator[Line | Poem]:
        for number in range(request.lines):
            yield Line(number=number)
        while not pathlib.Path({go!r}).exists():
            await asyncio.sleep(0.02)
        for number in range(request.lines, request.lines + 3):
            yield Line(number=number)
        yield Poem(lines=request.lines)

async def main():
    ui = UiSettings(prints_link=False)
    async with start(
        name="poets", detached=True, address=ADDRESS, hosts=1, journal={journal!r}, ui=ui
    ) as system:
        await system.pool(Poet, size=1)
        execution = system.submit(Job(name="poems"), Write(lines=3), execution_id="one")
        seen = 0
        async for update in execution.updates():
            seen += update.contract_name.endswith("sub_task_partial")
            if seen == 3:
                break
        async with open_tokens("poets") as tokens:
            token, _ = await tokens.create("ada", 3_600, scopes=("read",), channels=["*"])
        say(url=(await system.ui.urls())[0], token=token)

asyncio.run(main())
"""


class Line(Contract, name="detached.line"):
    number: int


def tail(cluster: Cluster, *options: str, **variables: str) -> list[dict[str, Any]]:
    """The values of the live partial results that the command shows."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "tail", "one", "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**cluster.environment, **variables},
    )
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    live = [row for row in rows if row["kind"] == "callboard.execution.sub_task_partial"]
    assert live, (done.returncode, done.stdout, done.stderr)
    return [row["value"] for row in live]


async def followed(url: str, token: str, go: Path) -> list[int]:
    """What a client outside gets, from the first partial result to the last."""
    numbers = []
    async with connect(url, token=token) as remote, asyncio.timeout(60):
        async for partial in remote.handle("one").partials(Line):
            numbers.append(partial.value.number)
            if len(numbers) == 3:
                go.touch()
    return numbers


def test_partial_results_of_a_detached_system_reach_commands_and_clients(
    cluster: Cluster, tmp_path: Path
) -> None:
    journal, go = str(tmp_path / "j.db"), tmp_path / "go"
    driver = cluster.driver(RUNS.format(journal=journal, go=str(go)), CALLBOARD_HOME=str(tmp_path))
    try:
        said = driver.hear()
        assert driver.end() == 0, "the execution goes on without its driver"
        first = [{"number": number} for number in range(3)]
        assert tail(cluster, "--journal", journal, "--for", "1") == first
        server = ("--url", said["url"])
        assert tail(cluster, *server, "--for", "1", CALLBOARD_TOKEN=said["token"]) == first
        assert asyncio.run(followed(said["url"], said["token"], go)) == list(range(6))
        ended = tail(cluster, *server, CALLBOARD_TOKEN=said["token"])
        assert [value["number"] for value in ended] == list(range(6))
    finally:
        driver.process.kill()
        cluster.callboard("down", "poets")
