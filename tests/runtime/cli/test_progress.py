"""The line on the terminal: there on a terminal, and nowhere else."""

import io

from rich.console import Console

import callboard
from callboard.runtime.cli.progress import Line


async def looked_at(line: Line) -> str:
    async with callboard.start(engine="inline", hosts=2) as system:
        async with line.following(system):
            # Two looks of its own: the line has had its first by then.
            await system.view(actors_max=0)
            await system.view(actors_max=0)
        return line.text


async def test_it_counts_hosts_on_a_terminal() -> None:
    line = Line(Console(file=io.StringIO(), force_terminal=True))
    with line.shown("starting"):
        assert "2 hosts" in await looked_at(line)


async def test_it_is_silent_where_nobody_sees_it() -> None:
    out = io.StringIO()
    line = Line(Console(file=out))
    with line.shown("starting"):
        assert await looked_at(line) == ""
    assert out.getvalue() == ""
