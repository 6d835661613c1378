"""Commands on executions: through the process that writes the journal, once each."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.history.changes import cancelled, decided, fork
from callboard.actors.executions.history.events import stream_of
from callboard.actors.executions.history.reading import read_history
from callboard.messages.control.principals import LOCAL
from callboard.messages.core.errors import UsageError
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ForkExecution,
    ResumeExecution,
)
from callboard.messages.storage.events import RecordedEvent
from callboard.runtime.admin.client import AdminClient
from callboard.runtime.admin.commands import ExecutionCommands
from callboard.runtime.admin.port import Caller
from callboard.runtime.admin.service import AdminService
from callboard.runtime.api.system import System
from callboard.runtime.executions.executions import Executions


class Made(Contract, name="admin.made"):
    """The result of a step."""


class Make(Request[Made], name="admin.make"):
    """A step."""


class Maker(Agent):
    """Answers, or waits until it is cancelled."""

    hangs: ClassVar[bool] = False

    @handler
    async def make(self, _: Make) -> Made:
        if Maker.hangs:
            await asyncio.Event().wait()
        return Made()


JOB: Final = Job[Make, list[Made]](
    name="making", decompose=lambda _: [SubTask("a", Make()), SubTask("b", Make(), needs=("a",))]
)


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    Maker.hangs = False
    journal = str(tmp_path / "j.db")
    async with cb.start(engine="inline", hosts=1, journal=journal) as system:
        await system.pool(Maker, size=1)
        await system.submit(JOB, Make(), execution_id="one").result(30)
        yield system


def client(system: System) -> AdminClient:
    """A client of a system in this process."""
    executions = system._executions
    assert isinstance(executions, Executions)
    commands = ExecutionCommands(executions, executions.resume)
    service = AdminService(commands=commands.answer)
    return AdminClient(lambda line: service.answer(line, Caller("test", principal=LOCAL)), 10.0)


async def events(system: System, execution_id: str) -> list[RecordedEvent]:
    journal = system._executions.journal  # type: ignore[union-attr]
    found: list[RecordedEvent] = await journal.read_stream(stream_of(execution_id))
    return found


async def known(system: System, execution_id: str) -> dict[str, Any]:
    """The fields of a command from a client that has read the journal."""
    last = (await events(system, execution_id))[-1]
    fields = {"token": f"t-{execution_id}", "at": time.time()}
    return {
        "execution_id": execution_id,
        "version": last.version,
        "event": last.id.hex(),
        **fields,
    }


async def forked(system: System) -> str:
    """A fork that no process runs."""
    command = ForkExecution(**await known(system, "one"), fork_id="two", step="b", by="a test")
    reply = await client(system).ask(command)
    assert (reply.is_known, reply.sub_tasks, reply.shared) == (True, 2, 1)
    return "two"


async def test_a_command_that_comes_twice_changes_the_journal_once(system: System) -> None:
    command = ForkExecution(**await known(system, "one"), fork_id="two", step="b", by="a test")
    assert await client(system).ask(command) == await client(system).ask(command)
    assert len(await events(system, "two")) == 1
    cancel = CancelExecution(**await known(system, "two"))
    for _ in range(2):
        reply = await client(system).ask(cancel)
        assert (reply.is_known, reply.is_running) == (True, False)
    assert len(await events(system, "two")) == 2


async def test_the_process_and_the_command_line_make_the_same_events(system: System) -> None:
    journal = system._executions.journal  # type: ignore[union-attr]
    origin = await read_history(journal.read_stream, "one")
    command = ForkExecution(**await known(system, "one"), fork_id="two", step="b", by=LOCAL.subject)
    assert origin is not None
    _, append = fork(origin, command)
    await client(system).ask(command)
    (event,) = await events(system, "two")
    assert [(event.id, event.kind, event.data)] == [
        (new.id, new.kind, new.data) for new in append.events
    ]


async def test_a_command_on_another_version_of_the_journal_changes_nothing(system: System) -> None:
    two = await forked(system)
    fields = await known(system, two)
    for wrong in ({"event": "00" * 16}, {"version": 9}, {"token": ""}, {"execution_id": "one"}):
        reply = await client(system).ask(CancelExecution(**fields | wrong))
        assert not reply.is_known
    assert len(await events(system, two)) == 1


async def test_without_a_version_the_journal_of_the_process_is_meant(system: System) -> None:
    two = await forked(system)
    command = CancelExecution(execution_id=two, token="once", at=1.0)
    assert (await client(system).ask(command)).is_known
    with pytest.raises(UsageError, match="has ended"):
        await client(system).ask(command)


async def test_a_running_execution_is_cancelled_in_its_process(system: System) -> None:
    Maker.hangs = True
    execution = system.submit(JOB, Make(), execution_id="hangs")
    reply = await client(system).ask(CancelExecution(execution_id="hangs"))
    assert (reply.is_known, reply.is_running) == (True, True)
    with pytest.raises(cb.errors.Cancelled):
        await execution.result(30)


async def test_an_idle_execution_resumes_in_the_process_that_knows_its_job(system: System) -> None:
    two = await forked(system)
    reply = await client(system).ask(ResumeExecution(**await known(system, two)))
    assert reply.is_known
    handle = system._executions.running(two)  # type: ignore[union-attr]
    assert await handle.result(30) == [Made(), Made()]


async def test_a_step_that_is_not_in_doubt_is_refused(system: System) -> None:
    two = await forked(system)
    command = DecideStep(**await known(system, two), step="b", runs_again=True, by="a test")
    with pytest.raises(UsageError, match="not in doubt"):
        await client(system).ask(command)
    with pytest.raises(UsageError, match="no sub-task"):
        await client(system).ask(command.model_copy(update={"step": "c"}))


async def test_an_ended_execution_is_not_changed(system: System) -> None:
    journal = system._executions.journal  # type: ignore[union-attr]
    history = await read_history(journal.read_stream, "one")
    assert history is not None
    fields = await known(system, "one")
    with pytest.raises(UsageError, match="has ended"):
        cancelled(history, CancelExecution(**fields))
    with pytest.raises(UsageError, match="has ended"):
        decided(history, DecideStep(**fields, step="a", runs_again=True, by="a test"))
