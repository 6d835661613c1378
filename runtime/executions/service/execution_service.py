"""The execution service: runs the executions of a detached system, also without their drivers.

The service is an actor like any other. When its host dies, the next service reads the executions
that have not ended from the system's ledger, and their progress from the journal. It is the one
writer of that journal.

A service that was cut off from its system and is replaced cannot write the journal any more: the
new one has taken it over with a higher fencing token. The old service finds that out at its next
append, or when it opens the journal, and ends. It leaves the ledger to its successor.

Invariants: an execution whose `TakeExecution` was answered is in the ledger until its end is in the
journal; an execution has one runner here at a time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, cast

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.handle import ExecutionHandle, execution_of
from callboard.actors.executions.history.events import Submitted, read, stream_of
from callboard.actors.executions.history.replay import Replay
from callboard.actors.executions.submissions import Submission, check_same, submission_in
from callboard.actors.kernel.actor import Actor, OnError, handler
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    MailboxFull,
    SpecError,
    UnknownContract,
    UsageError,
)
from callboard.messages.core.fences import is_replaced
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ExecutionCancelled,
    StepDecided,
)
from callboard.messages.jobs.job import Job
from callboard.messages.ports import Ledger
from callboard.messages.storage.errors import WriterFenced

from ...admin.commands import ExecutionCommands
from ...admin.extension import AdminAnswer, AdminLine, answer_line
from ...admin.journal import JournalQueries
from ...admin.port import OfferedJob
from ...admin.service import AdminService
from ...admin.submission import AwaitResult
from ...admin.unix_socket import EXECUTIONS, AdminSocket
from ...hosting.environment import REAL, Environment
from ...hosting.settings import Settings
from ..executions import Executions, check_offer, read_history
from ..journals import JournalOpener, OpenJournal, open_journal
from ..values import Values
from .core import LedgerEntry
from .jobs import load_job, pack_job
from .messages import (
    CancelTask,
    DescribeExecution,
    ExecutionDescribed,
    ExecutionFollowed,
    ExecutionTaken,
    FollowExecution,
    JobOffered,
    OfferJob,
    TakeExecution,
    TaskCancelled,
)
from .runner import ExecutionRunner

__all__ = ["ExecutionService"]

LOGGER: Final = logging.getLogger("callboard.executions")
OFFERS: Final = ":job:"
"""The begin of the ledger's keys of offered jobs; no id of an execution begins with it."""
EXECUTIONS_MAX: Final = 10_000
"""The most executions of one system that have not ended."""
ENDED_KEPT_S: Final = 10.0
"""How long an ended execution is kept for its followers; later it is read from the journal."""
BEGUN_WITHIN_S: Final = 5.0
"""How long a command waits for an execution that is starting."""


class ExecutionService(Actor):
    """Runs executions; see the module. `settings` names the system and its journal."""

    on_error: ClassVar[OnError] = OnError.RESUME
    concurrency: ClassVar[int] = 4_096
    """Followers of executions wait in handlers."""

    def __init__(
        self,
        settings: Settings,
        make_ledger: Callable[[], Ledger],
        environment: Environment = REAL,
        open_journal: JournalOpener = open_journal,
    ) -> None:
        self._settings = settings
        self._make_ledger = make_ledger
        self._environment = environment
        self._open_journal = open_journal
        self._runners: dict[str, ExecutionRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._journal: OpenJournal | None = None
        self._executions: Executions | None = None
        self._admin: AdminSocket | None = None
        self._service: Final = AdminService(commands=self._command, journal=self._query)
        self._queries: tuple[Executions, JournalQueries] | None = None
        """Answers about the journal of these executions."""
        self._offered: Final[dict[str, OfferedJob]] = {}
        self._replaced: WriterFenced | None = None
        """The error that says that a newer service writes the journal."""
        self._fence: int
        self._stop: Callable[[], None]
        self._host: Host
        self._ledger: Ledger
        self._values: Values

    async def started(self, ctx: Context) -> None:
        """Continue the executions of an earlier service. Raises `ClusterError`."""
        host = ctx._host  # noqa: SLF001 - executions run on the host itself, like a driver's
        assert isinstance(host, Host), "actors run on hosts"
        self._host = host
        self._fence, self._stop = ctx.fence, ctx.stop
        self._values = Values(self._host)
        self._ledger = self._make_ledger()
        for key, data in (await self._ledger.read()).items():
            entry = LedgerEntry.from_bytes(data)
            if key.startswith(OFFERS):
                self._take_offer(entry)
            else:
                self._run(entry)
        if self._environment.is_real:
            self._admin = AdminSocket(self._service, EXECUTIONS)
            ctx.measure(self._admin.reading)
            await self._admin.start()

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Release all executions; none of them ends by this."""
        if self._admin is not None:
            await self._admin.stop()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*(runner.release() for runner in self._runners.values()))
        if self._journal is not None:
            await self._journal.close()

    # --- requests ----------------------------------------------------------------------------

    @handler
    async def take(self, request: TakeExecution) -> ExecutionTaken:
        """See `TakeExecution`."""
        await self._take(request)
        return ExecutionTaken()

    async def _take(self, request: TakeExecution) -> bool:
        """Take an execution; False when it is here already."""
        asked = self._submission(request.job, request.code)  # Refuse a job that cannot be loaded.
        async with self._taking:
            if await self._has(request, asked):
                return False
            is_in_journal = await self._check(request, asked)
            entry = LedgerEntry(
                request.execution_id, request.job, request.code, request.token, request.driver
            )
            await self._ledger.write({entry.id: entry.to_bytes()})
            self._run(entry)
        return not is_in_journal

    def _submission(self, job: str, code: bytes) -> Submission | None:
        """What was submitted; None to continue what the journal has. Raises `SpecError`."""
        _, request, attributes = load_job(self._host, code)
        return None if request is None else Submission(job, request, attributes or {})

    async def _has(self, request: TakeExecution, asked: Submission | None) -> bool:
        """Whether this execution is here already. Raises an error for another of its id."""
        known = self._runners.get(request.execution_id)
        if known is None or known.error is not None:
            return False
        if request.is_new and asked is not None:
            if known.entry.token != request.token:
                before = self._submission(known.entry.job, known.entry.code)
                load_job(self._host, request.code)  # Its classes are the newest ones.
                await self._check_same(request.execution_id, before, asked)
        elif known.entry.job != request.job:
            raise UsageError(
                f"execution {request.execution_id} belongs to job {known.entry.job!r}, not "
                f"{request.job!r}.",
                advice="Give the job that it was submitted with.",
            )
        return True

    async def _check_same(
        self, execution_id: str, before: Submission | None, asked: Submission
    ) -> None:
        """Raise `ExecutionIdTaken` for another request than the first one of this id."""
        if before is None:
            journal = (await self._opened()).journal
            assert journal is not None
            history = await read_history(journal, execution_id)
            assert history is not None, "it was continued from there"
            before = submission_in(history, Replay(history, self._host.codec, self._host.contracts))
        check_same(execution_id, before, asked)

    async def _check(self, request: TakeExecution, asked: Submission | None) -> bool:
        """Whether the journal has the execution. Raises an error if it cannot be taken."""
        if len(self._tasks) >= EXECUTIONS_MAX:
            raise MailboxFull(
                f"{EXECUTIONS_MAX} executions run in this system, which is the limit.",
                advice="Submit again when some of them have ended.",
                may_have_run=False,
            )
        token = await self._token(await self._opened(), request.execution_id)
        if asked is not None and token not in (None, request.token):
            await self._check_same(request.execution_id, None, asked)
        if not request.is_new and token is None:
            raise UsageError(
                f"there is no execution {request.execution_id!r} in the journal of this system.",
                advice="`callboard ls` lists them.",
            )
        return token is not None

    async def _token(self, executions: Executions, execution_id: str) -> str | None:
        """The token of the request of an execution; None when the journal does not have it."""
        assert executions.journal is not None
        first = await executions.journal.read_stream(stream_of(execution_id), limit=1)
        if not first:
            return None
        event = read(first[0].kind, first[0].data)
        return str(event.driver.get("token", "")) if isinstance(event, Submitted) else ""

    # --- running -----------------------------------------------------------------------------

    def _run(self, entry: LedgerEntry) -> None:
        runner = ExecutionRunner(entry, self._begin, self._environment.new_id, self._values)
        self._runners[entry.id] = runner
        self._tasks[entry.id] = self._host.start_task(self._to_its_end(runner))

    async def _to_its_end(self, runner: ExecutionRunner) -> None:
        execution_id = runner.entry.id
        await runner.run()
        if isinstance(runner.error, WriterFenced):
            self._fenced(runner.error)
            return
        try:
            await self._ledger.write({execution_id: None})
        except CallboardError as error:
            LOGGER.warning(
                "execution %s stays in the ledger, and the next service checks it: %s",
                execution_id,
                error,
            )
        self._tasks.pop(execution_id, None)
        self._host.loop.call_later(ENDED_KEPT_S, self._drop, runner)

    def _fenced(self, error: WriterFenced) -> None:
        """End when the other writer is a newer service; it may be a command of a person too."""
        if self._replaced is None and is_replaced(self._fence, error.details.get("epoch", 0)):
            self._replaced = error
            text = "the execution service of %s ends: a newer one writes its journal: %s"
            LOGGER.error(text, self._settings.name, error)
            self._stop()

    def _drop(self, runner: ExecutionRunner) -> None:
        if self._runners.get(runner.entry.id) is runner:
            del self._runners[runner.entry.id]

    async def _begin(self, entry: LedgerEntry) -> Execution[Any]:
        executions = await self._opened()
        job, request, attributes = load_job(self._host, entry.code)
        if await self._token(executions, entry.id) is not None:
            handle = await executions.resume(job, entry.id)
        elif request is None:
            raise UsageError(
                f"execution {entry.id} is not in the journal any more.",
                advice="Submit the request again.",
            )
        else:
            driver = {**entry.driver, "token": entry.token}
            handle = executions.submit(job, request, attributes, entry.id, driver)
        return cast("Execution[Any]", execution_of(handle))

    async def _opened(self) -> Executions:
        """The executions on the open journal.

        Raises the errors of its opening. With `WriterFenced` this service has been replaced, and
        ends.
        """
        async with self._opening:
            if self._replaced is not None:
                raise self._replaced
            if self._journal is not None and self._journal.journal.broken is not None:
                broken, self._journal = self._journal, None
                await broken.close()
            if self._journal is None or self._executions is None:
                try:
                    self._journal = await self._open_journal(self._settings, fence=self._fence)
                except WriterFenced as error:
                    self._fenced(error)
                    raise
                if self._journal is None:
                    raise SpecError(
                        "this system has no journal.",
                        advice="Start it with `journal=` a path or a URL.",
                        field="journal",
                    )
                self._executions = Executions(self._host, self._environment, self._journal)
                self._executions.offered.update(self._offered)
            return self._executions

    # --- followers and commands ------------------------------------------------------------------

    @handler
    async def follow(self, request: FollowExecution) -> ExecutionFollowed:
        """See `FollowExecution`."""
        runner = self._runners.get(request.execution_id)
        if runner is None:
            return ExecutionFollowed(is_known=False)
        return await runner.follow(request)

    @handler
    async def describe(self, request: DescribeExecution) -> ExecutionDescribed:
        """See `DescribeExecution`."""
        known = self._runners.get(request.execution_id)
        if known is not None:  # The journal may not have it yet, or be unavailable.
            _, submitted, _ = load_job(self._host, known.entry.code)
            if submitted is not None:
                return ExecutionDescribed(job=known.entry.job, request=submitted.contract_name)
        journal = (await self._opened()).journal
        assert journal is not None
        first = await journal.read_stream(stream_of(request.execution_id), limit=1)
        if not first:
            return ExecutionDescribed()
        event = read(first[0].kind, first[0].data)
        if not isinstance(event, Submitted):  # A fork: its origin has the request.
            history = await read_history(journal, request.execution_id)
            assert history is not None
            event = history.submitted
        return ExecutionDescribed(job=event.job, request=event.request.contract.name)

    @handler
    async def cancel(self, request: CancelExecution) -> ExecutionCancelled:
        """Cancel an execution; it ends soon after."""
        execution = await self._running(request.execution_id)
        is_known = execution is not None and execution.cancel(request.by)
        return ExecutionCancelled(is_known=is_known, is_running=is_known)

    @handler
    async def decide(self, request: DecideStep) -> StepDecided:
        """Settle a step in doubt."""
        if await self._running(request.execution_id) is None or self._executions is None:
            return StepDecided(is_known=False)
        reply: StepDecided = await self._commands(self._executions).answer(request)
        return reply

    @handler
    async def cancel_task(self, request: CancelTask) -> TaskCancelled:
        """See `CancelTask`."""
        execution = await self._running(request.execution_id)
        if execution is None:
            raise UsageError(
                f"execution {request.execution_id} does not run in this system.",
                advice="`callboard ls` lists the executions that run.",
            )
        return TaskCancelled(was_open=await execution.cancel_task(request.task_id))

    async def _running(self, execution_id: str) -> Execution[Any] | None:
        runner = self._runners.get(execution_id)
        return None if runner is None else await runner.begun(BEGUN_WITHIN_S)

    @handler
    async def admin(self, request: AdminLine) -> AdminAnswer:
        """Answer a request of the admin API, for the root or the stream hub."""
        return await answer_line(self._service, request)

    @handler
    async def offer(self, request: OfferJob) -> JobOffered:
        """See `OfferJob`."""
        job, _, _ = load_job(self._host, request.code)
        check_offer(self._offered, job)
        entry = LedgerEntry(OFFERS + request.job, request.job, request.code, request.contract, {})
        self._take_offer(entry)
        await self._ledger.write({entry.id: entry.to_bytes()})
        return JobOffered()

    def _take_offer(self, entry: LedgerEntry) -> None:
        try:
            job, _, _ = load_job(self._host, entry.code)
            contract = self._host.contracts.find(entry.token)
            if contract is None:
                raise UnknownContract(f"the contract {entry.token!r} is unknown here.")
        except CallboardError as error:
            LOGGER.warning("the offered job %s cannot be loaded: %s", entry.job, error)
            return
        self._offered[entry.job] = OfferedJob(job, contract)
        if self._executions is not None:
            self._executions.offered[entry.job] = self._offered[entry.job]

    async def _query(self, request: Any) -> Any:
        """Answer a question about the journal."""
        executions = await self._opened()
        if self._queries is None or self._queries[0] is not executions:
            self._queries = (executions, JournalQueries(executions, executions.snapshot))
        return await self._queries[1].answer(request)

    async def _command(self, request: Any) -> Any:
        """Carry out a command of another process on this machine."""
        if isinstance(request, CancelExecution | DecideStep | AwaitResult):
            await self._running(request.execution_id)  # Wait for an execution that is starting.
        return await self._commands(await self._opened()).answer(request)

    def _commands(self, executions: Executions) -> ExecutionCommands:
        return ExecutionCommands(executions, self._take_up, self._submit)

    async def _submit(
        self,
        job: Job[Any, Any],
        request: Contract,
        attributes: Mapping[str, Any],
        execution_id: str,
        driver: Mapping[str, str],
    ) -> bool:
        """Run a request of an offered job, like a driver's request; True unless it is known.

        It returns when the execution has begun, or waits for the journal.
        """
        is_new = await self._take(
            TakeExecution(
                execution_id=execution_id,
                job=job.name,
                code=pack_job(job, request, attributes),
                token=self._environment.new_id(),
                is_new=True,
                driver=dict(driver),
            )
        )
        # Who asks for it next finds it. A journal that is away makes nobody wait for long.
        with contextlib.suppress(TimeoutError, CallboardError):
            async with asyncio.timeout(BEGUN_WITHIN_S):
                await self._running(execution_id)
                await (await self._opened()).until_durable(execution_id)
        return is_new

    async def _take_up(self, job: Job[Any, Any], execution_id: str) -> ExecutionHandle[Any]:
        """Continue an execution that no process runs, like a driver's request."""
        await self.take(
            TakeExecution(
                execution_id=execution_id,
                job=job.name,
                code=pack_job(job),
                token=self._environment.new_id(),
                is_new=False,
                driver={},
            )
        )
        execution = await self._running(execution_id)
        if execution is None:
            raise UsageError(f"execution {execution_id} has not begun.", advice="Ask again.")
        return ExecutionHandle(execution)
