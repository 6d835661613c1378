"""The execution service answers the admin API; offered jobs outlive its host."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from callboard.messages.core.errors import ExecutionIdTaken
from callboard.messages.jobs.commands import CancelExecution
from callboard.runtime.admin.client import AdminClient
from callboard.runtime.admin.errors import UnknownJob
from callboard.runtime.admin.extension import client_of
from callboard.runtime.admin.submission import AwaitResult, ListJobs, SubmitExecution
from callboard.runtime.admin.views import QueryExecution, QueryExecutions, ReadJournal
from callboard.runtime.api.inside import host_of

from .service_fixture import JOB, Order, Stage, Worker, staged


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


def client(stage: Stage) -> AdminClient:
    """As the root of a detached system asks, which has checked the request."""
    host = host_of(stage.system)
    return client_of(lambda: host.lookup("callboard.execution-service"), None)


async def test_an_offered_job_is_submitted_from_outside_also_after_a_kill(stage: Stage) -> None:
    admin = client(stage)
    with pytest.raises(UnknownJob):
        await admin.ask(SubmitExecution(job="steps"))
    await stage.driver().offer(JOB, Order)
    (job,) = (await admin.ask(ListJobs())).items
    assert (job.name, job.contract) == ("steps", "service.order")
    await stage.kill()
    submit = SubmitExecution(job="steps", fields={"count": 2}, execution_id="far", by="ada")
    assert (await admin.ask(submit)).is_new
    assert not (await admin.ask(submit)).is_new
    answer = await admin.ask(AwaitResult(execution_id="far", wait_s=10.0))
    assert (answer.is_over, answer.result) == (True, [{"n": 0}, {"n": 1}])
    with pytest.raises(ExecutionIdTaken):
        await admin.ask(submit.model_copy(update={"fields": {"count": 3}}))
    assert (await admin.ask(AwaitResult(execution_id="far"))).result == answer.result
    (row,) = (await admin.ask(QueryExecutions())).items
    assert (row.id, row.status) == ("far", "completed")
    assert (await admin.ask(QueryExecution(execution_id="far"))).counts == {"done": 2}
    page = await admin.ask(ReadJournal(stream="execution/far"))
    assert page.epoch
    assert len(page.items) == len(stage.events("far"))


async def test_a_cancellation_from_outside_names_who_has_asked(stage: Stage) -> None:
    admin = client(stage)
    await stage.driver().offer(JOB, Order)
    Worker.held = {0}
    await admin.ask(SubmitExecution(job="steps", execution_id="held"))
    await stage.ran(1)
    reply = await admin.ask(CancelExecution(execution_id="held", by="ada"))
    assert reply.is_running
    answer = await admin.ask(AwaitResult(execution_id="held", wait_s=10.0))
    assert answer.error is not None
    assert answer.error["details"] == {"by": "ada"}
