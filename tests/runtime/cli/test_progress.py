"""The progress line: redrawn on a terminal, written again and again elsewhere."""

import asyncio
import io

from rich.console import Console

import callboard
from callboard.runtime.api.status_lines import StatusLines
from callboard.runtime.cli.progress import ProgressLine

from ..api.test_status_lines import Waited


async def final_text(line: ProgressLine) -> str:
    async with callboard.start(engine="inline", hosts=2) as system:
        async with line.follow(system):
            # Two queries: by then the line has made its first one.
            await system.view(actors_max=0)
            await system.view(actors_max=0)
        return line.text


async def test_it_counts_hosts_on_a_terminal() -> None:
    line = ProgressLine(Console(file=io.StringIO(), force_terminal=True))
    with line.display("starting"):
        assert "2 hosts" in await final_text(line)


async def test_short_work_is_silent_without_a_terminal() -> None:
    out = io.StringIO()
    line = ProgressLine(Console(file=out), lines=StatusLines(out, first_after_s=3_600.0))
    with line.display("starting"):
        assert "2 hosts" in await final_text(line)
    assert out.getvalue() == ""


async def test_long_work_writes_lines_without_a_terminal() -> None:
    out = Waited()
    line = ProgressLine(Console(file=out), lines=StatusLines(out, every_s=0.01))
    with line.display("jobs:main: starting"):
        async with callboard.start(engine="inline", hosts=2) as system, line.follow(system):
            await asyncio.to_thread(out.until, lambda lines: "2 hosts" in "".join(lines))
    assert "jobs:main: starting" in out.getvalue().splitlines()[0]
