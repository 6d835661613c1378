"""A real system behind the HTTP API of a real server: jobs, journal, tokens, hub."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.messages import Publish
from callboard.messages.control.principals import ALL_SCOPES, Principal, Scope
from callboard.runtime.admin.extension import AdminExtension
from callboard.runtime.admin.service import AdminService
from callboard.runtime.api.system import System
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.web.routes.api import Api, service_admin
from callboard.runtime.web.routes.router import api_router
from callboard.runtime.web.server import WebServer
from callboard.runtime.web.settings import WebSettings
from callboard.runtime.web.token_keys import new_keys
from callboard.runtime.web.token_registry import TokenRegistry
from callboard.runtime.web.tokens import Tokens

HOUR_S: Final = 3_600.0
SYSTEM: Final = "tested"


class Made(Contract, name="api.made"):
    """The result of a step."""

    number: int = 0


class Make(Request[Made], name="api.make"):
    """A step."""

    number: int = 0
    fails: bool = False


class Ordered(Contract, name="api.ordered"):
    """What a job makes, and how many steps it takes."""

    steps: int = 2
    fails: bool = False


class Maker(Agent):
    """Answers, or waits until it is cancelled."""

    hangs: ClassVar[bool] = False

    @handler
    async def make(self, request: Make) -> Made:
        if Maker.hangs:
            await asyncio.Event().wait()
        if request.fails:
            raise ValueError(f"<script>alert({request.number})</script>")
        return Made(number=request.number)


class Line(Contract, name="api.line"):
    """A partial result."""

    number: int


class Poem(Contract, name="api.poem"):
    """What a poet has written."""

    lines: int


class Write(Request[Poem], name="api.write"):
    """Write so many lines."""

    lines: int = 3


class Poet(Agent):
    """Yields lines; before the reply it waits while it is held."""

    held: ClassVar[asyncio.Event | None] = None

    @handler
    async def write(self, request: Write) -> AsyncIterator[Line | Poem]:
        for number in range(request.lines):
            yield Line(number=number)
        if Poet.held is not None:
            await Poet.held.wait()
        yield Poem(lines=request.lines)


POEMS: Final = Job[Write, list[Poem]](name="poems")


def _steps(order: Ordered) -> list[SubTask]:
    return [
        SubTask(
            f"step-{number}",
            Make(number=number, fails=order.fails and number == order.steps - 1),
            needs=(f"step-{number - 1}",) if number else (),
        )
        for number in range(order.steps)
    ]


JOB: Final = Job[Ordered, list[Made]](name="making", decompose=_steps)


@dataclass
class World:
    """What a test sees of it."""

    system: System
    service: AdminService
    tokens: Tokens
    registry: TokenRegistry
    url: str
    published: list[tuple[Publish, Principal]]

    async def token(
        self, *scopes: Scope, subject: str = "ada", publishes: Sequence[str] = ()
    ) -> str:
        text, _ = await self.tokens.create(
            subject, HOUR_S, scopes=scopes, channels=("*",), publishes=publishes
        )
        return text

    @contextlib.asynccontextmanager
    async def client(
        self, *scopes: Scope, subject: str = "ada", publishes: Sequence[str] = ()
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A client with a token of these scopes; by default all."""
        token = await self.token(
            *(scopes or ALL_SCOPES), subject=subject, publishes=publishes or ("*",)
        )
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30) as client:
            yield client

    async def run(self, execution_id: str, **fields: Any) -> None:
        """Run an execution to its end."""
        with contextlib.suppress(cb.errors.CallboardError):
            await self.system.submit(JOB, Ordered(**fields), execution_id=execution_id).result(30)


@contextlib.asynccontextmanager
async def api_world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """A system and its server, until the end of the block."""
    Maker.hangs = False
    journal = str(folder / "journal.db")
    registry = TokenRegistry(MemoryReadModelStore(), SYSTEM)
    tokens = Tokens(new_keys(), registry, SYSTEM)
    published: list[tuple[Publish, Principal]] = []

    async def publish(message: Publish, principal: Principal) -> None:
        published.append((message, principal))

    async with cb.start(
        engine="inline", hosts=1, journal=journal, metrics="memory:", name=SYSTEM
    ) as system:
        await system.pool(Maker, size=2)
        await system.offer(JOB, Ordered)
        service = system._host.extension(AdminExtension).service
        assert service is not None
        api = Api(admin=service_admin(service), tokens=tokens, publish=publish, system=SYSTEM)
        hub = Hub(tokens, sources=[])
        server = WebServer(WebSettings(**settings), tokens, routers=[api_router(api)])
        hub.start()
        url = await server.start(hub)
        try:
            yield World(system, service, tokens, registry, url, published)
        finally:
            await server.stop()
            await hub.stop()
