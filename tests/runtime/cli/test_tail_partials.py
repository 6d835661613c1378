"""`callboard tail` shows partial results: live ones from their system, others from the journal."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.runtime.cli.outcome import ExitCode

DRIVER: Final = """
import asyncio
import pathlib
import sys
from collections.abc import AsyncIterator

from callboard import Agent, Contract, Job, Request, handler, run
from callboard.jobs import Streams


class Line(Contract):
    text: str


class Poem(Contract):
    lines: int


class Write(Request[Poem]):
    title: str


class Poet(Agent):
    @handler
    async def write(self, request: Write) -> AsyncIterator[Line | Poem]:
        for number in range(3):
            yield Line(text=f"{request.title} {number}")
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        yield Poem(lines=3)


async def main(system):
    await system.pool(Poet, size=1)
    job = Job(name="poems", streams=Streams[sys.argv[1]])
    execution = system.submit(job, Write(title="rain"), execution_id="one")
    count = 0
    async for update in execution.updates():
        if update.contract_name.endswith("sub_task_partial"):
            count += 1
            if count == 3:
                print("streamed", flush=True)
    print(len(await execution.result()), flush=True)


run(main, engine="inline", hosts=1, name="demo", journal="j.db")
"""


@pytest.mark.parametrize("streams", ["LIVE", "JOURNAL"])
def test_each_partial_result_is_shown_once(
    streams: str, folder: Path, callboard: Callable[..., Any]
) -> None:
    (folder / "driver.py").write_text(DRIVER)
    command = [sys.executable, "driver.py", streams]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as driver:
        assert driver.stdout is not None
        try:
            assert driver.stdout.readline() == "streamed\n"
            follow = ("tail", "one", "--journal", "j.db", "--for", "1")
            words, rows = callboard(*follow), callboard(*follow, "--json")
            (folder / "go").touch()
            assert driver.stdout.readline() == "1\n"
        finally:
            (folder / "go").touch()
            driver.wait(20)
    assert words.code == rows.code == ExitCode.TIMEOUT
    events = [json.loads(row) for row in rows.out.splitlines()]
    kinds = [event["kind"] for event in events]
    live = [event for event in events if event["kind"] == "callboard.execution.sub_task_partial"]
    if streams == "LIVE":
        assert [one["value"]["text"] for one in live] == ["rain 0", "rain 1", "rain 2"]
        assert 'partial 2 of request, attempt 1: {"text": "rain 1"}' in words.out
        assert "callboard.execution.streamed" not in kinds
    else:
        assert live == []
        assert "partial 2 of request, attempt 1: " in words.out
        assert words.out.count("partial") == 3
        assert "callboard.execution.streamed" in kinds
