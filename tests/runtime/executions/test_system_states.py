"""The states of running and ended executions, fed from the journal of a system."""

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest

import callboard
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.messages.core.errors import CallboardError, SpecError, UsageError
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.storage.states import AgentStateChanged
from callboard.runtime.api.inside import host_of
from callboard.runtime.executions.journals import open_journal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.stores.file_lock import FileLock
from callboard.runtime.telemetry.metrics import Publisher
from callboard.runtime.telemetry.names import METRICS

WAIT_S = 30.0


class Done(Contract, name="sysstates.done"):
    pass


class Do(Request[Done], name="sysstates.do"):
    fails: bool = False
    waits: bool = False


class Doer(Agent):
    gate: ClassVar[asyncio.Event]

    @handler
    async def do(self, request: Do) -> Done:
        if request.waits:
            await Doer.gate.wait()
        if request.fails:
            raise TypeError("on purpose")
        return Done()


def steps(request: Do) -> list[SubTask]:
    return [SubTask("first", Do()), SubTask("last", request, needs=("first",))]


JOB: Job[Do, list[Done]] = Job(name="do it", decompose=steps)


async def test_states_follow_what_executions_do_and_outlive_their_system(tmp_path: Path) -> None:
    Doer.gate = asyncio.Event()
    states_url, changes = str(tmp_path / "states.db"), list[AgentStateChanged]()
    journal = str(tmp_path / "journal.db")
    async with callboard.start(
        engine="inline", hosts=1, journal=journal, states=states_url
    ) as system:
        await system.pool(Doer, size=2)
        system.states.on_change(changes.append)
        running = system.submit(JOB, Do(waits=True), attributes={"who": "ada"})
        good, bad = (system.submit(JOB, Do(fails=fails)) for fails in (False, True))
        await good.result(WAIT_S)
        with pytest.raises(CallboardError):
            await bad.result(WAIT_S)
        async with asyncio.timeout(WAIT_S):
            async for _ in running.updates():
                if running.state().intermediate_results == 1:
                    break
        await system.states.caught_up(WAIT_S)
        ids = [running.id, good.id, bad.id, "nobody"]
        found = await system.states.synchronise(ids)
        assert [state and str(state.status) for state in found] == [
            "running", "completed", "failed", None,
        ]  # fmt: skip
        live = found[0]
        assert live is not None
        assert live.context == {"who": "ada"}
        assert (live.task_id, live.end_time) == ("do it", None)
        assert live.metrics is not None
        assert (live.metrics.sub_tasks, live.metrics.done) == (2, 1)
        assert found[2] is not None
        assert found[2].error is not None
        assert "on purpose" in str(found[2].error)
        assert {change.execution_id for change in changes} == set(ids[:3])
        last = {change.execution_id: change for change in changes}
        assert last[good.id].status is ExecutionStatus.COMPLETED
        feed, manager = system.states.statistics()
        assert feed.lag_positions == feed.failures == manager.pending_notifications == 0
        Doer.gate.set()
        await running.result(WAIT_S)
    # The close feeds the last step; a later reader needs no system.
    async with callboard.states.open_states(states_url) as states:
        found = await states.synchronise(ids)
        assert [state and str(state.status) for state in found] == [
            "completed", "completed", "failed", None,
        ]  # fmt: skip


async def test_states_of_a_resumed_execution_continue(tmp_path: Path) -> None:
    Doer.gate = asyncio.Event()
    options: callboard.SettingsOptions = {
        "engine": "inline",
        "hosts": 1,
        "journal": str(tmp_path / "journal.db"),
        "states": str(tmp_path / "states.db"),
    }
    async with callboard.start(**options) as system:
        await system.pool(Doer, size=2)
        first = system.submit(JOB, Do(waits=True), execution_id="e")
        async with asyncio.timeout(WAIT_S):
            async for _ in first.updates():
                if first.state().intermediate_results == 1:
                    break
    Doer.gate.set()
    async with callboard.start(**options) as system:
        await system.pool(Doer, size=2)
        (before,) = await system.states.synchronise(["e"])
        assert before is not None
        assert before.status is ExecutionStatus.RUNNING
        await (await system.resume(JOB, "e")).result(WAIT_S)
        await system.states.caught_up(WAIT_S)
        (after,) = await system.states.synchronise(["e"])
        assert after is not None
        assert after.status is ExecutionStatus.COMPLETED
        assert after.journal_version > before.journal_version
        assert [str(change.to) for change in after.transitions] == ["running", "completed"]
        assert after.metrics is not None
        assert after.metrics.done == 2


async def test_its_lag_is_a_metric(tmp_path: Path) -> None:
    values: dict[tuple[str, str], float] = {}

    class Sink:
        def gauge(self, name: str, value: float, label: str = "") -> None:
            assert name in METRICS
            values[name, label] = value

        def count(self, name: str, increase: float, label: str = "") -> None:
            values[name, label] = values.get((name, label), 0.0) + increase

    async with callboard.start(
        engine="inline", hosts=1, journal="memory:", states=str(tmp_path / "states.db")
    ) as system:
        await system.pool(Doer, size=2)
        await system.submit(JOB, Do()).result(WAIT_S)
        await system.states.caught_up(WAIT_S)
        await Publisher(host_of(system), Sink(), 60.0).publish()
        assert values["callboard_projection_lag_positions", "callboard.states"] == 0.0
        assert values["callboard_projection_events", "callboard.states"] > 0.0
        assert values["callboard_states_stored", ""] > 0.0
        assert ("callboard_cache_misses", "local") in values


async def test_without_the_setting_there_are_none() -> None:
    async with callboard.start(engine="inline", hosts=1, journal="memory:") as system:
        with pytest.raises(UsageError, match="keeps no states"):
            _ = system.states


@pytest.mark.parametrize(
    "options", [{"engine": "inline"}, {"journal": "off"}, {"engine": "inline", "journal": "off"}]
)
def test_without_a_journal_they_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="states"):
        Settings(states="states.db", **options)  # type: ignore[arg-type] # some texts of them
    assert Settings(states="states.db", journal="memory:").states == "states.db"


@pytest.mark.parametrize("journal", ["memory:", None])
async def test_a_store_of_states_that_cannot_be_had_is_an_error_and_not_left_out(
    journal: str | None, tmp_path: Path
) -> None:
    """Also where the system would run without a journal that does not open."""
    there = tmp_path / "a folder"
    there.mkdir()
    wanted = Settings(engine="ray", journal=journal or "auto", states=str(there))
    with pytest.raises(CallboardError, match="a folder"):
        await open_journal(wanted, {"CALLBOARD_HOME": str(tmp_path)})
    lock = FileLock(tmp_path / "journals" / "callboard.db")
    if journal is None:
        assert lock.take(), "the journal is let go of"
        lock.release()
