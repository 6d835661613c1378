"""A real system, its hub and its server in a thread, for a browser in the test's own thread."""

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.actors.alerts.routing import AlertRoute, NotificationPlan, Receiver
from callboard.actors.events.log import FollowedLog
from callboard.actors.kernel.props import props
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.polled import PolledSource
from callboard.messages.control.principals import LOCAL
from callboard.messages.core.contract import Request as AnyRequest
from callboard.runtime.admin.extension import AdminExtension
from callboard.runtime.admin.port import Caller
from callboard.runtime.admin.service import AdminService
from callboard.runtime.api.system import System
from callboard.runtime.channels.journal import JournalSource
from callboard.runtime.channels.system import system_source
from callboard.runtime.stores.choose import event_store
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore
from callboard.runtime.web.routes.api import Api, service_admin
from callboard.runtime.web.routes.router import api_router
from callboard.runtime.web.routes.shapes import ConnectionRow
from callboard.runtime.web.server import WebServer
from callboard.runtime.web.settings import WebSettings
from callboard.runtime.web.token_keys import new_keys
from callboard.runtime.web.token_registry import TokenRegistry
from callboard.runtime.web.tokens import Tokens
from tests.actors.alerts.scripted import Recorder, TableEvaluator, group, sample

STATIC: Final = Path(cb.__file__).parent / "runtime" / "web" / "static"
SYSTEM: Final = "seen"
WAIT_S: Final = 60.0
ResultT = TypeVar("ResultT")
PLAN: Final = NotificationPlan(
    receivers=(Receiver("log"),), route=AlertRoute(receiver="log", group_wait_s=0.0)
)
LOGGER: Final = logging.getLogger("page")
HOSTILE: Final = "<script>alert(1)</script>"
ADA = LOCAL.model_copy(update={"subject": "local:ada"})


class Made(Contract, name="page.made"):
    """The result of a step."""


class Make(Request[Made], name="page.make"):
    """A step."""

    fails: bool = False
    hangs: bool = False
    partials: int = 0


class Part(Contract, name="page.part"):
    """What a step has so far."""

    share: float


class Ordered(Contract, name="page.ordered"):
    """What a job makes."""

    steps: int = 3
    fails: bool = False
    hangs: bool = False
    partials: int = 0
    is_wide: bool = False


class Maker(Agent):
    """Answers, fails, or waits until it is let go."""

    gate: ClassVar[asyncio.Event]

    @handler
    async def make(self, request: Make) -> AsyncIterator[Part | Made]:
        LOGGER.warning("a step begins")
        for number in range(request.partials):
            yield Part(share=(number + 1) / request.partials)
        if request.hangs:
            await Maker.gate.wait()
        if request.fails:
            raise ValueError(f"{HOSTILE} is no file")
        yield Made()


def _evaluator(_context: Any) -> TableEvaluator:
    found = TableEvaluator()
    found.table = {"load > 1": (sample(host=HOSTILE),)}
    return found


def _targets(_receivers: Sequence[Receiver]) -> dict[str, Recorder]:
    return {"log": Recorder()}


def _steps(order: Ordered) -> list[SubTask]:
    last = order.steps - 1
    return [
        SubTask(
            f"step-{number}",
            Make(
                fails=order.fails and number == last,
                hangs=order.hangs and number == last,
                partials=order.partials,
            ),
            needs=(f"step-{number - 1}",) if number and not order.is_wide else (),
        )
        for number in range(order.steps)
    ]


JOB: Final = Job[Ordered, list[Made]](name="making", decompose=_steps)


class PageWorld:
    """A system that serves its page, until `close`; `call` runs something on its loop."""

    def __init__(self, folder: Path, *, prefix: str = "", with_alerts: bool = False) -> None:
        self._folder = folder
        self._prefix = prefix
        self._with_alerts = with_alerts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="page-world", daemon=True)
        self.system: System
        self.tokens: Tokens
        self.hub: Hub
        self.server: WebServer
        self.url = ""
        self.asked: dict[str, Any] = {}
        """What the channel `approvals` has, by the ids of approvals."""

    def open(self) -> "PageWorld":
        self._thread.start()
        self._is_up.wait(WAIT_S)
        if self._failure is not None:
            raise self._failure
        return self

    def close(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def call(self, begin: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """The result of a coroutine on the loop of the system."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(begin(), self._loop).result(WAIT_S)

    def link(self) -> str:
        """A link with a one-time code, as `callboard ui` prints one."""
        code = self.call(lambda: self.tokens.create_code(ADA))
        return f"{self.url}#code={code}"

    def run(self, execution_id: str, **fields: Any) -> None:
        """Run an execution to its end."""

        async def run() -> None:
            with contextlib.suppress(cb.errors.CallboardError):
                order = Ordered(**fields)
                await self.system.submit(JOB, order, execution_id=execution_id).result(30)

        self.call(run)

    def begin(self, execution_id: str, **fields: Any) -> None:
        """Begin an execution, which goes on."""

        async def begin() -> None:
            self.system.submit(JOB, Ordered(**fields), execution_id=execution_id)

        self.call(begin)

    def release(self) -> None:
        """Let the steps that hang go on."""

        async def release() -> None:
            Maker.gate.set()
            Maker.gate = asyncio.Event()

        self.call(release)

    async def _read_asked(self) -> dict[str, Any]:
        return dict(self.asked)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            self._failure = error
        self._is_up.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        Maker.gate = asyncio.Event()
        journal = str(self._folder / "journal.db")
        options: dict[str, Any] = {"engine": "inline", "hosts": 2, "name": SYSTEM}
        async with cb.start(**options, journal=journal, metrics="memory:") as system:
            self.system = system
            await system.pool(Maker, size=2)
            await system.offer(JOB, Ordered)
            if self._with_alerts:
                await self._watch(system)
            async with self._served(system, journal):
                self._is_up.set()
                await self._stopping.wait()

    async def _watch(self, system: System) -> None:
        store = functools.partial(
            SqliteReadModelStore, self._folder / "alerts.db", durability="off"
        )
        made = props(
            AlertManager,
            (group(interval_s=1.0),),
            PLAN,
            store,
            _evaluator,
            _targets,
        )
        await system.spawn(made, name=ALERT_MANAGER)

    @contextlib.asynccontextmanager
    async def _served(self, system: System, journal: str) -> AsyncIterator[None]:
        service = system._host.extension(AdminExtension).service
        assert service is not None
        self.tokens = Tokens(new_keys(), TokenRegistry(MemoryReadModelStore(), SYSTEM), SYSTEM)
        log = FollowedLog(event_store(journal, reads_only=True))
        self.hub = Hub(
            self.tokens,
            sources=[
                JournalSource(log),
                system_source(_asks(service), every_s=0.2),
                PolledSource("approvals", self._read_asked, every_s=0.2),
            ],
        )
        api = Api(
            admin=service_admin(service),
            tokens=self.tokens,
            cookie_path=f"{self._prefix}/",
            connections=lambda: tuple(
                ConnectionRow(client=each, user="ada", way="websocket")
                for each in self.hub.core.connections
            ),
            system=SYSTEM,
        )
        settings = WebSettings(prefix=self._prefix)
        self.server = WebServer(settings, self.tokens, routers=[api_router(api)], page=STATIC)
        self.hub.start()
        self.url = await self.server.start(self.hub)
        try:
            yield
        finally:
            await self.server.stop()
            await self.hub.stop()
            await log.close()


def _asks(service: AdminService) -> Callable[[AnyRequest[Any]], Coroutine[Any, Any, Any]]:
    async def ask(request: AnyRequest[Any]) -> Any:
        return await service.handle(request, Caller("http", principal=LOCAL))

    return ask
