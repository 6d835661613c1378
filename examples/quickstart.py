"""Count wide lines in parallel: python quickstart.py [hosts=2] [address=HOST:PORT] ..."""

import asyncio
import sys
from pathlib import Path

from callboard import Agent, Context, Contract, Request, Settings, System, handler, run


class Findings(Contract):
    wide_lines: int


class Review(Request[Findings]):
    path: str


class Reviewer(Agent):
    @handler
    async def review(self, request: Review) -> Findings:
        text = Path(request.path).read_text(encoding="utf-8")
        return Findings(wide_lines=sum(len(line) > 72 for line in text.splitlines()))


class Orchestrator(Agent):
    @handler
    async def review(self, request: Review, ctx: Context) -> Findings:
        files = Path(request.path).rglob("*.py")
        found = await asyncio.gather(*(ctx.ask(Review(path=str(file))) for file in files))
        return Findings(wide_lines=sum(findings.wide_lines for findings in found))


async def main(system: System) -> None:
    await system.pool(Reviewer, size=8)
    print(await (await system.spawn(Orchestrator)).ask(Review(path=asyncio.__path__[0])))


if __name__ == "__main__":
    run(main, Settings.from_words(sys.argv[1:]))
