"""The progress line: only on a terminal."""

import io

from rich.console import Console

import callboard
from callboard.runtime.cli.progress import ProgressLine


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


async def test_it_is_silent_without_a_terminal() -> None:
    out = io.StringIO()
    line = ProgressLine(Console(file=out))
    with line.display("starting"):
        assert await final_text(line) == ""
    assert out.getvalue() == ""
