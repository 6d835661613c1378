"""The channel of an execution's partial results, from an agent to a client of the hub."""

import asyncio
from collections.abc import AsyncIterator

from callboard import Agent, Contract, Job, Request, handler
from callboard.runtime.api.start import start
from tests.runtime.delivery.http_server import until

from .test_sources import watching


class Line(Contract, name="partials.line"):
    number: int


class Poem(Contract, name="partials.poem"):
    lines: int


class Write(Request[Poem], name="partials.write"):
    lines: int


class Poet(Agent):
    @handler
    async def write(self, request: Write) -> AsyncIterator[Line | Poem]:
        for number in range(request.lines):
            yield Line(number=number)
        yield Poem(lines=request.lines)


async def test_a_client_gets_what_an_agent_yields() -> None:
    async with asyncio.timeout(20), start(engine="inline", hosts=2) as system:
        client = await watching(system, "partials:one")
        await system.pool(Poet, size=1)
        job: Job[Write, list[Poem]] = Job(name="poems")
        handle = system.submit(job, Write(lines=40), execution_id="one")
        assert await handle.result() == [Poem(lines=40)]
        await until(lambda: len(client.payloads("partials:one")) == 40)
        found = client.payloads("partials:one")
        assert [one["number"] for one in found] == list(range(1, 41))
        assert [one["value"] for one in found] == [{"number": number} for number in range(40)]
        assert {one["attempt"] for one in found} == {1}
