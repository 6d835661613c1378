"""The client of the execution service: a driver's executions in a detached system."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spawning import Offer, Spawn
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStopped,
    CallboardError,
    DeadlineExceeded,
    HostLost,
    NameTaken,
    UnknownContract,
    UsageError,
)
from callboard.messages.core.ref import Address
from callboard.messages.jobs.execution import check_execution_id
from callboard.messages.jobs.job import Job
from callboard.messages.ports import Ledger

from ...admin.extension import EXECUTION_SERVICE
from ...control_plane.control import Connection
from ...control_plane.spawn_requests import part_of, raise_first
from ...hosting.environment import Environment
from ...hosting.settings import Settings
from ..executions import how_started, resumed_id, trace_of_caller
from ..states import SystemStates
from ..values import Values
from .execution_service import ExecutionService
from .jobs import pack_job
from .messages import DescribeExecution, ExecutionDescribed, OfferJob, TakeExecution
from .remote_execution import RemoteExecution, driver_left

__all__ = ["NODE_SHARE", "RemoteExecutions"]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
ReplyT = TypeVar("ReplyT")
START_TIMEOUT_S: Final = 150.0
"""The time for the start of the service: the root may die meanwhile."""
RETRY_S: Final = 0.1
FOLLOW_S: Final = 10.0
"""How long the execution service holds a request until it has news."""
ASK_TIMEOUT_S: Final = 30.0
LEAVE_TIMEOUT_S: Final = 2.0
"""How long commands under way may take when the driver leaves."""
NODE_SHARE: Final = 0.001
"""The share of a node's address resource, which only selects the node."""


class RemoteExecutions:
    """One driver's executions in a detached system with a journal.

    `is_over` says whether the driver has left the system, or the system has ended.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        environment: Environment,
        make_ledger: Callable[[], Ledger],
        is_over: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._host: Final[Host] = connection.host
        self._settings = settings
        self._environment = environment
        self._make_ledger = make_ledger
        self._is_over = is_over
        self._values = Values(self._host)
        self._resumable: tuple[str, ExecutionDescribed] | None = None
        """The execution that the next matching submission continues."""
        self._finding = asyncio.Lock()
        self._found: Address | None = None
        self._followed: dict[RemoteExecution[Any], asyncio.Task[None]] = {}
        self._commands: set[asyncio.Task[Any]] = set()

    @property
    def states(self) -> SystemStates:
        """Raise `UsageError`: the process that runs the executions feeds the states."""
        raise UsageError(
            f"the execution service of {self._settings.name!r} keeps the states, not this driver.",
            advice="Read them by `open_states(...)` with the URL of the system's setting `states`.",
        )

    async def prepare(self) -> None:
        """Look up the execution that this driver is to resume, if any, for the next submission.

        A system with a page has its execution service, which writes the journal, from the start:
        acts and events that come in are in it before anybody submits. Raises `UsageError` when the
        journal does not have the execution.
        """
        if self._settings.page is not None and self._settings.journal:
            await self._address()
        execution_id = resumed_id(self._environment)
        if execution_id:
            self._resumable = (execution_id, await self._described(execution_id))

    async def _described(self, execution_id: str) -> ExecutionDescribed:
        described = await self._ask(DescribeExecution(execution_id=execution_id))
        if not described.job:
            raise UsageError(
                f"there is no execution {execution_id!r} in the journal of this system, "
                f"{self._settings.journal}.",
                advice="`callboard ls` lists them.",
            )
        return described

    # --- submitting ----------------------------------------------------------------------------

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        attributes: Mapping[str, Any] | None,
        execution_id: str | None,
    ) -> ExecutionHandle[ResultT]:
        """See `System.submit`."""
        if self._resumable is not None:
            resumed, described = self._resumable
            if described.job == job.name and execution_id in (None, resumed):
                self._resumable = None
                return self._handle(job, resumed, lambda: self._code(job, described))
        if execution_id is not None:
            check_execution_id(execution_id)
        return self._handle(
            job,
            execution_id or self._environment.new_id(),
            lambda: pack_job(job, request, attributes or {}),
            is_new=True,
        )

    async def resume(
        self, job: Job[RequestT, ResultT], execution_id: str
    ) -> ExecutionHandle[ResultT]:
        """See `System.resume`; the handle of an execution that runs already follows it."""
        described = await self._described(execution_id)
        if described.job != job.name:
            raise UsageError(
                f"execution {execution_id} belongs to job {described.job!r}, not {job.name!r}.",
                advice="Give the job that it was submitted with.",
            )
        code = self._code(job, described)
        await self._ask(self._take(job, execution_id, code, is_new=False))
        return self._handle(job, execution_id, lambda: code)

    async def offer(self, job: Job[RequestT, Any], request: type[RequestT]) -> None:
        """See `System.offer`; the execution service has the job from then on."""
        code = pack_job(job, contract=request)
        offer = OfferJob(job=job.name, code=code, contract=request.contract_name)
        await self._ask(offer)

    def _code(self, job: Job[Any, Any], described: ExecutionDescribed) -> bytes:
        contract = self._host.contracts.find(described.request)
        if contract is None:
            raise UnknownContract(
                f"the contract of the request, {described.request!r}, is unknown here.",
                advice="Import its module before you resume.",
                contract=described.request,
            )
        return pack_job(job, contract=contract)

    def _take(
        self, job: Job[Any, Any], execution_id: str, code: bytes, *, is_new: bool
    ) -> TakeExecution:
        return TakeExecution(
            execution_id=execution_id,
            job=job.name,
            code=code,
            token=self._environment.new_id(),
            is_new=is_new,
            driver={**how_started(self._environment), **trace_of_caller(self._host)},
        )

    def _handle(
        self,
        job: Job[Any, ResultT],
        execution_id: str,
        code: Callable[[], bytes],
        *,
        is_new: bool = False,
    ) -> ExecutionHandle[ResultT]:
        execution: RemoteExecution[ResultT] = RemoteExecution(
            execution_id,
            job.name,
            self._host.loop,
            self._values,
            self._ask,
            self._start,
            self._environment.wall_time(),
        )
        try:
            # Pack at once: later changes of the caller's objects are not part of the request.
            take = self._take(job, execution_id, code(), is_new=is_new)
        except CallboardError as error:
            execution.fail(error)
        else:
            self._followed[execution] = self._start(self._follow(execution, take))
        return ExecutionHandle(execution)

    async def _follow(self, execution: RemoteExecution[Any], take: TakeExecution) -> None:
        try:
            await self._ask(take)
            execution.taken.set()
            while not execution.outcome.done():
                answer = await self._ask(execution.question(FOLLOW_S), execution.note_problem)
                if answer.is_known:
                    execution.apply(answer)
                else:
                    # It ended long ago: only the journal has it.
                    await self._ask(take)
        except CallboardError as error:
            execution.fail(error)
        finally:
            self._followed.pop(execution, None)
            execution.fail(driver_left(execution.id, self._settings.name))

    # --- the execution service -------------------------------------------------------------------

    def _start(self, coroutine: Coroutine[Any, Any, ReplyT]) -> "asyncio.Task[ReplyT]":
        task = self._host.loop.create_task(coroutine)
        self._commands.add(task)
        task.add_done_callback(self._settle_command)
        return task

    def _settle_command(self, task: "asyncio.Task[Any]") -> None:
        self._commands.discard(task)
        if not task.cancelled():
            task.exception()  # Seen: a caller that awaits the task gets it.

    async def _ask(
        self, request: Request[ReplyT], note_problem: Callable[[CallboardError], None] | None = None
    ) -> ReplyT:
        """Ask the execution service, again after a loss of it or of the connection."""
        while True:
            try:
                address = await self._address()
                return await self._host.ask(address, request, ASK_TIMEOUT_S)
            except (HostLost, DeadlineExceeded, ActorNotFound, ActorStopped) as error:
                if self._is_over():
                    raise
                if note_problem is not None:
                    note_problem(error)
                if isinstance(error, ActorNotFound | ActorStopped):
                    self._found = None  # It was stopped: start another one.
                await asyncio.sleep(RETRY_S)

    async def _address(self) -> Address:
        """The address of the execution service; starts it when there is none."""
        async with self._finding:
            while self._found is None:
                self._found = self._host.directory.find(EXECUTION_SERVICE)
                if self._found is None:
                    self._found = await self._start_execution_service()
            return self._found

    async def _start_execution_service(self) -> Address | None:
        settings = Settings(
            name=self._settings.name,
            journal=self._settings.journal,
            durability=self._settings.durability,
            blobs=self._settings.blobs,
            states=self._settings.states,
            states_cache=self._settings.states_cache,
        )
        node = self._settings.journal_node
        custom = {f"node:{node}": NODE_SHARE} if node else {}
        place = Placement(isolated=Resources(cpus=0.0, custom=custom))
        arguments = (settings, self._make_ledger)
        # A service that ends by itself has been replaced.
        entry = (ExecutionService, arguments, None, EXECUTION_SERVICE, Restart.TRANSIENT, None)
        part = part_of(self._host.pickler, [entry], place)
        spawn = Spawn(parts=(part,), offers=(Offer(part=0, name=EXECUTION_SERVICE),))
        try:
            started = await self._connection.ask_root(spawn, START_TIMEOUT_S)
        except NameTaken:
            await asyncio.sleep(RETRY_S)  # Another driver is starting it.
            return None
        raise_first(started)
        return Address(*started.parts[0])

    async def leave(self) -> None:
        """Wait for commands under way for a while, then follow no execution any more."""
        following = set(self._followed.values())
        commands = self._commands - following
        if commands:
            await asyncio.wait(commands, timeout=LEAVE_TIMEOUT_S)
        for task in following | commands:
            task.cancel()
        if following:
            await asyncio.wait(following)
