"""Submissions from outside, in the process that runs the executions."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.executions.history.reading import read_history
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    InvalidMessage,
    PayloadTooLarge,
    UsageError,
)
from callboard.messages.jobs.execution import ExecutionStatus, check_execution_id
from callboard.messages.jobs.job import Job

from .errors import UnknownExecution, UnknownJob
from .port import Executions, OfferedJob
from .submission import (
    AwaitResult,
    JobRow,
    JobsListed,
    ListJobs,
    ResultAnswered,
    SubmitExecution,
    Submitted,
)

__all__ = ["Resume", "Submissions", "Submit"]

RESULT_BYTES_MAX: Final = 1 << 20
PROBLEMS_MAX: Final = 5
MERGE_S_MAX: Final = 10.0
"""How long the results of an ended execution may take to be merged once more."""
Resume = Callable[[Job[Any, Any], str], Awaitable[ExecutionHandle[Any]]]
"""Continues an execution that no process runs, or gives the outcome of one that is over."""


class Submit(Protocol):
    """Begins an execution, or finds the one of this id. It returns when that is durable.

    `driver` is what the journal has about who submits. True for a new one. Raises
    `ExecutionIdTaken` when another request was submitted under the id.
    """

    def __call__(
        self,
        job: Job[Any, Any],
        request: Contract,
        attributes: Mapping[str, Any],
        execution_id: str,
        driver: Mapping[str, str],
        /,
    ) -> Awaitable[bool]:
        """Submit; gives whether this began it."""


class Submissions:
    """Carries out the requests of `submission.py`."""

    def __init__(self, executions: Executions, resume: Resume, submit: Submit | None) -> None:
        self._executions: Final = executions
        self._resume: Final = resume
        self._submit: Final = submit

    async def list_jobs(self, _request: ListJobs) -> JobsListed:
        """The jobs that are offered."""
        return JobsListed(
            items=tuple(
                JobRow(
                    name=name,
                    contract=offered.request.contract_name,
                    fields=offered.request.model_json_schema(),
                )
                for name, offered in sorted(self._executions.offered.items())
            )
        )

    async def submit(self, request: SubmitExecution) -> Submitted:
        """Begin an execution. Raises `UnknownJob`, `InvalidMessage` and what `Submit` raises."""
        offered = self._executions.offered.get(request.job)
        if offered is None or self._submit is None:
            known = ", ".join(sorted(self._executions.offered)) or "none"
            raise UnknownJob(
                f"this system offers no job {request.job!r}.",
                advice=f"It offers: {known}. `System.offer` offers one.",
            )
        asked = _built(offered, request.fields)
        execution_id = check_execution_id(request.execution_id or uuid4().hex)
        is_new = await self._submit(
            offered.job, asked, request.attributes, execution_id, request.driver
        )
        return Submitted(execution_id=execution_id, is_new=is_new)

    # --- results -----------------------------------------------------------------------------

    async def wait(self, request: AwaitResult) -> ResultAnswered:
        """Wait for the end of an execution. Raises `UnknownExecution`."""
        handle, wait_s = self._executions.running(request.execution_id), request.wait_s
        if handle is None:
            handle, wait_s = await self._ended(request.execution_id), MERGE_S_MAX
            if handle is None:
                return ResultAnswered(is_over=False, status="interrupted")
        done = asyncio.Event()
        handle.on_end(done.set)
        try:
            async with asyncio.timeout(wait_s):
                await done.wait()
        except TimeoutError:
            return ResultAnswered(is_over=False, status=str(handle.state().status))
        return await _answered(handle)

    async def _ended(self, execution_id: str) -> ExecutionHandle[Any] | None:
        """A handle that gives the outcome of an ended execution once more.

        None for one that has not ended.
        """
        journal = self._executions.journal
        history = None
        if journal is not None:
            history = await read_history(journal.read_stream, execution_id)
        if history is None:
            raise UnknownExecution(f"there is no execution {execution_id!r} here.")
        if not history.is_over:
            return None
        job = self._executions.job(history.job)
        if job is None:
            raise UnknownJob(
                f"this system offers no job {history.job!r}, whose code makes the result.",
                advice="Offer it with `System.offer`.",
            )
        return await self._resume(job, execution_id)


def _built(offered: OfferedJob, fields: Mapping[str, Any]) -> Contract:
    try:
        return offered.request.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        rows = [
            {"pointer": "/".join(("", *map(str, problem["loc"]))), "message": problem["msg"]}
            for problem in problems[:PROBLEMS_MAX]
        ]
        text = "; ".join(f"{row['pointer'] or '/'}: {row['message']}" for row in rows)
        raise InvalidMessage(
            f"the fields do not fit {offered.request.contract_name}: {text}.",
            advice="`GET /v1/jobs` has their schema.",
            errors=rows,
        ) from None


async def _answered(handle: ExecutionHandle[Any]) -> ResultAnswered:
    try:
        result = await handle.result(1.0)
    except CallboardError as error:
        return ResultAnswered(
            is_over=True, status=str(handle.state().status), error=error.to_data()
        )
    try:
        plain = to_jsonable_python(result, inf_nan_mode="strings")
    except PydanticSerializationError as error:
        raise UsageError(
            f"the result of execution {handle.id} has no form in JSON: {error}.",
            advice="Let `transform` of the job give contracts or plain values.",
        ) from None
    size = len(json.dumps(plain))
    if size > RESULT_BYTES_MAX:
        raise PayloadTooLarge(
            f"the result of execution {handle.id} has {size:,} bytes as JSON; the limit is "
            f"{RESULT_BYTES_MAX:,}.",
            advice="Let `deliver` of the job put it into a store, and give its place.",
        )
    return ResultAnswered(is_over=True, status=str(ExecutionStatus.COMPLETED), result=plain)
